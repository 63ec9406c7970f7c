//! The client side of the family: encodes requests, decodes replies and notifications.

use std::net::{IpAddr, SocketAddr, SocketAddrV6};

use super::schema::{cipher, command, keyconf, keydir, peer, top};
use crate::client::{Command, Told};
use crate::tlv::{Attribute, Members, Writer};
use crate::{
    CipherAlg, DeleteReason, Keepalive, KeyDirection, KeyNew, KeyState, Notification, PeerNew,
    PeerSet, PeerState, Slot, Traffic,
};

/// Number of a command in the family.
pub(crate) const fn number(asked: &Command<'_>) -> u8 {
    match asked {
        Command::PeerNew(_) => command::PEER_NEW,
        Command::PeerSet(_) => command::PEER_SET,
        Command::PeerGet(_) | Command::Peers => command::PEER_GET,
        Command::PeerDel(_) => command::PEER_DEL,
        Command::KeyNew(_) => command::KEY_NEW,
        Command::KeyGet(..) => command::KEY_GET,
        Command::KeySwap(_) => command::KEY_SWAP,
        Command::KeyDel(..) => command::KEY_DEL,
    }
}

/// Writes the attributes of a request.
pub(crate) fn write(message: &mut Writer, ifindex: u32, asked: &Command<'_>) {
    message.u32(top::IFINDEX, ifindex);
    match asked {
        Command::PeerNew(new) => message.nest(top::PEER, |nest| write_peer_new(nest, new)),
        Command::PeerSet(set) => message.nest(top::PEER, |nest| write_peer_set(nest, set)),
        Command::PeerGet(id) | Command::PeerDel(id) => {
            message.nest(top::PEER, |nest| nest.u32(peer::ID, *id));
        }
        // The dump takes nothing else (dco-behaviour 2.4).
        Command::Peers => {}
        Command::KeyNew(key) => message.nest(top::KEYCONF, |nest| write_key(nest, key)),
        Command::KeySwap(id) => message.nest(top::KEYCONF, |nest| nest.u32(keyconf::PEER_ID, *id)),
        Command::KeyGet(id, slot) | Command::KeyDel(id, slot) => {
            message.nest(top::KEYCONF, |nest| write_slot(nest, *id, *slot));
        }
    }
}

/// Reads a reply or a notification; `None` if it is not one.
pub(crate) fn read(number: u8, members: &Members<'_>) -> Option<Told> {
    let nest = |number| Some(Members::of(members.find(number)?.members()));
    Some(match number {
        command::PEER_GET => Told::Peer(read_peer(&nest(top::PEER)?)?),
        command::KEY_GET => Told::Key(read_key(&nest(top::KEYCONF)?)?),
        command::PEER_DEL_NTF => {
            let peer = nest(top::PEER)?;
            Told::Notification(Notification::PeerDeleted {
                ifindex: members.find(top::IFINDEX)?.u32()?,
                peer: u32_of(&peer, peer::ID)?,
                reason: DeleteReason::of(u32_of(&peer, peer::DEL_REASON)?)?,
            })
        }
        command::PEER_FLOAT_NTF => {
            let peer = nest(top::PEER)?;
            Told::Notification(Notification::PeerFloated {
                ifindex: members.find(top::IFINDEX)?.u32()?,
                peer: u32_of(&peer, peer::ID)?,
                remote: read_remote(&peer)?,
            })
        }
        command::KEY_SWAP_NTF => {
            let key = nest(top::KEYCONF)?;
            // 2 bytes here, 4 everywhere else (dco-behaviour 2.14).
            let key_id = key.find(keyconf::KEY_ID)?.u16()?;
            Told::Notification(Notification::KeySwap {
                ifindex: members.find(top::IFINDEX)?.u32()?,
                peer: u32_of(&key, keyconf::PEER_ID)?,
                key_id: u8::try_from(key_id).ok()?,
            })
        }
        _ => return None,
    })
}

fn write_peer_new(nest: &mut Writer, new: &PeerNew) {
    nest.u32(peer::ID, new.id);
    if let Some(id) = new.tx_id {
        nest.u32(peer::TX_ID, id);
    }
    write_endpoint(nest, new.remote, new.local);
    nest.u32(peer::SOCKET, new.socket);
    if let Some(address) = new.vpn4 {
        nest.put(peer::VPN_IPV4, &address.octets());
    }
    if let Some(address) = new.vpn6 {
        nest.put(peer::VPN_IPV6, &address.octets());
    }
    write_keepalive(nest, new.keepalive);
}

fn write_peer_set(nest: &mut Writer, set: &PeerSet) {
    nest.u32(peer::ID, set.id);
    if let Some(id) = set.tx_id {
        nest.u32(peer::TX_ID, id);
    }
    write_endpoint(nest, set.remote, set.local);
    if let Some(address) = set.vpn4 {
        nest.put(peer::VPN_IPV4, &address.octets());
    }
    if let Some(address) = set.vpn6 {
        nest.put(peer::VPN_IPV6, &address.octets());
    }
    write_keepalive(nest, set.keepalive);
}

fn write_endpoint(nest: &mut Writer, remote: Option<SocketAddr>, local: Option<IpAddr>) {
    match remote {
        Some(SocketAddr::V4(remote)) => nest.put(peer::REMOTE_IPV4, &remote.ip().octets()),
        Some(SocketAddr::V6(remote)) => {
            nest.put(peer::REMOTE_IPV6, &remote.ip().octets());
            if remote.scope_id() != 0 {
                nest.u32(peer::REMOTE_IPV6_SCOPE_ID, remote.scope_id());
            }
        }
        None => {}
    }
    if let Some(remote) = remote {
        // Without the mark of network order, which only replies have.
        nest.put(peer::REMOTE_PORT, &remote.port().to_be_bytes());
    }
    match local {
        Some(IpAddr::V4(local)) => nest.put(peer::LOCAL_IPV4, &local.octets()),
        Some(IpAddr::V6(local)) => nest.put(peer::LOCAL_IPV6, &local.octets()),
        None => {}
    }
}

fn write_keepalive(nest: &mut Writer, keepalive: Option<Keepalive>) {
    if let Some(keepalive) = keepalive {
        nest.u32(peer::KEEPALIVE_INTERVAL, keepalive.interval);
        nest.u32(peer::KEEPALIVE_TIMEOUT, keepalive.timeout);
    }
}

fn write_key(nest: &mut Writer, key: &KeyNew<'_>) {
    write_slot(nest, key.peer, key.slot);
    nest.u32(keyconf::KEY_ID, key.key_id.into());
    nest.u32(
        keyconf::CIPHER_ALG,
        match key.cipher {
            CipherAlg::AesGcm => cipher::AES_GCM,
            CipherAlg::ChaCha20Poly1305 => cipher::CHACHA20_POLY1305,
        },
    );
    let direction = |nest: &mut Writer, direction: &KeyDirection<'_>| {
        nest.put(keydir::CIPHER_KEY, direction.key);
        nest.put(keydir::NONCE_TAIL, &direction.nonce_tail);
    };
    nest.nest(keyconf::ENCRYPT_DIR, |nest| direction(nest, &key.encrypt));
    nest.nest(keyconf::DECRYPT_DIR, |nest| direction(nest, &key.decrypt));
}

fn write_slot(nest: &mut Writer, id: u32, slot: Slot) {
    nest.u32(keyconf::PEER_ID, id);
    nest.u32(keyconf::SLOT, slot as u32);
}

/// What the kernel does not tell is 0 or nothing.
fn read_peer(members: &Members<'_>) -> Option<PeerState> {
    let id = u32_of(members, peer::ID)?;
    let number = |member| u32_of(members, member).unwrap_or(0);
    let traffic = |bytes, packets| Traffic {
        bytes: members.find(bytes).and_then(uint).unwrap_or(0),
        packets: members.find(packets).and_then(uint).unwrap_or(0),
    };
    let port = members.find(peer::LOCAL_PORT).and_then(|port| port.array());
    Some(PeerState {
        id,
        tx_id: u32_of(members, peer::TX_ID).unwrap_or(id),
        socket_netnsid: u32_of(members, peer::SOCKET_NETNSID).map(u32::cast_signed),
        vpn4: members.find(peer::VPN_IPV4).and_then(address4),
        vpn6: members.find(peer::VPN_IPV6).and_then(address6),
        keepalive: Keepalive {
            interval: number(peer::KEEPALIVE_INTERVAL),
            timeout: number(peer::KEEPALIVE_TIMEOUT),
        },
        remote: read_remote(members),
        local: address(members, peer::LOCAL_IPV4, peer::LOCAL_IPV6),
        local_port: port.map_or(0, u16::from_be_bytes),
        vpn_rx: traffic(peer::VPN_RX_BYTES, peer::VPN_RX_PACKETS),
        vpn_tx: traffic(peer::VPN_TX_BYTES, peer::VPN_TX_PACKETS),
        link_rx: traffic(peer::LINK_RX_BYTES, peer::LINK_RX_PACKETS),
        link_tx: traffic(peer::LINK_TX_BYTES, peer::LINK_TX_PACKETS),
    })
}

fn read_remote(members: &Members<'_>) -> Option<SocketAddr> {
    let port = u16::from_be_bytes(members.find(peer::REMOTE_PORT)?.array()?);
    let scope = u32_of(members, peer::REMOTE_IPV6_SCOPE_ID).unwrap_or(0);
    Some(
        match address(members, peer::REMOTE_IPV4, peer::REMOTE_IPV6)? {
            IpAddr::V4(address) => SocketAddr::from((address, port)),
            IpAddr::V6(address) => SocketAddrV6::new(address, port, 0, scope).into(),
        },
    )
}

fn read_key(members: &Members<'_>) -> Option<KeyState> {
    Some(KeyState {
        peer: u32_of(members, keyconf::PEER_ID)?,
        slot: match u32_of(members, keyconf::SLOT)? {
            0 => Slot::Primary,
            1 => Slot::Secondary,
            _ => return None,
        },
        key_id: u8::try_from(u32_of(members, keyconf::KEY_ID)?).ok()?,
        cipher: match u32_of(members, keyconf::CIPHER_ALG)? {
            cipher::AES_GCM => CipherAlg::AesGcm,
            cipher::CHACHA20_POLY1305 => CipherAlg::ChaCha20Poly1305,
            _ => return None,
        },
    })
}

fn u32_of(members: &Members<'_>, member: u16) -> Option<u32> {
    members.find(member)?.u32()
}

/// A `uint`: 4 or 8 bytes (dco-behaviour 2.3).
fn uint(attribute: Attribute<'_>) -> Option<u64> {
    let wide = attribute.array().map(u64::from_ne_bytes);
    wide.or_else(|| attribute.u32().map(u64::from))
}

fn address(members: &Members<'_>, v4: u16, v6: u16) -> Option<IpAddr> {
    let v4 = members.find(v4).and_then(address4).map(IpAddr::V4);
    v4.or_else(|| members.find(v6).and_then(address6).map(IpAddr::V6))
}

fn address4(attribute: Attribute<'_>) -> Option<std::net::Ipv4Addr> {
    attribute.array::<4>().map(Into::into)
}

fn address6(attribute: Attribute<'_>) -> Option<std::net::Ipv6Addr> {
    attribute.array::<16>().map(Into::into)
}
