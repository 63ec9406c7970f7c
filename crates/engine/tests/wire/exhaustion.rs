//! Packet ids that run out (dco-behaviour 5.6): the engine is started with the counter near its end.

use std::time::Duration;

use udco_engine::Options;

use crate::api::{Api, BOTH, PRIMARY, Told};
use crate::client::namespace::enter;
use crate::eventually::eventually;
use crate::inner::{PORT, send_at_once};
use crate::site::{A_WHILE, Plan, Site, vpn_of};

/// Where another key is asked for, as OpenVPN does it by itself.
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
    // The keepalive thread looks twice a second.
    std::thread::sleep(Duration::from_millis(700));
    assert_eq!(site.told(), []);
    send(EARLY - 1);
    let mut told = Vec::new();
    eventually("KEY_SWAP_NTF", || {
        told.extend(site.told());
        !told.is_empty()
    });
    assert_eq!(told, [Told::KeySwap { peer: 1, key_id: 0 }]);
    // The key goes on to work, and is not complained about again.
    for packet_id in EARLY..EARLY + 3 {
        send(packet_id);
    }
    std::thread::sleep(Duration::from_millis(1200));
    send(EARLY + 3);
    assert_eq!(site.told(), []);
    // Another key has another counter, and a complaint of its own.
    let key = site.program.target.key_new(1, PRIMARY, 1);
    site.program.must(&key);
    send(EARLY - 2);
    send(EARLY - 1);
    eventually("KEY_SWAP_NTF", || {
        told.extend(site.told());
        told.len() > 1
    });
    assert_eq!(told[1..], [Told::KeySwap { peer: 1, key_id: 1 }]);
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
        // Each of the rest has a drop: none left, or the key taken out already.
        let drops = || site.drops("tx_packet_ids_used_up") + site.drops("tx_no_key");
        eventually("drops", || drops() == 7);
        // Nor do keepalives leave, nor what is sent later.
        let keepalive = site.program.target.peer_set(1, 1, 60);
        site.program.must(&keepalive);
        std::thread::sleep(Duration::from_millis(1700));
        site.send_inner(1, b"out");
        assert!(ids().is_empty());
        let before = drops();
        assert!(before >= 9, "the keepalive and the packet: {before}");
        let counters = site.counters(1);
        assert_eq!(counters.vpn_tx.packets, 13);
        assert_eq!(counters.link_tx, forger.received());
        // The older family has no such notification.
        let told = match api {
            Api::Ovpn => vec![Told::KeySwap { peer: 1, key_id: 0 }],
            Api::DcoV2 => Vec::new(),
        };
        assert_eq!(site.told(), told);
        // With another key all is well again.
        let key = site.program.target.key_new(1, PRIMARY, 1);
        site.program.must(&key);
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
