//! `udco show` distinguishes its states by line and by exit code (faults C4), and gives no harmful advice (G5).

use std::time::Duration;

use anyhow::{Result, ensure};
use udco_testbed::{Host, Lab, eventually, skip_part, udco};

/// Long enough for a busy machine.
const SOON: Duration = Duration::from_secs(20);

/// Another user than root, with a directory for sockets.
const OTHER: [&str; 6] = [
    "setpriv",
    "--reuid=65534",
    "--regid=65534",
    "--clear-groups",
    "env",
    "XDG_RUNTIME_DIR=/run/user/65534",
];

/// The daemon's socket.
const SOCKET: &str = "/run/udco/engine.sock";

/// The output of `udco show` with these options, and its exit code, as root or as the other user.
fn show_with(host: &Host, user: &[&str], options: &[&str]) -> Result<(Option<i32>, String)> {
    let binary = udco::program()?;
    let output = host.output(&[user, &[binary, "show"], options].concat())?;
    let printed = [output.stdout, output.stderr].concat();
    let printed = String::from_utf8_lossy(&printed).into_owned();
    Ok((output.status.code(), printed))
}

fn show(host: &Host, user: &[&str]) -> Result<(Option<i32>, String)> {
    show_with(host, user, &[])
}

fn expect(host: &Host, user: &[&str], code: i32, words: &str) -> Result<()> {
    held(show(host, user)?, code, words)
}

/// Of the engine that is named.
fn expect_of_one(host: &Host, user: &[&str], code: i32, words: &str) -> Result<()> {
    held(show_with(host, user, &["--engine", SOCKET])?, code, words)
}

fn held((ended, printed): (Option<i32>, String), code: i32, words: &str) -> Result<()> {
    ensure!(
        ended == Some(code) && printed.contains(words),
        "{words:?} and {code} wanted, {ended:?}: {printed}"
    );
    Ok(())
}

/// Sends a signal to the daemon of a user.
fn signal(host: &Host, signal: &str, uid: &str) -> Result<()> {
    let signal = format!("-{signal}");
    host.run(&["pkill", &signal, "--euid", uid, "--exact", "udco"])?;
    Ok(())
}

#[test]
fn every_state_has_a_line_and_an_exit_code() -> Result<()> {
    let lab = Lab::new()?;
    let host = lab.host("host")?;
    let binary = udco::program()?;
    expect(&host, &[], 3, "no engine is running")?;
    expect_of_one(&host, &[], 3, "no engine there")?;

    let mut root = udco::daemon_below_a_shell(&host, "root.log", &[], &[])?;
    expect(&host, &[], 0, "an engine is running")?;
    if lab.is_privileged() {
        expect(&host, &OTHER, 4, "you may not use this engine")?;
        expect_of_one(&host, &OTHER, 4, "you may not use this engine")?;
        host.run(&["install", "-d", "-o", "65534", "/run/user/65534"])?;
        let mut other = udco::daemon_below_a_shell(&host, "other.log", &OTHER, &[])?;
        expect(&host, &OTHER, 0, "an engine is running")?;
        let both = host.run(&[binary, "show", "--json"])?;
        ensure!(both.matches("\"workers\"").count() == 2, "root: {both}");
        signal(&host, "KILL", "65534")?;
        other.wait(SOON)?;
    } else {
        skip_part("no second user in an unprivileged lab");
    }

    signal(&host, "STOP", "0")?;
    expect(&host, &[], 5, "does not answer")?;
    expect_of_one(&host, &[], 5, "does not answer")?;
    expect(&host, &[], 5, "(udco) is stopped (state T); `kill -CONT ")?;
    let (_, printed) = show(&host, &[])?;
    ensure!(!printed.contains("cannot be reached"), "{printed}");
    signal(&host, "CONT", "0")?;

    let make = ["link", "add", "tun7", "type", "ovpn"];
    let run = [binary, "run", "--engine", SOCKET, "--"];
    host.run(&[&run[..], &["ip"], &make].concat())?;
    expect(&host, &[], 0, "tun7 (")?;
    signal(&host, "KILL", "0")?;
    root.wait(SOON)?;
    expect(&host, &[], 7, "tun7: ")?;
    let links = host.output(&[binary, "link", "show"])?;
    let printed = String::from_utf8_lossy(&[links.stdout, links.stderr].concat()).into_owned();
    ensure!(
        printed.contains("tun7: its engine") && !printed.contains("create one"),
        "{printed}"
    );
    host.run(&["ip", "link", "del", "tun7"])?;
    expect(&host, &[], 3, "no engine is running")?;
    lab.discard_logs();
    Ok(())
}

/// Whoever believed that its engine was killed would delete it, and what it carries would leave in the clear.
#[test]
fn a_device_without_a_peer_is_not_called_left_while_an_engine_does_not_answer() -> Result<()> {
    let lab = Lab::new()?;
    let host = lab.host("host")?;
    let binary = udco::program()?;
    let _daemon = udco::daemon_below_a_shell(&host, "root.log", &[], &[])?;
    host.run(&[binary, "link", "add", "tun7", "--up"])?;
    expect(&host, &[], 0, "tun7 (")?;
    let unsure = "tun7: no engine that answers serves it";
    if lab.is_privileged() {
        expect(&host, &OTHER, 4, unsure)?;
    } else {
        skip_part("no second user in an unprivileged lab");
    }
    signal(&host, "STOP", "0")?;
    expect(&host, &[], 5, unsure)?;
    let (_, printed) = show(&host, &[])?;
    ensure!(!printed.contains("ip link del"), "{printed}");
    // The other one answers, and has no such device.
    let second = ["--socket", "/run/udco/second.sock"];
    let _second = udco::daemon(&host, "second.log", &second)?;
    let output = host.output(&[binary, "peer", "get", "tun7"])?;
    let printed = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(
        !output.status.success() && !printed.contains("ip link del"),
        "{printed}"
    );
    signal(&host, "CONT", "0")?;
    expect(&host, &[], 0, "tun7 (")?;
    lab.discard_logs();
    Ok(())
}

#[test]
fn what_cannot_be_asked_is_not_called_none() -> Result<()> {
    let lab = Lab::new()?;
    let host = lab.host("host")?;
    let binary = udco::program()?;
    let says = |user: &[&str], words: &[&str]| -> Result<(Option<i32>, String)> {
        let output = host.output(&[user, &[binary], words].concat())?;
        let printed = [output.stdout, output.stderr].concat();
        let printed = String::from_utf8_lossy(&printed).into_owned();
        Ok((output.status.code(), printed))
    };
    let (code, printed) = says(&[], &["show", "tun7"])?;
    ensure!(code == Some(3), "{code:?}: {printed}");
    let _daemon = udco::daemon_below_a_shell(&host, "root.log", &[], &[])?;
    host.run(&[binary, "link", "add", "tun7", "--mode", "mp", "--up"])?;
    let check = |user: &[&str], shown: i32| -> Result<()> {
        for (words, wanted) in [
            (&["show", "tun7"][..], shown),
            (&["link", "show"], 1),
            (&["link", "show", "--json"], 1),
            (&["link", "show", "tun7"], 1),
            (&["monitor"], 1),
        ] {
            let (code, printed) = says(user, words)?;
            ensure!(code == Some(wanted), "{words:?}: {code:?}: {printed}");
            let wrong = ["no devices", "no engine is running", "no engine has"];
            let claims = |it: &&str| printed.contains(*it);
            ensure!(!wrong.iter().any(claims), "{words:?}: {printed}");
        }
        Ok(())
    };
    if lab.is_privileged() {
        check(&OTHER, 4)?;
    } else {
        skip_part("no second user in an unprivileged lab");
    }
    signal(&host, "STOP", "0")?;
    check(&[], 5)?;
    signal(&host, "CONT", "0")?;
    lab.discard_logs();
    Ok(())
}

/// Most services have a mount namespace of their own, with the machine's `/run`.
#[test]
fn an_engine_without_a_socket_is_seen() -> Result<()> {
    for start in [&[][..], &["unshare", "--mount"]] {
        is_seen_without_a_socket(start)?;
    }
    Ok(())
}

fn is_seen_without_a_socket(start: &[&str]) -> Result<()> {
    let lab = Lab::new()?;
    let host = lab.host("host")?;
    let binary = udco::program()?;
    host.run(&["mount", "-o", "remount,ro", "/run"])?;
    let words = ["env", "-u", "XDG_RUNTIME_DIR", binary, "run", "--"];
    let words = [start, &words, &["sleep", "600"]].concat();
    let _program = host.spawn("program.log", &words)?;
    eventually("the engine to be seen", SOON, || {
        let (code, printed) = show(&host, &["env", "-u", "XDG_RUNTIME_DIR"])?;
        Ok((code == Some(6) && printed.contains("no place for its socket")).then_some(()))
    })?;
    lab.discard_logs();
    Ok(())
}

#[test]
fn an_engine_in_a_container_is_named_so() -> Result<()> {
    let lab = Lab::new()?;
    let host = lab.host("host")?;
    let binary = udco::program()?;
    let script = format!("mount -t tmpfs none /run && exec {binary} run -- sleep 600");
    let words = ["unshare", "--pid", "--mount", "--fork", "--kill-child"];
    let _program = host.spawn(
        "program.log",
        &[&words[..], &["sh", "-c", &script]].concat(),
    )?;
    eventually("the engine to be seen", SOON, || {
        let (code, printed) = show(&host, &[])?;
        Ok((code == Some(6) && printed.contains("it is in a container")).then_some(()))
    })?;
    lab.discard_logs();
    Ok(())
}

#[test]
fn an_interface_of_others_is_not_to_be_deleted() -> Result<()> {
    let lab = Lab::new()?;
    let host = lab.host("host")?;
    let binary = udco::program()?;
    host.run(&["ip", "tuntap", "add", "tun5", "mode", "tun"])?;
    let commands: [&[&str]; 3] = [
        &["link", "del"],
        &["peer", "get"],
        &["key", "swap", "--peer", "1"],
    ];
    for has_engine in [false, true] {
        let _daemon = has_engine
            .then(|| udco::daemon_below_a_shell(&host, "daemon.log", &[], &[]))
            .transpose()?;
        for device in ["lo", "tun5"] {
            for command in commands {
                let output = host.output(&[&[binary], command, &[device]].concat())?;
                let printed = String::from_utf8_lossy(&output.stderr).into_owned();
                ensure!(
                    !output.status.success()
                        && printed.contains("is not a udco device")
                        && !printed.contains("ip link del"),
                    "{command:?} {device}: {printed}"
                );
            }
        }
    }
    lab.discard_logs();
    Ok(())
}
