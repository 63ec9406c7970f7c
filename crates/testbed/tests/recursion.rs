//! A packet for the peer's own outer address does not enter the tunnel, whatever the routing (faults A6).

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use udco_testbed::measure::Ping;
use udco_testbed::{Pair, Proto, addresses as at, connect, eventually, udco};

/// Pings sent after the uplink is gone; only OpenVPN's own packets and neighbour discovery may follow.
const PINGS: u32 = 5;
const MOST: u64 = 100;

#[test]
fn a_lost_uplink_starts_no_loop_udp4() -> Result<()> {
    starts_no_loop(Proto::Udp4)
}

#[test]
fn a_lost_uplink_starts_no_loop_udp6() -> Result<()> {
    starts_no_loop(Proto::Udp6)
}

#[test]
fn a_lost_uplink_starts_no_loop_tcp4() -> Result<()> {
    starts_no_loop(Proto::Tcp4)
}

fn starts_no_loop(proto: Proto) -> Result<()> {
    if udco::is_left_out("OpenVPN's own data path has a check of its own") {
        return Ok(());
    }
    let pair = Pair::new()?;
    let is_v6 = matches!(proto, Proto::Udp6 | Proto::Tcp6);
    let (beyond, gateway, option) = if is_v6 {
        ("2001:db8:51::1", at::SERVER6, "redirect-gateway ipv6 !ipv4")
    } else {
        ("198.51.100.1", at::SERVER, "redirect-gateway def1")
    };
    let prefix = if is_v6 { 128 } else { 32 };
    pair.server
        .add_address("lo", &format!("{beyond}/{prefix}"))?;
    pair.client.add_route(&["default", "via", gateway])?;
    let (_server, client) = connect(
        pair.udco_server(proto),
        pair.udco_client(proto).line(option),
    )?;
    Ping::to(beyond).all_answered(&pair.client)?;
    pair.client
        .run(&["ip", "link", "set", &pair.link.b, "down"])?;
    let route = pair.client.run(&["ip", "route", "get", gateway])?;
    ensure!(
        route.contains("dev tun0"),
        "no route to the server by the tunnel: {route}"
    );
    let taken = || -> Result<u64> {
        let counter = "/sys/class/net/tun0/statistics/tx_packets";
        let text = pair.client.run(&["cat", counter])?;
        text.trim().parse().context("no number")
    };
    let before = taken()?;
    let echo = Ping::to(beyond)
        .count(PINGS)
        .interval(Duration::from_millis(200))
        .run(&pair.client)?;
    ensure!(echo.received == 0, "the uplink is not gone");
    let taken = taken()? - before;
    println!("{taken} packets came of {PINGS}");
    ensure!(taken < MOST, "{taken} packets came of {PINGS}");
    eventually("a packet for the server", Duration::from_secs(10), || {
        Ok((client.show()?.dropped(&["tx_recursive"]) > 0).then_some(()))
    })?;
    Ok(())
}
