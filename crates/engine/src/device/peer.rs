//! A peer, and what the API reports of it.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use udco_core::{Activity, Loss, Mode, Traffic as Counter};
use udco_crypto::DirectionKey;
use udco_netlink::{Keepalive, PeerState, Traffic};

use crate::device::transport::Transport;
use crate::io::Io;
use crate::linux::Linux;

/// A peer, with the cipher and the transport that the engine uses.
pub(crate) type Peer<I = Linux> = udco_core::Peer<DirectionKey, Arc<Transport<I>>>;

/// A peer as the API reports it, without its socket's namespace.
pub(crate) fn state_of<I: Io>(peer: &Peer<I>) -> PeerState {
    let endpoint = peer.endpoint();
    let remote = endpoint.map(|endpoint| endpoint.remote);
    let unspecified = |remote: SocketAddr| match remote {
        SocketAddr::V4(_) => IpAddr::from([0; 4]),
        SocketAddr::V6(_) => IpAddr::from([0; 16]),
    };
    let nothing = Traffic::default();
    let state = PeerState {
        id: peer.id.value(),
        tx_id: peer.tx_id.value(),
        socket_netnsid: None,
        vpn4: peer.vpn4,
        vpn6: peer.vpn6(),
        keepalive: Keepalive {
            interval: peer.keepalive.interval,
            timeout: peer.keepalive.timeout,
        },
        remote,
        local: endpoint
            .and_then(|endpoint| endpoint.local)
            .or_else(|| remote.map(unspecified)),
        local_port: peer.transport.local_port(),
        vpn_rx: nothing,
        vpn_tx: nothing,
        link_rx: nothing,
        link_tx: nothing,
    };
    with_counters(state, &peer.activity)
}

/// The same with current counters.
pub(crate) fn with_counters(state: PeerState, activity: &Activity) -> PeerState {
    let traffic = |counter: &Counter| Traffic {
        bytes: counter.bytes(),
        packets: counter.packets(),
    };
    PeerState {
        vpn_rx: traffic(&activity.vpn_rx),
        vpn_tx: traffic(&activity.vpn_tx),
        link_rx: traffic(&activity.link_rx),
        link_tx: traffic(&activity.link_tx),
        ..state
    }
}

/// The packets that a peer has sent, and those lost on the way here. Over TCP none are: a gap is what its own end dropped.
pub(crate) fn loss_of<I: Io>(peer: &Peer<I>) -> Loss {
    match peer.transport.as_stream() {
        Some(_) => Loss::NONE,
        None => peer.keys.loss(),
    }
}

/// A device's mode as the API has it.
pub(crate) const fn in_api(mode: Mode) -> udco_netlink::Mode {
    match mode {
        Mode::P2p => udco_netlink::Mode::P2p,
        Mode::Mp => udco_netlink::Mode::Mp,
    }
}
