//! Replies: written by the driver, with the members in the kernel's order (dco-behaviour 2.9, 2.11), and read by
//! clients.

use alloc::vec::Vec;

use super::endpoint::{self, address4, address6, read_address};
use super::schema::{FAMILY, command, keyconf, peer, top};
use super::u32_of;
use crate::message::{self, Request};
use crate::requester::Requester;
use crate::tlv::{Attribute, Members, Writer};
use crate::{CipherAlg, Keepalive, KeyState, PeerState, Slot, Traffic};

/// Encodes the reply to PEER_GET.
pub(super) fn peer(
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
        command::PEER_GET,
        |message| {
            message.nest(top::PEER, |nest| write_peer(nest, state));
        },
    )
}

/// Encodes the reply to KEY_GET.
pub(super) fn key(requester: &Requester, request: &Request<'_>, state: &KeyState) -> Vec<u8> {
    message::reply(
        requester,
        request,
        FAMILY.version,
        0,
        command::KEY_GET,
        |message| {
            message.nest(top::KEYCONF, |nest| {
                nest.u32(keyconf::PEER_ID, state.peer);
                nest.u32(
                    keyconf::SLOT,
                    match state.slot {
                        Slot::Primary => 0,
                        Slot::Secondary => 1,
                    },
                );
                nest.u32(keyconf::KEY_ID, state.key_id.into());
                nest.u32(keyconf::CIPHER_ALG, state.cipher.number());
            });
        },
    )
}

fn write_peer(nest: &mut Writer, state: &PeerState) {
    if let Some(id) = state.socket_netnsid {
        nest.put(peer::SOCKET_NETNSID, &id.to_ne_bytes());
    }
    nest.u32(peer::ID, state.id);
    nest.u32(peer::TX_ID, state.tx_id);
    if let Some(address) = state.vpn4.filter(|address| !address.is_unspecified()) {
        nest.put(peer::VPN_IPV4, &address.octets());
    }
    if let Some(address) = state.vpn6.filter(|address| !address.is_unspecified()) {
        nest.put(peer::VPN_IPV6, &address.octets());
    }
    nest.u32(peer::KEEPALIVE_INTERVAL, state.keepalive.interval);
    nest.u32(peer::KEEPALIVE_TIMEOUT, state.keepalive.timeout);
    if let Some(remote) = &state.remote {
        endpoint::write_remote(nest, remote);
        endpoint::write_local(nest, remote, state.local);
    }
    nest.be16(peer::LOCAL_PORT, state.local_port);
    nest.uint(peer::VPN_RX_BYTES, state.vpn_rx.bytes);
    nest.uint(peer::VPN_RX_PACKETS, state.vpn_rx.packets);
    nest.uint(peer::VPN_TX_BYTES, state.vpn_tx.bytes);
    nest.uint(peer::VPN_TX_PACKETS, state.vpn_tx.packets);
    nest.uint(peer::LINK_RX_BYTES, state.link_rx.bytes);
    nest.uint(peer::LINK_RX_PACKETS, state.link_rx.packets);
    nest.uint(peer::LINK_TX_BYTES, state.link_tx.bytes);
    nest.uint(peer::LINK_TX_PACKETS, state.link_tx.packets);
}

/// Reads the PEER nest; absent attributes are read as 0 or `None`.
pub(super) fn read_peer(members: &Members<'_>) -> Option<PeerState> {
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
        vpn4: address4(members, peer::VPN_IPV4),
        vpn6: address6(members, peer::VPN_IPV6),
        keepalive: Keepalive {
            interval: number(peer::KEEPALIVE_INTERVAL),
            timeout: number(peer::KEEPALIVE_TIMEOUT),
        },
        remote: endpoint::read_remote(members),
        local: read_address(members, peer::LOCAL_IPV4, peer::LOCAL_IPV6),
        local_port: port.map_or(0, u16::from_be_bytes),
        vpn_rx: traffic(peer::VPN_RX_BYTES, peer::VPN_RX_PACKETS),
        vpn_tx: traffic(peer::VPN_TX_BYTES, peer::VPN_TX_PACKETS),
        link_rx: traffic(peer::LINK_RX_BYTES, peer::LINK_RX_PACKETS),
        link_tx: traffic(peer::LINK_TX_BYTES, peer::LINK_TX_PACKETS),
    })
}

/// Reads the KEYCONF nest.
pub(super) fn read_key(members: &Members<'_>) -> Option<KeyState> {
    Some(KeyState {
        peer: u32_of(members, keyconf::PEER_ID)?,
        slot: match u32_of(members, keyconf::SLOT)? {
            0 => Slot::Primary,
            1 => Slot::Secondary,
            _ => return None,
        },
        key_id: u8::try_from(u32_of(members, keyconf::KEY_ID)?).ok()?,
        cipher: CipherAlg::of(u32_of(members, keyconf::CIPHER_ALG)?)?,
    })
}

/// A `uint`: 4 or 8 bytes (dco-behaviour 2.3).
fn uint(attribute: Attribute<'_>) -> Option<u64> {
    let wide = attribute.array().map(u64::from_ne_bytes);
    wide.or_else(|| attribute.u32().map(u64::from))
}
