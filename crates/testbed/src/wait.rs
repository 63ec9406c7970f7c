//! Waiting for a condition, and reporting that a scenario is left out.

use std::io::Write;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How often to try at least: on a busy machine a single try may take longer than the time allowed.
const TRIES: u32 = 5;

/// Calls `probe` every 20 ms until it returns a value, at least five times.
///
/// # Errors
/// After `timeout`, naming `what`; an error of `probe` ends the wait at once.
pub fn eventually<T>(
    what: &str,
    timeout: Duration,
    mut probe: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let (start, mut tries) = (Instant::now(), 0);
    loop {
        if let Some(value) = probe()? {
            return Ok(value);
        }
        tries += 1;
        if tries >= TRIES && start.elapsed() > timeout {
            bail!("waited {timeout:?} in vain for: {what}");
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// Reports that a scenario did not run. It then proves nothing, and `cargo xtask check` counts it as skipped. Call it
/// once per test, then return.
pub fn skip(why: &str) {
    say(&format!("SKIPPED: {why}"));
}

/// Reports that a part of a scenario did not run; the rest counts as a test.
pub fn skip_part(why: &str) {
    say(&format!("LEFT OUT: {why}"));
}

/// Bypasses libtest's capture, which shows the output of failed tests only.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}
