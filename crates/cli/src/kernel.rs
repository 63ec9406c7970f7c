//! Devices of the kernel's own driver, in this network namespace.

use anyhow::{Context, Result};
use udco_netlink::client::{Command, Received, link};
use udco_netlink::{Api, Mode, PeerState, Slot, driver_link};
use udco_state::{Driver as Serves, Keepalive, KernelDevice, KernelPeer, Key, Keys, Traffic};

use crate::client::{Channel, Driver};
use crate::rtnetlink;

/// Devices, and why the peers of some are not shown.
pub(crate) type Survey = (Vec<KernelDevice>, Vec<String>);

/// Whether the kernel's driver serves the interface with this index.
pub(crate) fn serves(ifindex: u32) -> bool {
    let reply = rtnetlink::dump(&link::show(ifindex, 1)).unwrap_or_default();
    reply.iter().any(|message| driver_link(message).is_some())
}

/// Its devices, without their peers. Asks for links only: asking for the family would load the module.
pub(crate) fn links() -> Vec<KernelDevice> {
    let reply = rtnetlink::dump(&link::all(1)).unwrap_or_default();
    let links = reply.iter().filter_map(|message| driver_link(message));
    let devices = links.map(|link| KernelDevice {
        name: link.name.to_owned(),
        ifindex: link.ifindex,
        driver: Serves::Kernel,
        mode: match link.mode {
            Mode::P2p => udco_state::Mode::P2p,
            Mode::Mp => udco_state::Mode::Mp,
        },
        peers: None,
    });
    devices.collect()
}

/// Its devices, or the one of this name, with their peers if this user may see them.
pub(crate) fn devices(name: Option<&str>) -> Survey {
    let mut devices = links();
    devices.retain(|device| name.is_none_or(|name| device.name == name));
    let mut remarks = Vec::new();
    for device in &mut devices {
        match peers(device.ifindex) {
            Ok(peers) => device.peers = Some(peers),
            Err(error) => remarks.push(format!("{}: no peers shown: {error:#}", device.name)),
        }
    }
    (devices, remarks)
}

fn peers(ifindex: u32) -> Result<Vec<KernelPeer>> {
    let mut channel = Channel::open(Driver::Kernel, &[Api::Ovpn])?;
    let mut peers = listed(&mut channel, ifindex)?;
    for peer in &mut peers {
        peer.keys.primary = key(&mut channel, ifindex, peer.id, Slot::Primary);
        peer.keys.secondary = key(&mut channel, ifindex, peer.id, Slot::Secondary);
    }
    Ok(peers)
}

/// The peers of one, in one answer: each key would take another.
pub(crate) fn peers_without_keys(ifindex: u32) -> Result<Vec<KernelPeer>> {
    listed(&mut Channel::open(Driver::Kernel, &[Api::Ovpn])?, ifindex)
}

fn listed(channel: &mut Channel, ifindex: u32) -> Result<Vec<KernelPeer>> {
    let received = channel
        .request(ifindex, &Command::Peers, None)
        .context("the kernel refuses")?;
    let states = received.into_iter().filter_map(|received| match received {
        Received::Peer(state) => Some(state),
        _ => None,
    });
    let mut peers: Vec<_> = states.map(peer).collect();
    peers.sort_by_key(|peer| peer.id);
    Ok(peers)
}

/// The key in a slot; the kernel refuses an empty one.
fn key(channel: &mut Channel, ifindex: u32, peer: u32, slot: Slot) -> Option<Key> {
    let received = channel.request(ifindex, &Command::KeyGet(peer, slot), None);
    received
        .ok()?
        .into_iter()
        .find_map(|received| match received {
            Received::Key(key) => Some(Key {
                key_id: key.key_id,
                cipher: key.cipher.name().into(),
                age: None,
            }),
            _ => None,
        })
}

fn peer(state: PeerState) -> KernelPeer {
    let traffic = |rx: udco_netlink::Traffic, tx: udco_netlink::Traffic| Traffic {
        rx_bytes: rx.bytes,
        rx_packets: rx.packets,
        tx_bytes: tx.bytes,
        tx_packets: tx.packets,
    };
    KernelPeer {
        id: state.id,
        tx_id: state.tx_id,
        remote: state.remote,
        local: state.local.filter(|local| !local.is_unspecified()),
        vpn4: state.vpn4,
        vpn6: state.vpn6,
        keepalive: Keepalive {
            interval: state.keepalive.interval,
            timeout: state.keepalive.timeout,
        },
        keys: Keys {
            primary: None,
            secondary: None,
        },
        link: traffic(state.link_rx, state.link_tx),
        vpn: traffic(state.vpn_rx, state.vpn_tx),
    }
}

#[cfg(test)]
mod tests {
    use udco_netlink::Traffic as Counted;

    use super::*;

    #[test]
    fn a_peer_says_what_the_kernel_reports_and_no_more() {
        let state = PeerState {
            id: 1,
            tx_id: 2,
            remote: Some("192.0.2.1:1194".parse().unwrap()),
            local: Some([0, 0, 0, 0].into()),
            link_rx: Counted {
                bytes: 5,
                packets: 1,
            },
            ..PeerState::default()
        };
        let shown = serde_json::to_value(peer(state)).unwrap();
        assert_eq!(shown["remote"], "192.0.2.1:1194");
        assert!(shown["local"].is_null(), "the route decides");
        assert_eq!(shown["link"]["rx_bytes"], 5);
        assert!(shown.get("path_mtu").is_none() && shown.get("mss").is_none());
    }

    #[test]
    fn this_machines_loopback_is_not_the_drivers() {
        assert!(!serves(1));
    }
}
