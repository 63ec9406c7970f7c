//! A key is installed only once: a second time its packet ids would start at 1 again, and its nonces repeat (promises
//! B9, faults E2).

use std::collections::HashSet;

use udco_engine::Options;

use crate::api::{Api, BOTH, PRIMARY, SECONDARY};
use crate::client::namespace::enter;
use crate::forger::Forger;
use crate::site::{Plan, Site};

const EEXIST: i32 = 17;

/// Makes the engine seal some packets, and collects their packet ids.
fn seal(site: &Site, forger: &Forger, seen: &mut HashSet<u32>) {
    for _ in 0..20 {
        site.send_inner(1, b"sealed");
        let record = forger.receive();
        assert!(seen.insert(record.packet_id), "{}", record.packet_id);
    }
}

#[test]
fn a_key_installed_twice_for_a_peer_is_refused_and_no_nonce_repeats() {
    if !enter("keys::a_key_installed_twice_for_a_peer_is_refused_and_no_nonce_repeats") {
        return;
    }
    for api in BOTH {
        let site = Site::open(api);
        let (openvpn, target) = (&site.openvpn, site.openvpn.target);
        let forger = site.add_peer(1);
        let mut seen = HashSet::new();
        seal(&site, &forger, &mut seen);
        let install = |slot| openvpn.ask(&target.key_new(1, slot, 0));
        assert_eq!(install(PRIMARY), Err(EEXIST));
        assert_eq!(install(SECONDARY), Err(EEXIST));
        seal(&site, &forger, &mut seen);
        // Nor after it has left its slot.
        openvpn.must(&target.key_new(1, SECONDARY, 1));
        openvpn.must(&target.key_swap(1));
        openvpn.must(&target.key_del(1, SECONDARY));
        assert_eq!(install(PRIMARY), Err(EEXIST));
        openvpn.must(&target.key_del(1, PRIMARY));
        assert_eq!(install(PRIMARY), Err(EEXIST));
        // A new one is accepted.
        openvpn.must(&target.key_new(1, PRIMARY, 2));
        // Other peers have keys of their own.
        site.add_peer(2);
    }
}

#[test]
fn the_kernels_answer_to_a_key_that_comes_again_is_to_be_had() {
    if !enter("keys::the_kernels_answer_to_a_key_that_comes_again_is_to_be_had") {
        return;
    }
    let site = Site::planned(&Plan {
        options: Options {
            allow_key_reuse: true,
            ..Options::default()
        },
        ..Plan::of(Api::Ovpn)
    });
    let (openvpn, target) = (&site.openvpn, site.openvpn.target);
    let forger = site.add_peer(1);
    seal(&site, &forger, &mut HashSet::new());
    openvpn.must(&target.key_new(1, PRIMARY, 0));
    // Starts from the first packet id again.
    seal(&site, &forger, &mut HashSet::new());
}
