//! The keys of a device's peers: installed, swapped and deleted by request, and checked for a rekey that is due
//! (dco-behaviour 2.10 to 2.13, 5.6).

use alloc::vec::Vec;

use crate::aead::Aead;
use crate::device::{Device, PeerError};
use crate::key::Key;
use crate::key_slots::Slot;
use crate::peer_id::PeerId;
use crate::time::Time;
use crate::used_keys::KeyDigest;
use crate::wire::KeyId;

/// Whether a key that is new to a peer is also new to the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Novelty {
    /// No peer is known to have had it.
    New,
    /// Another peer of this device has it, or a former peer had it, so nonces repeat.
    HadByAnother,
}

impl<A: Aead, T: Clone> Device<A, T> {
    /// Puts a key into a slot, replacing what is there (dco-behaviour 2.10).
    ///
    /// # Errors
    /// [`PeerError::NoSuchPeer`].
    pub fn install_key(&mut self, id: PeerId, slot: Slot, key: Key<A>) -> Result<(), PeerError> {
        let mut peer = self.peer(id)?;
        peer.keys.put(slot, Some(key));
        self.peers.replace(peer);
        Ok(())
    }

    /// Installs a key as [`Device::install_key`] does, but only once per peer: its packet ids start at 1, so a second
    /// installation would seal other packets under the same nonces (promises B9).
    ///
    /// # Errors
    /// [`PeerError::NoSuchPeer`], [`PeerError::KeyUsed`].
    pub fn install_key_once(
        &mut self,
        id: PeerId,
        slot: Slot,
        key: Key<A>,
        digest: KeyDigest,
    ) -> Result<Novelty, PeerError> {
        let mut peer = self.peer(id)?;
        if peer.used_keys.contains(digest) {
            return Err(PeerError::KeyUsed);
        }
        peer.used_keys.add(digest);
        peer.keys.put(slot, Some(key));
        self.peers.replace(peer);
        if self.recent_keys.contains(digest) {
            return Ok(Novelty::HadByAnother);
        }
        self.recent_keys.add(digest);
        Ok(Novelty::New)
    }

    /// Empties a slot, if it is not empty already (dco-behaviour 2.13).
    ///
    /// # Errors
    /// [`PeerError::NoSuchPeer`].
    pub fn delete_key(&mut self, id: PeerId, slot: Slot) -> Result<(), PeerError> {
        let mut peer = self.peer(id)?;
        peer.keys.put(slot, None);
        self.peers.replace(peer);
        Ok(())
    }

    /// Empties a slot as [`Device::delete_key`] does, but a key that the peer may still use opens packets until
    /// `until`: the secondary, as long as the primary has opened none.
    ///
    /// At a renegotiation OpenVPN swaps the keys and deletes the old one at one end before the other end has stopped
    /// sending with it; the kernel driver loses the packets in between.
    ///
    /// # Errors
    /// [`PeerError::NoSuchPeer`].
    pub fn retire_key(&mut self, id: PeerId, slot: Slot, until: Time) -> Result<(), PeerError> {
        let mut peer = self.peer(id)?;
        let primary = peer.keys.at(Slot::Primary);
        if slot == Slot::Secondary && primary.is_some_and(|key| !key.has_opened()) {
            peer.keys.retire(slot, until);
        } else {
            peer.keys.put(slot, None);
            peer.keys.forget_retired();
        }
        self.peers.replace(peer);
        Ok(())
    }

    /// Swaps the slots, empty or not (dco-behaviour 2.12).
    ///
    /// # Errors
    /// [`PeerError::NoSuchPeer`].
    pub fn swap_keys(&mut self, id: PeerId) -> Result<(), PeerError> {
        let mut peer = self.peer(id)?;
        peer.keys.swap();
        self.peers.replace(peer);
        Ok(())
    }

    /// Finds primary keys for which a rekey is due, and deletes those whose packet ids are used up (dco-behaviour 5.6).
    /// Returns the former, and whether any key was deleted.
    pub(super) fn tend_keys(&mut self) -> (Vec<(PeerId, KeyId)>, bool) {
        let mut rekey_due = Vec::new();
        let mut used_up = Vec::new();
        for peer in self.peers.iter() {
            let Some(key) = peer.keys.at(Slot::Primary) else {
                continue;
            };
            if key.take_rekey_due() {
                rekey_due.push((peer.id, key.id()));
            }
            if key.is_used_up() {
                used_up.push(peer.id);
            }
        }
        for id in &used_up {
            // Cannot fail: the peer is still there.
            let _ = self.delete_key(*id, Slot::Primary);
        }
        (rekey_due, !used_up.is_empty())
    }
}
