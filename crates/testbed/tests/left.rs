//! Devices that a dead engine or OpenVPN has left: the next one that requests the name takes them over, whatever queues
//! they have (faults A1, A5).

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use udco_testbed::measure::Ping;
use udco_testbed::{
    Builder, Endpoint, Host, Pair, Process, Proto, Signal, addresses as at, connect, udco,
};

/// Long enough for a busy machine.
const SOON: Duration = Duration::from_secs(5);

/// A route that no start adds again: if it is lost, packets take another route.
const ROUTE: &str = "203.0.113.0/24";

/// A server's device has one queue with two workers, and three with four.
#[test]
fn a_left_device_is_taken_over_with_other_workers() -> Result<()> {
    if udco::is_left_out("OpenVPN's own device goes with it") {
        return Ok(());
    }
    let pair = Pair::new()?;
    for starts in [&["2", "4"][..], &["4", "2", "4"]] {
        let mut first = None;
        for (number, workers) in starts.iter().enumerate() {
            let context = || format!("{starts:?}, start {number}");
            let (server, client) = ends(&pair, workers).with_context(context)?;
            Ping::to(at::INNER_SERVER).all_answered(&pair.client)?;
            Ping::to(at::INNER_CLIENT6).all_answered(&pair.server)?;
            if first.is_none() {
                pair.server.add_route(&[ROUTE, "dev", "tun7"])?;
            }
            let index = index(&pair.server)?;
            let is_same = *first.get_or_insert_with(|| index.clone()) == index;
            ensure!(is_same, "another device, {}", context());
            let routes = pair.server.run(&["ip", "route", "show", "dev", "tun7"])?;
            ensure!(routes.contains(ROUTE), "lost, {}: {routes}", context());
            client.stop()?;
            if number + 1 == starts.len() {
                server.stop()?;
                ensure!(
                    !pair.server.has_device("tun7"),
                    "it outlives an orderly end"
                );
            } else {
                be_killed(server, number % 2 == 0)?;
                ensure!(pair.server.has_device("tun7"), "it fails open");
            }
        }
    }
    Ok(())
}

/// As the driver's own devices. A user's is kept.
#[test]
fn a_device_has_no_queueing_discipline_unless_its_user_gives_it_one() -> Result<()> {
    if udco::is_left_out("OpenVPN's own device has one") {
        return Ok(());
    }
    let pair = Pair::new()?;
    let host = &pair.server;
    let shown = || host.run(&["tc", "qdisc", "show", "dev", "tun7"]);
    for workers in ["2", "4"] {
        let (server, client) = ends(&pair, workers)?;
        let shown = shown()?;
        let is_without = shown.starts_with("qdisc noqueue") && shown.lines().count() == 1;
        ensure!(is_without, "{workers} workers: {shown}");
        client.stop()?;
        server.stop()?;
    }
    let path = &pair.lab.file("engine.sock")?;
    let mut daemon = udco::daemon(host, "daemon", &["--socket", path, "--workers", "4"])?;
    let add = ["link", "add", "tun7", "--mode", "mp", "--kind", "ovpn-dco"];
    let add = [&[udco::program()?], &add[..], &["--engine", path]].concat();
    host.run(&add)?;
    ensure!(shown()?.starts_with("qdisc noqueue"), "{}", shown()?);
    let own = ["add", "dev", "tun7", "root", "pfifo", "limit", "50"];
    host.run(&[&["tc", "qdisc"], &own[..]].concat())?;
    daemon.signal(Signal::KILL)?;
    daemon.wait(SOON)?;
    let (server, client) = ends(&pair, "4")?;
    ensure!(shown()?.starts_with("qdisc pfifo"), "{}", shown()?);
    client.stop()?;
    server.stop()
}

/// Created by `udco link add` with one number of queues, then again with another, and taken by OpenVPN.
#[test]
fn a_left_device_is_taken_over_by_either_client() -> Result<()> {
    if udco::is_left_out("OpenVPN's own data path has no command line") {
        return Ok(());
    }
    let pair = Pair::new()?;
    let host = &pair.server;
    let path = &pair.lab.file("engine.sock")?;
    let binary = udco::program()?;
    let daemon = |workers: &str| -> Result<Process> {
        let log = format!("daemon-{workers}");
        udco::daemon(host, &log, &["--socket", path, "--workers", workers])
    };
    let add = |mode: &str, kind: &str| {
        let words = [
            binary, "link", "add", "tun7", "--mode", mode, "--kind", kind,
        ];
        host.output(&[&words[..], &["--up", "--engine", path]].concat())
    };
    for workers in [["2", "4"], ["4", "2"]] {
        let mut first = None;
        for (workers, mode, kind) in [(workers[0], "mp", "ovpn"), (workers[1], "mp", "ovpn-dco")] {
            let mut daemon = daemon(workers)?;
            let added = add(mode, kind)?;
            let printed = String::from_utf8_lossy(&added.stderr);
            ensure!(added.status.success(), "{workers} workers: {printed}");
            if first.is_none() {
                host.add_route(&[ROUTE, "dev", "tun7"])?;
            }
            let index = index(host)?;
            let is_same = *first.get_or_insert_with(|| index.clone()) == index;
            ensure!(is_same, "another device");
            // Its current owner keeps it.
            let again = add(mode, kind)?;
            let printed = String::from_utf8_lossy(&again.stderr);
            ensure!(
                printed.contains("File exists"),
                "link add printed: {printed}"
            );
            daemon.signal(Signal::KILL)?;
            daemon.wait(SOON)?;
            ensure!(host.has_device("tun7"), "it fails open");
        }
        let (server, client) = ends(&pair, "2")?;
        Ping::to(at::INNER_SERVER).all_answered(&pair.client)?;
        let now = index(host)?;
        ensure!(first == Some(now), "another device");
        let routes = host.run(&["ip", "route", "show", "dev", "tun7"])?;
        ensure!(routes.contains(ROUTE), "lost: {routes}");
        client.stop()?;
        server.stop()?;
        ensure!(!host.has_device("tun7"), "it outlives an orderly end");
    }
    Ok(())
}

/// An engine for several OpenVPNs survives the kill of one, and is then ended in order.
#[test]
fn a_device_of_a_daemon_stays_when_openvpn_is_killed_and_when_the_daemon_ends() -> Result<()> {
    if udco::is_left_out("OpenVPN's own device goes with it") {
        return Ok(());
    }
    let pair = Pair::new()?;
    let host = &pair.server;
    let path = &pair.lab.file("engine.sock")?;
    let start = |number: usize| -> Result<Process> {
        udco::daemon(host, &format!("daemon{number}"), &["--socket", path])
    };
    let mut daemon = start(0)?;
    let mut first = None;
    for number in 0..4 {
        let server = pair.server(Proto::Udp4).device("tun7").engine(path);
        let (mut server, client) = connect(server, pair.client(Proto::Udp4))?;
        Ping::to(at::INNER_SERVER).all_answered(&pair.client)?;
        let index = index(host)?;
        let is_same = *first.get_or_insert_with(|| index.clone()) == index;
        ensure!(is_same, "another device, start {number}");
        client.stop()?;
        match number {
            3 => server.stop()?,
            2 => {
                daemon.terminate(SOON)?;
                // OpenVPN may notice only when it makes a request.
                if server.wait_end(Duration::from_secs(1)).is_err() {
                    server.stop()?;
                }
                daemon = start(number)?;
            }
            // The next start follows at once.
            _ => server.kill9()?,
        }
        let is_there = host.has_device("tun7");
        ensure!(is_there == (number < 3), "start {number}: {is_there}");
    }
    Ok(())
}

fn server(pair: &Pair, workers: &str) -> Builder {
    let server = pair.udco_server(Proto::Udp4);
    server.device("tun7").udco_options(&["--workers", workers])
}

fn ends(pair: &Pair, workers: &str) -> Result<(Endpoint, Endpoint)> {
    connect(server(pair, workers), pair.client(Proto::Udp4))
}

/// The interface's index.
fn index(host: &Host) -> Result<String> {
    host.run(&["cat", "/sys/class/net/tun7/ifindex"])
}

/// Kills OpenVPN or its engine.
fn be_killed(mut end: Endpoint, openvpn: bool) -> Result<()> {
    if !openvpn {
        end.engine()?.signal(Signal::KILL)?;
        // OpenVPN may notice only when it makes a request.
        if end.wait_end(Duration::from_secs(1)).is_ok() {
            let names_it = end.log().contains("udco: the engine died: tun7 stays");
            ensure!(names_it, "{}", end.log());
            return Ok(());
        }
    }
    end.kill_now()?;
    end.wait_end(SOON)
}
