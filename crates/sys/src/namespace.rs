//! For tests: a network namespace for one test, without being root.

use std::env;
use std::io::Write;
use std::process::Command;

const MARK: &str = "UDCO_SYS_IN_NAMESPACE";

/// `true` inside a fresh user and network namespace with `lo` up and all capabilities.
///
/// Outside it, runs the test of that name (`module::tests::name`) again in such a namespace, fails if that fails, and
/// returns `false`; where no namespace can be made, it reports that and skips.
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
    // Tests skipped in there are skipped here, too.
    for line in text.lines() {
        if let Some((_, why)) = line.split_once("SKIPPED: ") {
            skip(why);
        } else if let Some((_, why)) = line.split_once("LEFT OUT: ") {
            skip_part(why);
        }
    }
    false
}

/// Reports that a test cannot run here; `cargo xtask check` counts it as skipped. Call it once per test.
pub(crate) fn skip(why: &str) {
    say(&format!("SKIPPED: {why}"));
}

/// Reports that a part of a test cannot run here.
pub(crate) fn skip_part(why: &str) {
    say(&format!("LEFT OUT: {why}"));
}

/// Bypasses libtest's capture, which shows the output of failed tests only.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// Runs `ip` with these arguments.
pub(crate) fn ip(words: &str) {
    let status = Command::new("ip").args(words.split_whitespace()).status();
    assert!(
        status.is_ok_and(|status| status.success()),
        "ip {words} failed"
    );
}
