//! Replies and notifications; the order of members is the kernel's (dco-behaviour 2.9, 2.11, 2.14).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::schema::{FAMILY, cipher, command, keyconf, peer, top};
use crate::message::{self, Request};
use crate::requester::Requester;
use crate::tlv::Writer;
use crate::{CipherAlg, KeyState, Notification, PeerState, Slot};

/// PEER_GET's reply.
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

/// KEY_GET's reply.
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
                nest.u32(
                    keyconf::CIPHER_ALG,
                    match state.cipher {
                        CipherAlg::AesGcm => cipher::AES_GCM,
                        CipherAlg::ChaCha20Poly1305 => cipher::CHACHA20_POLY1305,
                    },
                );
            });
        },
    )
}

/// A notification of the family with this id.
pub(crate) fn notification(family: u16, notification: &Notification) -> Vec<u8> {
    let (number, ifindex) = match notification {
        Notification::PeerDeleted { ifindex, .. } => (command::PEER_DEL_NTF, ifindex),
        Notification::PeerFloated { ifindex, .. } => (command::PEER_FLOAT_NTF, ifindex),
        Notification::KeySwap { ifindex, .. } => (command::KEY_SWAP_NTF, ifindex),
    };
    message::multicast(family, FAMILY.version, number, |message| {
        message.u32(top::IFINDEX, *ifindex);
        match notification {
            Notification::PeerDeleted {
                peer: id, reason, ..
            } => message.nest(top::PEER, |nest| {
                nest.u32(peer::DEL_REASON, *reason as u32);
                nest.u32(peer::ID, *id);
            }),
            Notification::PeerFloated {
                peer: id, remote, ..
            } => message.nest(top::PEER, |nest| {
                nest.u32(peer::ID, *id);
                write_remote(nest, remote);
            }),
            // 2 bytes, although it has 4 everywhere else: OpenVPN reads 2.
            Notification::KeySwap {
                peer: id, key_id, ..
            } => message.nest(top::KEYCONF, |nest| {
                nest.u32(keyconf::PEER_ID, *id);
                nest.u16(keyconf::KEY_ID, (*key_id).into());
            }),
        }
    })
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
        write_remote(nest, remote);
        write_local(nest, remote, state.local);
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

fn write_remote(nest: &mut Writer, remote: &SocketAddr) {
    match remote {
        SocketAddr::V4(remote) => nest.put(peer::REMOTE_IPV4, &remote.ip().octets()),
        SocketAddr::V6(remote) => {
            nest.put(peer::REMOTE_IPV6, &remote.ip().octets());
            nest.u32(peer::REMOTE_IPV6_SCOPE_ID, remote.scope_id());
        }
    }
    nest.be16(peer::REMOTE_PORT, remote.port());
}

/// Of the remote's family, and unspecified where the route decides.
fn write_local(nest: &mut Writer, remote: &SocketAddr, local: Option<IpAddr>) {
    match (remote, local) {
        (SocketAddr::V4(_), Some(IpAddr::V4(local))) => nest.put(peer::LOCAL_IPV4, &local.octets()),
        (SocketAddr::V4(_), _) => nest.put(peer::LOCAL_IPV4, &Ipv4Addr::UNSPECIFIED.octets()),
        (SocketAddr::V6(_), Some(IpAddr::V6(local))) => nest.put(peer::LOCAL_IPV6, &local.octets()),
        (SocketAddr::V6(_), _) => nest.put(peer::LOCAL_IPV6, &Ipv6Addr::UNSPECIFIED.octets()),
    }
}
