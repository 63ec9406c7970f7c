//! For tests: a network namespace of one's own, without being root.

use std::env;
use std::io::Write;
use std::process::Command;

const MARK: &str = "UDCO_SYS_IN_NAMESPACE";

/// `true` inside a fresh user and network namespace with `lo` up and all capabilities.
///
/// Outside it runs the test of that name (`module::tests::name`) again in such a namespace, fails
/// if that fails, and returns `false`; where no namespace can be made it says so and skips.
pub(crate) fn enter(test: &str) -> bool {
    if env::var_os(MARK).is_some() {
        return true;
    }
    let possible = Command::new("unshare").args(["-Urn", "true"]).output();
    if !possible.is_ok_and(|output| output.status.success()) {
        skip(&format!("{test} needs `unshare -Urn`"));
        return false;
    }
    let program = env::current_exe().expect("the test's own path");
    let output = Command::new("unshare")
        .args(["-Urn", "sh", "-c", "ip link set lo up && exec \"$@\"", "sh"])
        .arg(program)
        .args(["--exact", test, "--nocapture"])
        .env(MARK, "1")
        .output()
        .expect("unshare runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "in the namespace: {text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    // What had to be skipped in there is skipped here.
    let skipped = text.lines().filter_map(|line| line.split_once("SKIPPED: "));
    skipped.for_each(|(_, why)| skip(why));
    false
}

/// Says that a test, or a part of it, could not run here: past libtest's capture, which shows the output of failed
/// tests only.
pub(crate) fn skip(why: &str) {
    let _ = writeln!(std::io::stdout(), "SKIPPED: {why}");
}

/// Runs `ip` with these words.
pub(crate) fn ip(words: &str) {
    let status = Command::new("ip").args(words.split_whitespace()).status();
    assert!(
        status.is_ok_and(|status| status.success()),
        "ip {words} failed"
    );
}
