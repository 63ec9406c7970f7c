//! A device: the state that requests, floats and timers change (dco-behaviour 2.6 to 2.13, 5.4, 5.8, 5.11).

mod keys;

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::aead::Aead;
use crate::endpoint::Endpoint;
use crate::key_slots::KeySlots;
use crate::peer::{Activity, Keepalive, Peer};
use crate::peer_id::PeerId;
use crate::peers::Peers;
use crate::time::Time;
use crate::used_keys::{RecentKeys, UsedKeys};
use crate::wire::KeyId;

pub use keys::Novelty;

/// How many peers a device has (dco-behaviour 2.15).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Point to point: one peer gets every packet.
    P2p,
    /// Multi-peer: a packet's peer is found by its next hop.
    Mp,
}

/// A peer to add.
pub struct NewPeer<T> {
    /// Peer id in received packets.
    pub id: PeerId,
    /// Peer id in sent packets.
    pub tx_id: PeerId,
    /// VPN address (multi-peer devices).
    pub vpn4: Option<Ipv4Addr>,
    /// The same for IPv6.
    pub vpn6: Option<Ipv6Addr>,
    /// Outer addresses; `None` over TCP.
    pub endpoint: Option<Endpoint>,
    /// Keepalive.
    pub keepalive: Keepalive,
    /// The socket through which to reach it.
    pub transport: T,
}

/// Changes to a peer; `None` leaves a value as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PeerChange {
    /// Peer id in sent packets.
    pub tx_id: Option<PeerId>,
    /// VPN address; unspecified clears it.
    pub vpn4: Option<Ipv4Addr>,
    /// The same for IPv6.
    pub vpn6: Option<Ipv6Addr>,
    /// Outer addresses.
    pub endpoint: Option<Endpoint>,
    /// Keepalive; setting it restarts both timers.
    pub keepalive: Option<Keepalive>,
}

/// Why a request about a peer is refused; nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PeerError {
    /// Another peer already has this id.
    IdTaken,
    /// No peer has this id.
    NoSuchPeer,
    /// Another peer has this VPN address.
    VpnAddressTaken,
    /// A peer of a multi-peer device would be left without a VPN address.
    NoVpnAddress,
    /// The peer has had this key before.
    KeyUsed,
}

impl fmt::Display for PeerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::IdTaken => "another peer has this peer id",
            Self::NoSuchPeer => "no peer has this peer id",
            Self::VpnAddressTaken => "another peer has this VPN address",
            Self::NoVpnAddress => "a peer of a multi-peer device needs a VPN address",
            Self::KeyUsed => "the peer has had this key before: its nonces would repeat",
        })
    }
}

impl core::error::Error for PeerError {}

/// A device. The peers in it are the engine's master copy; see [`Device::peers`] for snapshots.
pub struct Device<A, T> {
    mode: Mode,
    peers: Peers<A, T>,
    recent_keys: RecentKeys,
}

/// The work that is due at a tick.
pub struct Due<A, T> {
    /// Peers whose keepalive timeout has expired. They have been removed.
    pub expired: Vec<Arc<Peer<A, T>>>,
    /// Peers that need a keepalive.
    pub pings: Vec<Arc<Peer<A, T>>>,
    /// Primary keys for which a rekey is due: peer and key id. Reported once for each key.
    pub rekey_due: Vec<(PeerId, KeyId)>,
    /// Whether peers or keys were removed, so that a new snapshot is needed.
    pub changed: bool,
    /// Whether retired keys remain for a later tick to drop.
    pub lingers: bool,
}

impl<A: Aead, T: Clone> Device<A, T> {
    /// A device without peers. `seed` as for [`Peers::new`].
    #[must_use]
    pub fn new(mode: Mode, seed: u64) -> Self {
        Self {
            mode,
            peers: Peers::new(seed),
            recent_keys: RecentKeys::default(),
        }
    }

    /// Its mode.
    #[must_use]
    pub const fn mode(&self) -> Mode {
        self.mode
    }

    /// Its peers; clone them for a snapshot.
    #[must_use]
    pub const fn peers(&self) -> &Peers<A, T> {
        &self.peers
    }

    /// Adds a peer. On a point-to-point device it replaces the present one, which is returned.
    ///
    /// # Errors
    /// [`PeerError::IdTaken`], [`PeerError::VpnAddressTaken`], [`PeerError::NoVpnAddress`] (multi-peer only).
    pub fn add_peer(
        &mut self,
        new: NewPeer<T>,
        now: Time,
    ) -> Result<Option<Arc<Peer<A, T>>>, PeerError> {
        let (vpn4, vpn6) = (given4(new.vpn4), given6(new.vpn6));
        let replaced = match self.mode {
            Mode::P2p => {
                let present = self.peers.only().map(|peer| peer.id);
                present.and_then(|id| self.peers.remove(id))
            }
            Mode::Mp => {
                if vpn4.is_none() && vpn6.is_none() {
                    return Err(PeerError::NoVpnAddress);
                }
                if self.peers.by_id(new.id).is_some() {
                    return Err(PeerError::IdTaken);
                }
                self.check_vpn_addresses(new.id, vpn4, vpn6)?;
                None
            }
        };
        let activity = Arc::new(Activity::default());
        activity.restart(now);
        if let Some(endpoint) = &new.endpoint {
            activity.note_endpoint(endpoint);
        }
        self.peers.put(Peer {
            id: new.id,
            tx_id: new.tx_id,
            vpn4,
            vpn6: vpn6.map(Box::new),
            endpoint: new.endpoint.into(),
            keepalive: new.keepalive,
            keys: KeySlots::empty(),
            used_keys: UsedKeys::NONE,
            transport: new.transport,
            activity,
        });
        Ok(replaced)
    }

    /// Changes a peer.
    ///
    /// # Errors
    /// [`PeerError`], except [`PeerError::IdTaken`].
    pub fn change_peer(
        &mut self,
        id: PeerId,
        change: PeerChange,
        now: Time,
    ) -> Result<(), PeerError> {
        let mut peer = self.readdressed(id, &change)?;
        peer.tx_id = change.tx_id.unwrap_or(peer.tx_id);
        if let Some(endpoint) = &change.endpoint {
            peer.activity.note_endpoint(endpoint);
            peer.endpoint = change.endpoint.into();
        }
        if let Some(keepalive) = change.keepalive {
            peer.keepalive = keepalive;
            peer.activity.restart(now);
        }
        self.peers.put(peer);
        Ok(())
    }

    /// Whether [`Device::change_peer`] would change the peer.
    ///
    /// # Errors
    /// Those of [`Device::change_peer`].
    pub fn check_change(&self, id: PeerId, change: &PeerChange) -> Result<(), PeerError> {
        self.readdressed(id, change).map(drop)
    }

    /// Removes a peer and returns it.
    ///
    /// # Errors
    /// [`PeerError::NoSuchPeer`].
    pub fn remove_peer(&mut self, id: PeerId) -> Result<Arc<Peer<A, T>>, PeerError> {
        self.peers.remove(id).ok_or(PeerError::NoSuchPeer)
    }

    /// Removes all peers for which `gone` is true and returns them.
    pub fn remove_peers(&mut self, gone: impl Fn(&Peer<A, T>) -> bool) -> Vec<Arc<Peer<A, T>>> {
        let ids: Vec<PeerId> = self
            .peers
            .iter()
            .filter(|peer| gone(peer))
            .map(|peer| peer.id)
            .collect();
        ids.into_iter()
            .filter_map(|id| self.peers.remove(id))
            .collect()
    }

    /// Moves a peer whose newest authentic packet came from, or arrived at, a different address than before
    /// (dco-behaviour 5.4). Returns whether the remote address changed, which calls for a notification.
    pub fn float(&mut self, id: PeerId, endpoint: Endpoint) -> bool {
        let Ok(mut peer) = self.peer(id) else {
            return false;
        };
        let Some(old) = peer.endpoint().filter(|old| *old != endpoint) else {
            return false;
        };
        peer.endpoint = Some(endpoint).into();
        self.peers.put(peer);
        !old.is_at(endpoint.remote)
    }

    /// Forgets a local address that no longer exists, so that the route chooses the source address of packets to the
    /// peer (promises D8). Returns whether anything changed: nothing does if the peer has moved or been replaced
    /// meanwhile.
    pub fn forget_local(&mut self, id: PeerId, gone: Endpoint) -> bool {
        let Ok(mut peer) = self.peer(id) else {
            return false;
        };
        if gone.local.is_none() || peer.endpoint() != Some(gone) {
            return false;
        }
        let without = Endpoint {
            local: None,
            ..gone
        };
        peer.activity.note_endpoint(&without);
        peer.endpoint = Some(without).into();
        self.peers.put(peer);
        true
    }

    /// Removes peers whose keepalive timeout has expired, finds those that need a keepalive (dco-behaviour 5.8), drops
    /// retired keys whose time is up, and checks the use of primary keys (dco-behaviour 5.6).
    pub fn tick(&mut self, now: Time) -> Due<A, T> {
        let overdue: Vec<PeerId> = self
            .peers
            .iter()
            .filter(|peer| peer.keys.is_overdue(now))
            .map(|peer| peer.id)
            .collect();
        for id in &overdue {
            if let Ok(mut peer) = self.peer(*id) {
                peer.keys.forget_retired();
                self.peers.replace(peer);
            }
        }
        let over = |peer: &Peer<A, T>| {
            peer.keepalive.is_on()
                && now
                    >= peer
                        .activity
                        .last_received()
                        .plus_seconds(peer.keepalive.timeout)
        };
        let expired = self.remove_peers(over);
        let pings = self
            .peers
            .iter()
            .filter(|peer| {
                peer.keepalive.is_on()
                    && now
                        >= peer
                            .activity
                            .last_sent()
                            .plus_seconds(peer.keepalive.interval)
            })
            .cloned()
            .collect();
        let (rekey_due, used_up) = self.tend_keys();
        let changed = used_up || !(overdue.is_empty() && expired.is_empty());
        Due {
            expired,
            pings,
            rekey_due,
            changed,
            lingers: self.peers.iter().any(|peer| peer.keys.has_retired()),
        }
    }

    /// A copy of a peer with the VPN addresses of a change, if no other peer has them.
    fn readdressed(&self, id: PeerId, change: &PeerChange) -> Result<Peer<A, T>, PeerError> {
        let mut peer = self.peer(id)?;
        if let Some(vpn4) = change.vpn4 {
            peer.vpn4 = given4(Some(vpn4));
        }
        if let Some(vpn6) = change.vpn6 {
            peer.vpn6 = given6(Some(vpn6)).map(Box::new);
        }
        if self.mode == Mode::Mp && peer.vpn4.is_none() && peer.vpn6.is_none() {
            return Err(PeerError::NoVpnAddress);
        }
        self.check_vpn_addresses(id, peer.vpn4, peer.vpn6())?;
        Ok(peer)
    }

    fn peer(&self, id: PeerId) -> Result<Peer<A, T>, PeerError> {
        self.peers
            .by_id(id)
            .map(|peer| Peer::clone(peer))
            .ok_or(PeerError::NoSuchPeer)
    }

    fn check_vpn_addresses(
        &self,
        id: PeerId,
        vpn4: Option<Ipv4Addr>,
        vpn6: Option<Ipv6Addr>,
    ) -> Result<(), PeerError> {
        let wanted = [vpn4.map(IpAddr::V4), vpn6.map(IpAddr::V6)];
        let taken = wanted
            .into_iter()
            .flatten()
            .filter_map(|address| self.peers.by_vpn_address(address))
            .any(|owner| owner.id != id);
        if taken {
            Err(PeerError::VpnAddressTaken)
        } else {
            Ok(())
        }
    }
}

/// The address, unless it is unspecified.
fn given4(address: Option<Ipv4Addr>) -> Option<Ipv4Addr> {
    address.filter(|address| !address.is_unspecified())
}

/// The same for IPv6.
fn given6(address: Option<Ipv6Addr>) -> Option<Ipv6Addr> {
    address.filter(|address| !address.is_unspecified())
}

#[cfg(test)]
mod tests;
