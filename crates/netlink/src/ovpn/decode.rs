//! From validated attributes to typed requests: what the module checks by the message and the mode
//! alone.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use super::own_text;
use super::schema::{cipher, keyconf, keydir, peer};
use crate::rejection::Rejection;
use crate::tlv::{Attribute, Members};
use crate::{Api, CipherAlg, Errno, Keepalive, KeyDirection, KeyNew, Mode, PeerNew, PeerSet, Slot};

/// PEER_NEW, as far as check 12 of dco-behaviour 2.6, and whether its VPN addresses can be used: before the socket is
/// looked up, after all else (faults F2).
pub(super) fn peer_new(nest: &Attribute<'_>, mode: Mode) -> Result<PeerNew, Rejection> {
    let members = Members::of(nest.members());
    let checked = Checked::of(nest, &members, mode)?;
    let socket = required(nest, &members, peer::SOCKET)?;
    // An unspecified address is none (golden `peer_new_mp`).
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

/// PEER_SET: the same checks, but nothing besides the id is required (dco-behaviour 2.7).
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

/// The id in PEER_GET, which may hold nothing else.
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

/// KEY_NEW; the key is borrowed from the request (dco-behaviour 2.10, order as in golden
/// `key_new_errors`).
pub(super) fn key_new<'a>(nest: &Attribute<'a>) -> Result<KeyNew<'a>, Rejection> {
    let members = Members::of(nest.members());
    let id = required(nest, &members, keyconf::PEER_ID)?;
    let slot = required_slot(nest, &members)?;
    let key_id = required(nest, &members, keyconf::KEY_ID)?;
    let algorithm = required(nest, &members, keyconf::CIPHER_ALG)?;
    let encrypt = required_attribute(nest, &members, keyconf::ENCRYPT_DIR)?;
    let decrypt = required_attribute(nest, &members, keyconf::DECRYPT_DIR)?;
    let cipher = match algorithm {
        cipher::AES_GCM => CipherAlg::AesGcm,
        cipher::CHACHA20_POLY1305 => CipherAlg::ChaCha20Poly1305,
        _ => return Err(invalid("unsupported cipher")),
    };
    Ok(KeyNew {
        peer: id,
        slot,
        key_id: u8::try_from(key_id).map_err(|_| Rejection::bare(Errno::ERANGE))?,
        cipher,
        encrypt: key_direction(&encrypt)?,
        decrypt: key_direction(&decrypt)?,
    })
}

/// Peer and slot in KEY_GET, which may hold nothing else.
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

/// What PEER_NEW and PEER_SET have in common, after checks 1 to 10 of dco-behaviour 2.6.
struct Checked {
    id: u32,
    tx_id: Option<u32>,
    remote: Option<SocketAddr>,
    local: Option<IpAddr>,
    vpn4: Option<Ipv4Addr>,
    vpn6: Option<Ipv6Addr>,
    /// Why a VPN address that was given cannot be one.
    unusable: Option<&'static str>,
    keepalive: Option<Keepalive>,
}

impl Checked {
    fn of(nest: &Attribute<'_>, members: &Members<'_>, mode: Mode) -> Result<Self, Rejection> {
        let id = required(nest, members, peer::ID)?;
        let remote = remote(members)?;
        let local = local(members, remote)?;
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
            tx_id: number(members, peer::TX_ID),
            remote,
            local,
            vpn4,
            vpn6,
            unusable,
            keepalive: keepalive(members)?,
        })
    }
}

/// Checks 2 to 4.
fn remote(members: &Members<'_>) -> Result<Option<SocketAddr>, Rejection> {
    let (v4, v6) = (
        address4(members, peer::REMOTE_IPV4),
        address6(members, peer::REMOTE_IPV6),
    );
    let port = members
        .find(peer::REMOTE_PORT)
        .and_then(|found| found.array());
    if v4.is_some() && v6.is_some() {
        return Err(invalid("cannot specify both remote IPv4 or IPv6 address"));
    }
    let (address, port) = match (either(v4, v6), port) {
        (None, Some(_)) => return Err(invalid("cannot specify remote port without IP address")),
        (Some(_), None) => return Err(invalid("cannot specify remote IP address without port")),
        (None, None) => return Ok(None),
        (Some(address), Some(port)) => (address, u16::from_be_bytes(port)),
    };
    let scope = number(members, peer::REMOTE_IPV6_SCOPE_ID).unwrap_or(0);
    Ok(Some(match address {
        IpAddr::V4(_) => SocketAddr::new(address, port),
        IpAddr::V6(address) => SocketAddrV6::new(address, port, 0, scope).into(),
    }))
}

/// Checks 5 to 7. The family that was asked for counts in 5 and 6, what is left of it in 7.
fn local(members: &Members<'_>, remote: Option<SocketAddr>) -> Result<Option<IpAddr>, Rejection> {
    let (v4, v6) = (
        address4(members, peer::LOCAL_IPV4),
        address6(members, peer::LOCAL_IPV6),
    );
    if v4.is_some() && !members.has(peer::REMOTE_IPV4) {
        return Err(invalid("cannot specify local IPv4 address without remote"));
    }
    if v6.is_some() && !members.has(peer::REMOTE_IPV6) {
        return Err(invalid("cannot specify local IPV6 address without remote"));
    }
    let local = either(v4, v6);
    if let (Some(local), Some(remote)) = (local, remote)
        && local.is_ipv4() != remote.is_ipv4()
    {
        return Err(invalid("mismatching local and remote address families"));
    }
    Ok(local)
}

/// The one that is there; v4-mapped addresses are IPv4.
fn either(v4: Option<Ipv4Addr>, v6: Option<Ipv6Addr>) -> Option<IpAddr> {
    let v4 = v4.map(IpAddr::V4);
    v4.or_else(|| v6.map(|address| IpAddr::V6(address).to_canonical()))
}

/// Check 10.
fn keepalive(members: &Members<'_>) -> Result<Option<Keepalive>, Rejection> {
    match (
        number(members, peer::KEEPALIVE_INTERVAL),
        number(members, peer::KEEPALIVE_TIMEOUT),
    ) {
        (None, None) => Ok(None),
        (Some(interval), Some(timeout)) => Ok(Some(Keepalive { interval, timeout })),
        _ => Err(invalid(
            "keepalive interval and timeout are required together",
        )),
    }
}

/// Linux 7.3 (golden `peer_new_mp`); 240.0.0.0/4 and subnet broadcasts pass.
fn can_be_vpn4(address: Ipv4Addr) -> bool {
    !(address.is_loopback() || address.is_multicast() || address.is_broadcast())
}

/// The same for IPv6: neither v4-mapped nor v4-compatible, which takes ::1 along.
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

fn number(members: &Members<'_>, member: u16) -> Option<u32> {
    members.find(member)?.u32()
}

fn address4(members: &Members<'_>, member: u16) -> Option<Ipv4Addr> {
    members.find(member)?.array::<4>().map(Ipv4Addr::from)
}

fn address6(members: &Members<'_>, member: u16) -> Option<Ipv6Addr> {
    members.find(member)?.array::<16>().map(Ipv6Addr::from)
}

fn invalid(text: &str) -> Rejection {
    own_text(Errno::EINVAL, text)
}
