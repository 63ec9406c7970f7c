use super::*;
use crate::key_slots::Slot;
use crate::testing::{Toy, at, device, key, new_peer};
use crate::used_keys::KeyDigest;

fn seconds(seconds: u64) -> Time {
    Time::from_millis(seconds * 1000)
}

#[test]
fn a_multi_peer_device_refuses_what_is_taken() {
    let mut device = device(&[1, 2]);
    let refused = |device: &mut Device<Toy, ()>, peer| device.add_peer(peer, seconds(0)).err();
    assert_eq!(refused(&mut device, new_peer(1)), Some(PeerError::IdTaken));
    let address_of_2 = NewPeer {
        vpn4: new_peer(2).vpn4,
        ..new_peer(3)
    };
    assert_eq!(
        refused(&mut device, address_of_2),
        Some(PeerError::VpnAddressTaken)
    );
    let no_address = NewPeer {
        vpn4: Some(Ipv4Addr::UNSPECIFIED),
        ..new_peer(3)
    };
    assert_eq!(
        refused(&mut device, no_address),
        Some(PeerError::NoVpnAddress)
    );
    assert_eq!(device.peers().len(), 2);
    let same_endpoint = NewPeer {
        endpoint: new_peer(2).endpoint,
        ..new_peer(3)
    };
    assert_eq!(refused(&mut device, same_endpoint), None);
}

#[test]
fn a_point_to_point_device_replaces_its_peer() {
    let mut device = Device::<Toy, ()>::new(Mode::P2p, 1);
    assert!(device.add_peer(new_peer(1), seconds(0)).unwrap().is_none());
    let replaced = device.add_peer(new_peer(7), seconds(0)).unwrap();
    assert_eq!(replaced.unwrap().id, PeerId::from(1));
    let again = device.add_peer(new_peer(7), seconds(0)).unwrap();
    assert_eq!(again.unwrap().id, PeerId::from(7));
    assert_eq!(device.peers().only().unwrap().id, PeerId::from(7));
    assert_eq!(device.peers().len(), 1);
    device.remove_peer(PeerId::from(7)).unwrap();
    assert!(device.peers().only().is_none());
}

#[test]
fn a_changed_peer_is_found_at_its_new_addresses_only() {
    let mut device = device(&[1, 2]);
    let before = device.peers().clone();
    let (old, new) = (new_peer(1).vpn4.unwrap(), Ipv4Addr::new(10, 8, 0, 77));
    let endpoint = Endpoint {
        remote: at(7777),
        local: None,
    };
    let change = PeerChange {
        vpn4: Some(new),
        endpoint: Some(endpoint),
        ..PeerChange::default()
    };
    device
        .change_peer(PeerId::from(1), change, seconds(0))
        .unwrap();
    let peers = device.peers();
    assert!(peers.by_vpn_address(old.into()).is_none());
    assert_eq!(
        peers.by_vpn_address(new.into()).unwrap().id,
        PeerId::from(1)
    );
    assert!(peers.by_remote(at(1)).is_none());
    assert_eq!(peers.by_remote(at(7777)).unwrap().id, PeerId::from(1));
    assert_eq!(
        before.by_remote(at(1)).unwrap().id,
        PeerId::from(1),
        "a snapshot saw a later change"
    );

    let taken = PeerChange {
        vpn4: new_peer(2).vpn4,
        ..PeerChange::default()
    };
    assert_eq!(
        device.change_peer(PeerId::from(1), taken, seconds(0)),
        Err(PeerError::VpnAddressTaken)
    );
    let cleared = PeerChange {
        vpn4: Some(Ipv4Addr::UNSPECIFIED),
        ..PeerChange::default()
    };
    assert_eq!(
        device.change_peer(PeerId::from(1), cleared, seconds(0)),
        Err(PeerError::NoVpnAddress)
    );
    assert_eq!(
        device.change_peer(PeerId::from(9), taken, seconds(0)),
        Err(PeerError::NoSuchPeer)
    );
}

#[test]
fn requests_for_an_unknown_peer_are_refused() {
    let mut device = device(&[1]);
    let unknown = Err(PeerError::NoSuchPeer);
    assert_eq!(
        device.install_key(PeerId::from(9), Slot::Primary, key(0, 1)),
        unknown
    );
    assert_eq!(device.delete_key(PeerId::from(9), Slot::Primary), unknown);
    assert_eq!(device.swap_keys(PeerId::from(9)), unknown);
    assert_eq!(
        device.remove_peer(PeerId::from(9)).err(),
        Some(PeerError::NoSuchPeer)
    );
    assert_eq!(
        device.delete_key(PeerId::from(1), Slot::Secondary),
        Ok(()),
        "an empty slot is fine"
    );
}

#[test]
fn two_peers_at_one_address_part_without_harm() {
    let mut device = device(&[1]);
    let second = NewPeer {
        endpoint: new_peer(1).endpoint,
        ..new_peer(2)
    };
    device.add_peer(second, seconds(0)).unwrap();
    assert_eq!(device.peers().by_remote(at(1)).unwrap().id, PeerId::from(2));
    device.remove_peer(PeerId::from(1)).unwrap();
    assert_eq!(device.peers().by_remote(at(1)).unwrap().id, PeerId::from(2));
}

#[test]
fn a_float_tells_of_remote_changes_only() {
    let mut device = device(&[1]);
    let here = new_peer(1).endpoint.unwrap();
    assert!(!device.float(PeerId::from(1), here));
    let learnt = Endpoint {
        local: Some(IpAddr::from([192, 0, 2, 9])),
        ..here
    };
    assert!(
        !device.float(PeerId::from(1), learnt),
        "only our own address changed"
    );
    assert!(device.float(
        PeerId::from(1),
        Endpoint {
            remote: at(5),
            ..learnt
        }
    ));
    assert_eq!(
        device
            .peers()
            .by_remote(at(5))
            .unwrap()
            .endpoint()
            .unwrap()
            .local,
        learnt.local
    );
    assert!(!device.float(PeerId::from(9), here));
}

#[test]
fn keepalive_pings_and_expires() {
    let mut device = device(&[1, 2]);
    let keepalive = Keepalive {
        interval: 2,
        timeout: 5,
    };
    let change = PeerChange {
        keepalive: Some(keepalive),
        ..PeerChange::default()
    };
    device
        .change_peer(PeerId::from(1), change, seconds(100))
        .unwrap();
    let due = device.tick(seconds(101));
    assert!(due.expired.is_empty() && due.pings.is_empty());
    let due = device.tick(seconds(102));
    assert_eq!(
        due.pings.iter().map(|peer| peer.id).collect::<Vec<_>>(),
        [PeerId::from(1)]
    );
    due.pings[0].activity.sent(seconds(102));
    assert!(device.tick(seconds(103)).pings.is_empty());
    device
        .peers()
        .by_id(PeerId::from(1))
        .unwrap()
        .activity
        .received(seconds(104));
    assert!(device.tick(seconds(108)).expired.is_empty());
    let due = device.tick(seconds(109));
    assert_eq!(
        due.expired.iter().map(|peer| peer.id).collect::<Vec<_>>(),
        [PeerId::from(1)]
    );
    assert!(due.pings.is_empty(), "an expired peer is not pinged");
    assert!(device.peers().by_id(PeerId::from(1)).is_none());
    assert!(
        device.peers().by_id(PeerId::from(2)).is_some(),
        "a peer without keepalive stays"
    );
}

#[test]
fn an_old_key_lingers_beside_a_new_one_and_then_goes() {
    let mut device = device(&[1]);
    device
        .install_key(PeerId::from(1), Slot::Secondary, key(1, 9))
        .unwrap();
    let keys = |device: &Device<Toy, ()>, id, now| {
        device
            .peers()
            .by_id(PeerId::from(1))
            .unwrap()
            .keys
            .by_key_id(KeyId::new(id).unwrap(), now)
            .is_some()
    };
    device
        .retire_key(PeerId::from(1), Slot::Secondary, seconds(10))
        .unwrap();
    assert!(keys(&device, 1, seconds(9)));
    let due = device.tick(seconds(9));
    assert!(!due.changed && due.lingers);
    let due = device.tick(seconds(10));
    assert!(due.changed && !due.lingers, "it is dropped");
    assert!(!keys(&device, 1, seconds(9)), "it is gone for good");
    device
        .install_key(PeerId::from(1), Slot::Secondary, key(1, 9))
        .unwrap();
    let primary = device
        .peers()
        .by_id(PeerId::from(1))
        .unwrap()
        .keys
        .at(Slot::Primary)
        .unwrap();
    let mut used = crate::testing::record(primary, PeerId::from(1), 1, b"in use");
    primary.open(&mut used, seconds(11)).unwrap();
    device
        .retire_key(PeerId::from(1), Slot::Secondary, seconds(20))
        .unwrap();
    assert!(!keys(&device, 1, seconds(12)), "the peer uses the primary");
    device
        .retire_key(PeerId::from(1), Slot::Primary, seconds(20))
        .unwrap();
    assert!(
        !keys(&device, 0, seconds(11)),
        "without another key it goes at once"
    );
}

#[test]
fn a_due_rekey_is_reported_once_and_a_used_up_key_is_deleted() {
    let mut device = device(&[1, 2]);
    let near_its_end = |next| crate::testing::key_at(3, 1, next);
    device
        .install_key(PeerId::from(1), Slot::Primary, near_its_end(0xff00_0000))
        .unwrap();
    device
        .install_key(PeerId::from(2), Slot::Primary, near_its_end(u32::MAX))
        .unwrap();
    let due = device.tick(seconds(1));
    let rekey_due = due
        .rekey_due
        .iter()
        .map(|(peer, id)| (peer.value(), id.value()));
    let mut rekey_due: Vec<_> = rekey_due.collect();
    rekey_due.sort_unstable();
    assert_eq!(rekey_due, [(1, 3), (2, 3)]);
    assert!(!due.changed);
    let key = device
        .peers()
        .by_id(PeerId::from(2))
        .unwrap()
        .keys
        .at(Slot::Primary)
        .unwrap();
    let left = key.reserve(9).unwrap().map(|id| id.value());
    assert!(left.eq([u32::MAX]));
    let due = device.tick(seconds(2));
    assert!(due.rekey_due.is_empty() && due.changed);
    assert!(
        device
            .peers()
            .by_id(PeerId::from(2))
            .unwrap()
            .keys
            .at(Slot::Primary)
            .is_none()
    );
    assert!(
        device
            .peers()
            .by_id(PeerId::from(1))
            .unwrap()
            .keys
            .at(Slot::Primary)
            .is_some()
    );
}

/// promises D8: the local address is kept, but only as long as it exists.
#[test]
fn a_local_address_that_is_gone_is_forgotten_once() {
    let mut device = device(&[1]);
    let here = new_peer(1).endpoint.unwrap();
    let gone = Endpoint {
        local: Some(IpAddr::from([192, 0, 2, 9])),
        ..here
    };
    device.float(PeerId::from(1), gone);
    let moved = Endpoint {
        remote: at(5),
        ..gone
    };
    assert!(
        !device.forget_local(PeerId::from(1), moved),
        "it is somewhere else"
    );
    assert!(!device.forget_local(PeerId::from(2), gone), "no such peer");
    assert!(device.forget_local(PeerId::from(1), gone));
    assert!(
        !device.forget_local(PeerId::from(1), gone),
        "nothing left to forget"
    );
    let now = device.peers().by_remote(here.remote).unwrap().endpoint();
    assert_eq!(now.unwrap().local, None);
}

#[test]
fn a_key_is_installed_once_for_a_peer_whatever_becomes_of_it() {
    let mut device = device(&[1, 2]);
    let install = |device: &mut Device<Toy, ()>, id, slot, digest| {
        device.install_key_once(id, slot, key(0, 9), KeyDigest(digest))
    };
    let (primary, secondary) = (Slot::Primary, Slot::Secondary);
    let used = Err(PeerError::KeyUsed);
    assert_eq!(
        install(&mut device, PeerId::from(1), primary, 5),
        Ok(Novelty::New)
    );
    let installed = device
        .peers()
        .by_id(PeerId::from(1))
        .unwrap()
        .keys
        .at(primary)
        .cloned();
    assert_eq!(install(&mut device, PeerId::from(1), primary, 5), used);
    assert_eq!(install(&mut device, PeerId::from(1), secondary, 5), used);
    let left = device
        .peers()
        .by_id(PeerId::from(1))
        .unwrap()
        .keys
        .at(primary)
        .cloned();
    assert!(Arc::ptr_eq(&installed.unwrap(), &left.unwrap()));
    device.swap_keys(PeerId::from(1)).unwrap();
    assert_eq!(
        install(&mut device, PeerId::from(1), primary, 6),
        Ok(Novelty::New)
    );
    device.delete_key(PeerId::from(1), secondary).unwrap();
    device.delete_key(PeerId::from(1), primary).unwrap();
    for digest in [5, 6] {
        assert_eq!(install(&mut device, PeerId::from(1), primary, digest), used);
    }
    // Another peer may have it, and so may a later peer of the same id; the result says so.
    let another = Ok(Novelty::HadByAnother);
    assert_eq!(install(&mut device, PeerId::from(2), primary, 5), another);
    assert_eq!(install(&mut device, PeerId::from(2), primary, 5), used);
    device.remove_peer(PeerId::from(1)).unwrap();
    device.add_peer(new_peer(1), seconds(0)).unwrap();
    assert_eq!(install(&mut device, PeerId::from(1), primary, 6), another);
    let nobody = install(&mut device, PeerId::from(3), primary, 7);
    assert_eq!(nobody, Err(PeerError::NoSuchPeer));
}
