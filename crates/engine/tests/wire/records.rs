//! Records from an attacker, the network or a broken peer (dco-behaviour 1.5, 5.2, 5.3, 5.7).

use std::net::{Ipv4Addr, Ipv6Addr};
use std::thread;
use std::time::Duration;

use crate::api::{Api, BOTH, NewPeer, PRIMARY};
use crate::client::namespace::enter;
use crate::eventually::eventually_equal;
use crate::forger::{Forger, KEEPALIVE, Record, Tally, UNDEFINED};
use crate::inner::{PORT, udp4, udp6};
use crate::site::{HERE4, HERE6, Site, delivered, ip, vpn_of};

/// A peer's received records, and how many packets of them were delivered. The latter are counted a moment later.
fn received(site: &Site, peer: u32) -> (Tally, u64) {
    let counters = site.counters(peer);
    (counters.link_rx, counters.vpn_rx.packets)
}

/// A valid packet of this peer.
fn fine(peer: u32, payload: &[u8]) -> Vec<u8> {
    udp4(vpn_of(peer).0, HERE4, payload)
}

#[test]
fn a_replayed_record_is_delivered_once() {
    if !enter("records::a_replayed_record_is_delivered_once") {
        return;
    }
    for api in BOTH {
        let site = Site::open(api);
        let forger = site.add_peer(1);
        let record = forger.next_record(&fine(1, b"once"));
        for _ in 0..3 {
            forger.send(&record);
        }
        assert_eq!(site.delivered(), b"once");
        site.await_drops("rx_replay", 2);
        // Also if another has arrived in between.
        forger.send_packet(&fine(1, b"next"));
        assert_eq!(site.delivered(), b"next");
        forger.send(&record);
        site.await_drops("rx_replay", 3);
        site.nothing_delivered();
        eventually_equal(&(forger.sent(), 2), || received(&site, 1));
    }
}

#[test]
fn a_record_older_than_the_window_is_dropped() {
    if !enter("records::a_record_older_than_the_window_is_dropped") {
        return;
    }
    let site = Site::open(Api::Ovpn);
    let forger = site.add_peer(1);
    forger.send(&forger.record(3000, &fine(1, b"newest")));
    assert_eq!(site.delivered(), b"newest");
    // The window is 2,048 ids wide, including the newest.
    forger.send(&forger.record(3000 - 2048, &fine(1, b"too old")));
    site.await_drops("rx_too_old", 1);
    forger.send(&forger.record(3000 - 2047, &fine(1, b"oldest")));
    assert_eq!(site.delivered(), b"oldest");
    // Packet id 0 is never used.
    forger.send(&forger.record(0, &fine(1, b"zero")));
    site.await_drops("rx_replay", 1);
    site.nothing_delivered();
}

#[test]
fn gaps_in_packet_ids_are_shown_as_lost_until_they_close() {
    if !enter("records::gaps_in_packet_ids_are_shown_as_lost_until_they_close") {
        return;
    }
    for api in BOTH {
        let site = Site::open(api);
        let forger = site.add_peer(1);
        let send = |packet_id: u32| {
            let payload = packet_id.to_string();
            forger.send(&forger.record(packet_id, &fine(1, payload.as_bytes())));
            assert_eq!(site.delivered(), payload.as_bytes());
        };
        let lost = |part: &str| {
            let device = &site.openvpn.client.show()["devices"][0];
            let of = match part {
                "totals" => &device["totals"],
                _ => &device["peers"][0],
            };
            let number = |name: &str| of["loss"][name].as_u64().unwrap();
            (number("lost"), number("expected"))
        };
        assert_eq!(lost("peer"), (0, 0));
        send(2);
        send(6);
        assert_eq!(lost("peer"), (4, 6));
        send(4);
        forger.send(&forger.record(4, &fine(1, b"again")));
        site.await_drops("rx_replay", 1);
        assert_eq!((lost("peer"), lost("totals")), ((3, 6), (3, 6)));
        // The next key counts from 1, and the one before stays in the sum.
        site.openvpn
            .must(&site.openvpn.target.key_new(1, PRIMARY, 1));
        assert_eq!(lost("peer"), (3, 6));
        site.openvpn.must(&site.openvpn.target.peer_del(1));
        assert_eq!(lost("totals"), (3, 6));
    }
}

/// With a fake clock: `replay::tests::after_thirty_idle_seconds_only_newer_ids_are_accepted` of the core.
#[test]
#[ignore = "takes half a minute"]
fn after_thirty_idle_seconds_only_newer_records_are_accepted() {
    if !enter("records::after_thirty_idle_seconds_only_newer_records_are_accepted") {
        return;
    }
    let site = Site::open(Api::Ovpn);
    let forger = site.add_peer(1);
    for (packet_id, payload) in [(10, b"10"), (5, b" 5")] {
        forger.send(&forger.record(packet_id, &fine(1, payload)));
        assert_eq!(site.delivered(), payload);
    }
    // A refused one does not restart the timer.
    thread::sleep(Duration::from_secs(15));
    forger.send(&forger.record(5, &fine(1, b"again")));
    site.await_drops("rx_replay", 1);
    thread::sleep(Duration::from_secs(16));
    forger.send(&forger.record(9, &fine(1, b"late")));
    site.await_drops("rx_too_old", 1);
    forger.send(&forger.record(11, &fine(1, b"11")));
    assert_eq!(site.delivered(), b"11");
    site.nothing_delivered();
}

#[test]
fn a_spoofed_inner_source_is_dropped_and_counted() {
    if !enter("records::a_spoofed_inner_source_is_dropped_and_counted") {
        return;
    }
    for api in BOTH {
        let site = Site::open(api);
        let (forger, _other) = (site.add_peer(1), site.add_peer(2));
        let stranger = Ipv4Addr::new(192, 0, 2, 1);
        let link_local = "fe80::1".parse().unwrap();
        for spoofed in [
            udp4(vpn_of(2).0, HERE4, b"another's"),
            udp4(HERE4, HERE4, b"the server's own"),
            udp4(stranger, HERE4, b"a stranger's"),
            udp6(vpn_of(2).1, HERE6, b"another's"),
            udp6(link_local, HERE6, b"nobody's"),
        ] {
            forger.send_packet(&spoofed);
        }
        site.await_drops("rx_spoofed_source", 5);
        site.nothing_delivered();
        // Packets of its own are valid.
        forger.send_packet(&udp4(vpn_of(1).0, HERE4, b"four"));
        assert_eq!(site.delivered(), b"four");
        forger.send_packet(&udp6(vpn_of(1).1, HERE6, b"six"));
        let six = delivered(&site.inner6, Duration::from_secs(5));
        assert_eq!(six.as_deref(), Some(&b"six"[..]));
        eventually_equal(&(forger.sent(), 2), || received(&site, 1));
        assert_eq!(received(&site, 2), (Tally::default(), 0));
    }
}

#[test]
fn housekeeping_of_a_link_is_neither_spoofed_nor_without_a_peer() {
    if !enter("records::housekeeping_of_a_link_is_neither_spoofed_nor_without_a_peer") {
        return;
    }
    let site = Site::open(Api::Ovpn);
    let (forger, other) = (site.add_peer(1), site.add_peer(2));
    let (link_local, any6) = ("fe80::1".parse().unwrap(), Ipv6Addr::UNSPECIFIED);
    let (routers, reports) = ("ff02::2".parse().unwrap(), "ff02::16".parse().unwrap());
    let (zeroconf, igmp) = (Ipv4Addr::new(169, 254, 1, 1), Ipv4Addr::new(224, 0, 0, 22));
    for packet in [
        udp6(link_local, routers, b""),
        udp6(link_local, reports, b""),
        udp6(any6, reports, b""),
        udp4(zeroconf, igmp, b""),
        udp4(Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST, b""),
    ] {
        forger.send_packet(&packet);
    }
    site.await_drops("rx_link_local", 5);
    // None of these headers can hide a packet for a host, or with another peer's address.
    let vpn6 = "fe80::77".parse().unwrap();
    let target = site.openvpn.target;
    let with_link_local = NewPeer {
        vpn: Some((vpn_of(3).0, vpn6)),
        ..site.openvpn.new_peer(3, other.address())
    };
    site.openvpn.must(&target.peer_new(&with_link_local));
    for packet in [
        udp6(link_local, HERE6, b"for a host"),
        udp6(link_local, vpn_of(2).1, b"for another peer"),
        udp6(vpn6, routers, b"another's"),
        udp4(zeroconf, HERE4, b"for a host"),
        udp4(vpn_of(2).0, igmp, b"another's"),
        udp4(zeroconf, Ipv4Addr::new(239, 1, 1, 1), b"beyond the link"),
    ] {
        forger.send_packet(&packet);
    }
    site.await_drops("rx_spoofed_source", 6);
    assert_eq!(site.drops("rx_link_local"), 5);
    site.nothing_delivered();
    // Packets with its own source may go to a group.
    forger.send_packet(&udp4(vpn_of(1).0, igmp, b""));
    eventually_equal(&(forger.sent(), 1), || received(&site, 1));
    // The other direction.
    ip(&["route add 224.0.0.0/4 dev wire0"]);
    site.inner4.send_to(b"", (igmp, PORT)).unwrap();
    site.inner6.send_to(b"", (routers, PORT)).unwrap();
    site.await_drops("tx_multicast", 2);
    site.send_inner(9, b"nobody");
    site.await_drops("tx_no_peer", 1);
}

#[test]
fn the_undefined_peer_id_means_the_peer_at_the_source_address() {
    if !enter("records::the_undefined_peer_id_means_the_peer_at_the_source_address") {
        return;
    }
    for api in BOTH {
        let site = Site::open(api);
        let (one, two) = (site.add_peer(1), site.add_peer(2));
        let undefined = |forger: &Forger, peer| {
            forger.sealed(&Record {
                key_id: 0,
                peer: UNDEFINED,
                packet_id: 1,
                payload: fine(peer, &[peer as u8]),
            })
        };
        two.send(&undefined(&two, 2));
        assert_eq!(site.delivered(), [2]);
        // With another peer's source address it belongs to that peer, whose key does not open it.
        one.send(&undefined(&two, 2));
        site.await_drops("rx_bad_tag", 1);
        eventually_equal(&(one.sent(), 0), || received(&site, 1));
        eventually_equal(&(two.sent(), 1), || received(&site, 2));
        let stranger = Forger::new(site.openvpn.transport.address, 1);
        stranger.send(&undefined(&stranger, 1));
        site.await_drops("rx_no_peer", 1);
        site.nothing_delivered();
    }
}

#[test]
fn data_v1_is_dropped_and_not_passed_on() {
    if !enter("records::data_v1_is_dropped_and_not_passed_on") {
        return;
    }
    let site = Site::open(Api::Ovpn);
    let forger = site.add_peer(1);
    for key_id in 0..8 {
        let mut record = forger.next_record(&fine(1, b"old format"));
        record[0] = 6 << 3 | key_id;
        forger.send(&record);
    }
    site.await_drops("rx_data_v1", 8);
    site.nothing_delivered();
    assert_eq!(site.openvpn.transport.control_packets(), 0);
    assert_eq!(site.counters(1).link_rx.packets, 0);
    // A control packet goes to OpenVPN unchanged.
    forger.send(&[7 << 3; 30]);
    let mut packet = [0; 200];
    let control = &site.openvpn.transport.control;
    let relayed = control
        .receive_within(&mut packet, Duration::from_secs(5))
        .unwrap();
    assert!(packet[..relayed.len].ends_with(&[7 << 3; 30]));
}

#[test]
fn records_of_every_short_length_are_dropped_for_their_reason() {
    if !enter("records::records_of_every_short_length_are_dropped_for_their_reason") {
        return;
    }
    let site = Site::open(Api::Ovpn);
    let forger = site.add_peer(1);
    let empty = forger.next_record(&[]);
    assert_eq!(empty.len(), 24);
    for len in 0..24 {
        forger.send(&empty[..len]);
    }
    // No opcode; no tag; no payload.
    site.await_drops("rx_short", 4);
    site.await_drops("rx_no_tag", 20);
    forger.send(&empty);
    site.await_drops("rx_empty", 1);
    for payload in [&[0x45; 19][..], &[0x60; 39], &[0x2a; 16], &KEEPALIVE[..15]] {
        forger.send_packet(payload);
    }
    site.await_drops("rx_not_ip", 4);
    forger.send_packet(&fine(1, b"fine"));
    assert_eq!(site.delivered(), b"fine");
    // Records too short for an opcode belong to no peer.
    let attributed = site.counters(1).link_rx;
    assert_eq!(attributed.packets, forger.sent().packets - 4);
    assert_eq!(attributed.bytes, forger.sent().bytes - (1 + 2 + 3));
    assert_eq!(site.openvpn.transport.control_packets(), 0);
}

#[test]
fn an_unknown_key_id_is_dropped() {
    if !enter("records::an_unknown_key_id_is_dropped") {
        return;
    }
    let site = Site::open(Api::Ovpn);
    let forger = site.add_peer(1);
    for key_id in 1..8 {
        let payload = fine(1, &[key_id]);
        let (peer, packet_id) = (1, 1);
        forger.send(&forger.sealed(&Record {
            key_id,
            peer,
            packet_id,
            payload,
        }));
    }
    // They wait briefly for their key, which does not come.
    site.await_drops("rx_unknown_key_id", 7);
    site.nothing_delivered();
    assert_eq!(site.counters(1).link_rx, forger.sent(), "each once");
}

#[test]
fn a_flipped_bit_anywhere_makes_a_record_worthless() {
    if !enter("records::a_flipped_bit_anywhere_makes_a_record_worthless") {
        return;
    }
    let site = Site::open(Api::Ovpn);
    let forger = site.add_peer(1);
    let record = forger.next_record(&fine(1, b"as it was sent"));
    for bit in 0..record.len() * 8 {
        let mut flipped = record.clone();
        flipped[bit / 8] ^= 0x80 >> (bit % 8);
        forger.send(&flipped);
    }
    // Packet id, tag and ciphertext are authenticated; so are opcode, key id and peer id, but changing one of those
    // fails earlier: another opcode makes it a control packet (none is DATA_V1), and no peer has another id.
    site.await_drops("rx_bad_tag", (record.len() as u64 - 4) * 8);
    site.await_drops("rx_no_peer", 24);
    site.await_drops("rx_unknown_key_id", 3);
    assert_eq!(site.openvpn.transport.control_packets(), 5);
    site.nothing_delivered();
    assert_eq!(site.notifications(), []);
    // They have not moved the window either.
    forger.send(&record);
    assert_eq!(site.delivered(), b"as it was sent");
}
