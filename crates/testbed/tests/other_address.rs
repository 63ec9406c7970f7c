//! A start that takes over the device of a killed run has its own address there, and no longer that run's, and the
//! routes through the device stay meanwhile.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use udco_testbed::measure::{Ping, Stream};
use udco_testbed::{
    Builder, CONNECT, Endpoint, Host, Launch, Pair, Proto, Version, addresses as at, connect,
    eventually, udco,
};

/// Long enough for a busy machine.
const SOON: Duration = Duration::from_secs(5);

/// A route by a gateway, as `redirect-gateway` makes them, that no start adds again: if it is lost, packets take another
/// one in the clear.
const ROUTE: &str = "203.0.113.0/24";

#[test]
fn a_client_that_is_given_another_address_has_only_that_one() -> Result<()> {
    is_given_others(Version::V26, "0")
}

#[test]
fn a_client_that_is_given_another_address_where_secondary_ones_are_promoted() -> Result<()> {
    is_given_others(Version::V26, "1")
}

#[test]
fn a_client_that_is_given_another_address_27() -> Result<()> {
    if !Version::V27.is_here_or_skip() {
        return Ok(());
    }
    is_given_others(Version::V27, "0")
}

/// The server still has the killed runs of the client, with their addresses.
fn is_given_others(version: Version, promotes: &str) -> Result<()> {
    if udco::is_left_out("OpenVPN's own device goes with it") {
        return Ok(());
    }
    let pair = Pair::new()?;
    let knob = "/proc/sys/net/ipv4/conf/all/promote_secondaries";
    let set = format!("echo {promotes} > {knob}");
    pair.client.run(&["sh", "-c", &set])?;
    let _server = pair.patient_server()?;
    let start = |builder: Builder| -> Result<Endpoint> {
        let mut client = builder.version(version).device("tun7").spawn()?;
        client.wait_connected(CONNECT)?;
        client.require_offload()?;
        Ok(client)
    };
    let client = || pair.udco_client(Proto::Udp4);
    let first = start(client())?;
    pair.client
        .add_route(&[ROUTE, "via", at::INNER_SERVER, "dev", "tun7"])?;
    let routes = ["ip", "-4", "monitor", "route"];
    let mut monitor = pair.client.spawn("routes.log", &routes)?;
    let mark = |metric| {
        // It leads elsewhere, and shows how far the monitor is.
        let route = ["192.0.2.77/32", "dev", "lo", "metric", metric];
        pair.client.add_route(&route)
    };
    eventually("a monitor that listens", SOON, || {
        let _ = mark("1");
        let _ = pair.client.run(&["ip", "route", "del", "192.0.2.77/32"]);
        Ok(monitor.log().contains("192.0.2.77").then_some(()))
    })?;

    let mut last = first;
    for address in ["10.8.0.3", "10.8.0.4"] {
        last.kill_now()?;
        last.wait_end(SOON)?;
        last = start(client()).with_context(|| address.to_owned())?;
        let has = addresses(&pair.client)?;
        ensure!(has.len() == 2, "one of each family, not {has:?}");
        ensure!(has[0].starts_with(address), "{address}, not {has:?}");
        Ping::to(at::INNER_SERVER).all_answered(&pair.client)?;
        Ping::to(at::INNER_SERVER6).all_answered(&pair.client)?;
        Ping::to(address).all_answered(&pair.server)?;
    }
    mark("2")?;
    monitor.wait_for_log("192.0.2.77 dev lo scope link metric 2", SOON)?;
    let log = monitor.log();
    let is_lost = |line: &str| line.starts_with("Deleted") && line.contains(ROUTE);
    ensure!(!log.lines().any(is_lost), "lost for a moment:\n{log}");
    let routes = ["ip", "route", "show", ROUTE];
    ensure!(
        pair.client.run(&routes)?.contains("tun7"),
        "the route is lost"
    );
    last.stop()?;
    ensure!(
        !pair.client.has_device("tun7"),
        "it outlives an orderly end"
    );
    Ok(())
}

/// OpenVPN opens the device itself, and none of its addresses goes through the engine.
#[test]
fn a_run_on_its_own_data_path_has_only_its_address() -> Result<()> {
    is_given_another_on_its_own(Launch::Udco, &[], "disable-dco")
}

#[test]
fn a_run_without_an_engine_has_only_its_address() -> Result<()> {
    let socket = ("UDCO_SOCKET", "/run/no-such-engine.sock");
    is_given_another_on_its_own(Launch::Preload, &[socket], "verb 4")
}

fn is_given_another_on_its_own(
    launch: Launch,
    environment: &[(&str, &str)],
    option: &str,
) -> Result<()> {
    if udco::is_left_out("OpenVPN's own device goes with it") {
        return Ok(());
    }
    let pair = Pair::new()?;
    let _server = pair.patient_server()?;
    let client = || pair.udco_client(Proto::Udp4).device("tun7");
    let mut first = client().line("redirect-gateway def1").spawn()?;
    first.wait_connected(CONNECT)?;
    first.require_offload()?;
    first.kill_now()?;
    first.wait_end(SOON)?;
    let second = client().named("second").launch(launch).line(option);
    let mut second = environment
        .iter()
        .fold(second, |second, (name, value)| second.env(name, value))
        .spawn()?;
    second.wait_connected(CONNECT)?;
    let has = addresses(&pair.client)?;
    ensure!(has.len() == 2, "one of each family, not {has:?}");
    ensure!(has[0].starts_with("10.8.0.3/"), "not {has:?}");
    Ping::to(at::INNER_SERVER).all_answered(&pair.client)?;
    Ping::to(at::INNER_SERVER6).all_answered(&pair.client)?;
    carries_streams(&pair)?;
    let said = "OpenVPN itself has not set again: 0.0.0.0/1, 128.0.0.0/1;";
    ensure!(second.log().contains(said), "{}", second.log());
    second.stop()
}

/// The kernel refuses a program that does not ask for a device with several queues.
#[test]
fn a_server_on_its_own_data_path_gets_what_four_workers_have_left() -> Result<()> {
    if udco::is_left_out("OpenVPN's own device goes with it") {
        return Ok(());
    }
    let pair = Pair::new()?;
    let server = || pair.udco_server(Proto::Udp4).device("tun7");
    let (mut first, client) = connect(
        server().udco_options(&["--workers", "4"]),
        pair.client(Proto::Udp4),
    )?;
    first.require_offload()?;
    first.kill_now()?;
    first.wait_end(SOON)?;
    client.stop()?;
    let second = server().named("second").line("disable-dco");
    let mut second = second.spawn()?;
    second.wait_connected(CONNECT)?;
    let mut client = pair.client(Proto::Udp4).named("third").spawn()?;
    client.wait_connected(CONNECT)?;
    Ping::to(at::INNER_SERVER).all_answered(&pair.client)?;
    carries_streams(&pair)?;
    client.stop()?;
    second.stop()
}

/// The engine had the kernel hand out super-packets, for which OpenVPN is not ready: pings pass all the same.
fn carries_streams(pair: &Pair) -> Result<()> {
    let stream = Stream::to(at::INNER_SERVER).seconds(1);
    for stream in [stream.clone(), stream.reverse()] {
        let throughput = stream.run(&pair.client, &pair.server)?;
        ensure!(throughput.bytes > 1 << 20, "{throughput:?}");
    }
    Ok(())
}

/// The kernel would give a queue of it to whoever asks for a device with several: two programs would share its packets.
#[test]
fn a_run_on_its_own_data_path_has_no_device_that_is_served() -> Result<()> {
    if udco::is_left_out("OpenVPN's own device goes with it") {
        return Ok(());
    }
    let pair = Pair::new()?;
    let server = || pair.udco_server(Proto::Udp4).device("tun7");
    let (first, client) = connect(
        server().udco_options(&["--workers", "4"]),
        pair.client(Proto::Udp4),
    )?;
    let second = server().named("second").line("disable-dco");
    let mut second = second.line("port 1195").spawn()?;
    second.wait_end(CONNECT)?;
    let log = second.log();
    let refused = "Cannot ioctl TUNSETIFF tun7: Invalid argument";
    ensure!(log.contains(refused), "{log}");
    Ping::to(at::INNER_SERVER).all_answered(&pair.client)?;
    client.stop()?;
    first.stop()
}

/// The device's addresses, but for the link's own.
fn addresses(host: &Host) -> Result<Vec<String>> {
    let shown = host.run(&[
        "ip", "-brief", "address", "show", "dev", "tun7", "scope", "global",
    ])?;
    let words = shown.split_whitespace().skip(2);
    Ok(words.map(str::to_owned).collect())
}
