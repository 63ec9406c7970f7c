//! Packet ids that run out (dco-behaviour 5.6): the engine starts with the counter near its end.

use std::time::Duration;

use udco_engine::Options;

use crate::api::{Api, BOTH, Notification, PRIMARY};
use crate::client::namespace::enter;
use crate::eventually::eventually;
use crate::inner::{PORT, send_at_once};
use crate::site::{A_WHILE, Plan, Site, vpn_of};

/// The packet id at which another key is requested, as OpenVPN does by itself.
const EARLY: u32 = 0xff00_0000;

fn site(api: Api, first_packet_id: u32) -> Site {
    Site::planned(&Plan {
        options: Options {
            first_packet_id: Some(first_packet_id),
            ..Options::default()
        },
        ..Plan::of(api)
    })
}

#[test]
fn another_key_is_asked_for_once_at_0xff000000() {
    if !enter("exhaustion::another_key_is_asked_for_once_at_0xff000000") {
        return;
    }
    let site = site(Api::Ovpn, EARLY - 2);
    let forger = site.add_peer(1);
    let send = |packet_id| {
        site.send_inner(1, b"out");
        assert_eq!(forger.receive().packet_id, packet_id);
    };
    send(EARLY - 2);
    // The keepalive timer runs twice a second.
    std::thread::sleep(Duration::from_millis(700));
    assert_eq!(site.notifications(), []);
    send(EARLY - 1);
    let mut notified = Vec::new();
    eventually("KEY_SWAP_NTF", || {
        notified.extend(site.notifications());
        !notified.is_empty()
    });
    assert_eq!(notified, [Notification::KeySwap { peer: 1, key_id: 0 }]);
    // The key still works, and is not reported again.
    for packet_id in EARLY..EARLY + 3 {
        send(packet_id);
    }
    std::thread::sleep(Duration::from_millis(1200));
    send(EARLY + 3);
    assert_eq!(site.notifications(), []);
    // Another key has another counter, and a notification of its own.
    let key = site.openvpn.target.key_new(1, PRIMARY, 1);
    site.openvpn.must(&key);
    send(EARLY - 2);
    send(EARLY - 1);
    eventually("KEY_SWAP_NTF", || {
        notified.extend(site.notifications());
        notified.len() > 1
    });
    assert_eq!(
        notified[1..],
        [Notification::KeySwap { peer: 1, key_id: 1 }]
    );
}

#[test]
fn no_packet_id_leaves_twice_when_all_are_used_up() {
    if !enter("exhaustion::no_packet_id_leaves_twice_when_all_are_used_up") {
        return;
    }
    for api in BOTH {
        let site = site(api, u32::MAX - 4);
        let forger = site.add_peer(1);
        for _ in 0..12 {
            site.send_inner(1, b"out");
        }
        let ids = || -> Vec<u32> {
            let records = std::iter::from_fn(|| forger.receive_within(A_WHILE));
            records.map(|record| record.packet_id).collect()
        };
        assert_eq!(ids(), Vec::from_iter(u32::MAX - 4..=u32::MAX));
        // Each of the rest is dropped: no packet ids left, or the key already removed.
        let drops = || site.drops("tx_packet_ids_used_up") + site.drops("tx_no_key");
        eventually("drops", || drops() == 7);
        // Neither keepalives nor later packets leave.
        let keepalive = site.openvpn.target.peer_set(1, 1, 60);
        site.openvpn.must(&keepalive);
        std::thread::sleep(Duration::from_millis(1700));
        site.send_inner(1, b"out");
        assert!(ids().is_empty());
        let before = drops();
        assert!(before >= 9, "the keepalive and the packet: {before}");
        let counters = site.counters(1);
        assert_eq!(counters.vpn_tx.packets, 13);
        assert_eq!(counters.link_tx, forger.received());
        // The older family has no such notification.
        let notified = match api {
            Api::Ovpn => vec![Notification::KeySwap { peer: 1, key_id: 0 }],
            Api::DcoV2 => Vec::new(),
        };
        assert_eq!(site.notifications(), notified);
        // With another key everything works again.
        let key = site.openvpn.target.key_new(1, PRIMARY, 1);
        site.openvpn.must(&key);
        site.send_inner(1, b"again");
        let record = loop {
            let record = forger.receive();
            if record.payload.ends_with(b"again") {
                break record;
            }
        };
        assert_eq!(record.key_id, 1);
    }
}

#[test]
fn of_packets_that_came_as_one_those_leave_for_which_there_are_ids() {
    if !enter("exhaustion::of_packets_that_came_as_one_those_leave_for_which_there_are_ids") {
        return;
    }
    let site = site(Api::Ovpn, u32::MAX - 1);
    let forger = site.add_peer(1);
    send_at_once((vpn_of(1).0, PORT).into(), 5, 300);
    let records = std::iter::from_fn(|| forger.receive_within(A_WHILE));
    let ids: Vec<u32> = records.map(|record| record.packet_id).collect();
    assert_eq!(ids, [u32::MAX - 1, u32::MAX]);
    let drops = || site.drops("tx_packet_ids_used_up") + site.drops("tx_no_key");
    eventually("drops", || drops() == 3);
    assert_eq!(site.counters(1).link_tx, forger.received());
}
