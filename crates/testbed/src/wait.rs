//! Waiting for something to become true, and saying that a scenario is left out.

use std::io::Write;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Asks `probe` every 20 ms until it gives a value.
///
/// # Errors
/// Fails after `timeout`, naming `what` was waited for; an error of `probe` ends the wait at once.
pub fn eventually<T>(
    what: &str,
    timeout: Duration,
    mut probe: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let start = Instant::now();
    loop {
        if let Some(value) = probe()? {
            return Ok(value);
        }
        if start.elapsed() > timeout {
            bail!("waited {timeout:?} in vain for: {what}");
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// Prints that a scenario (or a part of it) did not run. It is then no evidence of anything.
pub fn skip(why: &str) {
    // Past libtest's capture, which shows the output of failed tests only.
    let _ = writeln!(std::io::stdout(), "SKIPPED: {why}");
}
