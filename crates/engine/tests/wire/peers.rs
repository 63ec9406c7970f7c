//! A new peer whose id exists already (dco-behaviour 2.6, check 19).

use crate::api::{BOTH, EEXIST, Notification, PRIMARY, TEARDOWN};
use crate::client::namespace::enter;
use crate::client::netlink::POINT_TO_POINT;
use crate::eventually::eventually;
use crate::forger::{Forger, Record};
use crate::inner::udp4;
use crate::site::{A_WHILE, FakeOpenVpn, HERE4, Plan, Site, no_more_fds_than, open_fds, vpn_of};

/// Checks that packets pass in both directions.
#[track_caller]
fn works(site: &Site, peer: u32, forger: &Forger) {
    forger.send_packet(&udp4(vpn_of(peer).0, HERE4, b"in"));
    assert_eq!(site.delivered(), b"in");
    // Retried: the kernel takes up to a second to notice that a point-to-point device has carrier.
    let mut record = None;
    eventually("a record", || {
        site.send_inner(peer, b"out");
        record = forger.receive_within(A_WHILE);
        record.is_some()
    });
    let Record {
        peer: id, payload, ..
    } = record.unwrap();
    assert_eq!(id, peer);
    assert!(payload.ends_with(b"out"));
}

#[test]
fn a_second_peer_of_the_same_id_is_refused_and_the_first_works_on() {
    if !enter("peers::a_second_peer_of_the_same_id_is_refused_and_the_first_works_on") {
        return;
    }
    for api in BOTH {
        let site = Site::open(api);
        let forger = site.add_peer(1);
        works(&site, 1, &forger);
        let target = site.openvpn.target;
        // From another address, with other VPN addresses.
        let elsewhere = Forger::new(site.openvpn.transport.address, 1);
        let mut second = site.openvpn.new_peer(1, elsewhere.address());
        second.vpn = Some(vpn_of(7));
        assert_eq!(site.openvpn.ask(&target.peer_new(&second)), Err(EEXIST));
        works(&site, 1, &forger);
        // On a socket new to the engine, of this client and of another one: it is not kept.
        let before = open_fds();
        second.socket = 10;
        assert_eq!(site.openvpn.ask(&target.peer_new(&second)), Err(EEXIST));
        let another = FakeOpenVpn::beside(&site);
        assert_eq!(another.ask(&target.peer_new(&second)), Err(EEXIST));
        works(&site, 1, &forger);
        another.client.end().unwrap();
        drop((another.requests, another.transport));
        no_more_fds_than(before);
        assert_eq!(site.peers(), [1]);
        assert_eq!(site.notifications(), []);
        works(&site, 1, &forger);
    }
}

#[test]
fn on_a_point_to_point_device_a_peer_replaces_the_one_before() {
    if !enter("peers::on_a_point_to_point_device_a_peer_replaces_the_one_before") {
        return;
    }
    for api in BOTH {
        let site = Site::planned(&Plan {
            mode: POINT_TO_POINT,
            ..Plan::of(api)
        });
        let (openvpn, target) = (&site.openvpn, site.openvpn.target);
        // On the channel that asks, so that the order is seen.
        let (_, group) = openvpn.client.family(&openvpn.requests, api.family());
        openvpn.client.join(&openvpn.requests, group);
        let (mut old, mut older) = (1, site.add_peer(1));
        works(&site, old, &older);
        // By a peer of the same id, and by one of another.
        for id in [1, 2] {
            let newer = Forger::with_key(openvpn.transport.address, id, 1);
            let new = openvpn.new_peer(id, newer.address());
            let answers = openvpn.ask(&target.peer_new(&new));
            let before_the_ack: Vec<_> = answers
                .unwrap()
                .iter()
                .map(|it| target.notification(it))
                .collect();
            let torn_down = Notification::Deleted {
                peer: old,
                reason: TEARDOWN,
            };
            assert_eq!(before_the_ack, [torn_down]);
            openvpn.must(&target.key_new(id, PRIMARY, 1));
            works(&site, id, &newer);
            assert_eq!(site.peers(), [u64::from(id)]);
            assert_eq!(site.notifications(), [torn_down], "once");
            // The previous peer no longer exists.
            older.send_packet(&udp4(vpn_of(old).0, HERE4, b"from before"));
            let reason = if id == old {
                "rx_unknown_key_id"
            } else {
                "rx_no_peer"
            };
            site.await_drops(reason, 1);
            (old, older) = (id, newer);
        }
        works(&site, old, &older);
        site.nothing_delivered();
    }
}
