//! A client has the same routes with udco as without.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use udco_testbed::measure::Ping;
use udco_testbed::{
    CONNECT, Launch, Pair, Proto, Version, addresses as at, connect, eventually, skip, udco,
};

/// An address of the server's host with two routes from the client: through the tunnel, and beside it.
const BEYOND: &str = "198.51.100.1";

/// The same for IPv6.
const BEYOND6: &str = "2001:db8:51::1";

/// With offload OpenVPN gives metric 200 to a route that names none, and so loses to a route of a lower metric, such as
/// the default route of a host with DHCP (faults A3).
#[test]
fn a_route_without_a_metric_wins_as_without_udco() -> Result<()> {
    routes_as_without_udco(Version::V26)
}

#[test]
fn a_route_without_a_metric_wins_as_without_udco_27() -> Result<()> {
    if !Version::V27.is_here_or_skip() {
        return Ok(());
    }
    routes_as_without_udco(Version::V27)
}

fn routes_as_without_udco(version: Version) -> Result<()> {
    let pair = Pair::new()?;
    for beyond in [format!("{BEYOND}/32"), format!("{BEYOND6}/128")] {
        pair.server.add_address("lo", &beyond)?;
    }
    pair.client
        .add_route(&["default", "via", at::SERVER, "metric", "100"])?;
    pair.client
        .add_route(&["default", "via", at::SERVER6, "metric", "2048"])?;
    let mut server = pair.server(Proto::Udp4).spawn()?;
    server.wait_connected(CONNECT)?;
    let beside = |family| {
        pair.client
            .run(&["ip", family, "route", "show", "table", "main"])
    };
    let before = [beside("-4")?, beside("-6")?];
    let mut shown = Vec::new();
    for launch in [Launch::Plain, Launch::Udco] {
        let mut client = pair
            .client(Proto::Udp4)
            .version(version)
            .launch(launch)
            .line_each(&[
                "route 0.0.0.0 0.0.0.0",
                "route 10.77.0.0 255.255.0.0 net_gateway",
                "route 10.78.0.0 255.255.0.0 vpn_gateway 7",
                "route-ipv6 ::/0",
                "route-ipv6 2001:db8:78::/48 fd00:8::1 9",
            ])
            .spawn()?;
        client.wait_connected(CONNECT)?;
        client.require_offload()?;
        for beyond in [BEYOND, BEYOND6] {
            Ping::to(beyond).all_answered_once_keyed(&pair.client)?;
            let route = pair.client.run(&["ip", "route", "get", beyond])?;
            ensure!(route.contains("dev tun0"), "{launch:?}: {route}");
        }
        shown.push([beside("-4")?, beside("-6")?]);
        client.stop()?;
        eventually("the routes of before", Duration::from_secs(5), || {
            let after = [beside("-4")?, beside("-6")?];
            Ok((after == before).then_some(()))
        })
        .with_context(|| format!("{launch:?}: {:?}", (beside("-4"), beside("-6"))))?;
    }
    ensure!(
        shown[0] == shown[1],
        "without udco: {}\nwith it: {}",
        shown[0].join(""),
        shown[1].join("")
    );
    Ok(())
}

/// The routes of a killed run are still there, and are the same as those that the next start adds (faults A1, A3).
#[test]
fn a_start_that_takes_over_a_device_has_the_routes_of_the_first() -> Result<()> {
    if udco::harness_only() {
        skip("OpenVPN's own data path leaves no device");
        return Ok(());
    }
    let pair = Pair::new()?;
    let lines = ["route 0.0.0.0 0.0.0.0", "route-ipv6 2000::/3"];
    let client = pair.client(Proto::Udp4).launch(Launch::Udco);
    let client = client.line_each(&lines);
    let (_server, mut first) = connect(pair.server(Proto::Udp4), client.clone())?;
    let routes = || {
        let of = |family| {
            pair.client
                .run(&["ip", family, "route", "show", "dev", "tun0"])
        };
        Ok::<_, anyhow::Error>([of("-4")?, of("-6")?].map(|routes| routes.replace(" linkdown", "")))
    };
    let before = routes()?;
    first.kill_now()?;
    first.wait_end(CONNECT)?;
    // A server ignores a client that returns from the same port at once.
    let mut again = client.named("again").local_port(20_000).spawn()?;
    again.wait_connected(CONNECT)?;
    let after = routes()?;
    ensure!(before == after, "was {before:?}\nis {after:?}");
    again.stop()
}

/// Router advertisements create default routes that win over OpenVPN's without offload; with offload OpenVPN's have
/// always won, and still do.
#[test]
fn an_advertised_default_route_does_not_win() -> Result<()> {
    let pair = Pair::new()?;
    pair.server.add_address("lo", &format!("{BEYOND6}/128"))?;
    pair.client
        .add_route(&["default", "via", at::SERVER6, "metric", "1024"])?;
    let (_server, client) = connect(
        pair.server(Proto::Udp4),
        pair.udco_client(Proto::Udp4).line("route-ipv6 ::/0"),
    )?;
    Ping::to(BEYOND6).all_answered(&pair.client)?;
    let route = pair.client.run(&["ip", "route", "get", BEYOND6])?;
    ensure!(!client.is_udco() || route.contains("dev tun0"), "{route}");
    client.stop()?;
    let left = pair.client.run(&["ip", "-6", "route", "show", "default"])?;
    ensure!(
        left.lines().count() == 1 && left.contains(&pair.link.b),
        "{left}"
    );
    Ok(())
}
