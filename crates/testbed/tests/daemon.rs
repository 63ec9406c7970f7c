//! One engine for several OpenVPNs, in any combination of network namespaces.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use udco_testbed::measure::{Ping, Stream};
use udco_testbed::{
    Lab, Pair, Proc, Proto, addresses as at, confinement, connect, eventually, udco,
};

/// Long enough for a busy machine.
const SOON: Duration = Duration::from_secs(5);

/// Makes a command run as another user than root.
const NOBODY: [&str; 3] = ["setpriv", "--reuid=65534", "--clear-groups"];

#[test]
fn a_daemon_in_a_third_namespace_serves_both_ends_of_a_tunnel() -> Result<()> {
    let pair = Pair::new()?;
    let elsewhere = pair.lab.host("elsewhere")?;
    let path = &pair.lab.file("engine.sock")?;
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
    let show = || udco::run(&elsewhere, &format!("show --json --engine {path}"));
    let devices = |text: &str| text.matches("\"ifindex\"").count();
    ensure!(devices(&show()?) == 2, "two devices in: {}", show()?);
    let table = udco::run(&elsewhere, &format!("show --engine {path}"))?;
    ensure!(table.contains("AES-256-GCM"), "{table}");

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
    let lab = Lab::new()?;
    let host = &lab.host("host")?;
    let path = &lab.file("engine.sock")?;
    let mut daemon = udco::daemon(host, "daemon.log", &["--socket", path])?;
    // docs/exit-codes.md.
    let says = |words: &str, code: i32, what: &str| -> Result<()> {
        let output = udco::output(host, words)?;
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
    says(nowhere, 1, "there is no directory /nowhere")?;
    let nowhere = "run --engine /nowhere.sock -- true";
    says(nowhere, 125, "start it with `udco daemon --socket`")?;
    for no_socket in ["/etc/passwd", "/etc"] {
        let engine = format!("run --engine {no_socket} -- true");
        says(&engine, 125, &format!("{no_socket} is not a socket"))?;
        says(&format!("show --engine {no_socket}"), 1, "not a socket")?;
    }
    let script = lab.file("script")?;
    std::fs::write(&script, "#!/no/such/shell\n")?;
    std::fs::set_permissions(&script, PermissionsExt::from_mode(0o755))?;
    says(
        &format!("run -- {script}"),
        126,
        "/no/such/shell, which it needs",
    )?;
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
        let show = udco::words("show --engine")?;
        let output = host.output(&[&NOBODY[..], &show, &[path]].concat())?;
        ensure!(!output.status.success(), "a stranger is refused");
        // A stranger is not told to start a second one.
        host.run(&["install", "-d", "-m", "700", "/run/closed"])?;
        let run = udco::words("run --engine /run/closed/engine.sock -- true")?;
        let output = host.output(&[&NOBODY[..], &run].concat())?;
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(
            output.status.code() == Some(125) && text.contains("this user may not look for it"),
            "{text}"
        );
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
    let variable = format!("NOTIFY_SOCKET={notify}");
    let daemon = udco::words("daemon --socket")?;
    let mut daemon = host.spawn(
        "daemon.log",
        &[&["env", &variable], &daemon[..], &[&socket]].concat(),
    )?;
    let received = || -> Result<String> {
        let mut room = [0; 64];
        let len = manager.recv(&mut room).context("no message")?;
        Ok(String::from_utf8_lossy(&room[..len]).into_owned())
    };
    ensure!(received()? == "READY=1");
    let shown = udco::run(&host, &format!("show --engine {socket}"))?;
    daemon.signal(udco_testbed::Signal::TERM)?;
    ensure!(received()? == "STOPPING=1", "served: {shown}");
    daemon.wait(SOON)?;
    Ok(())
}

/// Root's daemon serves tunnels as another user, and even that user cannot inspect it.
#[test]
fn a_daemon_runs_as_a_user_of_its_own_who_cannot_look_into_it() -> Result<()> {
    let pair = Pair::new()?;
    let host = &pair.server;
    if !host.is_privileged() {
        udco_testbed::skip("no second user in an unprivileged lab");
        return Ok(());
    }
    let socket = pair.lab.directory().join("engine.sock");
    let path = socket.to_str().context("a path that is not UTF-8")?;
    let line = format!("daemon --socket {path} --user no-such-user");
    let refused = udco::output(host, &line)?;
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    ensure!(
        !refused.status.success() && text.contains("--user no-such-user: no such user"),
        "it printed: {text}"
    );
    let options = ["--socket", path, "--user", "65534", "--group", "65534"];
    let daemon = udco::daemon(host, "daemon.log", &options)?;
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
        let lab = Lab::new()?;
        let host = &lab.host("host")?;
        let path = &lab.file("engine.sock")?;
        let mut daemon = udco::daemon(host, "daemon.log", &["--socket", path])?;
        udco::run(host, &format!("link add tun7 --engine {path}"))?;
        let line = format!("peer new tun7 --id 3 --remote 192.0.2.2:9 --engine {path}");
        let mut peer = udco::spawn(host, "peer", &line, "peer 3 on tun7")?;

        daemon.signal(udco_testbed::Signal::HUP)?;
        udco::run(host, &format!("show --engine {path}"))?;

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
            Ok((!Path::new(path).exists()).then_some(()))
        })?;
        ensure!(host.has_device("tun7"), "the device fails closed");
    }
    Ok(())
}
