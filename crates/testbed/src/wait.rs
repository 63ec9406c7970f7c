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

/// Prints that a scenario did not run. It is then no evidence of anything, and `cargo xtask check` counts it as skipped.
/// Say it once a test, and return.
pub fn skip(why: &str) {
    say(&format!("SKIPPED: {why}"));
}

/// Prints that a part of a scenario did not run; what is left of it counts as a test.
pub fn skip_part(why: &str) {
    say(&format!("LEFT OUT: {why}"));
}

/// Past libtest's capture, which shows the output of failed tests only.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}
