//! The testbed itself: stock OpenVPN at both ends connects, and the capture detects cleartext.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::Pid;
use udco_testbed::capture::Capture;
use udco_testbed::measure::{Ping, Stream};
use udco_testbed::{
    CONNECT, Lab, Pair, Proto, Signal, addresses as at, connect, eventually, skip, udco,
};

#[test]
fn plain_openvpn_carries_traffic_and_nothing_is_in_clear() -> Result<()> {
    let pair = Pair::new()?;
    let capture = Capture::start(&pair.link)?;
    let (server, client) = connect(pair.server(Proto::Udp4), pair.client(Proto::Udp4))?;
    Ping::to(at::INNER_SERVER).all_answered(&pair.client)?;
    Ping::to(at::INNER_SERVER6).all_answered(&pair.client)?;
    Ping::to(at::INNER_CLIENT6).all_answered(&pair.server)?;
    let rate = Stream::to(at::INNER_SERVER).run(&pair.client, &pair.server)?;
    assert!(rate.bits_per_second > 1e6, "{rate:?}");
    if let Some(capture) = capture {
        capture.stop()?.require_private()?;
    }
    client.stop()?;
    server.stop()
}

#[test]
fn the_capture_finds_clear_text() -> Result<()> {
    let pair = Pair::new()?;
    let Some(capture) = Capture::start(&pair.link)? else {
        skip("there is no capture to look at");
        return Ok(());
    };
    // Fragments, too: each contains the marker.
    Ping::to(at::SERVER)
        .size(3000)
        .count(3)
        .all_answered(&pair.client)?;
    Ping::to(at::SERVER6).count(3).all_answered(&pair.client)?;
    let trace = capture.stop()?;
    assert!(trace.clear.len() >= 3 * 2 * 3 + 3 * 2, "{:?}", trace.clear);
    Ok(())
}

#[test]
fn nothing_outlives_a_lab() -> Result<()> {
    let pair = Pair::new()?;
    let mut server = pair.server(Proto::Udp4).spawn()?;
    server.wait_connected(CONNECT)?;
    let openvpn = server.openvpn()?;
    let directory = pair.lab.directory().to_owned();
    drop(pair);
    assert!(!openvpn.is_alive());
    assert!(!directory.exists());
    Ok(())
}

/// Run by the next two tests: a lab with a process whose parent has died.
#[test]
#[ignore = "started by the other tests"]
fn lab_with_an_orphan() -> Result<()> {
    let lab = Lab::new()?;
    let host = lab.host("host")?;
    println!("{}", lab.directory().display());
    let mut orphaned = host.spawn("sleep.log", &["sleep", "600"])?;
    orphaned.abandon()?;
    if std::env::var_os(WAIT).is_some() {
        thread::sleep(Duration::from_secs(600));
    }
    Ok(())
}

/// Set if [`lab_with_an_orphan`] will be killed.
const WAIT: &str = "UDCO_HARNESS_WAIT";

/// Runs this program behind `words`, with [`lab_with_an_orphan`] as its only test.
fn with_an_orphan(words: &[&str]) -> Result<Command> {
    let this = std::env::current_exe()?;
    let words: Vec<_> = words
        .iter()
        .map(OsStr::new)
        .chain([this.as_os_str()])
        .collect();
    let mut command = Command::new(words[0]);
    command.args(&words[1..]);
    command.args(["--exact", "lab_with_an_orphan", "--ignored", "--nocapture"]);
    Ok(command)
}

/// A container's first process does not reap: a lab that waited for that would wait for ever (faults G3).
#[test]
fn a_lab_ends_where_its_maker_is_the_first_process() -> Result<()> {
    let first = [
        "timeout",
        "60",
        "unshare",
        "--pid",
        "--fork",
        "--kill-child",
        "--mount-proc",
    ];
    let output = with_an_orphan(&first)?.output()?;
    ensure!(output.status.success(), "{output:?}");
    Ok(())
}

#[test]
fn a_killed_test_leaves_no_directory() -> Result<()> {
    let mut killed = with_an_orphan(&["timeout", "--signal=KILL", "600"])?
        .env(WAIT, "")
        .stdout(Stdio::piped())
        .spawn()?;
    let lines = BufReader::new(killed.stdout.take().context("no output")?).lines();
    let mut paths = lines
        .map_while(Result::ok)
        .filter(|line| line.contains("udco-lab-"));
    let line = paths.next().context("no lab")?;
    let start = line.find('/').context("no path")?;
    let directory = Path::new(&line[start..]);
    ensure!(directory.is_dir(), "no {line}");
    // `timeout` and its children are in a process group of their own.
    let group = Pid::from_child(&killed);
    rustix::process::kill_process_group(group, Signal::KILL)?;
    killed.wait()?;
    eventually("the end of the lab's directory", CONNECT, || {
        Ok((!directory.exists()).then_some(()))
    })
}

/// What `restart.rs` promises of udco is not true of a stock OpenVPN, and the capture shows it: once its TUN device is
/// gone, traffic takes the uplink.
#[test]
fn a_killed_plain_openvpn_leaks_and_the_capture_sees_it() -> Result<()> {
    const BEYOND: &str = "198.51.100.1";
    let pair = Pair::new()?;
    pair.server.add_address("lo", "198.51.100.1/32")?;
    pair.client.add_route(&["default", "via", at::SERVER])?;
    let client = pair.client(Proto::Udp4).line("redirect-gateway def1");
    let (_server, client) = connect(pair.server(Proto::Udp4), client)?;
    let Some(capture) = Capture::start(&pair.link)? else {
        return Ok(());
    };
    Ping::to(BEYOND).all_answered(&pair.client)?;
    client.kill9()?;
    Ping::to(BEYOND).run(&pair.client)?;
    let trace = capture.stop()?;
    assert!(trace.clear.len() >= 10, "{:?}", trace.clear);
    Ok(())
}

/// ping(8) on its own would not have waited for it.
#[test]
fn a_late_reply_is_not_lost() -> Result<()> {
    if udco::is_left_out("there is no engine to delay packets") {
        return Ok(());
    }
    let pair = Pair::new()?;
    let client = pair.udco_client(Proto::Udp4);
    let (server, client) = connect(pair.server(Proto::Udp4), client)?;
    let engine = client.engine()?;
    let pings = Ping::to(at::INNER_CLIENT).start(&pair.server);
    thread::sleep(Duration::from_millis(120));
    engine.signal(Signal::STOP)?;
    thread::sleep(Duration::from_millis(400));
    engine.signal(Signal::CONT)?;
    let echo = pings.join().expect("no panic")?;
    assert!(echo.lost.is_empty(), "{echo:?}");
    assert!(echo.max_ms() > Some(100.0), "no reply was late: {echo:?}");
    client.stop()?;
    server.stop()
}
