//! Packets in flight while keys change: where the engine differs from the driver on purpose (docs/netlink-api.md,
//! faults F3).

use std::thread;
use std::time::{Duration, Instant};

use crate::api::{BOTH, SECONDARY};
use crate::client::namespace::enter;
use crate::eventually::eventually;
use crate::forger::Forger;
use crate::inner::udp4;
use crate::site::{HERE4, Site, vpn_of};

/// The longest that a deleted key may still open packets, plus a busy machine's delay.
const WITHIN: Duration = Duration::from_secs(5);

fn packet(payload: &[u8]) -> Vec<u8> {
    udp4(vpn_of(1).0, HERE4, payload)
}

#[test]
fn late_data_is_opened_by_a_deleted_key_for_less_than_a_second() {
    if !enter("rekey::late_data_is_opened_by_a_deleted_key_for_less_than_a_second") {
        return;
    }
    for api in BOTH {
        let site = Site::open(api);
        let (openvpn, target) = (&site.openvpn, site.openvpn.target);
        let old = site.add_peer(1);
        openvpn.must(&target.key_new(1, SECONDARY, 1));
        openvpn.must(&target.key_swap(1));
        openvpn.must(&target.key_del(1, SECONDARY));
        old.send_packet(&packet(b"late"));
        assert_eq!(site.delivered(), b"late");

        // Only time ends it: the other end keeps sending with the old key.
        let deleted = Instant::now();
        eventually("the end of a deleted key", || {
            old.send_packet(&packet(b"later"));
            assert!(deleted.elapsed() < WITHIN);
            site.drops("rx_unknown_key_id") > 0
        });
    }
}

#[test]
fn late_data_ends_when_the_new_key_has_opened_a_packet() {
    if !enter("rekey::late_data_ends_when_the_new_key_has_opened_a_packet") {
        return;
    }
    for api in BOTH {
        let site = Site::open(api);
        let (openvpn, target) = (&site.openvpn, site.openvpn.target);
        let old = site.add_peer(1);
        openvpn.must(&target.key_new(1, SECONDARY, 1));
        openvpn.must(&target.key_swap(1));
        let new = Forger::with_key(openvpn.transport.address, 1, 1);
        new.send_packet(&packet(b"new"));
        assert_eq!(site.delivered(), b"new");
        openvpn.must(&target.key_del(1, SECONDARY));
        old.send_packet(&packet(b"late"));
        site.await_drops("rx_unknown_key_id", 1);
        site.nothing_delivered();
    }
}

#[test]
fn early_data_waits_for_its_key() {
    if !enter("rekey::early_data_waits_for_its_key") {
        return;
    }
    for api in BOTH {
        let site = Site::open(api);
        let (openvpn, target) = (&site.openvpn, site.openvpn.target);
        site.add_peer(1);
        let new = Forger::with_key(openvpn.transport.address, 1, 1);
        new.send_packet(&packet(b"early"));
        // It must have arrived before its key.
        thread::sleep(Duration::from_millis(50));
        openvpn.must(&target.key_new(1, SECONDARY, 1));
        assert_eq!(site.delivered(), b"early");
    }
}
