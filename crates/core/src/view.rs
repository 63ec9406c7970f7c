//! The packet path's view of its device.

use alloc::sync::Arc;
use core::cell::Cell;
use core::net::IpAddr;

use crate::device::Mode;
use crate::mss::MssFix;
use crate::peer::Peer;
use crate::peer_id::PeerId;
use crate::peers::Peers;
use crate::route::Routes;

/// A snapshot of a device, as [`crate::inbound::receive`] and [`crate::outbound`] use it for the packets of a batch.
///
/// Most packets of a batch are between the same two addresses as those before them, so it remembers the last peer it
/// found, which saves several look-ups per packet.
pub struct View<'v, A, T> {
    /// How a packet's peer is found.
    pub mode: Mode,
    /// The peers.
    pub peers: &'v Peers<A, T>,
    /// The routes of the device's network namespace.
    pub routes: &'v Routes,
    /// The size limit of TCP segments.
    pub mssfix: MssFix,
    last_owner: Cell<Option<(IpAddr, Found<'v, A, T>)>>,
    last_by_id: Cell<Option<Found<'v, A, T>>>,
}

type Found<'v, A, T> = &'v Arc<Peer<A, T>>;

impl<'v, A, T: Clone> View<'v, A, T> {
    /// A view of these.
    #[must_use]
    pub const fn new(mode: Mode, peers: &'v Peers<A, T>, routes: &'v Routes) -> Self {
        Self {
            mode,
            peers,
            routes,
            mssfix: MssFix::Path,
            last_owner: Cell::new(None),
            last_by_id: Cell::new(None),
        }
    }

    /// The same view with this size limit of TCP segments.
    #[must_use]
    pub fn with_mssfix(self, mssfix: MssFix) -> Self {
        Self { mssfix, ..self }
    }

    /// The peer with this id.
    #[must_use]
    pub fn by_id(&self, id: PeerId) -> Option<&'v Arc<Peer<A, T>>> {
        match self.last_by_id.get() {
            Some(peer) if peer.id == id => Some(peer),
            _ => {
                let peer = self.peers.by_id(id)?;
                self.last_by_id.set(Some(peer));
                Some(peer)
            }
        }
    }

    /// The peer to which packets for an inner address go: the one that has the VPN address of the next hop
    /// (dco-behaviour 5.1).
    #[must_use]
    pub fn owner(&self, address: IpAddr) -> Option<&'v Arc<Peer<A, T>>> {
        match self.last_owner.get() {
            Some((last, peer)) if last == address => Some(peer),
            _ => {
                let next_hop = self.routes.next_hop(address);
                let peer = self.peers.by_vpn_address(next_hop)?;
                self.last_owner.set(Some((address, peer)));
                Some(peer)
            }
        }
    }
}
