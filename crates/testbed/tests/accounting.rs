//! Accounting: both ends of a tunnel agree to the packet, and a healthy tunnel shows no alarming drop.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use udco_testbed::measure::{Ping, Stream};
use udco_testbed::udco::{Counters, Device};
use udco_testbed::{Endpoint, Pair, Proto, addresses as at, connect, eventually, skip_part};

const SOON: Duration = Duration::from_secs(10);

/// The device of an end, with its only peer's counters inside.
fn device(end: &Endpoint) -> Result<(Device, Counters)> {
    let device = end.show()?.devices.pop().context("a device")?;
    let vpn = device.peers.first().context("a peer")?.vpn;
    Ok((device, vpn))
}

/// Authentic packets that were not delivered.
fn undelivered(drops: &BTreeMap<String, u64>) -> u64 {
    let after_opening = ["rx_spoofed_source", "rx_link_local"];
    let counts = after_opening.iter().filter_map(|name| drops.get(*name));
    counts.sum()
}

/// Packets that their sender has counted, as the kernel's driver does before it looks for a key (dco-behaviour 5.9), and
/// not sent: on a busy machine a host solicits routers between its peer and the peer's key.
fn unsent(drops: &BTreeMap<String, u64>) -> u64 {
    drops.get("tx_no_key").copied().unwrap_or_default()
}

#[test]
fn both_ends_of_a_healthy_tunnel_count_the_same_packets_and_no_alarming_drop() -> Result<()> {
    let pair = Pair::new()?;
    let (server, client) = connect(pair.udco_server(Proto::Udp4), pair.udco_client(Proto::Udp4))?;
    // Slow enough that nothing is lost, but still in super-packets (faults E10).
    for stream in [
        Stream::to(at::INNER_SERVER),
        Stream::to(at::INNER_SERVER).reverse(),
    ] {
        stream
            .seconds(1)
            .limit("100M")
            .run(&pair.client, &pair.server)?;
    }
    // The hosts have solicited routers by now, or will in a moment (faults E9).
    let mut last = String::new();
    let agree = eventually("both ends to count the same", SOON, || {
        let ((server, at_server), (client, at_client)) = (device(&server)?, device(&client)?);
        last = format!(
            "{:?} {at_server:?}, {:?} {at_client:?}",
            server.drops, client.drops
        );
        let link_local = undelivered(&server.drops);
        let to_server =
            at_client.tx_packets == at_server.rx_packets + link_local + unsent(&client.drops);
        let to_client = (at_server.tx_packets, at_server.tx_bytes)
            == (at_client.rx_packets, at_client.rx_bytes);
        let has_chattered = link_local > 0 && server.drops.contains_key("tx_multicast");
        Ok((to_server && to_client && has_chattered).then_some(()))
    });
    agree.with_context(|| last.clone())?;
    for end in [&server, &client] {
        let (device, _) = device(end)?;
        let alarming = ["rx_spoofed_source", "tx_no_peer"];
        let is_quiet = alarming
            .iter()
            .all(|name| !device.drops.contains_key(*name));
        ensure!(is_quiet, "{}: {:?}", end.host().name(), device.drops);
    }
    Ok(())
}

#[test]
fn the_traffic_of_an_expired_peer_is_kept() -> Result<()> {
    let pair = Pair::new()?;
    let (server, client) = connect(
        pair.udco_server(Proto::Udp4).keepalive(1, 4),
        pair.client(Proto::Udp4),
    )?;
    if !server.is_udco() {
        skip_part("the counters of udco");
        return Ok(());
    }
    Ping::to(at::INNER_SERVER).all_answered(&pair.client)?;
    let (before, peer) = device(&server)?;
    let totals = before.totals.context("no totals")?;
    ensure!(
        peer.rx_packets > 0 && totals.vpn.rx_packets >= peer.rx_packets,
        "{totals:?}"
    );
    ensure!(totals.ended.is_empty(), "{totals:?}");
    client.kill9()?;
    let after = eventually("the peer to expire", 3 * SOON, || {
        let device = server.show()?.devices.pop().context("a device")?;
        Ok(device.peers.is_empty().then_some(device))
    })?;
    let kept = after.totals.context("no totals")?;
    ensure!(kept.ended.get("expired") == Some(&1), "{kept:?}");
    ensure!(
        kept.vpn.rx_bytes >= totals.vpn.rx_bytes,
        "{totals:?}, {kept:?}"
    );
    ensure!(
        kept.link.rx_packets >= totals.link.rx_packets,
        "{totals:?}, {kept:?}"
    );
    pair.lab.discard_logs();
    Ok(())
}
