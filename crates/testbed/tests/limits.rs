//! Few threads and few open files (faults B6, B7).

use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use udco_testbed::measure::Ping;
use udco_testbed::{Lab, Launch, Pair, Proto, addresses as at, eventually, skip, udco};

/// Long enough for a busy machine.
const SOON: Duration = Duration::from_secs(10);

/// A user without rights, whose threads count against a limit.
const NOBODY: &str = "65533";

#[test]
fn as_many_workers_as_the_limit_of_threads_allows_and_never_a_panic() -> Result<()> {
    let lab = Lab::new()?;
    let host = lab.host("host")?;
    if !host.is_privileged() {
        skip("no second user in an unprivileged lab");
        return Ok(());
    }
    let directory = lab.directory().join("limits");
    std::fs::create_dir(&directory)?;
    for outer in [lab.directory(), &directory] {
        std::fs::set_permissions(outer, PermissionsExt::from_mode(0o777))?;
    }
    let binary = udco::program()?;
    for threads in [4, 5, 8, 10, 20, 40] {
        let socket = directory.join(format!("{threads}.sock"));
        let path = socket.to_str().context("a path that is not UTF-8")?;
        let nproc = format!("--nproc={threads}");
        let user = format!("--reuid={NOBODY}");
        let words = [
            "setpriv",
            &user,
            "--clear-groups",
            "prlimit",
            &nproc,
            binary,
            "daemon",
            "--workers",
            "16",
            "--socket",
            path,
        ];
        let mut daemon = host.spawn(&format!("daemon-{threads}"), &words)?;
        eventually("the daemon to listen, or to say why not", SOON, || {
            let log = daemon.log();
            Ok((log.contains("listening at") || log.contains("udco: cannot")).then_some(()))
        })?;
        let log = daemon.log();
        ensure!(!log.contains("panicked"), "{threads} threads:\n{log}");
        ensure!(
            log.contains("listening at") || log.contains("the thread limit (TasksMax="),
            "{threads} threads:\n{log}"
        );
        // Below that the engine cannot serve a client.
        if threads >= 8 {
            ensure!(
                log.contains("workers instead of 16") || threads == 40,
                "{threads} threads:\n{log}"
            );
            host.run(&[binary, "show", "--engine", path])
                .with_context(|| format!("{threads} threads:\n{log}"))?;
            let tasks = std::fs::read_dir(format!("/proc/{}/task", daemon.pid()))?.count();
            // The process that removes the socket file counts, too.
            ensure!(
                tasks + 1 + 2 <= threads,
                "{tasks} of {threads}, no room for scripts"
            );
        }
        daemon.terminate(SOON)?;
    }
    Ok(())
}

/// A control group of `$1` tasks, like a unit with `TasksMax=`: `$2` is the program, the rest its arguments. Exits with 77
/// where none is available.
const FEW_TASKS: &str = r#"
    root=/run/cgroup; mkdir $root
    mount -t cgroup -o pids none $root 2>/dev/null ||
        { mount -t cgroup2 none $root && echo +pids >$root/cgroup.subtree_control; } 2>/dev/null || exit 77
    group=$(mktemp -d $root/udco-limits-XXXXXX) && echo $1 >$group/pids.max || exit 77
    shift
    sh -c 'echo $$ >"$0/cgroup.procs" && exec "$@"' $group "$@"
    ended=$?
    for _ in $(seq 200); do rmdir $group 2>/dev/null && break; sleep 0.05; done
    exit $ended"#;

#[test]
fn ten_tasks_are_enough_for_a_device_and_scripts_beside_sixteen_workers() -> Result<()> {
    let lab = Lab::new()?;
    let host = lab.host("host")?;
    let binary = udco::program()?;
    // Like OpenVPN with a script: creates a device, then runs a shell and a program at the same time.
    let program =
        "ip link add tun7 type ovpn && for _ in 1 2; do sleep 0.2 & done; wait; ip link del tun7";
    let words = [
        "sh",
        "-ec",
        FEW_TASKS,
        "sh",
        "10",
        binary,
        "run",
        "--workers",
        "16",
    ];
    let words = [&words[..], &["--", "sh", "-ec", program]].concat();
    let output = host.output(&words)?;
    if output.status.code() == Some(77) {
        skip("no control group with a limit of tasks here");
        return Ok(());
    }
    let printed = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success() && printed.contains("workers instead of 16"),
        "{output:?}"
    );
    ensure!(
        !printed.contains("panicked") && !host.has_device("tun7"),
        "{printed}"
    );
    lab.discard_logs();
    Ok(())
}

#[test]
fn the_limit_of_open_files_is_raised_or_openvpn_goes_without_us() -> Result<()> {
    let lab = Lab::new()?;
    let host = lab.host("host")?;
    let binary = udco::program()?;
    let path = &lab.file("engine.sock")?;
    let words = [
        "prlimit",
        "--nofile=256:4096",
        binary,
        "daemon",
        "--socket",
        path,
    ];
    let mut daemon = host.spawn("daemon", &words)?;
    daemon.wait_for_log("listening at", SOON)?;
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", daemon.pid()))?;
    let files = limits
        .lines()
        .find(|line| line.starts_with("Max open files"));
    let words: Vec<_> = files.unwrap_or_default().split_whitespace().collect();
    ensure!(words.get(3..5) == Some(&["4096", "4096"]), "{limits}");
    daemon.terminate(SOON)?;

    // The limits at which OpenVPN died or looped.
    for files in ["14", "16", "32"] {
        let limit = format!("--nofile={files}");
        let program = ["sh", "-c", "echo without:$LD_PRELOAD"];
        let words = [&["prlimit", &limit, binary, "run", "--"], &program[..]].concat();
        let output = host.output(&words)?;
        let (printed, done) = (
            String::from_utf8_lossy(&output.stderr),
            String::from_utf8_lossy(&output.stdout),
        );
        ensure!(
            printed.contains("OpenVPN uses its own data path") && done.trim() == "without:",
            "{files}: {output:?}"
        );
    }
    Ok(())
}

#[test]
fn an_engine_leaves_openvpn_tasks_for_its_script_or_does_not_start() -> Result<()> {
    for tasks in ["6", "8", "9", "10"] {
        let pair = Pair::new()?;
        // A shell, and one program at a time.
        let script = pair.lab.directory().join("up.sh");
        std::fs::write(&script, "#!/bin/sh\n/bin/true\n/bin/true\nexit 0\n")?;
        std::fs::set_permissions(&script, PermissionsExt::from_mode(0o755))?;
        let up = format!("up {}", script.display());
        let server = pair
            .udco_server(Proto::Udp4)
            .line_each(&["script-security 2", &up])
            .write()?;
        let binary = udco::program()?;
        let udco = [binary, "run", "--workers", "16", "--"].map(OsString::from);
        let words = ["sh", "-ec", FEW_TASKS, "sh", tasks].map(OsString::from);
        let words: Vec<_> = words.into_iter().chain(udco).chain(server.words).collect();
        let words: Vec<_> = words.iter().filter_map(|word| word.to_str()).collect();
        let mut process = pair.server.spawn("few-tasks", &words)?;
        let log = || std::fs::read_to_string(&server.log).unwrap_or_default();
        eventually("OpenVPN to serve, or to end", SOON, || {
            let is_up = log().contains("Initialization Sequence Completed");
            Ok((is_up || !process.is_alive()).then_some(()))
        })?;
        if !process.is_alive() && process.wait(SOON)?.code() == Some(77) {
            skip("no control group with a limit of tasks here");
            return Ok(());
        }
        let said = format!("{tasks} tasks: {}\n{}", process.log(), log());
        ensure!(process.is_alive(), "{said}");
        ensure!(said.contains("TasksMax="), "{said}");
        let mut client = pair.client(Proto::Udp4).launch(Launch::Plain).spawn()?;
        client.wait_connected(SOON)?;
        Ping::to(at::INNER_SERVER)
            .all_answered(&pair.client)
            .context(said)?;
        // The control group goes after it.
        let pid = std::fs::read_to_string(&server.pid_file)?;
        pair.server.run(&["kill", pid.trim()])?;
        process.wait(SOON)?;
        pair.lab.discard_logs();
    }
    Ok(())
}
