//! The peers of a device, as a snapshot: found by id, by VPN address and by transport address.

use alloc::sync::Arc;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::cow_map::{CowKey, CowMap};
use crate::peer::Peer;
use crate::peer_id::PeerId;

/// All peers of a device. A clone is a snapshot: it costs a few reference counts and sees no later change.
pub struct Peers<A, T> {
    by_id: CowMap<PeerId, Arc<Peer<A, T>>>,
    /// Peer ids by VPN address: one more look-up, but a changed peer is then replaced in one place.
    by_vpn_address: ByFamily<Ipv4Addr, Ipv6Addr>,
    /// Peer ids by outer address. Several peers may be at one address; the latest is found.
    by_remote: ByFamily<(Ipv4Addr, u16), (Ipv6Addr, u16)>,
    /// Id of the peer that was added last: on a point-to-point device the only one.
    latest: Option<PeerId>,
}

/// Peer ids by address, a map for each family: an entry that fits either family would take more than twice the room of
/// an IPv4 one. `F` and `S` are keys with an IPv4 and an IPv6 address.
struct ByFamily<F, S> {
    v4: CowMap<F, PeerId>,
    v6: CowMap<S, PeerId>,
}

/// A key of either family.
enum Either<F, S> {
    V4(F),
    V6(S),
}

impl<F: CowKey, S: CowKey> ByFamily<F, S> {
    fn new(seed: u64) -> Self {
        Self {
            v4: CowMap::new(seed),
            v6: CowMap::new(seed),
        }
    }

    fn find(&self, key: impl Into<Either<F, S>>) -> Option<PeerId> {
        match key.into() {
            Either::V4(key) => self.v4.find(&key),
            Either::V6(key) => self.v6.find(&key),
        }
        .copied()
    }

    fn insert(&mut self, key: impl Into<Either<F, S>>, id: PeerId) {
        match key.into() {
            Either::V4(key) => self.v4.insert(key, id),
            Either::V6(key) => self.v6.insert(key, id),
        };
    }

    /// Removes a key, unless it now leads to another peer.
    fn remove(&mut self, key: impl Into<Either<F, S>>, id: PeerId) {
        match key.into() {
            Either::V4(key) if self.v4.find(&key) == Some(&id) => self.v4.remove(&key),
            Either::V6(key) if self.v6.find(&key) == Some(&id) => self.v6.remove(&key),
            _ => None,
        };
    }
}

impl<F, S> Clone for ByFamily<F, S> {
    fn clone(&self) -> Self {
        Self {
            v4: self.v4.clone(),
            v6: self.v6.clone(),
        }
    }
}

impl From<IpAddr> for Either<Ipv4Addr, Ipv6Addr> {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Self::V4(address),
            IpAddr::V6(address) => Self::V6(address),
        }
    }
}

impl From<SocketAddr> for Either<(Ipv4Addr, u16), (Ipv6Addr, u16)> {
    fn from(address: SocketAddr) -> Self {
        match address {
            SocketAddr::V4(address) => Self::V4((*address.ip(), address.port())),
            SocketAddr::V6(address) => Self::V6((*address.ip(), address.port())),
        }
    }
}

impl CowKey for PeerId {
    fn bits(&self) -> u64 {
        u64::from(self.value())
    }
}

impl CowKey for Ipv4Addr {
    fn bits(&self) -> u64 {
        u64::from(self.to_bits())
    }
}

impl CowKey for Ipv6Addr {
    fn bits(&self) -> u64 {
        let bits = self.to_bits();
        (bits >> 64) as u64 ^ (bits as u64).rotate_left(17)
    }
}

impl<K: CowKey> CowKey for (K, u16) {
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
            by_vpn_address: ByFamily::new(seed.rotate_left(21)),
            by_remote: ByFamily::new(seed.rotate_left(42)),
            latest: None,
        }
    }

    /// The number of peers.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether there are no peers.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Peer<A, T>>> {
        self.by_id.iter().map(|(_, peer)| peer)
    }

    /// All peer ids, without touching the peers themselves.
    pub fn ids(&self) -> impl Iterator<Item = PeerId> {
        self.by_id.iter().map(|(id, _)| *id)
    }

    /// The peer with this id in received packets.
    #[must_use]
    pub fn by_id(&self, id: PeerId) -> Option<&Arc<Peer<A, T>>> {
        self.by_id.find(&id)
    }

    /// The peer that owns this VPN address.
    #[must_use]
    pub fn by_vpn_address(&self, address: IpAddr) -> Option<&Arc<Peer<A, T>>> {
        self.by_id(self.by_vpn_address.find(address)?)
    }

    /// The peer whose packets come from this address.
    #[must_use]
    pub fn by_remote(&self, remote: SocketAddr) -> Option<&Arc<Peer<A, T>>> {
        self.by_id(self.by_remote.find(remote)?)
    }

    /// The peer of a point-to-point device.
    #[must_use]
    pub fn only(&self) -> Option<&Arc<Peer<A, T>>> {
        self.by_id(self.latest?)
    }

    /// Adds a peer or replaces the one with its id, and updates all indexes.
    pub(crate) fn put(&mut self, peer: Peer<A, T>) {
        self.remove(peer.id);
        for address in vpn_addresses(&peer) {
            self.by_vpn_address.insert(address, peer.id);
        }
        if let Some(endpoint) = peer.endpoint() {
            self.by_remote.insert(endpoint.remote, peer.id);
        }
        self.latest = Some(peer.id);
        self.by_id.insert(peer.id, Arc::new(peer));
    }

    /// Replaces a peer whose addresses have not changed: only one index is touched.
    pub(crate) fn replace(&mut self, peer: Peer<A, T>) {
        self.by_id.insert(peer.id, Arc::new(peer));
    }

    /// Removes a peer.
    pub(crate) fn remove(&mut self, id: PeerId) -> Option<Arc<Peer<A, T>>> {
        let peer = self.by_id.remove(&id)?;
        for address in vpn_addresses(&peer) {
            self.by_vpn_address.remove(address, id);
        }
        if let Some(endpoint) = peer.endpoint() {
            // Another peer may have moved to this address since.
            self.by_remote.remove(endpoint.remote, id);
        }
        Some(peer)
    }
}

fn vpn_addresses<A, T>(peer: &Peer<A, T>) -> impl Iterator<Item = IpAddr> {
    let vpn4 = peer.vpn4.map(IpAddr::V4);
    let vpn6 = peer.vpn6().map(IpAddr::V6);
    [vpn4, vpn6].into_iter().flatten()
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
