//! One engine for several OpenVPNs, in any combination of network namespaces.

use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use udco_testbed::measure::{Ping, Stream};
use udco_testbed::{
    Lab, Pair, Proc, Proto, addresses as at, confinement, connect, eventually, udco,
};

/// Long enough for a busy machine.
const SOON: Duration = Duration::from_secs(5);

#[test]
fn a_daemon_in_a_third_namespace_serves_both_ends_of_a_tunnel() -> Result<()> {
    let pair = Pair::new()?;
    let elsewhere = pair.lab.host("elsewhere")?;
    let path = &pair.lab.file("engine.sock")?;
    let binary = udco::program()?;
    let _daemon = udco::daemon(&elsewhere, "daemon.log", &["--socket", path])?;

    let (server, client) = connect(
        pair.server(Proto::Udp4).engine(path),
        pair.client(Proto::Udp4).engine(path),
    )?;
    Ping::to(at::INNER_SERVER)
        .count(50)
        .interval(Duration::from_millis(10))
        .all_answered(&pair.client)?;
    Ping::to(at::INNER_SERVER6).all_answered(&pair.client)?;
    Stream::to(at::INNER_SERVER)
        .seconds(1)
        .run(&pair.client, &pair.server)?;
    let show = || elsewhere.run(&[binary, "show", "--json", "--engine", path]);
    let devices = |text: &str| text.matches("\"ifindex\"").count();
    ensure!(devices(&show()?) == 2, "two devices in: {}", show()?);
    ensure!(
        elsewhere
            .run(&[binary, "show", "--engine", path])?
            .contains("AES-256-GCM"),
        "a table"
    );

    // An OpenVPN that ends takes only its own resources along.
    client.stop()?;
    eventually("the client's device to go", SOON, || {
        Ok((devices(&show()?) == 1).then_some(()))
    })?;
    server.stop()?;
    eventually("the server's device to go", SOON, || {
        Ok((devices(&show()?) == 0).then_some(()))
    })?;
    Ok(())
}

#[test]
fn a_daemon_says_what_is_in_its_way() -> Result<()> {
    let pair = Pair::new()?;
    let host = &pair.server;
    let binary = udco::program()?;
    let socket = pair.lab.directory().join("engine.sock");
    let path = socket.to_str().context("a path that is not UTF-8")?;
    let mut daemon = udco::daemon(host, "daemon.log", &["--socket", path])?;
    // docs/exit-codes.md.
    let says = |words: &str, code: i32, what: &str| -> Result<()> {
        let words: Vec<&str> = words.split(' ').collect();
        let output = host.output(&[&[binary], &words[..]].concat())?;
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(
            output.status.code() == Some(code) && text.contains(what),
            "{words:?} ended with {:?} and printed: {text}",
            output.status
        );
        Ok(())
    };
    says(&format!("daemon --socket {path}"), 1, "already listens at")?;
    let nowhere = "daemon --socket /nowhere/engine.sock";
    says(nowhere, 1, "cannot listen at /nowhere")?;
    let nowhere = "run --engine /nowhere.sock -- true";
    says(nowhere, 125, "start one with `udco daemon`")?;
    let missing = "run -- /no/such/program";
    says(missing, 127, "cannot start /no/such/program")?;
    says("run -- /etc/passwd", 126, "cannot start /etc/passwd")?;
    says("run -- sh -c", 2, "")?;
    says("run", 2, "PROGRAM")?;
    says("run --wrkers 2 -- true", 2, "--wrkers is not an option")?;
    // A killed daemon's socket file is no obstacle.
    daemon.signal(udco_testbed::Signal::KILL)?;
    daemon.wait(SOON)?;
    let _again = udco::daemon(host, "again.log", &["--socket", path])?;
    if host.is_privileged() {
        let as_nobody = [
            "setpriv",
            "--reuid=65534",
            "--clear-groups",
            binary,
            "show",
            "--engine",
            path,
        ];
        let output = host.output(&as_nobody)?;
        ensure!(!output.status.success(), "a stranger is refused");
    } else {
        udco_testbed::skip_part("no second user in an unprivileged lab");
    }
    Ok(())
}

#[test]
fn a_daemon_tells_its_service_manager_when_it_serves_and_when_it_ends() -> Result<()> {
    let lab = Lab::new()?;
    let host = lab.host("host")?;
    let file = |name| lab.directory().join(name).display().to_string();
    let [socket, notify] = ["engine.sock", "notify"].map(file);
    let manager = UnixDatagram::bind(&notify)?;
    manager.set_read_timeout(Some(SOON))?;
    let binary = udco::binary()?;
    let binary = binary.to_str().context("a path that is not UTF-8")?;
    let variable = format!("NOTIFY_SOCKET={notify}");
    let words = ["env", &variable, binary, "daemon", "--socket", &socket];
    let mut daemon = host.spawn("daemon.log", &words)?;
    let received = || -> Result<String> {
        let mut room = [0; 64];
        let len = manager.recv(&mut room).context("no message")?;
        Ok(String::from_utf8_lossy(&room[..len]).into_owned())
    };
    ensure!(received()? == "READY=1");
    let shown = host.run(&[binary, "show", "--engine", &socket])?;
    daemon.signal(udco_testbed::Signal::TERM)?;
    ensure!(received()? == "STOPPING=1", "served: {shown}");
    daemon.wait(SOON)?;
    Ok(())
}

/// Root's daemon serves tunnels as another user, and even that user cannot inspect it.
#[test]
fn a_daemon_runs_as_a_user_of_its_own_who_cannot_look_into_it() -> Result<()> {
    const NOBODY: [&str; 3] = ["setpriv", "--reuid=65534", "--clear-groups"];
    let pair = Pair::new()?;
    let host = &pair.server;
    if !host.is_privileged() {
        udco_testbed::skip("no second user in an unprivileged lab");
        return Ok(());
    }
    let socket = pair.lab.directory().join("engine.sock");
    let path = socket.to_str().context("a path that is not UTF-8")?;
    let binary = udco::program()?;
    let refused = host.output(&[binary, "daemon", "--socket", path, "--user", "no-such-user"])?;
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    ensure!(
        !refused.status.success() && text.contains("--user no-such-user: no such user"),
        "it printed: {text}"
    );
    let options = ["--socket", path, "--user", "65534", "--group", "65534"];
    let mut daemon = host.spawn("daemon.log", &[&[binary, "daemon"], &options[..]].concat())?;
    daemon.wait_for_log("listening at", SOON)?;
    let engine = Proc::read(daemon.pid()).context("the daemon is gone")?;
    confinement::require(&engine)?;
    let status = std::fs::read_to_string(format!("/proc/{}/status", engine.pid))?;
    for line in [
        "Uid:\t65534\t65534\t65534\t65534",
        "Gid:\t65534\t65534\t65534\t65534",
    ] {
        ensure!(status.contains(line), "no {line} in {status}");
    }

    // The same user can inspect another process of its own.
    let own = [&NOBODY[..], &["sleep", "60"]].concat();
    let other = host.spawn("other.log", &own)?;
    for (process, may) in [(other.pid(), true), (engine.pid, false)] {
        let inner = Proc::read(process).context("it is gone")?.inner;
        for file in ["environ", "maps", "auxv"] {
            let file = format!("/proc/{inner}/{file}");
            let look = [&NOBODY[..], &["cat", &file]].concat();
            let output = host.output(&look)?;
            ensure!(output.status.success() == may, "{file}: {output:?}");
        }
    }

    let (_server, client) = connect(
        pair.server(Proto::Udp4).engine(path),
        pair.client(Proto::Udp4).engine(path),
    )?;
    Ping::to(at::INNER_SERVER).all_answered(&pair.client)?;
    drop(client);
    // The socket file is removed however the daemon ends.
    daemon.signal(udco_testbed::Signal::KILL)?;
    eventually("the socket file to go", SOON, || {
        Ok((!socket.exists()).then_some(()))
    })
}

/// SIGHUP does not end it; SIGTERM and SIGINT end the daemon in order: clients are notified of their peers' end, the
/// socket file is removed, and the device stays and fails closed (faults B11).
#[test]
fn a_daemon_ends_in_order_when_asked_to_and_not_with_its_terminal() -> Result<()> {
    for signal in [udco_testbed::Signal::TERM, udco_testbed::Signal::INT] {
        let pair = Pair::new()?;
        let host = &pair.server;
        let binary = udco::program()?;
        let socket = pair.lab.directory().join("engine.sock");
        let path = socket.to_str().context("a path that is not UTF-8")?;
        let mut daemon = udco::daemon(host, "daemon.log", &["--socket", path])?;
        let with_engine = |words: &[&'static str]| -> Vec<String> {
            let all = [&[binary], words, &["--engine", path]].concat();
            all.into_iter().map(str::to_owned).collect()
        };
        fn as_words(words: &[String]) -> Vec<&str> {
            words.iter().map(String::as_str).collect()
        }
        host.run(&as_words(&with_engine(&["link", "add", "tun7"])))?;
        let new = with_engine(&[
            "peer",
            "new",
            "tun7",
            "--id",
            "3",
            "--remote",
            "192.0.2.2:9",
        ]);
        let mut peer = host.spawn("peer", &as_words(&new))?;
        peer.wait_for_log("peer 3 on tun7", SOON)?;

        daemon.signal(udco_testbed::Signal::HUP)?;
        host.run(&as_words(&with_engine(&["show"])))?;

        daemon.signal(signal)?;
        let status = daemon.wait(SOON)?;
        ensure!(status.code() == Some(0), "{status}");
        let log = daemon.log();
        let last = log.lines().last().unwrap_or_default();
        ensure!(
            last.contains("ended by SIG") && last.contains("stays"),
            "{log}"
        );
        peer.wait(SOON)?;
        ensure!(peer.log().contains("(teardown)"), "{}", peer.log());
        eventually("the socket file to go", SOON, || {
            Ok((!socket.exists()).then_some(()))
        })?;
        ensure!(host.has_device("tun7"), "the device fails closed");
    }
    Ok(())
}
