//! The engine's log reports what has happened (faults G4), in the form that suits where it goes.

use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use udco_ipc::message_id;
use udco_testbed::{CONNECT, Host, Lab, Pair, Process, Proto, udco};

/// Long enough for a busy machine.
const SOON: Duration = Duration::from_secs(20);

/// Makes a device with a peer, both of which a daemon logs; ends with the peer's socket.
fn make_peer(host: &Host, socket: &str) -> Result<Process> {
    let binary = udco::program()?;
    host.run(&[binary, "link", "add", "tun7", "--engine", socket])?;
    let words = "peer new tun7 --id 3 --remote 192.0.2.2:1194 --local 0.0.0.0:1194 --engine";
    let words: Vec<&str> = words.split(' ').collect();
    let mut peer = host.spawn("peer", &[&[binary], &words[..], &[socket]].concat())?;
    peer.wait_for_log("3", SOON)?;
    Ok(peer)
}

#[test]
fn a_refused_request_logs_no_success() -> Result<()> {
    let lab = Lab::new()?;
    let host = lab.host("host")?;
    let path = &lab.file("engine.sock")?;
    let daemon = udco::daemon(&host, "daemon.log", &["--verbose", "--socket", path])?;
    udco::run(&host, &format!("link add tun7 --engine {path}"))?;
    let key = &lab.file("key.txt")?;
    udco::run(&host, &format!("key generate {key}"))?;
    let new = format!(
        "key new tun7 --peer 9 --slot primary --key-id 0 --cipher aes-gcm --direction 0 --file {key}"
    );
    for line in [
        "key swap tun7 --peer 9",
        "key del tun7 --peer 9 --slot primary",
        "key del tun7 --peer 9 --slot secondary",
        "peer del tun7 --id 9",
        &new,
    ] {
        let output = udco::output(&host, &format!("{line} --engine {path}"))?;
        let printed = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(
            !output.status.success() && printed.contains("peer"),
            "{line}: {printed}"
        );
    }
    // Every line about a peer names an existing one.
    let log = daemon.log();
    ensure!(!log.contains("peer 9"), "{log}");
    lab.discard_logs();
    Ok(())
}

/// All that OpenVPN says is "Device or resource busy".
#[test]
fn a_tunnel_that_is_started_twice_says_so() -> Result<()> {
    if udco::is_left_out("it is about udco's log") {
        return Ok(());
    }
    let pair = Pair::new()?;
    let mut server = pair.udco_server(Proto::Udp4).spawn()?;
    server.wait_connected(CONNECT)?;
    let mut again = pair.udco_server(Proto::Udp4).named("again").spawn()?;
    again.wait_for_log("there is an interface of this name already", SOON)?;
    pair.lab.discard_logs();
    Ok(())
}

#[test]
fn json_lines_parse_and_say_what_they_are_about() -> Result<()> {
    let lab = Lab::new()?;
    let host = lab.host("host")?;
    let path = &lab.file("engine.sock")?;
    let options = ["--log-format", "json", "--log-level", "debug"];
    let daemon = udco::daemon(
        &host,
        "daemon.log",
        &[&options[..], &["--socket", path]].concat(),
    )?;
    let _peer = make_peer(&host, path)?;
    let lines: Vec<Value> = daemon
        .log()
        .lines()
        .map(|line| serde_json::from_str(line).with_context(|| line.to_owned()))
        .collect::<Result<_>>()?;
    for line in &lines {
        let time = line["time"].as_str().unwrap_or_default();
        ensure!(time.starts_with("20") && time.ends_with('Z'), "{line}");
        let level = line["level"].as_str().unwrap_or_default();
        ensure!(["warning", "info", "debug"].contains(&level), "{line}");
        ensure!(line["message"].is_string(), "{line}");
    }
    let is_peers = |line: &&Value| line["device"] == "tun7" && line["peer"] == 3;
    let line = lines.iter().find(is_peers).context("no line of the peer")?;
    ensure!(line["level"] == "debug", "{line}");
    ensure!(
        line["message"] == "tun7: peer 3 at 192.0.2.2:1194",
        "{line}"
    );
    let is_devices = |line: &&Value| line["device"] == "tun7" && line["program"].is_string();
    ensure!(lines.iter().any(|line| is_devices(&line)), "{lines:?}");

    // What ends a daemon at its start is a line, too.
    let binary = udco::program()?;
    let words = [binary, "daemon", "--log-format=json", "--socket", path];
    let output = host.output(&words)?;
    let line: Value = serde_json::from_slice(&output.stderr)?;
    ensure!(
        !output.status.success() && line["level"] == "error",
        "{line}"
    );
    lab.discard_logs();
    Ok(())
}

#[test]
fn lines_in_a_file_have_a_time_and_levels_leave_lines_out() -> Result<()> {
    let lab = Lab::new()?;
    let host = lab.host("host")?;
    let path = &lab.file("engine.sock")?;
    let daemon = udco::daemon(&host, "daemon.log", &["--socket", path])?;
    let _peer = make_peer(&host, path)?;
    let log = daemon.log();
    let is_timed = |line: &str| {
        line.split_once(' ').is_some_and(|(time, rest)| {
            time.len() == 24 && time.ends_with('Z') && rest.starts_with("udco: ")
        })
    };
    ensure!(log.lines().all(is_timed), "{log}");
    ensure!(log.contains("created tun7"), "{log}");
    ensure!(!log.contains("peer 3"), "a line of level debug: {log}");
    lab.discard_logs();
    Ok(())
}

/// journald, as far as engines see it.
struct Journal {
    socket: UnixDatagram,
    /// The other end of the stream that a unit has as its standard error.
    stream: UnixStream,
    stderr: OwnedFd,
}

impl Journal {
    fn start(lab: &Lab, host: &Host) -> Result<Self> {
        let directory = lab.file("journal")?;
        std::fs::create_dir(&directory)?;
        let socket = UnixDatagram::bind(format!("{directory}/socket"))?;
        socket.set_read_timeout(Some(SOON))?;
        let link = "mkdir -p /run/systemd && ln -s \"$0\" /run/systemd/journal";
        host.run(&["sh", "-c", link, &directory])?;
        let (stream, stderr) = UnixStream::pair()?;
        stream.set_nonblocking(true)?;
        let stderr = stderr.into();
        Ok(Self {
            socket,
            stream,
            stderr,
        })
    }

    /// Starts `udco` as a service manager does.
    fn service(&self, host: &Host, words: &[&str]) -> Result<std::process::Child> {
        let status = rustix::fs::fstat(&self.stderr)?;
        let mut command = host.command(udco::program()?);
        command
            .args(words)
            .env(
                "JOURNAL_STREAM",
                format!("{}:{}", status.st_dev, status.st_ino),
            )
            .stderr(self.stderr.try_clone()?);
        Ok(command.spawn()?)
    }

    /// The next entry with this text.
    fn entry(&self, text: &str) -> Result<String> {
        let mut room = [0; 8192];
        loop {
            let len = self
                .socket
                .recv(&mut room)
                .with_context(|| text.to_owned())?;
            let entry = String::from_utf8_lossy(&room[..len]).into_owned();
            if entry.contains(text) {
                return Ok(entry);
            }
        }
    }
}

#[test]
fn the_journal_gets_entries_with_levels_and_fields() -> Result<()> {
    let lab = Lab::new()?;
    let host = lab.host("host")?;
    let journal = Journal::start(&lab, &host)?;
    let path = &lab.file("engine.sock")?;
    let mut daemon = journal.service(&host, &["daemon", "--verbose", "--socket", path])?;
    let entry = journal.entry("listening at")?;
    ensure!(
        entry.starts_with("PRIORITY=5\nSYSLOG_IDENTIFIER=udco\n"),
        "{entry}"
    );
    ensure!(entry.contains("\nMESSAGE=listening at "), "{entry}");
    let _peer = make_peer(&host, path)?;
    let entry = journal.entry("UDCO_PEER=3\n")?;
    ensure!(
        entry.contains("PRIORITY=7\n") && entry.contains("UDCO_DEVICE=tun7\n"),
        "{entry}"
    );
    // A private engine writes to the output of its client, which is the same stream.
    let make = [
        "run", "--", "ip", "link", "add", "name", "tun8", "type", "ovpn",
    ];
    let status = journal.service(&host, &make)?.wait()?;
    ensure!(status.success(), "{status}");
    let entry = journal.entry("UDCO_DEVICE=tun8\n")?;
    ensure!(entry.contains("UDCO_PROGRAM=ip ("), "{entry}");
    // A kind of line that an operator acts on has an id.
    host.run(&["ip", "link", "del", "tun7"])?;
    let entry = journal.entry(message_id::DEVICE_DELETED)?;
    ensure!(entry.contains("UDCO_DEVICE=tun7\n"), "{entry}");
    // A daemon that cannot start says so with its level.
    let status = journal
        .service(&host, &["daemon", "--socket", path])?
        .wait()?;
    ensure!(!status.success(), "two daemons");
    let entry = journal.entry("already listens")?;
    ensure!(entry.contains("PRIORITY=3\n"), "{entry}");
    // Nothing took the other way.
    let mut text = String::new();
    let _ = std::io::Read::read_to_string(&mut &journal.stream, &mut text);
    ensure!(text.is_empty(), "in the stream: {text}");
    // The preload library says the rest: here, that this socket is no engine's.
    let other = &lab.file("other.sock")?;
    let _listener = UnixListener::bind(other)?;
    let words = [&["run", "--engine", other, "--"], &make[2..]].concat();
    journal.service(&host, &words)?.wait()?;
    let entry = journal.entry(message_id::OFFLOAD_UNAVAILABLE)?;
    ensure!(
        entry.starts_with("PRIORITY=4\nSYSLOG_IDENTIFIER=udco\nMESSAGE_ID="),
        "{entry}"
    );
    daemon.kill()?;
    daemon.wait()?;
    lab.discard_logs();
    Ok(())
}
