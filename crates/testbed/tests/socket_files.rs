//! Engines' socket files: other users' files stay, and no engine hides another (faults C5, D5).

use std::os::unix::fs::{FileTypeExt, symlink};
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::Value;
use udco_testbed::{Lab, eventually, udco};

/// Long enough for a busy machine.
const SOON: Duration = Duration::from_secs(20);

#[test]
fn a_daemon_replaces_nothing_but_a_dead_socket_of_its_own() -> Result<()> {
    let lab = Lab::new()?;
    let host = lab.host("host")?;
    let binary = udco::program()?;
    let place = |name: &str| lab.directory().join(name);
    std::fs::write(place("file"), "precious")?;
    std::fs::create_dir(place("directory"))?;
    host.run(&["mkfifo", &place("fifo").to_string_lossy()])?;
    symlink(place("file"), place("link"))?;
    for name in ["file", "directory", "fifo", "link"] {
        let path = place(name);
        let words = [
            "timeout",
            "20",
            binary,
            "daemon",
            "--socket",
            &path.to_string_lossy(),
        ];
        let output = host.output(&words)?;
        let printed = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(
            output.status.code() == Some(1)
                && printed.contains("choose another path with --socket"),
            "{name}: {output:?}"
        );
    }
    ensure!(std::fs::read_to_string(place("file"))? == "precious");
    ensure!(place("directory").is_dir() && place("link").is_symlink());
    ensure!(place("fifo").metadata()?.file_type().is_fifo());
    lab.discard_logs();
    Ok(())
}

#[test]
fn looking_for_engines_deletes_no_file_of_others() -> Result<()> {
    let lab = Lab::new()?;
    let host = lab.host("host")?;
    let binary = udco::program()?;
    let script = format!(
        "mkdir -p /run/udco && echo precious >/run/udco/notes.sock && {binary} show; \
         cat /run/udco/notes.sock"
    );
    let printed = host.run(&["sh", "-c", &script])?;
    ensure!(printed.ends_with("precious\n"), "{printed}");
    lab.discard_logs();
    Ok(())
}

#[test]
fn engines_of_two_pid_namespaces_are_both_found() -> Result<()> {
    let lab = Lab::new()?;
    let host = lab.host("host")?;
    let binary = udco::program()?;
    // The same process ids in both: each program is the first of its pid namespace.
    let words = [
        "unshare",
        "--pid",
        "--fork",
        "--kill-child",
        binary,
        "run",
        "--",
        "sleep",
        "600",
    ];
    let _one = host.spawn("one.log", &words)?;
    let _other = host.spawn("other.log", &words)?;
    eventually("two engines", SOON, || {
        // Fails as long as there is none.
        let output = host.output(&[binary, "show", "--json"])?;
        let state: Value = serde_json::from_slice(&output.stdout)?;
        let engines = state.get("engines").and_then(Value::as_array);
        Ok(engines.is_some_and(|all| all.len() == 2).then_some(()))
    })?;
    lab.discard_logs();
    Ok(())
}
