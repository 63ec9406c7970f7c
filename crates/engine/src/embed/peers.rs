//! OpenVPN's requests by the API: peers and keys.

use std::sync::Arc;

use udco_core::{Key, NewPeer, PeerChange, PeerError, PeerId, Slot, Time};
use udco_crypto::DirectionKey;
use udco_netlink::DeleteReason;
use udco_sys::Netns;

use super::{DataPath, Transport};
use crate::datapath::worker::Order;
use crate::io::Io;

impl<I: Io> DataPath<I> {
    /// Adds a peer, `PEER_NEW` of the API.
    ///
    /// # Errors
    /// As [`udco_core::Device::add_peer`].
    pub fn add_peer(&self, new: NewPeer<&Transport<I>>, now: Time) -> Result<(), PeerError> {
        let (id, transport) = (new.id, Arc::clone(&new.transport.0));
        let new = NewPeer {
            id,
            tx_id: new.tx_id,
            vpn4: new.vpn4,
            vpn6: new.vpn6,
            endpoint: new.endpoint,
            keepalive: new.keepalive,
            transport: Arc::clone(&transport),
        };
        self.device.change(|state| {
            state.measure(id);
            let replaced = state.core.add_peer(new, now)?;
            transport.attach(id);
            if let Some(replaced) = replaced {
                let ended = self.device.ended(&replaced, DeleteReason::Teardown, now);
                state.notify(Netns::UNKNOWN, ended);
            }
            Ok(())
        })
    }

    /// Changes a peer, `PEER_SET`.
    ///
    /// # Errors
    /// As [`udco_core::Device::change_peer`].
    pub fn change_peer(&self, id: PeerId, change: PeerChange, now: Time) -> Result<(), PeerError> {
        self.device
            .change(|state| state.core.change_peer(id, change, now))
    }

    /// Removes a peer, `PEER_DEL`.
    ///
    /// # Errors
    /// [`PeerError::NoSuchPeer`].
    pub fn remove_peer(&self, id: PeerId, now: Time) -> Result<(), PeerError> {
        self.device.change(|state| {
            let removed = state.core.remove_peer(id)?;
            let ended = self.device.ended(&removed, DeleteReason::Userspace, now);
            state.notify(Netns::UNKNOWN, ended);
            Ok(())
        })
    }

    /// Installs a key, `KEY_NEW`, and has packets that came before it tried again. It is not checked whether the peer
    /// has had this key before.
    ///
    /// # Errors
    /// [`PeerError::NoSuchPeer`].
    pub fn install_key(
        &self,
        peer: PeerId,
        slot: Slot,
        key: Key<DirectionKey>,
    ) -> Result<(), PeerError> {
        self.device
            .change(|state| state.core.install_key(peer, slot, key))?;
        for worker in &self.workers {
            worker.shared.order(Order::Retry);
        }
        Ok(())
    }

    /// Exchanges a peer's keys, `KEY_SWAP`.
    ///
    /// # Errors
    /// [`PeerError::NoSuchPeer`].
    pub fn swap_keys(&self, peer: PeerId) -> Result<(), PeerError> {
        self.device.change(|state| state.core.swap_keys(peer))
    }

    /// Deletes a key, `KEY_DEL`; until then it may go on to open packets.
    ///
    /// # Errors
    /// [`PeerError::NoSuchPeer`].
    pub fn retire_key(&self, peer: PeerId, slot: Slot, until: Time) -> Result<(), PeerError> {
        self.device
            .change(|state| state.core.retire_key(peer, slot, until))
    }
}
