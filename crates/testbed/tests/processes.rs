//! Several processes below one `udco run`: each has a connection of its own, which ends with it (faults C1); and
//! waiting for the end of their output does not mean waiting for the engine (faults C3).

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use udco_testbed::measure::Ping;
use udco_testbed::{
    Builder, CONNECT, Host, Launch, Pair, Proto, Signal, Star, Written, addresses as at, connect,
    eventually, udco,
};

const COMPLETED: &str = "Initialization Sequence Completed";

/// Much more than the promised 100 ms, for a busy machine; the test prints the actual time.
const SOON: Duration = Duration::from_secs(5);

/// Runs its arguments over and over, as a container's entry point does.
const LOOP: [&str; 4] = ["sh", "-c", "while :; do \"$@\"; done", "loop"];

fn completed(log: &Path) -> usize {
    let log = fs::read(log).unwrap_or_default();
    String::from_utf8_lossy(&log).matches(COMPLETED).count()
}

/// 1194 is 04AA in the kernel's table of UDP sockets.
fn is_bound(host: &Host) -> Result<bool> {
    let table = host.run(&["cat", "/proc/net/udp", "/proc/net/udp6"])?;
    Ok(table.contains(":04AA "))
}

#[test]
fn a_loop_restarts_openvpn_a_hundred_times_after_kill_9() -> Result<()> {
    if udco::is_left_out("no engine is between OpenVPN and its port") {
        return Ok(());
    }
    let pair = Pair::new()?;
    let mut server = pair.udco_server(Proto::Udp4).wrapper(&LOOP).spawn()?;
    for round in 0..100 {
        server
            .wait_connected(CONNECT)
            .with_context(|| format!("round {round}"))?;
        server.kill9()?;
    }
    server.wait_connected(CONNECT)?;
    let log = server.log();
    ensure!(!log.contains("in use"), "{log}");
    let mut client = pair.udco_client(Proto::Udp4).spawn()?;
    client.wait_connected(CONNECT)?;
    server.require_offload()?;
    Ping::to(at::INNER_SERVER).all_answered_once_keyed(&pair.client)?;
    let engines = pair.lab.processes()?;
    let engines = engines
        .iter()
        .filter(|it| it.command.contains("udco engine"));
    ensure!(engines.count() == 2, "one engine below each `udco run`");
    Ok(())
}

#[test]
fn openvpn_killed_under_a_living_script_frees_port_and_peers() -> Result<()> {
    if udco::is_left_out("no engine is between OpenVPN and its port") {
        return Ok(());
    }
    let pair = Pair::new()?;
    let script = ["sh", "-c", "\"$@\"; sleep 1000", "script"];
    let server = pair.udco_server(Proto::Udp4);
    let (server, _client) = connect(server.wrapper(&script), pair.client(Proto::Udp4))?;
    Ping::to(at::INNER_SERVER).all_answered(&pair.client)?;
    server.kill9()?;
    let killed = Instant::now();
    eventually("a free port", SOON, || {
        Ok((!is_bound(&pair.server)?).then_some(()))
    })?;
    println!("the port is free after {:?}", killed.elapsed());
    eventually("no peer", SOON, || {
        Ok(server.show()?.peers().next().is_none().then_some(()))
    })?;
    ensure!(
        server.engine().is_ok(),
        "the engine ended before the script"
    );
    let echo = Ping::to(at::INNER_SERVER).count(2).run(&pair.client)?;
    ensure!(echo.received == 0, "a peer outlives its OpenVPN");
    Ok(())
}

/// A second tunnel beside the first.
fn second(builder: Builder, name: &str) -> Builder {
    builder.named(name).device("tun1").port(1195)
}

fn write(builder: &Builder) -> Result<(Written, String)> {
    let written = builder.write()?;
    let words: Vec<_> = written
        .words
        .iter()
        .map(|word| word.to_string_lossy())
        .collect();
    let words = words.join(" ");
    Ok((written, words))
}

#[test]
fn two_servers_and_two_clients_below_one_run_each() -> Result<()> {
    let star = Star::new(1)?;
    let binary = udco::binary()?;
    let binary = binary.to_string_lossy();
    let launch = Launch::Udco;
    let servers = [
        write(&star.server().launch(launch))?,
        write(
            &second(star.server().launch(launch), "server2")
                .line_each(&["server 10.9.0.0 255.255.255.0", "server-ipv6 fd00:9::/64"]),
        )?,
    ];
    let clients = [
        write(&star.client(0).launch(launch))?,
        write(&second(star.client(0).launch(launch), "client2"))?,
    ];
    let mut running = Vec::new();
    for (host, ends) in [(&star.server, &servers), (&star.clients[0], &clients)] {
        let [(_, one), (_, other)] = ends;
        let script = format!("{one} & {other} & wait");
        let words = ["sh", "-c", &script];
        let words = match udco::harness_only() {
            true => words.to_vec(),
            false => [&[&*binary, "run", "--"], &words[..]].concat(),
        };
        running.push(host.spawn(&format!("{}-both", host.name()), &words)?);
        for (written, _) in ends {
            eventually("both up", CONNECT, || {
                Ok((completed(&written.log) > 0).then_some(()))
            })?;
        }
    }
    for inner in ["10.8.0.1", "10.9.0.1", "fd00:8::1", "fd00:9::1"] {
        Ping::to(inner).all_answered(&star.clients[0])?;
    }
    if udco::harness_only() {
        return Ok(());
    }
    for host in [&star.server, &star.clients[0]] {
        let shown = udco::show(host)?;
        ensure!(shown.devices.len() == 2, "{shown:?}");
        ensure!(shown.peers().count() == 2, "{shown:?}");
    }
    // One ends, and the other is not affected.
    let pid: u32 = fs::read_to_string(&servers[1].0.pid_file)?.trim().parse()?;
    let processes = star.lab.processes()?;
    let doomed = processes.iter().find(|process| process.inner == pid);
    doomed.context("no second server")?.signal(Signal::KILL)?;
    eventually("the end of its peers", SOON, || {
        let peers = udco::show(&star.server)?.peers().count();
        Ok((peers == 1).then_some(()))
    })?;
    Ping::to("10.8.0.1")
        .all_answered(&star.clients[0])
        .map(drop)
}

/// The kernel schedules each session as a group, and an engine in a session of its own starved beside busy threads of
/// its program's (faults G1). A Ctrl-C is still not for the engine, and no terminal stops it.
#[test]
fn an_engine_is_in_its_programs_session_and_no_terminal_ends_or_stops_it() -> Result<()> {
    if udco::is_left_out("no engine to look at") {
        return Ok(());
    }
    let pair = Pair::new()?;
    let (mut server, client) = connect(
        pair.udco_server(Proto::Udp4),
        pair.client(Proto::Udp4).launch(Launch::Plain),
    )?;
    let engine = server.engine()?;
    let (group, session) = engine.group_and_session()?;
    let (its_group, its_session) = server.openvpn()?.group_and_session()?;
    ensure!(
        session == its_session,
        "session {session}, not {its_session}"
    );
    ensure!(group == engine.inner && group != its_group, "group {group}");
    for signal in [
        Signal::INT,
        Signal::QUIT,
        Signal::HUP,
        Signal::TSTP,
        Signal::TTIN,
        Signal::TTOU,
    ] {
        engine.signal(signal)?;
        Ping::to(at::INNER_SERVER)
            .all_answered(&pair.client)
            .with_context(|| format!("{signal:?}"))?;
    }
    server.require_offload()?;
    client.stop()?;
    server.stop()
}

/// Starts a daemon inside a command substitution and returns its captured output, and how long it took.
fn substituted(host: &Host, words: &str) -> Result<(String, Duration)> {
    let start = Instant::now();
    let script = format!("out=$({words} 2>&1); printf %s \"$out\"");
    let printed = host.run(&["timeout", "-k", "1", "20", "sh", "-c", &script]);
    let printed = printed.context("it waits for the end of the VPN")?;
    Ok((printed, start.elapsed()))
}

#[test]
fn a_substitution_around_a_daemon_is_back_when_it_has_daemonized() -> Result<()> {
    let pair = Pair::new()?;
    let binary = udco::binary()?;
    let mut took = Vec::new();
    for launch in [Launch::Plain, Launch::Udco] {
        let server = pair.server(Proto::Udp4).launch(launch).line("daemon");
        let (written, words) = write(&server)?;
        let words = match launch {
            Launch::Plain => words,
            _ => format!("{} run -- {words}", binary.display()),
        };
        let before = completed(&written.log);
        let (printed, elapsed) = substituted(&pair.server, &words)?;
        took.push(elapsed);
        ensure!(printed.is_empty(), "printed: {printed}");
        eventually("the daemon", CONNECT, || {
            Ok((completed(&written.log) > before).then_some(()))
        })?;
        if launch == Launch::Udco && !udco::harness_only() {
            // The engine logs where OpenVPN does.
            let log = fs::read_to_string(&written.log)?;
            ensure!(log.contains("udco: data channel offload active"), "{log}");
        }
        let pid = fs::read_to_string(&written.pid_file)?;
        pair.server.run(&["kill", pid.trim()])?;
        eventually("its end", SOON, || {
            Ok((!is_bound(&pair.server)?).then_some(()))
        })?;
    }
    println!("plain and offloaded: {took:?}");
    Ok(())
}

/// Runs the remaining arguments with a `/dev` whose syslog(3) socket is a link to `$1`.
const WITH_SYSLOG: &str = "set -e; mkdir -p /run/d; mount -t tmpfs t /run/d; mkdir /run/d/net; \
    for f in null zero urandom random net/tun; do touch /run/d/$f; mount --bind /dev/$f /run/d/$f; done; \
    ln -s \"$1\" /run/d/log; mount --rbind /run/d /dev; shift; exec \"$@\"";

#[test]
fn a_daemon_on_syslog_has_the_engines_lines_there_too() -> Result<()> {
    if udco::is_left_out("no engine has anything to say") {
        return Ok(());
    }
    let pair = Pair::new()?;
    let binary = udco::binary()?;
    let socket = pair.lab.directory().join("syslog");
    let syslog = UnixDatagram::bind(&socket)?;
    syslog.set_read_timeout(Some(CONNECT))?;
    let (written, _) = write(&pair.udco_server(Proto::Udp4))?;
    let config = written.words.last().context("no words")?;
    let config = Path::new(config);
    let own: Vec<String> = fs::read_to_string(config)?
        .lines()
        .filter(|line| !line.starts_with("log-append"))
        .map(ToOwned::to_owned)
        .chain(["daemon my-vpn\n".to_owned()])
        .collect();
    fs::write(config, own.join("\n"))?;
    let words = format!(
        "unshare -m sh -c '{WITH_SYSLOG}' dev {} {} run -- openvpn --config {}",
        socket.display(),
        binary.display(),
        config.display()
    );
    // Read concurrently: the socket holds ten lines, and blocks the writer of another.
    let reader = std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        loop {
            let len = syslog.recv(&mut buffer).context("no line of the engine")?;
            let line = String::from_utf8_lossy(&buffer[..len]).into_owned();
            if line.contains("data channel offload active") {
                return Ok(line);
            }
            ensure!(!line.contains("Exiting"), "{line}");
        }
    });
    let (printed, took) = substituted(&pair.server, &words)?;
    ensure!(printed.is_empty(), "printed: {printed}");
    println!("back after {took:?}");
    let line = reader.join().map_err(|_| anyhow::anyhow!("a panic"))??;
    // LOG_DAEMON and LOG_NOTICE, with OpenVPN's own ident.
    ensure!(line.starts_with("<29>my-vpn["), "{line}");
    Ok(())
}

#[test]
fn a_closed_standard_error_is_as_without_udco() -> Result<()> {
    let pair = Pair::new()?;
    let _server = {
        let mut server = pair.server(Proto::Udp4).spawn()?;
        server.wait_connected(CONNECT)?;
        server
    };
    let binary = udco::binary()?;
    let (written, words) = write(&pair.udco_client(Proto::Udp4))?;
    let run = format!("{} run --", binary.display());
    let scripts = [
        format!("exec {run} {words} 2>&-"),
        format!("exec {run} sh -c 'exec {words} 2>&-'"),
        format!("exec {run} sh -c 'exec {words} <&- >&- 2>&-'"),
        format!("exec {run} {words} <&- >&- 2>&-"),
    ];
    for (round, script) in scripts.iter().enumerate() {
        let mut client = pair.client.spawn("closed", &["sh", "-c", script])?;
        eventually("a connection", CONNECT, || {
            Ok((completed(&written.log) > round).then_some(()))
        })
        .with_context(|| script.clone())?;
        Ping::to(at::INNER_SERVER).all_answered(&pair.client)?;
        ensure!(udco::harness_only() || udco::show(&pair.client)?.peers().count() == 1);
        client.terminate(Duration::from_secs(10))?;
    }
    Ok(())
}
