//! What the engine tells of itself, as JSON: the shape of `udco show --json`.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde::Serialize;
use udco_core::mss::{self, MssFix};
use udco_core::{Slot, Traffic as Counter};
use udco_netlink::Api;
use udco_sys::tun::offload;

use crate::device::Device;
use crate::device::peer::Peer;

/// An engine.
#[derive(Debug, Serialize)]
pub(crate) struct EngineState {
    pub(crate) version: &'static str,
    pub(crate) pid: u32,
    /// Inode of the engine's network namespace, as `/proc/PID/ns/net` names it; 0 if unknown.
    pub(crate) netns: u64,
    pub(crate) workers: usize,
    pub(crate) devices: Vec<DeviceState>,
}

/// A device.
#[derive(Debug, Serialize)]
pub(crate) struct DeviceState {
    name: String,
    ifindex: u32,
    /// The kernel's number of its network namespace (`SO_NETNS_COOKIE`); 0 if unknown.
    netns: u64,
    /// `p2p` or `mp`.
    mode: &'static str,
    /// The API by which it was made: `ovpn` or `ovpn-dco-v2`.
    api: &'static str,
    /// What the kernel does in big pieces for it.
    /// The user whose program made it, as the engine sees its number.
    owner: u32,
    offloads: Offloads,
    /// Prefixes in the mirror of the kernel's main table.
    routes: usize,
    /// Datagrams that did not fit the path, so that the kernel fragmented them.
    fragmented: u64,
    /// Dropped packets by reason; reasons that never occurred are left out.
    drops: BTreeMap<&'static str, u64>,
    peers: Vec<PeerState>,
}

/// Offloads by their names on the command line (`--without`), and whether they are in use.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Offloads {
    device_tcp: bool,
    device_udp: bool,
    /// Of TCP.
    merge: bool,
    /// Of UDP, where `merge` is not forbidden and the kernel can (Linux 6.2).
    merge_udp: bool,
    /// Of the socket of one of the peers; `None` if there is no peer, or over TCP.
    segment: Option<bool>,
    coalesce: Option<bool>,
    /// Queues of the device.
    queues: usize,
}

/// A peer.
#[derive(Debug, Serialize)]
struct PeerState {
    id: u32,
    tx_id: u32,
    remote: Option<SocketAddr>,
    local: Option<IpAddr>,
    /// Bytes of the longest outer packet that is not fragmented; `None` over TCP.
    path_mtu: Option<u16>,
    /// The MSS to which that, or `mssfix`, limits TCP inside, by the family inside; `None` if nothing does.
    mss: Option<Mss>,
    vpn4: Option<Ipv4Addr>,
    vpn6: Option<Ipv6Addr>,
    keepalive: Keepalive,
    keys: Keys,
    link: Traffic,
    vpn: Traffic,
}

/// Bytes of TCP payload.
#[derive(Debug, Serialize)]
struct Mss {
    ipv4: usize,
    ipv6: usize,
}

/// Seconds.
#[derive(Debug, Serialize)]
struct Keepalive {
    interval: u32,
    timeout: u32,
}

/// The slots; never a key.
#[derive(Debug, Serialize)]
struct Keys {
    primary: Option<KeyState>,
    secondary: Option<KeyState>,
}

#[derive(Debug, Serialize)]
struct KeyState {
    key_id: u8,
    cipher: &'static str,
}

/// Both directions.
#[derive(Debug, Serialize)]
struct Traffic {
    rx_bytes: u64,
    rx_packets: u64,
    tx_bytes: u64,
    tx_packets: u64,
}

impl DeviceState {
    /// A device, and its peers if the caller may use it: others learn only that it is there (faults D1).
    pub(crate) fn of(device: &Device, owner: u32, may_use: bool) -> Self {
        // With the peers where they are by now.
        device.look(|_| ());
        let snapshot = device.snapshot();
        let mut peers: Vec<PeerState> = snapshot
            .peers
            .iter()
            .filter(|_| may_use)
            .map(|peer| PeerState::of(peer, snapshot.tuning.mssfix))
            .collect();
        peers.sort_by_key(|peer| peer.id);
        Self {
            name: device.interface.name.clone(),
            ifindex: device.interface.ifindex,
            netns: device.interface.netns,
            mode: match device.mode {
                udco_core::Mode::P2p => "p2p",
                udco_core::Mode::Mp => "mp",
            },
            api: match device.api {
                Api::Ovpn => "ovpn",
                Api::DcoV2 => "ovpn-dco-v2",
            },
            owner,
            offloads: Offloads::of(device, snapshot.peers.iter().next()),
            routes: snapshot.routes.len(),
            fragmented: device.interface.fragmented.load(Ordering::Relaxed),
            drops: device
                .interface
                .drops
                .nonzero()
                .map(|(reason, count)| (reason.name(), count))
                .collect(),
            peers,
        }
    }
}

impl Offloads {
    fn of(device: &Device, peer: Option<&Arc<Peer>>) -> Self {
        let of_device = |flag| device.interface.offloads.from_device & flag != 0;
        let transport = peer.map(|peer| &peer.transport);
        let transport = transport.filter(|transport| transport.as_stream().is_none());
        Self {
            device_tcp: of_device(offload::TSO4),
            device_udp: of_device(offload::USO4),
            merge: device.interface.offloads.merge.tcp.is_on(),
            merge_udp: device.interface.offloads.merge.udp.is_on(),
            segment: transport.map(|transport| transport.segmentation.is_on()),
            coalesce: transport.map(|transport| transport.coalescing),
            queues: device.interface.queues.len(),
        }
    }
}

impl PeerState {
    fn of(peer: &Peer, mssfix: MssFix) -> Self {
        let key = |slot| {
            peer.keys.at(slot).map(|key| KeyState {
                key_id: key.id(),
                cipher: key.cipher().name(),
            })
        };
        let (activity, endpoint) = (&peer.activity, peer.endpoint());
        Self {
            id: peer.id,
            tx_id: peer.tx_id,
            remote: endpoint.map(|endpoint| endpoint.remote),
            local: endpoint.and_then(|endpoint| endpoint.local),
            path_mtu: endpoint.map(|_| activity.path_mtu.bytes()),
            mss: Mss::of(mssfix.limit(peer)),
            vpn4: peer.vpn4,
            vpn6: peer.vpn6(),
            keepalive: Keepalive {
                interval: peer.keepalive.interval,
                timeout: peer.keepalive.timeout,
            },
            keys: Keys {
                primary: key(Slot::Primary),
                secondary: key(Slot::Secondary),
            },
            link: Traffic::of(&activity.link_rx, &activity.link_tx),
            vpn: Traffic::of(&activity.vpn_rx, &activity.vpn_tx),
        }
    }
}

impl Mss {
    fn of(limit: usize) -> Option<Self> {
        (limit < usize::MAX).then(|| Self {
            ipv4: mss::most(limit, false),
            ipv6: mss::most(limit, true),
        })
    }
}

impl Traffic {
    fn of(rx: &Counter, tx: &Counter) -> Self {
        Self {
            rx_bytes: rx.bytes(),
            rx_packets: rx.packets(),
            tx_bytes: tx.bytes(),
            tx_packets: tx.packets(),
        }
    }
}
