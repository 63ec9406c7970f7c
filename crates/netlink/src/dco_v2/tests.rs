use std::net::Ipv4Addr;

use super::schema::{new_peer, set_peer};
use super::*;
use crate::tlv::{Attributes, Writer};
use crate::validate::{Strictness, attributes as validate};
use crate::{DeleteReason, Notification};

/// A message's attributes after a dummy of the two headers.
fn attributes(fill: impl FnOnce(&mut Writer)) -> Vec<u8> {
    let mut writer = Writer::default();
    fill(&mut writer);
    writer.into_bytes()
}

fn new_peer_members(bytes: &[u8]) -> Members<'_> {
    let top = Members::of(Attributes::of(bytes, 0));
    Members::of(top.find(top::NEW_PEER).unwrap().members())
}

/// What OpenVPN 2.6's server sends for a client, as altered by `change`.
fn openvpn_new_peer(change: impl FnOnce(&mut Writer)) -> Vec<u8> {
    attributes(|message| {
        message.u32(top::IFINDEX, 2);
        message.nest(top::NEW_PEER, |nest| {
            nest.u32(new_peer::PEER_ID, 7);
            nest.u32(new_peer::SOCKET, 9);
            nest.put(new_peer::IPV4, &[10, 8, 0, 2]);
            nest.put(
                new_peer::SOCKADDR_REMOTE,
                &sockaddr::encode(&"192.0.2.1:1194".parse().unwrap()),
            );
            change(nest);
        });
    })
}

#[test]
fn new_peer_of_a_server() {
    let bytes = openvpn_new_peer(|nest| nest.put(new_peer::LOCAL_IP, &[192, 0, 2, 9]));
    let policy = FAMILY.command(command::NEW_PEER).unwrap().plain.unwrap();
    assert!(validate(policy, Attributes::of(&bytes, 0), Strictness::Strict).is_ok());
    let Ok(peer) = request::new_peer(&new_peer_members(&bytes), Mode::Mp) else {
        panic!("refused")
    };
    assert_eq!(
        (peer.id, peer.socket, peer.tx_id, peer.keepalive),
        (7, 9, None, None)
    );
    assert_eq!(peer.remote, Some("192.0.2.1:1194".parse().unwrap()));
    assert_eq!(peer.local, Some("192.0.2.9".parse().unwrap()));
    assert_eq!(peer.vpn4, Some(Ipv4Addr::new(10, 8, 0, 2)));
}

#[test]
fn vpn_addresses_in_p2p_are_dropped() {
    let bytes = openvpn_new_peer(|_| {});
    let Ok(peer) = request::new_peer(&new_peer_members(&bytes), Mode::P2p) else {
        panic!("refused")
    };
    assert_eq!((peer.vpn4, peer.vpn6), (None, None));
}

#[test]
fn new_peer_is_refused() {
    let too_big = openvpn_new_peer(|nest| nest.u32(new_peer::PEER_ID, 0x0100_0000));
    let other_family = openvpn_new_peer(|nest| nest.put(new_peer::LOCAL_IP, &[0; 16]));
    let odd_address = openvpn_new_peer(|nest| nest.put(new_peer::LOCAL_IP, &[0; 5]));
    for bytes in [too_big, other_family, odd_address] {
        let refused = request::new_peer(&new_peer_members(&bytes), Mode::Mp)
            .err()
            .unwrap();
        assert_eq!(refused.errno, Errno::EINVAL);
    }
}

#[test]
fn an_invalid_remote_counts_as_absent() {
    let odd = openvpn_new_peer(|nest| nest.put(new_peer::SOCKADDR_REMOTE, &[2; 20]));
    let peer = request::new_peer(&new_peer_members(&odd), Mode::Mp)
        .ok()
        .unwrap();
    assert_eq!(peer.remote, None);
}

#[test]
fn half_a_keepalive_changes_nothing() {
    let half = attributes(|nest| {
        nest.u32(set_peer::PEER_ID, 1);
        nest.u32(set_peer::KEEPALIVE_TIMEOUT, 60);
    });
    let decoded = request::set_peer(&Members::of(Attributes::of(&half, 0)))
        .ok()
        .unwrap();
    assert_eq!(decoded, None);
}

#[test]
fn only_deletions_are_notified() {
    let (ifindex, peer) = (3, 7);
    let deleted = Notification::PeerDeleted {
        ifindex,
        peer,
        reason: DeleteReason::Expired,
    };
    // Header; IFINDEX; DEL_PEER of REASON u8 and PEER_ID.
    let expected = [
        &[
            48, 0, 0, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 1, 0, 0,
        ][..],
        &[8, 0, 1, 0, 3, 0, 0, 0],
        &[
            20, 0, 4, 0x80, 5, 0, 1, 0, 2, 0, 0, 0, 8, 0, 2, 0, 7, 0, 0, 0,
        ],
    ]
    .concat();
    if cfg!(target_endian = "little") {
        assert_eq!(notification::encode(0x20, &deleted), Some(expected));
    }
    let remote = "192.0.2.1:1".parse().unwrap();
    assert_eq!(
        notification::encode(
            0x20,
            &Notification::PeerFloated {
                ifindex,
                peer,
                remote
            }
        ),
        None
    );
    assert_eq!(
        notification::encode(
            0x20,
            &Notification::KeySwap {
                ifindex,
                peer,
                key_id: 1
            }
        ),
        None
    );
}
