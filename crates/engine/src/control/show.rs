//! The engine's state, as `udco show --json` reports it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::{self, BufWriter, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use udco_core::mss::{self, MssFix};
use udco_core::{Loss, Slot, Time, Traffic as Counter};
use udco_netlink::Api;
use udco_state::{self as state, EngineState};
use udco_sys::clock;
use udco_sys::tun::offload;

use crate::device::Device;
use crate::device::peer::{Peer, loss_of};

/// Bytes that are written at a time.
const ROOM: usize = 64 << 10;

/// Writes an engine's state, indented as people read it: the command line prints devices as they come.
pub(crate) fn write(state: &EngineState, to: impl Write) -> io::Result<()> {
    let mut to = BufWriter::with_capacity(ROOM, to);
    serde_json::to_writer_pretty(&mut to, state)?;
    to.flush()
}

/// A device, and its peers if the client may use it: others learn only that it is there (faults D1).
pub(crate) fn device(device: &Device, owner: u32, may_use: bool) -> state::Device {
    // With the peers where they are by now. A peer ends under the lock that this takes, and so counts once.
    let (snapshot, mut totals) = device.look(|_| (device.snapshot(), ended(device)));
    let shown = snapshot.peers.iter().filter(|_| may_use);
    let now = Time::from_millis(clock::milliseconds());
    let shown = shown.map(|it| peer(it, snapshot.tuning.mssfix, now));
    let mut peers: Vec<_> = shown.collect();
    // Packets go on being counted: a second reading would be of another moment.
    for peer in &peers {
        totals.link += peer.link;
        totals.vpn += peer.vpn;
        if let (Some(sum), Some(loss)) = (&mut totals.loss, peer.loss) {
            *sum += loss;
        }
    }
    peers.sort_by_key(|peer| peer.id);
    state::Device {
        name: device.interface.name.clone(),
        ifindex: device.interface.ifindex,
        netns: device.interface.netns.number(),
        mode: match device.mode {
            udco_core::Mode::P2p => state::Mode::P2p,
            udco_core::Mode::Mp => state::Mode::Mp,
        },
        api: match device.api {
            Api::Ovpn => state::Api::Ovpn,
            Api::DcoV2 => state::Api::DcoV2,
        },
        owner,
        engine: None,
        offloads: offloads(device, snapshot.peers.iter().next()),
        routes: snapshot.routes.len(),
        fragmented: device.interface.fragmented.load(Ordering::Relaxed),
        drops: device
            .interface
            .drops
            .nonzero()
            .map(|(reason, count)| (reason.name().to_owned(), count))
            .collect(),
        totals: may_use.then_some(totals),
        common_names: BTreeMap::new(),
        peers,
    }
}

/// The processor time of this process, in seconds; 0 if unknown.
pub(crate) fn cpu_seconds() -> f64 {
    let spent = clock_gettime(ClockId::ProcessCPUTime);
    Duration::try_from(spent).map_or(0.0, |spent| spent.as_secs_f64())
}

/// The counters of a device's peers that have ended.
fn ended(device: &Device) -> state::Totals {
    let totals = &device.interface.totals;
    let ended = totals.ended().filter(|(_, count)| *count > 0);
    state::Totals {
        ended: ended
            .map(|(reason, count)| (reason.name().to_owned(), count))
            .collect(),
        link: traffic(&totals.link_rx, &totals.link_tx),
        vpn: traffic(&totals.vpn_rx, &totals.vpn_tx),
        loss: Some(loss(totals.loss())),
    }
}

fn offloads(device: &Device, peer: Option<&Arc<Peer>>) -> state::Offloads {
    let of_device = |flag| device.interface.offloads.from_device & flag != 0;
    let transport = peer.map(|peer| &peer.transport);
    let transport = transport.filter(|transport| transport.as_stream().is_none());
    state::Offloads {
        device_tcp: of_device(offload::TSO4),
        device_udp: of_device(offload::USO4),
        merge: device.interface.offloads.merge.tcp.is_on(),
        merge_udp: device.interface.offloads.merge.udp.is_on(),
        segment: transport.map(|transport| transport.segmentation.is_on()),
        coalesce: transport.map(|transport| transport.coalescing),
        queues: device.interface.queues.len(),
    }
}

fn peer(peer: &Peer, mssfix: MssFix, now: Time) -> state::Peer {
    let key = |slot| {
        peer.keys.at(slot).map(|key| state::Key {
            key_id: key.id().value(),
            cipher: Cow::Borrowed(key.cipher().name()),
            age: Some(now.seconds_since(key.installed())),
        })
    };
    let (activity, endpoint) = (&peer.activity, peer.endpoint());
    state::Peer {
        id: peer.id.value(),
        tx_id: peer.tx_id.value(),
        remote: endpoint
            .map(|endpoint| endpoint.remote)
            .or_else(|| peer.transport.stream_remote()),
        local: endpoint.and_then(|endpoint| endpoint.local),
        path_mtu: endpoint.map(|_| activity.path_mtu.bytes()),
        mss: mss_below(mssfix.limit(peer)),
        vpn4: peer.vpn4,
        vpn6: peer.vpn6(),
        keepalive: state::Keepalive {
            interval: peer.keepalive.interval,
            timeout: peer.keepalive.timeout,
        },
        keys: state::Keys {
            primary: key(Slot::Primary),
            secondary: key(Slot::Secondary),
        },
        link: traffic(&activity.link_rx, &activity.link_tx),
        vpn: traffic(&activity.vpn_rx, &activity.vpn_tx),
        loss: peer
            .transport
            .as_stream()
            .is_none()
            .then(|| loss(loss_of(peer))),
    }
}

fn mss_below(limit: usize) -> Option<state::Mss> {
    let most = |is_ipv6| u16::try_from(mss::most(limit, is_ipv6)).unwrap_or(u16::MAX);
    (limit < usize::MAX).then(|| state::Mss {
        ipv4: most(false),
        ipv6: most(true),
    })
}

fn traffic(rx: &Counter, tx: &Counter) -> state::Traffic {
    state::Traffic {
        rx_bytes: rx.bytes(),
        rx_packets: rx.packets(),
        tx_bytes: tx.bytes(),
        tx_packets: tx.packets(),
    }
}

const fn loss(loss: Loss) -> state::Loss {
    state::Loss {
        expected: loss.expected,
        lost: loss.lost,
    }
}
