//! A start beside a device that a killed run has left reaches another server than that run's, and by its name; no other
//! traffic leaves in the clear meanwhile (faults A4).

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use udco_testbed::capture::Capture;
use udco_testbed::measure::Ping;
use udco_testbed::name_server::NAME;
use udco_testbed::{
    CONNECT, Endpoint, Pair, Proto, Signal, Version, addresses as at, eventually, udco,
};

const LAB_END: &str = env!("CARGO_BIN_EXE_udco-lab-end");

/// Addresses of the server's host behind the client's default route: the destination of ordinary traffic, the servers,
/// and the name server.
const BEYOND: [&str; 2] = ["198.51.100.1", "2001:db8:51::1"];
const FIRST: [&str; 2] = ["203.0.113.5", "2001:db8:cb::5"];
const OTHER: [&str; 2] = ["203.0.113.6", "2001:db8:cb::6"];
const SILENT: [&str; 2] = ["203.0.113.9", "2001:db8:cb::9"];
const NAMES: &str = "203.0.113.53";

#[test]
fn another_remote_is_reached_by_name_with_def1() -> Result<()> {
    reaches_another(Version::V26, Proto::Udp4, ["redirect-gateway def1"; 2])
}

#[test]
fn another_remote_is_reached_by_name_without_def1() -> Result<()> {
    reaches_another(Version::V26, Proto::Udp4, ["redirect-gateway"; 2])
}

#[test]
fn another_remote_is_reached_by_name_over_tcp() -> Result<()> {
    reaches_another(Version::V26, Proto::Tcp4, ["redirect-gateway def1"; 2])
}

#[test]
fn another_remote_is_reached_by_name_over_ipv6() -> Result<()> {
    reaches_another(Version::V26, Proto::Udp6, ["redirect-gateway def1 ipv6"; 2])
}

/// The killed run has removed the default route, and the next one does not know.
#[test]
fn the_default_route_is_back_after_a_run_that_left_it_alone() -> Result<()> {
    let options = ["redirect-gateway", "verb 4"];
    reaches_another(Version::V26, Proto::Udp4, options)
}

#[test]
fn another_remote_is_reached_by_name_27() -> Result<()> {
    if !Version::V27.is_here_or_skip() {
        return Ok(());
    }
    reaches_another(Version::V27, Proto::Udp4, ["redirect-gateway"; 2])
}

fn reaches_another(version: Version, proto: Proto, options: [&str; 2]) -> Result<()> {
    if udco::is_left_out("OpenVPN's own device goes with it") {
        return Ok(());
    }
    let pair = Pair::new()?;
    for (v4, v6) in [BEYOND, FIRST, OTHER, [NAMES, "2001:db8:cb::53"]].map(|[v4, v6]| (v4, v6)) {
        pair.server.add_address("lo", &format!("{v4}/32"))?;
        pair.server.add_address("lo", &format!("{v6}/128"))?;
    }
    pair.client.add_route(&["default", "via", at::SERVER])?;
    pair.client.add_route(&["default", "via", at::SERVER6])?;
    let mut names = pair.server.spawn(
        "names",
        &[LAB_END, "lab-end", "name-server", NAMES, OTHER[0], OTHER[1]],
    )?;
    names.wait_for_log("listening", CONNECT)?;
    let resolv = pair.client.directory().join("resolv.conf");
    fs::write(
        &resolv,
        format!("nameserver {NAMES}\noptions timeout:1 attempts:1\n"),
    )?;
    pair.client.run(&[
        "mount",
        "--bind",
        &resolv.to_string_lossy(),
        "/etc/resolv.conf",
    ])?;
    // The killed run's own route to its server stays.
    let routes = || -> Result<Vec<String>> {
        let shown = |family| {
            pair.client
                .run(&["ip", family, "route", "show", "table", "all"])
        };
        let all = shown("-4")? + &shown("-6")?;
        let lines = all.lines().filter(|line| {
            let is_other = |word: &str| !line.contains(word);
            ["fe80:", FIRST[0], FIRST[1]].into_iter().all(is_other)
        });
        Ok(lines.map(str::to_owned).collect())
    };
    let before = routes()?;

    let mut server = pair
        .server(proto)
        .version(version)
        .line("multihome")
        .spawn()?;
    server.wait_connected(CONNECT)?;
    let client = |remote: &str, option: &str| {
        pair.udco_client(proto)
            .version(version)
            .remote(remote)
            .line(option)
    };
    let family = usize::from(matches!(proto, Proto::Udp6 | Proto::Tcp6));
    let mut first = client(FIRST[family], options[0]).spawn()?;
    first.wait_connected(CONNECT)?;
    first.require_offload()?;
    Ping::to(BEYOND[family]).all_answered_once_keyed(&pair.client)?;
    kill_all(&mut first)?;
    // A run that finds no server, and is killed before it can undo anything.
    let mut lost = client(SILENT[family], options[1]).spawn()?;
    lost.wait_for_log("is reached through", CONNECT)?;
    lost.kill9()?;
    lost.wait_end(CONNECT)?;

    let Some(capture) = Capture::start(&pair.link)? else {
        return Ok(());
    };
    let pings = Ping::to(BEYOND[family])
        .count(200)
        .interval(Duration::from_millis(10))
        .start(&pair.client);
    // Ordinary traffic to the name server must not leak either.
    let script =
        format!("while :; do echo udco-clear-mark! >/dev/udp/{NAMES}/53; sleep 0.01; done");
    let datagrams = pair.client.spawn("datagrams", &["bash", "-c", &script])?;
    let mut second = client(NAME, options[1]).spawn()?;
    second
        .wait_connected(CONNECT)
        .context("beside what was left")?;
    second.require_offload()?;
    let log = second.log();
    ensure!(
        log.contains(OTHER[family]),
        "it has connected to another one"
    );
    Ping::to(BEYOND[family]).all_answered(&pair.client)?;
    pings
        .join()
        .map_err(|_| anyhow!("ping's thread panicked"))??;
    drop(datagrams);
    let trace = capture.stop()?;
    // Our own name query carries no marker.
    let is_question =
        |line: &&String| line.starts_with("not the tunnel's") && line.contains("Some(53)");
    let questions = trace.clear.iter().filter(is_question).count();
    ensure!(
        questions >= 2,
        "the name server got no query: {:?}",
        trace.clear
    );
    let clear: Vec<&String> = trace
        .clear
        .iter()
        .filter(|line| !is_question(line))
        .take(5)
        .collect();
    ensure!(clear.is_empty(), "in the clear: {clear:#?}");

    second.stop()?;
    eventually("the routes of before", CONNECT, || {
        Ok((routes()? == before).then_some(()))
    })
    .with_context(|| format!("before: {before:#?}\nafter: {:#?}", routes()))
}

/// Kills OpenVPN and its engine at once.
fn kill_all(end: &mut Endpoint) -> Result<()> {
    let (openvpn, engine) = (end.openvpn()?, end.engine()?);
    engine.signal(Signal::KILL)?;
    // It may have seen the engine's end first.
    openvpn.kill()?;
    end.wait_end(CONNECT)?;
    ensure!(end.host().has_device("tun0"), "it fails open");
    Ok(())
}
