//! Waiting for a condition, and reporting that a scenario is left out.

use std::io::Write;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Calls `probe` every 20 ms until it returns a value.
///
/// # Errors
/// After `timeout`, naming `what`; an error of `probe` ends the wait at once.
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

/// The same with at least five tries: on a busy machine a single one may take longer than the time allowed.
///
/// # Errors
/// As [`eventually`].
pub fn soon<T>(
    what: &str,
    timeout: Duration,
    mut probe: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    const TRIES: u32 = 5;
    let mut tries = 0;
    let start = Instant::now();
    loop {
        if let Some(value) = probe()? {
            return Ok(value);
        }
        tries += 1;
        if tries >= TRIES && start.elapsed() > timeout {
            bail!("waited {timeout:?}, and tried {tries} times, in vain for: {what}");
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
