//! What cannot be tested here is said, and counted.

use std::fs::File;
use std::io::Write;

/// Bypasses libtest's capture, which shows the output of failed tests only: `cargo xtask check` counts these lines.
pub(crate) fn skip(why: &str) {
    let _ = writeln!(std::io::stdout(), "SKIPPED: {why}");
}

/// Whether the library would serve here; says so if not.
pub(crate) fn has_tun() -> bool {
    let tun = File::options().read(true).write(true).open("/dev/net/tun");
    if let Err(error) = &tun {
        skip(&format!("/dev/net/tun: {error}"));
    }
    tun.is_ok()
}
