//! The transmit path: from an inner packet to a record for its peer (dco-behaviour 1.6, 5.1).

use alloc::sync::Arc;

use crate::aead::Aead;
use crate::device::Mode;
use crate::drop_reason::DropReason;
use crate::ip;
use crate::key::Reserved;
use crate::key_slots::Slot;
use crate::mss::{self, MssFix};
use crate::peer::Peer;
use crate::recursion;
use crate::time::Time;
use crate::view::View;
use crate::wire::{Format, KEEPALIVE, OVERHEAD};

/// Finds the peer for an inner packet, or for a super-packet.
///
/// # Errors
/// [`DropReason::TxNotIp`]; [`DropReason::TxNoPeer`] if no peer has the next hop's address, but
/// [`DropReason::TxMulticast`] if the destination is a group, since the kernel itself sends to groups whenever the
/// device comes up; [`DropReason::TxRecursive`].
pub fn select<'v, A, T: Clone>(
    view: &View<'v, A, T>,
    packet: &[u8],
) -> Result<&'v Arc<Peer<A, T>>, DropReason> {
    let addresses = ip::addresses(packet).ok_or(DropReason::TxNotIp)?;
    let peer = match view.mode {
        Mode::P2p => view.peers.only(),
        Mode::Mp => view.owner(addresses.destination),
    };
    let peer = peer.ok_or_else(|| match ip::is_group(addresses.destination) {
        true => DropReason::TxMulticast,
        false => DropReason::TxNoPeer,
    })?;
    if peer.is_reached_at(addresses.destination) && is_recursive(peer, packet) {
        return Err(DropReason::TxRecursive);
    }
    Ok(peer)
}

/// Checks peers over UDP; over TCP only the stream knows the peer's address.
#[cold]
fn is_recursive<A, T>(peer: &Peer<A, T>, packet: &[u8]) -> bool {
    let endpoint = peer.endpoint();
    endpoint.is_some_and(|endpoint| recursion::is_for(packet, endpoint.remote, recursion::UDP))
}

/// Seals the packets into which one packet of the device was split.
pub struct Sealer<'v, A, T> {
    peer: &'v Arc<Peer<A, T>>,
    packet_ids: Reserved<'v, A>,
    inner_limit: usize,
    now: Time,
    /// Records and bytes sealed so far; counted at the end, once for a super-packet.
    sealed: (u64, u64),
}

impl<'v, A: Aead, T: Clone> Sealer<'v, A, T> {
    /// Prepares to seal `packets` packets for a peer, `bytes` bytes in all, that came from the device as one. Reserves
    /// packet ids, and counts the packets as accepted for this peer (dco-behaviour 5.9: before the key is looked up).
    /// Each packet counts, as it does at the other end, which never sees the super-packet (faults E10).
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
        let packet_ids = key.reserve(count).ok_or(DropReason::TxPacketIdsUsedUp)?;
        let inner_limit = peer.inner_limit();
        Ok(Self {
            peer,
            packet_ids,
            inner_limit,
            now,
            sealed: (0, 0),
        })
    }

    /// Sets the limit of TCP segments, which is the path's by default.
    #[must_use]
    pub fn with_mssfix(mut self, mssfix: MssFix) -> Self {
        self.inner_limit = mssfix.limit(self.peer);
        self
    }

    /// The wire format of the records.
    #[must_use]
    pub fn format(&self) -> Format {
        self.peer.keys.format()
    }

    /// Makes a record, in place: `record` is a packet surrounded by the room that [`Sealer::format`] requires. Link
    /// counters and the peer's time of sending are updated when the sealer is dropped.
    ///
    /// # Errors
    /// [`DropReason::TxPacketIdsUsedUp`] if there are fewer packet ids than packets; [`DropReason::TxSealFailed`].
    pub fn seal(&mut self, record: &mut [u8]) -> Result<(), DropReason> {
        let packet_id = self
            .packet_ids
            .next()
            .ok_or(DropReason::TxPacketIdsUsedUp)?;
        let parts = self.format().split(record);
        let packet = parts.ok_or(DropReason::TxSealFailed)?.payload;
        mss::clamp(packet, self.inner_limit);
        packet_id.seal(self.peer.tx_id, record)?;
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

/// Seals a keepalive for a peer (dco-behaviour 1.3, 5.8). It counts as a link packet, not as an inner one.
///
/// # Errors
/// [`DropReason::TxNoKey`], [`DropReason::TxPacketIdsUsedUp`], [`DropReason::TxSealFailed`]; the next tick tries again.
pub fn seal_keepalive<A: Aead, T>(
    peer: &Peer<A, T>,
    record: &mut [u8; OVERHEAD + KEEPALIVE.len()],
    now: Time,
) -> Result<(), DropReason> {
    let key = peer.keys.at(Slot::Primary).ok_or(DropReason::TxNoKey)?;
    let parts = key.format().split(record);
    let payload = parts.and_then(|parts| <&mut [u8; _]>::try_from(parts.payload).ok());
    *payload.ok_or(DropReason::TxSealFailed)? = KEEPALIVE;
    let packet_id = key.next_packet_id().ok_or(DropReason::TxPacketIdsUsedUp)?;
    packet_id.seal(peer.tx_id, record)?;
    peer.activity.link_tx.count(record.len());
    peer.activity.sent(now);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Toy, at, device, new_peer, packet};
    use crate::{Device, Endpoint, PeerId, Routes};

    /// A UDP packet of any length, split already or not.
    fn udp(destination: [u8; 4], port: u16) -> Vec<u8> {
        let mut packet = packet([10, 8, 0, 9], destination);
        packet[9] = recursion::UDP;
        packet.extend_from_slice(&[0, 9]);
        packet.extend_from_slice(&port.to_be_bytes());
        packet.resize(60_000, 7);
        packet
    }

    fn selected(device: &Device<Toy, ()>, packet: &[u8]) -> Result<u32, DropReason> {
        let routes = Routes::new(1);
        let view = View::new(device.mode(), device.peers(), &routes);
        select(&view, packet).map(|peer| peer.id.value())
    }

    #[test]
    fn a_packet_for_the_peers_endpoint_finds_no_peer() {
        let recursive = Err(DropReason::TxRecursive);
        let mut device = Device::<Toy, ()>::new(Mode::P2p, 1);
        device.add_peer(new_peer(7), Time::default()).unwrap();
        assert_eq!(selected(&device, &udp([192, 0, 2, 1], 7)), recursive);
        assert_eq!(selected(&device, &udp([192, 0, 2, 1], 8)), Ok(7));
        assert_eq!(selected(&device, &udp([192, 0, 2, 2], 7)), Ok(7));
        // What counts is where it is now.
        let remote = at(8);
        device.float(
            PeerId::from(7),
            Endpoint {
                remote,
                local: None,
            },
        );
        assert_eq!(selected(&device, &udp([192, 0, 2, 1], 7)), Ok(7));
        assert_eq!(selected(&device, &udp([192, 0, 2, 1], 8)), recursive);
    }

    #[test]
    fn a_packet_routed_back_to_its_own_peer_is_recursive() {
        let mut device = device(&[1, 2]);
        // A peer whose VPN address is its outer one, as a route to itself would have it.
        let change = crate::PeerChange {
            vpn4: Some([192, 0, 2, 1].into()),
            ..Default::default()
        };
        device
            .change_peer(PeerId::from(1), change, Time::default())
            .unwrap();
        let to_1 = udp([192, 0, 2, 1], 1);
        assert_eq!(selected(&device, &to_1), Err(DropReason::TxRecursive));
        assert_eq!(
            selected(&device, &udp([192, 0, 2, 1], 2)),
            Ok(1),
            "of another peer"
        );
    }
}
