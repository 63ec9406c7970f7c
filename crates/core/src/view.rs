//! What a packet on its way can see of its device.

use crate::device::Mode;
use crate::peer::Peer;
use crate::peers::Peers;
use crate::route::Routes;
use crate::wire;

/// A snapshot of a device, as [`crate::inbound::receive`] and [`crate::outbound`] use it.
pub struct View<'v, A, T> {
    /// How a packet's peer is found.
    pub mode: Mode,
    /// The peers.
    pub peers: &'v Peers<A, T>,
    /// The routes of the device's network namespace.
    pub routes: &'v Routes,
    /// The longest outer packet that is not fragmented on its way, in bytes.
    pub path_mtu: usize,
}

impl<A, T> View<'_, A, T> {
    /// The longest inner packet for a peer whose outer packet is not fragmented. Over TCP, where a peer has no endpoint,
    /// there is none too long.
    #[must_use]
    pub fn inner_limit(&self, peer: &Peer<A, T>) -> usize {
        peer.endpoint.map_or(usize::MAX, |endpoint| {
            wire::inner_limit(self.path_mtu, endpoint.remote.is_ipv6())
        })
    }
}
