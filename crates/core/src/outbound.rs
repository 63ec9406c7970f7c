//! A packet's way out: from an inner packet to a record for its peer (dco-behaviour 1.6, 5.1, in their order).

use alloc::sync::Arc;

use crate::aead::Aead;
use crate::device::Mode;
use crate::drop_reason::DropReason;
use crate::ip;
use crate::key::Slot;
use crate::mss;
use crate::peer::Peer;
use crate::time::Time;
use crate::view::View;
use crate::wire::{KEEPALIVE, OVERHEAD};

/// Makes a record of an inner packet, in place: `record` is [`OVERHEAD`] bytes of room, then the packet. Counters and
/// the peer's time of sending are updated here. Returns the peer to send it to.
///
/// # Errors
/// [`DropReason::TxNotIp`]; [`DropReason::TxNoPeer`] if no peer has the next hop's address, or there is no peer;
/// [`DropReason::TxNoKey`], [`DropReason::TxPacketIdsUsedUp`], [`DropReason::TxSealFailed`].
pub fn seal<'v, A: Aead, T: Clone>(
    view: &View<'v, A, T>,
    record: &mut [u8],
    now: Time,
) -> Result<&'v Arc<Peer<A, T>>, DropReason> {
    let packet = record.get_mut(OVERHEAD..).ok_or(DropReason::TxNotIp)?;
    let addresses = ip::addresses(packet).ok_or(DropReason::TxNotIp)?;
    let peer = match view.mode {
        Mode::P2p => view.peers.only(),
        // dco-behaviour 5.1: the owner of the next hop's address, whatever the destination.
        Mode::Mp => view
            .peers
            .by_vpn_address(view.routes.next_hop(addresses.destination)),
    };
    let peer = peer.ok_or(DropReason::TxNoPeer)?;
    // dco-behaviour 5.9: counted before the key is looked up.
    peer.activity.vpn_tx.count(packet.len());
    mss::clamp(packet, view.inner_limit(peer));
    seal_for(peer, record)?;
    peer.activity.link_tx.count(record.len());
    peer.activity.sent(now);
    Ok(peer)
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
    seal_for(peer, record)?;
    peer.activity.link_tx.count(record.len());
    peer.activity.sent(now);
    Ok(())
}

/// Seals a record with the primary key under a fresh packet id.
fn seal_for<A: Aead, T>(peer: &Peer<A, T>, record: &mut [u8]) -> Result<(), DropReason> {
    let key = peer.keys.at(Slot::Primary).ok_or(DropReason::TxNoKey)?;
    let packet_id = *key
        .packet_ids()
        .reserve(1)
        .ok_or(DropReason::TxPacketIdsUsedUp)?
        .start();
    key.seal(peer.tx_id, packet_id, record)
}
