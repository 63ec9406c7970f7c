//! The receive path: from a transport datagram to an inner packet, in the order of dco-behaviour 1.5.

use alloc::sync::Arc;
use core::net::{IpAddr, SocketAddr};

use crate::aead::Aead;
use crate::device::Mode;
use crate::drop_reason::DropReason;
use crate::endpoint::Endpoint;
use crate::ip;
use crate::mss;
use crate::peer::Peer;
use crate::peer_id::PeerId;
use crate::time::Time;
use crate::view::View;
use crate::wire::{Datagram, KEEPALIVE, classify};

/// Where a datagram came from, and at which address of ours it arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Source address; IPv4 never as v4-mapped IPv6.
    pub remote: SocketAddr,
    /// Destination address, if the socket reports it.
    pub local: Option<IpAddr>,
}

/// The outcome for a datagram.
pub enum Inbound<'d, A, T> {
    /// Not a data packet: for OpenVPN.
    Control,
    /// A data packet that passed every check.
    Data {
        /// Its sender.
        peer: &'d Arc<Peer<A, T>>,
        /// Its contents.
        payload: Payload<'d>,
        /// The peer has moved here. The caller notes it ([`Activity::note_endpoint`]), then follows it
        /// ([`crate::Device::float`]).
        ///
        /// [`Activity::note_endpoint`]: crate::Activity::note_endpoint
        floated: Option<Endpoint>,
    },
    /// Dropped.
    Dropped {
        /// Why.
        reason: DropReason,
        /// The peer has moved here nevertheless: the packet was authentic.
        floated: Option<(&'d Arc<Peer<A, T>>, Endpoint)>,
    },
}

/// The contents of an authentic data packet.
#[derive(Debug, PartialEq, Eq)]
pub enum Payload<'d> {
    /// An IP packet for the device. The receiver counts it ([`crate::Activity::vpn_rx`]) when it is delivered.
    Packet(&'d mut [u8]),
    /// A keepalive.
    Keepalive,
}

/// Processes a datagram of a UDP socket in place. Updates the link counters and the time of the peer's last packet.
///
/// A datagram that is dropped for [`DropReason::RxUnknownKeyId`] is unchanged, and may be tried again with
/// [`receive_again`] once the peer has another key.
pub fn receive<'v: 'd, 'd, A: Aead, T: Clone>(
    view: &View<'v, A, T>,
    datagram: &'d mut [u8],
    origin: Origin,
    now: Time,
) -> Inbound<'d, A, T> {
    take_apart(
        view,
        datagram,
        Source::Datagram(origin),
        now,
        Attempt::First,
    )
}

/// Like [`receive`], for a datagram that has already been counted.
pub fn receive_again<'v: 'd, 'd, A: Aead, T: Clone>(
    view: &View<'v, A, T>,
    datagram: &'d mut [u8],
    origin: Origin,
    now: Time,
) -> Inbound<'d, A, T> {
    take_apart(
        view,
        datagram,
        Source::Datagram(origin),
        now,
        Attempt::Again,
    )
}

/// Like [`receive`], for a packet of `peer`'s TCP stream: its peer id is ignored, and it never moves the peer
/// (dco-behaviour 5.2, 5.4).
pub fn receive_stream<'v: 'd, 'd, A: Aead, T: Clone>(
    view: &View<'v, A, T>,
    peer: &'d Arc<Peer<A, T>>,
    packet: &'d mut [u8],
    now: Time,
) -> Inbound<'d, A, T> {
    take_apart(view, packet, Source::Stream(peer), now, Attempt::First)
}

/// Like [`receive_stream`], for a packet that has already been counted.
pub fn receive_stream_again<'v: 'd, 'd, A: Aead, T: Clone>(
    view: &View<'v, A, T>,
    peer: &'d Arc<Peer<A, T>>,
    packet: &'d mut [u8],
    now: Time,
) -> Inbound<'d, A, T> {
    take_apart(view, packet, Source::Stream(peer), now, Attempt::Again)
}

/// How a packet's peer is found.
enum Source<'d, A, T> {
    Datagram(Origin),
    Stream(&'d Arc<Peer<A, T>>),
}

impl<A, T> Clone for Source<'_, A, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<A, T> Copy for Source<'_, A, T> {}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Attempt {
    First,
    Again,
}

fn take_apart<'v: 'd, 'd, A: Aead, T: Clone>(
    view: &View<'v, A, T>,
    datagram: &'d mut [u8],
    source: Source<'d, A, T>,
    now: Time,
    attempt: Attempt,
) -> Inbound<'d, A, T> {
    let drop = |reason| Inbound::Dropped {
        reason,
        floated: None,
    };
    let (key_id, peer_id) = match classify(datagram) {
        Ok(Datagram::Data { key_id, peer_id }) => (key_id, peer_id),
        Ok(Datagram::Control) => return Inbound::Control,
        Err(reason) => return drop(reason),
    };
    // dco-behaviour 5.2: by id whatever the source, or by source if the id is undefined.
    let peer = match (source, peer_id) {
        (Source::Stream(peer), _) => Some(peer),
        (Source::Datagram(origin), PeerId::UNDEFINED) => view.peers.by_remote(origin.remote),
        (Source::Datagram(_), id) => view.by_id(id),
    };
    let Some(peer) = peer else {
        return drop(DropReason::RxNoPeer);
    };
    if attempt == Attempt::First {
        peer.activity.link_rx.count(datagram.len());
    }

    let Some(key) = peer.keys.by_key_id(key_id, now) else {
        return drop(DropReason::RxUnknownKeyId);
    };
    let opened = match key.open(datagram, now) {
        Ok(opened) => opened,
        Err(reason) => return drop(reason),
    };

    // Authentic and new: the peer is alive and at this address, whatever the contents.
    peer.activity.received(now);
    // Only the newest packet moves the peer; a late one from its old address must not move it back
    // (design decision 10).
    let floated = match source {
        Source::Datagram(origin) if opened.newest => {
            moved(peer, origin).filter(|_| peer.keys.may_move(key, now))
        }
        _ => None,
    };
    let drop = |reason| Inbound::Dropped {
        reason,
        floated: floated.map(|endpoint| (peer, endpoint)),
    };
    let payload = opened.payload;
    let Some(addresses) = ip::addresses(payload) else {
        return match payload {
            [] => drop(DropReason::RxEmpty),
            payload if *payload == KEEPALIVE => Inbound::Data {
                peer,
                payload: Payload::Keepalive,
                floated,
            },
            _ => drop(DropReason::RxNotIp),
        };
    };
    if view.mode == Mode::Mp && !owns(view, peer, addresses.source) {
        return drop(spoofed(view, &addresses));
    }
    mss::clamp(payload, view.mssfix.limit(peer));
    Inbound::Data {
        peer,
        payload: Payload::Packet(payload),
        floated,
    }
}

/// The reverse-path check (dco-behaviour 5.3): packets to this address would go to this peer.
fn owns<A, T: Clone>(view: &View<'_, A, T>, peer: &Peer<A, T>, source: IpAddr) -> bool {
    view.owner(source).is_some_and(|owner| owner.id == peer.id)
}

/// Why to drop a packet whose source does not belong to its sender. Another peer's address is never housekeeping.
#[cold]
fn spoofed<A, T: Clone>(view: &View<'_, A, T>, addresses: &ip::Addresses) -> DropReason {
    if ip::is_housekeeping(addresses) && view.owner(addresses.source).is_none() {
        DropReason::RxLinkLocal
    } else {
        DropReason::RxSpoofedSource
    }
}

/// The endpoint of a packet's origin, unless it is the one noted last (dco-behaviour 5.4).
fn moved<A, T>(peer: &Peer<A, T>, origin: Origin) -> Option<Endpoint> {
    let known = peer.endpoint()?;
    // If the socket does not report the local address, keep the one we know.
    let local = origin.local.or(known.local);
    let endpoint = Endpoint {
        remote: origin.remote,
        local,
    };
    (!peer.activity.is_noted(&endpoint)).then_some(endpoint)
}

#[cfg(test)]
mod float_tests;
#[cfg(test)]
mod tests;
