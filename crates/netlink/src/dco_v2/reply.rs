//! The reply to GET_PEER: written by the driver, read by clients.

use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::schema::{FAMILY, command, get_peer, top};
use super::{address, sockaddr};
use crate::message::{self, Request};
use crate::requester::Requester;
use crate::tlv::{Attribute, Members, Writer};
use crate::{Keepalive, PeerState, Traffic};

/// Encodes the reply to GET_PEER: byte counters always have 8 bytes, packet counters wrap at 32 bits
/// (dco-behaviour 3.1).
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

/// Reads the GET_PEER nest; absent attributes are read as 0 or `None`.
pub(super) fn read_peer(members: &Members<'_>) -> Option<PeerState> {
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
        vpn4: vpn4.and_then(|it| it.array::<4>()).map(Into::into),
        vpn6: vpn6.and_then(|it| it.array::<16>()).map(Into::into),
        keepalive: Keepalive {
            interval: number(get_peer::KEEPALIVE_INTERVAL).unwrap_or(0),
            timeout: number(get_peer::KEEPALIVE_TIMEOUT).unwrap_or(0),
        },
        remote: remote.and_then(|it| sockaddr::decode(it.payload)),
        local: local.and_then(|it| address(it.payload).ok()),
        local_port: port.map_or(0, u16::from_be_bytes),
        vpn_rx: traffic(get_peer::VPN_RX_BYTES, get_peer::VPN_RX_PACKETS),
        vpn_tx: traffic(get_peer::VPN_TX_BYTES, get_peer::VPN_TX_PACKETS),
        link_rx: traffic(get_peer::LINK_RX_BYTES, get_peer::LINK_RX_PACKETS),
        link_tx: traffic(get_peer::LINK_TX_BYTES, get_peer::LINK_TX_PACKETS),
        ..PeerState::default()
    })
}
