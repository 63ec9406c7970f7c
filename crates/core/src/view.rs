//! What a packet on its way can see of its device.

use crate::device::Mode;
use crate::peers::Peers;
use crate::route::Routes;

/// A snapshot of a device, as [`crate::inbound::receive`] and [`crate::outbound`] use it.
pub struct View<'v, A, T> {
    /// How a packet's peer is found.
    pub mode: Mode,
    /// The peers.
    pub peers: &'v Peers<A, T>,
    /// The routes of the device's network namespace.
    pub routes: &'v Routes,
}
