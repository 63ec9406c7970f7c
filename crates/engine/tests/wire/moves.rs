//! Which packets move a peer to another address (dco-behaviour 5.4, design decision 10, faults E1).

use crate::api::{BOTH, SECONDARY};
use crate::client::namespace::enter;
use crate::eventually::eventually;
use crate::forger::{Forger, Record};
use crate::inner::udp4;
use crate::site::{A_WHILE, HERE4, Site, vpn_of};

/// A deliverable record with this key and packet id.
fn record(forger: &Forger, key_id: u8, packet_id: u32) -> Vec<u8> {
    forger.sealed(&Record {
        key_id,
        peer: 1,
        packet_id,
        payload: udp4(vpn_of(1).0, HERE4, &packet_id.to_be_bytes()),
    })
}

#[track_caller]
fn delivers(site: &Site, from: &Forger, key_id: u8, packet_id: u32) {
    from.send(&record(from, key_id, packet_id));
    assert_eq!(site.delivered(), packet_id.to_be_bytes());
}

#[test]
fn a_withheld_packet_of_an_old_key_moves_no_peer() {
    if !enter("moves::a_withheld_packet_of_an_old_key_moves_no_peer") {
        return;
    }
    for api in BOTH {
        for swapped in [true, false] {
            let site = Site::open(api);
            let home = site.add_peer(1);
            let elsewhere = Forger::new(site.openvpn.transport.address, 1);
            let target = site.openvpn.target;
            delivers(&site, &home, 0, 10);
            site.openvpn.must(&target.key_new(1, SECONDARY, 1));
            // A server swaps long after its client has started to send with the new key.
            if swapped {
                site.openvpn.must(&target.key_swap(1));
            }
            delivers(&site, &home, 1, 1);
            for withheld in [11, 9, 4000] {
                delivers(&site, &elsewhere, 0, withheld);
                assert_eq!(site.notifications(), []);
                let state = site.openvpn.client.show();
                let remote = state["devices"][0]["peers"][0]["remote"].to_string();
                let endpoint = home.address().to_string();
                assert!(
                    remote.contains(&endpoint),
                    "{api:?}: packet {withheld}: at {remote}"
                );
            }
        }
    }
}

/// It has the new key, and uses it, before the server makes that primary.
#[test]
fn a_peer_that_moves_with_its_new_key_is_followed() {
    if !enter("moves::a_peer_that_moves_with_its_new_key_is_followed") {
        return;
    }
    for api in BOTH {
        let site = Site::open(api);
        let home = site.add_peer(1);
        let elsewhere = Forger::new(site.openvpn.transport.address, 1);
        delivers(&site, &home, 0, 1);
        site.openvpn
            .must(&site.openvpn.target.key_new(1, SECONDARY, 1));
        let mut packet_id = 0;
        eventually("the peer elsewhere", || {
            packet_id += 1;
            delivers(&site, &elsewhere, 1, packet_id);
            site.send_inner(1, b"out");
            elsewhere.receive_within(A_WHILE).is_some()
        });
    }
}
