//! A packet's way out: from an inner packet to a record for its peer (dco-behaviour 1.6, 5.1, in their order).

use alloc::sync::Arc;
use core::ops::RangeInclusive;

use crate::aead::Aead;
use crate::device::Mode;
use crate::drop_reason::DropReason;
use crate::ip;
use crate::key::{Key, Slot};
use crate::mss;
use crate::peer::Peer;
use crate::time::Time;
use crate::view::View;
use crate::wire::{KEEPALIVE, OVERHEAD};

/// Finds the peer for an inner packet, split already or not.
///
/// # Errors
/// [`DropReason::TxNotIp`]; [`DropReason::TxNoPeer`] if no peer has the next hop's address, or there is no peer; for a
/// group of hosts that is [`DropReason::TxMulticast`], as the kernel itself sends to some whenever the device comes up.
pub fn select<'v, A, T: Clone>(
    view: &View<'v, A, T>,
    packet: &[u8],
) -> Result<&'v Arc<Peer<A, T>>, DropReason> {
    let addresses = ip::addresses(packet).ok_or(DropReason::TxNotIp)?;
    let peer = match view.mode {
        Mode::P2p => view.peers.only(),
        Mode::Mp => view.owner(addresses.destination),
    };
    peer.ok_or_else(|| match ip::is_group(addresses.destination) {
        true => DropReason::TxMulticast,
        false => DropReason::TxNoPeer,
    })
}

/// Seals what one packet of the device was split into.
pub struct Sealer<'v, A, T> {
    peer: &'v Arc<Peer<A, T>>,
    key: &'v Key<A>,
    packet_ids: RangeInclusive<u32>,
    inner_limit: usize,
    now: Time,
    /// What was sealed so far, which is counted at the end: once for a super-packet.
    sealed: (u64, u64),
}

impl<'v, A: Aead, T: Clone> Sealer<'v, A, T> {
    /// Prepares to seal `packets` packets for a peer, `bytes` bytes in all, that came from the device as one. Packet ids
    /// are taken, and the packets counted as taken for this peer (dco-behaviour 5.9: before the key is looked up). Each
    /// counts, as it does at the other end, which never sees the super-packet (faults E10).
    ///
    /// # Errors
    /// [`DropReason::TxNoKey`], [`DropReason::TxPacketIdsUsedUp`].
    pub fn new(
        peer: &'v Arc<Peer<A, T>>,
        packets: usize,
        bytes: usize,
        now: Time,
    ) -> Result<Self, DropReason> {
        peer.activity
            .vpn_tx
            .count_many(packets as u64, bytes as u64);
        let key = peer.keys.at(Slot::Primary).ok_or(DropReason::TxNoKey)?;
        let count = u32::try_from(packets).unwrap_or(u32::MAX);
        let packet_ids = key
            .packet_ids()
            .reserve(count)
            .ok_or(DropReason::TxPacketIdsUsedUp)?;
        let inner_limit = peer.inner_limit();
        Ok(Self {
            peer,
            key,
            packet_ids,
            inner_limit,
            now,
            sealed: (0, 0),
        })
    }

    /// Makes a record, in place: `record` is [`OVERHEAD`] bytes of room, then a packet. Link counters and the peer's time
    /// of sending are updated when the sealer is dropped.
    ///
    /// # Errors
    /// [`DropReason::TxPacketIdsUsedUp`] if there are fewer packet ids than packets; [`DropReason::TxSealFailed`].
    pub fn seal(&mut self, record: &mut [u8]) -> Result<(), DropReason> {
        let packet_id = self
            .packet_ids
            .next()
            .ok_or(DropReason::TxPacketIdsUsedUp)?;
        let packet = record.get_mut(OVERHEAD..).ok_or(DropReason::TxSealFailed)?;
        mss::clamp(packet, self.inner_limit);
        self.key.seal(self.peer.tx_id, packet_id, record)?;
        let (records, bytes) = &mut self.sealed;
        *records += 1;
        *bytes += record.len() as u64;
        Ok(())
    }
}

impl<A, T> Drop for Sealer<'_, A, T> {
    fn drop(&mut self) {
        let (records, bytes) = self.sealed;
        if records > 0 {
            self.peer.activity.link_tx.count_many(records, bytes);
            self.peer.activity.sent(self.now);
        }
    }
}

/// Makes a keepalive for a peer (dco-behaviour 1.3, 5.8). It counts as sent, not as an inner packet.
///
/// # Errors
/// [`DropReason::TxNoKey`], [`DropReason::TxPacketIdsUsedUp`], [`DropReason::TxSealFailed`]; the next tick tries again.
pub fn seal_keepalive<A: Aead, T>(
    peer: &Peer<A, T>,
    record: &mut [u8; OVERHEAD + KEEPALIVE.len()],
    now: Time,
) -> Result<(), DropReason> {
    if let Some(payload) = record.get_mut(OVERHEAD..) {
        payload.copy_from_slice(&KEEPALIVE);
    }
    let key = peer.keys.at(Slot::Primary).ok_or(DropReason::TxNoKey)?;
    let packet_id = *key
        .packet_ids()
        .reserve(1)
        .ok_or(DropReason::TxPacketIdsUsedUp)?
        .start();
    key.seal(peer.tx_id, packet_id, record)?;
    peer.activity.link_tx.count(record.len());
    peer.activity.sent(now);
    Ok(())
}
