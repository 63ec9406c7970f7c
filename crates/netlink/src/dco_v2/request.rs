//! Requests: decoded, with the checks that need only the message and the device's mode, and written by clients.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::schema::{key_direction, new_key, new_peer, set_peer};
use super::{address, invalid, sockaddr, u32_of};
use crate::rejection::Rejection;
use crate::tlv::{Attribute, Members, Writer};
use crate::{Api, CipherAlg, Keepalive, KeyDirection, KeyNew, Mode, PeerNew, PeerSet, Slot};

/// The highest peer id that fits into a packet. The module's policy accepts any 32 bits.
const MAX_PEER_ID: u32 = 0xff_ffff;

/// NEW_PEER, checked as far as the message and the device's mode allow.
pub(super) fn new_peer(members: &Members<'_>, mode: Mode) -> Result<PeerNew, Rejection> {
    let id = peer_id(members, new_peer::PEER_ID)?;
    let socket = u32_of(members, new_peer::SOCKET)?;
    let vpn4 = members
        .find(new_peer::IPV4)
        .and_then(|found| found.array::<4>());
    let vpn6 = members
        .find(new_peer::IPV6)
        .and_then(|found| found.array::<16>());
    if mode == Mode::Mp && vpn4.is_none() && vpn6.is_none() {
        return Err(invalid());
    }
    // The module reads a remote only for UDP sockets, and then treats an invalid one as absent. The engine knows the
    // kind of the socket.
    let remote = members
        .find(new_peer::SOCKADDR_REMOTE)
        .and_then(|found| sockaddr::decode(found.payload));
    let local = members
        .find(new_peer::LOCAL_IP)
        .map(|found| address(found.payload))
        .transpose()?;
    if let (Some(local), Some(remote)) = (local, remote)
        && local.is_ipv4() != remote.is_ipv4()
    {
        return Err(invalid());
    }
    Ok(PeerNew {
        remote,
        local: local.filter(|_| remote.is_some()),
        // In P2P mode they are accepted and have no effect.
        vpn4: vpn4.map(Ipv4Addr::from).filter(|_| mode == Mode::Mp),
        vpn6: vpn6.map(Ipv6Addr::from).filter(|_| mode == Mode::Mp),
        ..PeerNew::new(Api::DcoV2, id, socket)
    })
}

/// Writes the members of NEW_PEER.
pub(super) fn write_new_peer(nest: &mut Writer, new: &PeerNew) {
    nest.u32(new_peer::PEER_ID, new.id);
    if let Some(remote) = &new.remote {
        nest.put(new_peer::SOCKADDR_REMOTE, &sockaddr::encode(remote));
    }
    nest.u32(new_peer::SOCKET, new.socket);
    if let Some(address) = new.vpn4 {
        nest.put(new_peer::IPV4, &address.octets());
    }
    if let Some(address) = new.vpn6 {
        nest.put(new_peer::IPV6, &address.octets());
    }
    match new.local {
        Some(IpAddr::V4(local)) => nest.put(new_peer::LOCAL_IP, &local.octets()),
        Some(IpAddr::V6(local)) => nest.put(new_peer::LOCAL_IP, &local.octets()),
        None => {}
    }
}

/// SET_PEER; `None` if there is nothing to set, which succeeds: the two values take effect only together.
pub(super) fn set_peer(members: &Members<'_>) -> Result<Option<PeerSet>, Rejection> {
    let id = peer_id(members, set_peer::PEER_ID)?;
    let (Some(interval), Some(timeout)) = (
        members
            .find(set_peer::KEEPALIVE_INTERVAL)
            .and_then(|found| found.u32()),
        members
            .find(set_peer::KEEPALIVE_TIMEOUT)
            .and_then(|found| found.u32()),
    ) else {
        return Ok(None);
    };
    Ok(Some(PeerSet {
        id,
        keepalive: Some(Keepalive { interval, timeout }),
        ..PeerSet::default()
    }))
}

/// Writes the members of SET_PEER.
pub(super) fn write_set_peer(nest: &mut Writer, set: &PeerSet) {
    nest.u32(set_peer::PEER_ID, set.id);
    if let Some(keepalive) = set.keepalive {
        nest.u32(set_peer::KEEPALIVE_INTERVAL, keepalive.interval);
        nest.u32(set_peer::KEEPALIVE_TIMEOUT, keepalive.timeout);
    }
}

/// NEW_KEY; the key is borrowed from the request.
pub(super) fn new_key<'a>(members: &Members<'a>) -> Result<KeyNew<'a>, Rejection> {
    let key_id = members.find(new_key::KEY_ID).and_then(|found| found.u8());
    let algorithm = members
        .find(new_key::CIPHER_ALG)
        .and_then(|found| found.u16());
    Ok(KeyNew {
        peer: peer_id(members, new_key::PEER_ID)?,
        slot: slot(members, new_key::KEY_SLOT)?,
        key_id: key_id.filter(|id| *id <= 7).ok_or_else(invalid)?,
        cipher: algorithm
            .and_then(|number| CipherAlg::of(u32::from(number)))
            .ok_or_else(invalid)?,
        encrypt: direction(members.find(new_key::ENCRYPT_KEY))?,
        decrypt: direction(members.find(new_key::DECRYPT_KEY))?,
    })
}

/// Writes the members of NEW_KEY.
pub(super) fn write_new_key(nest: &mut Writer, key: &KeyNew<'_>) {
    nest.u32(new_key::PEER_ID, key.peer);
    nest.u8(new_key::KEY_SLOT, key.slot as u8);
    nest.u8(new_key::KEY_ID, key.key_id);
    nest.u16(new_key::CIPHER_ALG, key.cipher.number() as u16);
    let direction = |nest: &mut Writer, direction: &KeyDirection<'_>| {
        nest.put(key_direction::CIPHER_KEY, direction.key);
        nest.put(key_direction::NONCE_TAIL, &direction.nonce_tail);
    };
    nest.nest(new_key::ENCRYPT_KEY, |nest| direction(nest, &key.encrypt));
    nest.nest(new_key::DECRYPT_KEY, |nest| direction(nest, &key.decrypt));
}

fn direction(nest: Option<Attribute<'_>>) -> Result<KeyDirection<'_>, Rejection> {
    let members = Members::of(nest.ok_or_else(invalid)?.members());
    let key = members
        .find(key_direction::CIPHER_KEY)
        .ok_or_else(invalid)?
        .payload;
    let nonce_tail = members
        .find(key_direction::NONCE_TAIL)
        .and_then(|found| found.array());
    Ok(KeyDirection {
        key,
        nonce_tail: nonce_tail.ok_or_else(invalid)?,
    })
}

/// The id of a peer.
pub(super) fn peer_id(members: &Members<'_>, member: u16) -> Result<u32, Rejection> {
    let id = u32_of(members, member)?;
    if id > MAX_PEER_ID {
        return Err(invalid());
    }
    Ok(id)
}

/// The slot of a key.
pub(super) fn slot(members: &Members<'_>, member: u16) -> Result<Slot, Rejection> {
    match members.find(member).and_then(|found| found.u8()) {
        Some(0) => Ok(Slot::Primary),
        Some(1) => Ok(Slot::Secondary),
        _ => Err(invalid()),
    }
}
