//! A network namespace of the test's own, without being root.

use std::env;
use std::io::Write;
use std::process::Command;

const MARK: &str = "UDCO_ENGINE_IN_NAMESPACE";

/// `true` inside a fresh user and network namespace with `lo` up and all capabilities.
///
/// Outside it, runs the test of that name again in such a namespace, fails if that fails, and returns `false`; where no
/// namespace or TUN device is available, it reports that and skips.
pub(crate) fn enter(test: &str) -> bool {
    if env::var_os(MARK).is_some() {
        return true;
    }
    let probe = ["-Urn", "sh", "-c", "exec 3<>/dev/net/tun"];
    let possible = Command::new("unshare").args(probe).output();
    if !possible.is_ok_and(|output| output.status.success()) {
        say(&format!(
            "SKIPPED: {test} needs `unshare -Urn` and /dev/net/tun"
        ));
        return false;
    }
    let output = Command::new("unshare")
        .args(["-Urn", "sh", "-c", "ip link set lo up && exec \"$@\"", "sh"])
        .arg(env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--include-ignored"])
        .env(MARK, "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "in the namespace: {text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    // Figures that the test prints.
    text.lines()
        .filter(|line| line.starts_with('{'))
        .for_each(say);
    false
}

/// Bypasses libtest's capture, which shows the output of failed tests only.
pub(crate) fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}
