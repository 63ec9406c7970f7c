//! The client side of the family: encodes requests, decodes replies and notifications.

use std::net::IpAddr;

use super::schema::{
    cipher, command, del_key, del_peer, get_peer, key_direction, new_key, new_peer, set_peer,
    swap_keys, top,
};
use super::sockaddr;
use crate::client::{Command, Told, Unsupported};
use crate::tlv::{Attribute, Members, Writer};
use crate::{
    CipherAlg, DeleteReason, Keepalive, KeyDirection, KeyNew, Notification, PeerNew, PeerState,
    Traffic,
};

/// Number of a command in the family.
pub(crate) fn number(asked: &Command<'_>) -> Result<u8, Unsupported> {
    Ok(match asked {
        Command::PeerNew(new) if new.tx_id.is_some_and(|id| id != new.id) => {
            return Err(Unsupported("give a peer a TX id of its own"));
        }
        Command::PeerNew(new) if new.keepalive.is_some() => {
            return Err(Unsupported("give a new peer keepalive (`peer set` can)"));
        }
        Command::PeerSet(set)
            if set.tx_id.is_some()
                || set.remote.is_some()
                || set.local.is_some()
                || set.vpn4.is_some()
                || set.vpn6.is_some() =>
        {
            return Err(Unsupported("change anything but keepalive"));
        }
        Command::KeyGet(..) => return Err(Unsupported("tell of a key")),
        Command::PeerNew(_) => command::NEW_PEER,
        Command::PeerSet(_) => command::SET_PEER,
        Command::PeerGet(_) | Command::Peers => command::GET_PEER,
        Command::PeerDel(_) => command::DEL_PEER,
        Command::KeyNew(_) => command::NEW_KEY,
        Command::KeySwap(_) => command::SWAP_KEYS,
        Command::KeyDel(..) => command::DEL_KEY,
    })
}

/// Writes the attributes of a request.
pub(crate) fn write(message: &mut Writer, ifindex: u32, asked: &Command<'_>) {
    message.u32(top::IFINDEX, ifindex);
    match asked {
        Command::PeerNew(new) => message.nest(top::NEW_PEER, |nest| write_peer(nest, new)),
        Command::PeerSet(set) => message.nest(top::SET_PEER, |nest| {
            nest.u32(set_peer::PEER_ID, set.id);
            if let Some(keepalive) = set.keepalive {
                nest.u32(set_peer::KEEPALIVE_INTERVAL, keepalive.interval);
                nest.u32(set_peer::KEEPALIVE_TIMEOUT, keepalive.timeout);
            }
        }),
        Command::PeerGet(id) => {
            message.nest(top::GET_PEER, |nest| nest.u32(get_peer::PEER_ID, *id));
        }
        Command::PeerDel(id) => {
            message.nest(top::DEL_PEER, |nest| nest.u32(del_peer::PEER_ID, *id));
        }
        Command::KeyNew(key) => message.nest(top::NEW_KEY, |nest| write_key(nest, key)),
        Command::KeySwap(id) => {
            message.nest(top::SWAP_KEYS, |nest| nest.u32(swap_keys::PEER_ID, *id));
        }
        Command::KeyDel(id, slot) => message.nest(top::DEL_KEY, |nest| {
            nest.u32(del_key::PEER_ID, *id);
            nest.u8(del_key::KEY_SLOT, *slot as u8);
        }),
        // The first needs nothing else, the second is not there.
        Command::Peers | Command::KeyGet(..) => {}
    }
}

/// Reads a reply or a notification, which has no sequence number; `None` if it is not one.
pub(crate) fn read(number: u8, sequence: u32, members: &Members<'_>) -> Option<Told> {
    let nest = |number| Some(Members::of(members.find(number)?.members()));
    match number {
        command::GET_PEER => read_peer(&nest(top::GET_PEER)?).map(Told::Peer),
        command::DEL_PEER if sequence == 0 => {
            let peer = nest(top::DEL_PEER)?;
            let reason = peer.find(del_peer::REASON)?.u8()?;
            Some(Told::Notification(Notification::PeerDeleted {
                ifindex: members.find(top::IFINDEX)?.u32()?,
                peer: peer.find(del_peer::PEER_ID)?.u32()?,
                reason: DeleteReason::of(reason.into())?,
            }))
        }
        _ => None,
    }
}

fn write_peer(nest: &mut Writer, new: &PeerNew) {
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

fn write_key(nest: &mut Writer, key: &KeyNew<'_>) {
    nest.u32(new_key::PEER_ID, key.peer);
    nest.u8(new_key::KEY_SLOT, key.slot as u8);
    nest.u8(new_key::KEY_ID, key.key_id);
    nest.u16(
        new_key::CIPHER_ALG,
        match key.cipher {
            CipherAlg::AesGcm => cipher::AES_GCM,
            CipherAlg::ChaCha20Poly1305 => cipher::CHACHA20_POLY1305,
        },
    );
    let direction = |nest: &mut Writer, direction: &KeyDirection<'_>| {
        nest.put(key_direction::CIPHER_KEY, direction.key);
        nest.put(key_direction::NONCE_TAIL, &direction.nonce_tail);
    };
    nest.nest(new_key::ENCRYPT_KEY, |nest| direction(nest, &key.encrypt));
    nest.nest(new_key::DECRYPT_KEY, |nest| direction(nest, &key.decrypt));
}

/// What the module does not tell is 0 or nothing.
fn read_peer(members: &Members<'_>) -> Option<PeerState> {
    let id = members.find(get_peer::PEER_ID)?.u32()?;
    let number = |member| members.find(member).and_then(|found| found.u32());
    let wide = |found: Attribute<'_>| found.array().map(u64::from_ne_bytes);
    let traffic = |bytes, packets| Traffic {
        bytes: members.find(bytes).and_then(wide).unwrap_or(0),
        packets: number(packets).map_or(0, u64::from),
    };
    let vpn4 = members.find(get_peer::IPV4);
    let vpn6 = members.find(get_peer::IPV6);
    let remote = members.find(get_peer::SOCKADDR_REMOTE);
    let local = members.find(get_peer::LOCAL_IP);
    let port = members
        .find(get_peer::LOCAL_PORT)
        .and_then(|port| port.array());
    Some(PeerState {
        id,
        tx_id: id,
        socket_netnsid: None,
        vpn4: vpn4.and_then(|it| it.array::<4>()).map(Into::into),
        vpn6: vpn6.and_then(|it| it.array::<16>()).map(Into::into),
        keepalive: Keepalive {
            interval: number(get_peer::KEEPALIVE_INTERVAL).unwrap_or(0),
            timeout: number(get_peer::KEEPALIVE_TIMEOUT).unwrap_or(0),
        },
        remote: remote.and_then(|it| sockaddr::decode(it.payload)),
        local: local.and_then(|it| super::address(it.payload).ok()),
        local_port: port.map_or(0, u16::from_be_bytes),
        vpn_rx: traffic(get_peer::VPN_RX_BYTES, get_peer::VPN_RX_PACKETS),
        vpn_tx: traffic(get_peer::VPN_TX_BYTES, get_peer::VPN_TX_PACKETS),
        link_rx: traffic(get_peer::LINK_RX_BYTES, get_peer::LINK_RX_PACKETS),
        link_tx: traffic(get_peer::LINK_TX_BYTES, get_peer::LINK_TX_PACKETS),
    })
}
