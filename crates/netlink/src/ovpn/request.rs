//! Requests: decoded, with the checks that need only the message and the device's mode, and written by clients.

use alloc::format;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::endpoint::{self, address4, address6};
use super::schema::{keyconf, keydir, peer};
use super::{invalid, own_text, u32_of};
use crate::rejection::Rejection;
use crate::tlv::{Attribute, Members, Writer};
use crate::{Api, CipherAlg, Errno, Keepalive, KeyDirection, KeyNew, Mode, PeerNew, PeerSet, Slot};

/// PEER_NEW: checks 1 to 12 of dco-behaviour 2.6, then whether its VPN addresses are usable, before the socket is
/// looked up (faults F2).
pub(super) fn peer_new(nest: &Attribute<'_>, mode: Mode) -> Result<PeerNew, Rejection> {
    let members = Members::of(nest.members());
    let checked = Checked::of(nest, &members, mode)?;
    let socket = required(nest, &members, peer::SOCKET)?;
    // An unspecified address counts as absent (golden `peer_new_mp`).
    let vpn4 = checked.vpn4.filter(|address| !address.is_unspecified());
    let vpn6 = checked.vpn6.filter(|address| !address.is_unspecified());
    if mode == Mode::Mp && vpn4.is_none() && vpn6.is_none() {
        return Err(invalid("at least one VPN IP must be configured in MP mode"));
    }
    if let Some(text) = checked.unusable {
        return Err(own_text(Errno::EADDRNOTAVAIL, text));
    }
    Ok(PeerNew {
        api: Api::Ovpn,
        id: checked.id,
        tx_id: checked.tx_id,
        remote: checked.remote,
        local: checked.local,
        socket,
        vpn4,
        vpn6,
        keepalive: checked.keepalive,
    })
}

/// Writes the members of PEER_NEW.
pub(super) fn write_peer_new(nest: &mut Writer, new: &PeerNew) {
    nest.u32(peer::ID, new.id);
    if let Some(id) = new.tx_id {
        nest.u32(peer::TX_ID, id);
    }
    endpoint::write_request(nest, new.remote, new.local);
    nest.u32(peer::SOCKET, new.socket);
    if let Some(address) = new.vpn4 {
        nest.put(peer::VPN_IPV4, &address.octets());
    }
    if let Some(address) = new.vpn6 {
        nest.put(peer::VPN_IPV6, &address.octets());
    }
    write_keepalive(nest, new.keepalive);
}

/// PEER_SET: the same checks, except that only the id is required (dco-behaviour 2.7).
pub(super) fn peer_set(nest: &Attribute<'_>, mode: Mode) -> Result<PeerSet, Rejection> {
    let members = Members::of(nest.members());
    let checked = Checked::of(nest, &members, mode)?;
    Ok(PeerSet {
        id: checked.id,
        tx_id: checked.tx_id,
        remote: checked.remote,
        local: checked.local,
        vpn4: checked.vpn4,
        vpn6: checked.vpn6,
        unusable: checked.unusable,
        keepalive: checked.keepalive,
    })
}

/// Writes the members of PEER_SET.
pub(super) fn write_peer_set(nest: &mut Writer, set: &PeerSet) {
    nest.u32(peer::ID, set.id);
    if let Some(id) = set.tx_id {
        nest.u32(peer::TX_ID, id);
    }
    endpoint::write_request(nest, set.remote, set.local);
    if let Some(address) = set.vpn4 {
        nest.put(peer::VPN_IPV4, &address.octets());
    }
    if let Some(address) = set.vpn6 {
        nest.put(peer::VPN_IPV6, &address.octets());
    }
    write_keepalive(nest, set.keepalive);
}

/// The id in PEER_GET, which may contain nothing else.
pub(super) fn peer_get(nest: &Attribute<'_>) -> Result<u32, Rejection> {
    let members = Members::of(nest.members());
    let id = required(nest, &members, peer::ID)?;
    only(&members, &[peer::ID])?;
    Ok(id)
}

/// The id in PEER_DEL.
pub(super) fn peer_del(nest: &Attribute<'_>) -> Result<u32, Rejection> {
    required(nest, &Members::of(nest.members()), peer::ID)
}

/// KEY_NEW (dco-behaviour 2.10, in the order of golden `key_new_errors`); the key is borrowed from the request.
pub(super) fn key_new<'a>(nest: &Attribute<'a>) -> Result<KeyNew<'a>, Rejection> {
    let members = Members::of(nest.members());
    let id = required(nest, &members, keyconf::PEER_ID)?;
    let slot = required_slot(nest, &members)?;
    let key_id = required(nest, &members, keyconf::KEY_ID)?;
    let algorithm = required(nest, &members, keyconf::CIPHER_ALG)?;
    let encrypt = required_attribute(nest, &members, keyconf::ENCRYPT_DIR)?;
    let decrypt = required_attribute(nest, &members, keyconf::DECRYPT_DIR)?;
    let cipher = CipherAlg::of(algorithm).ok_or_else(|| invalid("unsupported cipher"))?;
    Ok(KeyNew {
        peer: id,
        slot,
        key_id: u8::try_from(key_id).map_err(|_| Rejection::bare(Errno::ERANGE))?,
        cipher,
        encrypt: key_direction(&encrypt)?,
        decrypt: key_direction(&decrypt)?,
    })
}

/// Writes the members of KEY_NEW.
pub(super) fn write_key(nest: &mut Writer, key: &KeyNew<'_>) {
    write_slot(nest, key.peer, key.slot);
    nest.u32(keyconf::KEY_ID, key.key_id.into());
    nest.u32(keyconf::CIPHER_ALG, key.cipher.number());
    let direction = |nest: &mut Writer, direction: &KeyDirection<'_>| {
        nest.put(keydir::CIPHER_KEY, direction.key);
        nest.put(keydir::NONCE_TAIL, &direction.nonce_tail);
    };
    nest.nest(keyconf::ENCRYPT_DIR, |nest| direction(nest, &key.encrypt));
    nest.nest(keyconf::DECRYPT_DIR, |nest| direction(nest, &key.decrypt));
}

/// Peer and slot in KEY_GET, which may contain nothing else.
pub(super) fn key_get(nest: &Attribute<'_>) -> Result<(u32, Slot), Rejection> {
    let named = key_del(nest)?;
    only(
        &Members::of(nest.members()),
        &[keyconf::PEER_ID, keyconf::SLOT],
    )?;
    Ok(named)
}

/// The peer in KEY_SWAP.
pub(super) fn key_swap(nest: &Attribute<'_>) -> Result<u32, Rejection> {
    required(nest, &Members::of(nest.members()), keyconf::PEER_ID)
}

/// Peer and slot in KEY_DEL.
pub(super) fn key_del(nest: &Attribute<'_>) -> Result<(u32, Slot), Rejection> {
    let members = Members::of(nest.members());
    let id = required(nest, &members, keyconf::PEER_ID)?;
    Ok((id, required_slot(nest, &members)?))
}

/// Writes the members of KEY_GET and KEY_DEL.
pub(super) fn write_slot(nest: &mut Writer, id: u32, slot: Slot) {
    nest.u32(keyconf::PEER_ID, id);
    nest.u32(keyconf::SLOT, slot as u32);
}

/// The attributes that PEER_NEW and PEER_SET share, after checks 1 to 10 of dco-behaviour 2.6.
struct Checked {
    id: u32,
    tx_id: Option<u32>,
    remote: Option<SocketAddr>,
    local: Option<IpAddr>,
    vpn4: Option<Ipv4Addr>,
    vpn6: Option<Ipv6Addr>,
    /// The error text if a VPN address cannot be used.
    unusable: Option<&'static str>,
    keepalive: Option<Keepalive>,
}

impl Checked {
    fn of(nest: &Attribute<'_>, members: &Members<'_>, mode: Mode) -> Result<Self, Rejection> {
        let id = required(nest, members, peer::ID)?;
        let remote = endpoint::remote(members)?;
        let local = endpoint::local(members, remote)?;
        if members.has(peer::REMOTE_IPV6_SCOPE_ID) && !remote.is_some_and(|remote| remote.is_ipv6())
        {
            return Err(invalid(
                "cannot specify scope id without remote IPv6 address",
            ));
        }
        let vpn4 = address4(members, peer::VPN_IPV4);
        let vpn6 = address6(members, peer::VPN_IPV6);
        if mode == Mode::P2p && (vpn4.is_some() || vpn6.is_some()) {
            return Err(invalid("unexpected VPN IP in P2P mode"));
        }
        let unusable = if vpn4.is_some_and(|address| !can_be_vpn4(address)) {
            Some("VPN IPv4 address must be valid unicast or any")
        } else if vpn6.is_some_and(|address| !can_be_vpn6(address)) {
            Some("VPN IPv6 address must be valid unicast or any")
        } else {
            None
        };
        Ok(Self {
            id,
            tx_id: u32_of(members, peer::TX_ID),
            remote,
            local,
            vpn4,
            vpn6,
            unusable,
            keepalive: keepalive(members)?,
        })
    }
}

/// Check 10: interval and timeout come only together.
fn keepalive(members: &Members<'_>) -> Result<Option<Keepalive>, Rejection> {
    match (
        u32_of(members, peer::KEEPALIVE_INTERVAL),
        u32_of(members, peer::KEEPALIVE_TIMEOUT),
    ) {
        (None, None) => Ok(None),
        (Some(interval), Some(timeout)) => Ok(Some(Keepalive { interval, timeout })),
        _ => Err(invalid(
            "keepalive interval and timeout are required together",
        )),
    }
}

fn write_keepalive(nest: &mut Writer, keepalive: Option<Keepalive>) {
    if let Some(keepalive) = keepalive {
        nest.u32(peer::KEEPALIVE_INTERVAL, keepalive.interval);
        nest.u32(peer::KEEPALIVE_TIMEOUT, keepalive.timeout);
    }
}

/// Whether this can be a VPN address, as Linux 7.3 decides (golden `peer_new_mp`): 240.0.0.0/4 and subnet broadcasts
/// can.
fn can_be_vpn4(address: Ipv4Addr) -> bool {
    !(address.is_loopback() || address.is_multicast() || address.is_broadcast())
}

/// The same for IPv6: neither v4-mapped nor v4-compatible, which includes ::1.
fn can_be_vpn6(address: Ipv6Addr) -> bool {
    address.is_unspecified() || !(address.is_multicast() || address.to_ipv4().is_some())
}

fn key_direction<'a>(nest: &Attribute<'a>) -> Result<KeyDirection<'a>, Rejection> {
    let members = Members::of(nest.members());
    let key = required_attribute(nest, &members, keydir::CIPHER_KEY)?.payload;
    let nonce_tail = required_attribute(nest, &members, keydir::NONCE_TAIL)?;
    let nonce_tail = nonce_tail
        .array()
        .ok_or_else(|| Rejection::bare(Errno::EINVAL))?;
    Ok(KeyDirection { key, nonce_tail })
}

fn required_slot(nest: &Attribute<'_>, members: &Members<'_>) -> Result<Slot, Rejection> {
    match required(nest, members, keyconf::SLOT)? {
        0 => Ok(Slot::Primary),
        _ => Ok(Slot::Secondary),
    }
}

fn required(nest: &Attribute<'_>, members: &Members<'_>, member: u16) -> Result<u32, Rejection> {
    let attribute = required_attribute(nest, members, member)?;
    attribute
        .u32()
        .ok_or_else(|| Rejection::bare(Errno::EINVAL))
}

fn required_attribute<'a>(
    nest: &Attribute<'_>,
    members: &Members<'a>,
    member: u16,
) -> Result<Attribute<'a>, Rejection> {
    members
        .find(member)
        .ok_or_else(|| Rejection::missing(member, Some(nest.offset)))
}

fn only(members: &Members<'_>, expected: &[u16]) -> Result<(), Rejection> {
    match members.unexpected(expected) {
        Some(number) => Err(invalid(&format!("unexpected attribute {number}"))),
        None => Ok(()),
    }
}
