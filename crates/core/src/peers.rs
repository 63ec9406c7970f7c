//! The peers of a device, as a snapshot: found by id, by VPN address and by transport address.

use alloc::sync::Arc;
use core::net::{IpAddr, SocketAddr};

use crate::cow_map::{CowKey, CowMap};
use crate::peer::Peer;

/// All peers of a device. A clone is a snapshot: it costs a few reference counts and sees no later change.
pub struct Peers<A, T> {
    by_id: CowMap<u32, Arc<Peer<A, T>>>,
    /// Peer ids by VPN address: one more look-up, but a changed peer is then replaced in one place.
    by_vpn_address: CowMap<IpAddr, u32>,
    /// Peer ids by outer address. Several peers may be at one address; the last to come there is found.
    by_remote: CowMap<(IpAddr, u16), u32>,
    /// Id of the peer that was added last: on a point-to-point device the only one.
    latest: Option<u32>,
}

impl CowKey for IpAddr {
    fn bits(&self) -> u64 {
        match self {
            Self::V4(ip) => u64::from(ip.to_bits()),
            Self::V6(ip) => {
                let bits = ip.to_bits();
                (bits >> 64) as u64 ^ (bits as u64).rotate_left(17)
            }
        }
    }
}

impl CowKey for (IpAddr, u16) {
    fn bits(&self) -> u64 {
        self.0.bits() ^ u64::from(self.1) << 40
    }
}

impl<A, T: Clone> Peers<A, T> {
    /// No peers. `seed` is a random number: remote addresses are chosen by strangers (promises D3).
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            by_id: CowMap::new(seed),
            by_vpn_address: CowMap::new(seed.rotate_left(21)),
            by_remote: CowMap::new(seed.rotate_left(42)),
            latest: None,
        }
    }

    /// How many there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Peer<A, T>>> {
        self.by_id.iter().map(|(_, peer)| peer)
    }

    /// The peer with this id in received packets.
    #[must_use]
    pub fn by_id(&self, id: u32) -> Option<&Arc<Peer<A, T>>> {
        self.by_id.find(&id)
    }

    /// The peer that owns this VPN address.
    #[must_use]
    pub fn by_vpn_address(&self, address: IpAddr) -> Option<&Arc<Peer<A, T>>> {
        self.by_id(*self.by_vpn_address.find(&address)?)
    }

    /// The peer whose packets come from this address.
    #[must_use]
    pub fn by_remote(&self, remote: SocketAddr) -> Option<&Arc<Peer<A, T>>> {
        self.by_id(*self.by_remote.find(&(remote.ip(), remote.port()))?)
    }

    /// The peer of a point-to-point device.
    #[must_use]
    pub fn only(&self) -> Option<&Arc<Peer<A, T>>> {
        self.by_id(self.latest?)
    }

    /// Adds a peer, or puts it in the place of the one with its id; all indexes follow.
    pub(crate) fn put(&mut self, peer: Peer<A, T>) {
        self.remove(peer.id);
        for address in vpn_addresses(&peer) {
            self.by_vpn_address.insert(address, peer.id);
        }
        if let Some(key) = remote_key(&peer) {
            self.by_remote.insert(key, peer.id);
        }
        self.latest = Some(peer.id);
        self.by_id.insert(peer.id, Arc::new(peer));
    }

    /// Replaces a peer whose addresses have not changed: only one index is touched.
    pub(crate) fn replace(&mut self, peer: Peer<A, T>) {
        self.by_id.insert(peer.id, Arc::new(peer));
    }

    /// Removes a peer.
    pub(crate) fn remove(&mut self, id: u32) -> Option<Arc<Peer<A, T>>> {
        let peer = self.by_id.remove(&id)?;
        for address in vpn_addresses(&peer) {
            if self.by_vpn_address.find(&address) == Some(&id) {
                self.by_vpn_address.remove(&address);
            }
        }
        if let Some(key) = remote_key(&peer) {
            // Another peer may have come to this address since.
            if self.by_remote.find(&key) == Some(&id) {
                self.by_remote.remove(&key);
            }
        }
        Some(peer)
    }
}

fn vpn_addresses<A, T>(peer: &Peer<A, T>) -> impl Iterator<Item = IpAddr> {
    let vpn4 = peer.vpn4.map(IpAddr::V4);
    let vpn6 = peer.vpn6.map(IpAddr::V6);
    [vpn4, vpn6].into_iter().flatten()
}

fn remote_key<A, T>(peer: &Peer<A, T>) -> Option<(IpAddr, u16)> {
    peer.endpoint
        .map(|endpoint| (endpoint.remote.ip(), endpoint.remote.port()))
}

impl<A, T> Clone for Peers<A, T> {
    fn clone(&self) -> Self {
        Self {
            by_id: self.by_id.clone(),
            by_vpn_address: self.by_vpn_address.clone(),
            by_remote: self.by_remote.clone(),
            latest: self.latest,
        }
    }
}
