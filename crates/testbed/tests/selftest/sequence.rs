//! The sequence of steps that all selftests share, and the variants.

use anyhow::Result;

use super::bench::{BASE, Bench, Variant};
use super::monitor::deleted;
use super::{expiry, requests, traffic};

/// Every step, with AES-256-GCM.
#[test]
fn base() -> Result<()> {
    let mut bench = Bench::new(BASE)?;
    set_up(&bench)?;
    traffic::flood(&bench)?;
    traffic::counted(&bench, bench.client(1)?)?;
    traffic::counted(&bench, bench.client(6)?)?;
    traffic::reach_the_network_behind(&bench)?;
    traffic::stream(&bench)?;
    requests::rekey_one_end(&bench)?;
    traffic::look_at_the_wire(&bench, 0, 1)?;
    requests::show_peers(&bench)?;
    requests::delete_peer(&mut bench, 1)?;
    requests::show_keys(&bench, bench.clients.iter().skip(1))?;
    requests::delete_peer_under_traffic(&bench, 2)?;
    let left = [3, 4, 5, 6];
    requests::delete_keys(&bench, &left)?;
    expiry::expire_at_server(&mut bench, &left)?;
    expiry::expire_at_clients(&mut bench, &left)?;

    // Step 16: each host was notified of its own peers, in order.
    let mut expected = vec![deleted(1, "userspace"), deleted(2, "userspace")];
    expected.extend(left.map(|id| deleted(id, "expired")));
    bench.monitor.expect_ending(&expected, 2)?;
    for client in &bench.clients {
        let reason = match client.number {
            1 | 2 => "userspace",
            _ => "expired",
        };
        client.monitor.expect(&[deleted(client.id, reason)])?;
    }
    bench.delete_devices()?.end_engine()
}

#[test]
fn chacha20_poly1305() -> Result<()> {
    let variant = Variant {
        cipher: "chacha20-poly1305",
        ..BASE
    };
    data_and_rekey(variant, false)
}

/// Clients roam.
#[test]
fn float() -> Result<()> {
    data_and_rekey(BASE, true)
}

/// One id for both directions of a peer.
#[test]
fn symmetric_id() -> Result<()> {
    let variant = Variant {
        symmetric: true,
        ..BASE
    };
    data_and_rekey(variant, false)
}

#[test]
fn symmetric_id_float() -> Result<()> {
    let variant = Variant {
        symmetric: true,
        ..BASE
    };
    data_and_rekey(variant, true)
}

/// Full inner packets do not fit into one packet of the link.
#[test]
fn large_mtu() -> Result<()> {
    let variant = Variant { mtu: 1500, ..BASE };
    let bench = Bench::new(variant)?;
    set_up(&bench)?;
    traffic::require_outer_fragments(&bench)?;
    traffic::flood(&bench)?;
    traffic::stream(&bench)?;
    leave(bench, Vec::new())
}

/// Steps 1 to 3.
pub(crate) fn set_up(bench: &Bench) -> Result<()> {
    requests::install_keys(bench, "primary", 0)?;
    requests::set_keepalive(bench)?;
    traffic::look_at_the_wire(bench, 0, 0)
}

/// The steps with traffic, a rekey in between, and a device that is deleted with its peers at the end.
pub(crate) fn data_and_rekey(variant: Variant, floats: bool) -> Result<()> {
    let bench = Bench::new(variant)?;
    set_up(&bench)?;
    traffic::flood(&bench)?;
    traffic::counted(&bench, bench.client(3)?)?;
    let notified = match floats {
        true => traffic::float(&bench)?,
        false => Vec::new(),
    };
    traffic::stream(&bench)?;
    requests::rekey_one_end(&bench)?;
    requests::show_peers(&bench)?;
    requests::show_keys(&bench, bench.clients.iter())?;
    leave(bench, notified)
}

/// Deletes the devices with all their peers, and expects a notification for each.
pub(crate) fn leave(bench: Bench, notified: Vec<String>) -> Result<()> {
    let ordered = notified.len();
    let mut expected = notified;
    expected.extend((1..=6).map(|id| deleted(id, "teardown")));
    bench.delete_device(&bench.server)?;
    bench.monitor.expect_ending(&expected, ordered)?;
    for client in &bench.clients {
        if bench.variant.tcp {
            // Its connection ended with the server's peer.
            let disconnected = deleted(client.id, "transport-disconnect");
            client.monitor.expect(&[disconnected])?;
            bench.delete_device(&client.host)?;
        } else {
            bench.delete_device(&client.host)?;
            client.monitor.expect(&[deleted(client.id, "teardown")])?;
        }
    }
    bench.end_engine()
}
