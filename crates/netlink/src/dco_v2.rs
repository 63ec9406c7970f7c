//! The family `ovpn-dco-v2` of the out-of-tree module and OpenVPN 2.6 (dco-behaviour 3.1).
//!
//! The module says nothing in words: its refusals are bare numbers.

pub(crate) mod client;
mod schema;
mod sockaddr;

pub(crate) use schema::FAMILY;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::answer::Answers;
use crate::message::{self, Request};
use crate::numbers::NLM_F_MULTI;
use crate::rejection::Rejection;
use crate::requester::Requester;
use crate::tlv::{Attribute, Members, Writer};
use crate::{
    Api, CipherAlg, Errno, Keepalive, KeyDirection, KeyNew, Mode, NoDevice, Notification, PeerNew,
    PeerSet, PeerState, Refused, Service, Slot,
};

use self::schema::{
    cipher, command, del_key, del_peer, get_peer, key_direction, new_key, new_peer, set_peer, top,
};

/// The highest peer id that fits into a packet. The module's policy takes any 32 bits, its packets
/// don't.
const MAX_PEER_ID: u32 = 0xff_ffff;

/// Carries out a validated plain request; [`crate::serve()`] adds the ACK.
pub(crate) fn plain(
    requester: &Requester,
    request: &Request<'_>,
    service: &mut dyn Service,
    answers: &mut Answers,
) -> Result<(), Rejection> {
    let members = Members::of(request.attributes());
    let (ifindex, mode) = device(&members, service)?;
    let nest = |number| {
        members
            .find(number)
            .map(|nest| Members::of(nest.members()))
            .ok_or_else(invalid)
    };
    match request.command {
        command::NEW_PEER => {
            let peer = decode_new_peer(&nest(top::NEW_PEER)?, mode)?;
            service.peer_new(ifindex, &peer).map_err(refused)
        }
        command::SET_PEER => match decode_set_peer(&nest(top::SET_PEER)?)? {
            Some(peer) => service.peer_set(ifindex, &peer).map_err(refused),
            None => Ok(()),
        },
        command::DEL_PEER => {
            let id = peer_id(&nest(top::DEL_PEER)?, del_peer::PEER_ID)?;
            service.peer_del(ifindex, id).map_err(refused)
        }
        command::GET_PEER => {
            let id = peer_id(&nest(top::GET_PEER)?, get_peer::PEER_ID)?;
            let peer = service.peer_get(ifindex, id).map_err(refused)?;
            answers.push(encode_peer(requester, request, 0, &peer));
            Ok(())
        }
        command::NEW_KEY => {
            let key = decode_new_key(&nest(top::NEW_KEY)?)?;
            service.key_new(ifindex, &key).map_err(refused)
        }
        command::SWAP_KEYS => {
            let id = peer_id(&nest(top::SWAP_KEYS)?, schema::swap_keys::PEER_ID)?;
            service.key_swap(ifindex, id).map_err(refused)
        }
        command::DEL_KEY => {
            let nest = nest(top::DEL_KEY)?;
            let id = peer_id(&nest, del_key::PEER_ID)?;
            service
                .key_del(ifindex, id, slot(&nest, del_key::KEY_SLOT)?)
                .map_err(refused)
        }
        _ => Err(Rejection::bare(Errno::EOPNOTSUPP)),
    }
}

/// Answers a validated dump, which is one of GET_PEER: a message a peer; none in P2P (dco-behaviour
/// 3.1).
pub(crate) fn dump(
    requester: &Requester,
    request: &Request<'_>,
    service: &mut dyn Service,
) -> Result<Vec<Vec<u8>>, Rejection> {
    let members = Members::of(request.attributes());
    match device(&members, service)? {
        (_, Mode::P2p) => Ok(Vec::new()),
        (ifindex, Mode::Mp) => {
            let peers = service.peers(ifindex);
            Ok(peers
                .iter()
                .map(|peer| encode_peer(requester, request, NLM_F_MULTI, peer))
                .collect())
        }
    }
}

/// A notification of the family with this id: only the deletion of a peer is told.
pub(crate) fn notification(family: u16, notification: &Notification) -> Option<Vec<u8>> {
    let Notification::PeerDeleted {
        ifindex,
        peer,
        reason,
    } = notification
    else {
        return None;
    };
    Some(message::multicast(
        family,
        FAMILY.version,
        command::DEL_PEER,
        |message| {
            message.u32(top::IFINDEX, *ifindex);
            message.nest(top::DEL_PEER, |nest| {
                nest.u8(del_peer::REASON, *reason as u8);
                nest.u32(del_peer::PEER_ID, *peer);
            });
        },
    ))
}

fn device(members: &Members<'_>, service: &mut dyn Service) -> Result<(u32, Mode), Rejection> {
    let ifindex = u32_of(members, top::IFINDEX)?;
    match service.mode(Api::DcoV2, ifindex) {
        Ok(mode) => Ok((ifindex, mode)),
        Err(NoDevice::Unknown) => Err(Rejection::bare(Errno::ENODEV)),
        Err(NoDevice::NotOurs) => Err(invalid()),
        Err(NoDevice::Forbidden) => Err(Rejection::bare(Errno::EPERM)),
    }
}

fn decode_new_peer(members: &Members<'_>, mode: Mode) -> Result<PeerNew, Rejection> {
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
    // The module reads a remote only for UDP, and refuses a bad one there as if there were none;
    // which socket it is, only the engine knows.
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
        api: Api::DcoV2,
        id,
        tx_id: None,
        remote,
        local: local.filter(|_| remote.is_some()),
        socket,
        // In P2P they are accepted and without use.
        vpn4: vpn4.map(Ipv4Addr::from).filter(|_| mode == Mode::Mp),
        vpn6: vpn6.map(Ipv6Addr::from).filter(|_| mode == Mode::Mp),
        keepalive: None,
    })
}

/// None where there's nothing to set, which succeeds: only both values together have an effect.
fn decode_set_peer(members: &Members<'_>) -> Result<Option<PeerSet>, Rejection> {
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
        tx_id: None,
        remote: None,
        local: None,
        vpn4: None,
        vpn6: None,
        unusable: None,
        keepalive: Some(Keepalive { interval, timeout }),
    }))
}

/// The key is borrowed from the request.
fn decode_new_key<'a>(members: &Members<'a>) -> Result<KeyNew<'a>, Rejection> {
    let key_id = members.find(new_key::KEY_ID).and_then(|found| found.u8());
    let algorithm = members
        .find(new_key::CIPHER_ALG)
        .and_then(|found| found.u16());
    Ok(KeyNew {
        peer: peer_id(members, new_key::PEER_ID)?,
        slot: slot(members, new_key::KEY_SLOT)?,
        key_id: key_id.filter(|id| *id <= 7).ok_or_else(invalid)?,
        cipher: match algorithm {
            Some(cipher::AES_GCM) => CipherAlg::AesGcm,
            Some(cipher::CHACHA20_POLY1305) => CipherAlg::ChaCha20Poly1305,
            _ => return Err(invalid()),
        },
        encrypt: decode_direction(members.find(new_key::ENCRYPT_KEY))?,
        decrypt: decode_direction(members.find(new_key::DECRYPT_KEY))?,
    })
}

fn decode_direction(nest: Option<Attribute<'_>>) -> Result<KeyDirection<'_>, Rejection> {
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

fn peer_id(members: &Members<'_>, member: u16) -> Result<u32, Rejection> {
    let id = u32_of(members, member)?;
    if id > MAX_PEER_ID {
        return Err(invalid());
    }
    Ok(id)
}

fn u32_of(members: &Members<'_>, member: u16) -> Result<u32, Rejection> {
    members
        .find(member)
        .and_then(|found| found.u32())
        .ok_or_else(invalid)
}

fn slot(members: &Members<'_>, member: u16) -> Result<Slot, Rejection> {
    match members.find(member).and_then(|found| found.u8()) {
        Some(0) => Ok(Slot::Primary),
        Some(1) => Ok(Slot::Secondary),
        _ => Err(invalid()),
    }
}

fn address(bytes: &[u8]) -> Result<IpAddr, Rejection> {
    if let Ok(octets) = <[u8; 4]>::try_from(bytes) {
        return Ok(IpAddr::from(octets));
    }
    let octets = <[u8; 16]>::try_from(bytes).map_err(|_| invalid())?;
    Ok(IpAddr::from(octets).to_canonical())
}

/// GET_PEER's reply: byte counters are 8 bytes always, packet counters wrap at 32 bits
/// (dco-behaviour 3.1).
fn encode_peer(
    requester: &Requester,
    request: &Request<'_>,
    flags: u16,
    state: &PeerState,
) -> Vec<u8> {
    message::reply(
        requester,
        request,
        FAMILY.version,
        flags,
        command::GET_PEER,
        |message| {
            message.nest(top::GET_PEER, |nest| write_peer(nest, state));
        },
    )
}

fn write_peer(nest: &mut Writer, state: &PeerState) {
    nest.u32(get_peer::PEER_ID, state.id);
    if let Some(address) = state.vpn4.filter(|address| !address.is_unspecified()) {
        nest.put(get_peer::IPV4, &address.octets());
    }
    if let Some(address) = state.vpn6.filter(|address| !address.is_unspecified()) {
        nest.put(get_peer::IPV6, &address.octets());
    }
    nest.u32(get_peer::KEEPALIVE_INTERVAL, state.keepalive.interval);
    nest.u32(get_peer::KEEPALIVE_TIMEOUT, state.keepalive.timeout);
    if let Some(remote) = &state.remote {
        nest.put(get_peer::SOCKADDR_REMOTE, &sockaddr::encode(remote));
        match (remote.is_ipv4(), state.local) {
            (true, Some(IpAddr::V4(local))) => nest.put(get_peer::LOCAL_IP, &local.octets()),
            (true, _) => nest.put(get_peer::LOCAL_IP, &Ipv4Addr::UNSPECIFIED.octets()),
            (false, Some(IpAddr::V6(local))) => nest.put(get_peer::LOCAL_IP, &local.octets()),
            (false, _) => nest.put(get_peer::LOCAL_IP, &Ipv6Addr::UNSPECIFIED.octets()),
        }
    }
    nest.be16(get_peer::LOCAL_PORT, state.local_port);
    nest.u64(get_peer::VPN_RX_BYTES, state.vpn_rx.bytes);
    nest.u32(get_peer::VPN_RX_PACKETS, state.vpn_rx.packets as u32);
    nest.u64(get_peer::VPN_TX_BYTES, state.vpn_tx.bytes);
    nest.u32(get_peer::VPN_TX_PACKETS, state.vpn_tx.packets as u32);
    nest.u64(get_peer::LINK_RX_BYTES, state.link_rx.bytes);
    nest.u32(get_peer::LINK_RX_PACKETS, state.link_rx.packets as u32);
    nest.u64(get_peer::LINK_TX_BYTES, state.link_tx.bytes);
    nest.u32(get_peer::LINK_TX_PACKETS, state.link_tx.packets as u32);
}

fn invalid() -> Rejection {
    Rejection::bare(Errno::EINVAL)
}

fn refused(refused: Refused) -> Rejection {
    Rejection::bare(refused.errno)
}

#[cfg(test)]
mod tests;
