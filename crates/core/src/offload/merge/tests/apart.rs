//! What must not be merged: a case for each rule, by the merger and by the oracle (promises E4).

use alloc::vec::Vec;

use super::{groups, tcp, udp, with};
use crate::offload::tests::oracle::objection;
use crate::offload::tests::{Build, set_checksums};
use crate::offload::{Transport, checksum};

/// A change to a packet that forbids merging it.
type Change = fn(&mut Build);

/// The same, as a change to its bytes; whether IPv6, whether UDP.
type Damage = (&'static str, bool, bool, fn(&mut Vec<u8>));

/// Asserts that the middle packet of three is merged with neither of the others, and that the oracle agrees.
fn assert_apart(packets: &[Vec<u8>; 3], what: &str) {
    for two in packets.windows(2) {
        assert!(objection(&[&two[0], &two[1]]).is_some(), "{what}");
    }
    assert_eq!(groups(packets), [[0], [1], [2]], "{what}");
}

/// promises E4, a case for each rule: the middle packet of three of a flow is changed. The third continues the
/// unchanged packet, or takes its place: even then it must not overtake the second to join the first.
#[test]
fn nothing_is_merged_that_must_not_be() {
    let cases: [(&str, bool, Change); 28] = [
        ("another TTL", true, |build| build.ttl -= 1),
        ("another TOS", true, |build| build.tos = 0x10),
        ("another ECN", true, |build| build.tos = 3),
        ("another DF", false, |build| build.fragment = 0),
        ("the reserved bit", false, |build| build.fragment |= 0x8000),
        ("a first fragment", false, |build| build.fragment |= 0x2000),
        ("a later fragment", false, |build| build.fragment |= 1),
        ("IPv4 options", false, |build| build.extra = vec![1; 4]),
        ("IPv4 options that no sum shows", false, |build| {
            build.extra = vec![0; 4]
        }),
        ("a gap of the IPv4 id", false, |build| build.id += 2),
        ("an IPv4 id that goes back", false, |build| build.id -= 2),
        ("SYN", true, |build| build.flags |= 0x02),
        ("FIN", true, |build| build.flags |= 0x01),
        ("RST", true, |build| build.flags |= 0x04),
        ("URG", true, |build| build.flags |= 0x20),
        ("ECE", true, |build| build.flags |= 0x40),
        ("CWR", true, |build| build.flags |= 0x80),
        ("no ACK", true, |build| build.flags = 0),
        ("an urgent pointer", true, |build| build.urgent = 1),
        ("another acknowledgement", true, |build| build.ack += 1),
        ("another window", true, |build| build.window += 1),
        ("another timestamp", true, |build| build.options[7] += 1),
        ("more options", true, |build| build.options.extend([1; 4])),
        ("no options", true, |build| build.options.clear()),
        ("a gap of the sequence", true, |build| build.seq += 1),
        ("an overlap", true, |build| build.seq -= 50),
        ("a longer payload", true, |build| build.payload.push(0)),
        ("no payload", true, |build| build.payload.clear()),
    ];
    for (what, both, change) in cases {
        for v6 in [false, true] {
            if v6 && !both {
                continue;
            }
            for third in [1, 2] {
                let builds = [tcp(v6, 0), with(tcp(v6, 1), change), tcp(v6, third)];
                assert_apart(&builds.map(|build| build.bytes()), what);
            }
        }
    }
    let v6: [(&str, Change); 2] = [
        ("another flow label", |build| build.flow_label += 1),
        ("an extension header", |build| {
            build.extra = vec![6, 0, 1, 4, 0, 0, 0, 0];
        }),
    ];
    for (what, change) in v6 {
        for third in [1, 2] {
            let builds = [tcp(true, 0), with(tcp(true, 1), change), tcp(true, third)];
            assert_apart(&builds.map(|build| build.bytes()), what);
        }
    }
    let datagrams: [(&str, Change); 6] = [
        ("another TTL", |build| build.ttl -= 1),
        ("another TOS", |build| build.tos = 3),
        ("another DF", |build| build.fragment = 0),
        ("a first fragment", |build| build.fragment |= 0x2000),
        ("a gap of the IPv4 id", |build| build.id += 2),
        ("no payload", |build| build.payload.clear()),
    ];
    for (what, change) in datagrams {
        let builds = [udp(false, 0), with(udp(false, 1), change), udp(false, 2)];
        assert_apart(&builds.map(|build| build.bytes()), what);
    }
    // A datagram that is too long for the group before it may begin the next one.
    let longer = with(udp(false, 1), |build| build.payload.push(0));
    let builds = [udp(false, 0), longer, udp(false, 2)];
    assert_eq!(
        groups(&builds.map(|build| build.bytes())),
        [vec![0], vec![1, 2]]
    );
}

/// What only a change of bytes can express.
#[test]
fn nothing_broken_is_merged() {
    let cases: [Damage; 15] = [
        ("a wrong TCP checksum", false, false, |packet| {
            packet[36] ^= 1
        }),
        ("a wrong TCP checksum, IPv6", true, false, |packet| {
            packet[56] ^= 1
        }),
        ("a changed payload", false, false, |packet| packet[99] ^= 1),
        ("a wrong UDP checksum", false, true, |packet| {
            packet[26] ^= 1
        }),
        ("no UDP checksum", false, true, |packet| {
            packet[26..28].fill(0)
        }),
        ("no UDP checksum, IPv6", true, true, |packet| {
            packet[46..48].fill(0)
        }),
        ("a wrong IPv4 checksum", false, false, |packet| {
            packet[10] ^= 1
        }),
        ("more than IPv4 says", false, false, |packet| packet.push(0)),
        ("less than IPv4 says", false, false, |packet| {
            packet.truncate(packet.len() - 1)
        }),
        (
            "less than IPv4 says, and no other error",
            false,
            false,
            |packet| {
                packet.truncate(packet.len() - 1);
                set_checksums(packet, 20, Transport::Tcp);
            },
        ),
        ("more than IPv6 says", true, false, |packet| packet.push(0)),
        ("less than IPv6 says", true, false, |packet| {
            packet.truncate(packet.len() - 1)
        }),
        ("a wrong UDP length", false, true, |packet| {
            packet[25] -= 1;
            set_checksums(packet, 20, Transport::Udp);
        }),
        ("a TCP header that is too short", false, false, |packet| {
            packet[32] = 0x40;
            set_checksums(packet, 20, Transport::Tcp);
        }),
        ("TCP's reserved bits", true, false, |packet| {
            packet[52] |= 1;
            set_checksums(packet, 40, Transport::Tcp);
        }),
    ];
    for (what, v6, datagram, change) in cases {
        let make = if datagram { udp } else { tcp };
        let mut packets = [0, 1, 2].map(|nth| make(v6, nth).bytes());
        change(&mut packets[1]);
        assert_apart(&packets, what);
        // Nor if it is wrong in all of them.
        packets.iter_mut().step_by(2).for_each(change);
        assert_apart(&packets, what);
    }
}

/// Packet number 1, with a payload that makes its checksum 0 where its transport allows that.
fn zero_checksum(make: fn(bool, u32) -> Build) -> Vec<u8> {
    let mut build = make(false, 1);
    let field = 20 + build.transport.checksum_field();
    let packet = build.bytes();
    let checksum = u16::from_be_bytes([packet[field], packet[field + 1]]);
    let word = checksum::fold(u64::from(checksum) + 0x0101);
    build.payload[..2].copy_from_slice(&word.to_be_bytes());
    build.bytes()
}

#[test]
fn only_the_zero_that_splitting_makes_is_merged() {
    let mut packets = [
        tcp(false, 0).bytes(),
        zero_checksum(tcp),
        tcp(false, 2).bytes(),
    ];
    assert_eq!(packets[1][36..38], [0, 0]);
    assert_eq!(groups(&packets), [[0, 1, 2]]);
    packets[1][36..38].fill(0xff);
    assert_eq!(groups(&packets), [[0], [1], [2]]);

    // The IPv4 header's checksum depends on the id.
    let id_for = |nth| {
        let packet = tcp(false, 1).bytes();
        let checksum = u16::from_be_bytes([packet[10], packet[11]]);
        tcp(false, nth).id + checksum
    };
    let mut packets =
        [0, 1, 2].map(|nth| with(tcp(false, nth), |build| build.id = id_for(nth)).bytes());
    assert_eq!(packets[1][10..12], [0, 0]);
    assert_eq!(groups(&packets), [[0, 1, 2]]);
    packets[1][10..12].fill(0xff);
    assert_eq!(groups(&packets), [[0], [1], [2]]);

    // In UDP 0 means "no checksum", even where it happens to be right.
    let mut packets = [
        udp(false, 0).bytes(),
        zero_checksum(udp),
        udp(false, 2).bytes(),
    ];
    assert_eq!(packets[1][26..28], [0xff, 0xff]);
    assert_eq!(groups(&packets), [[0, 1, 2]]);
    packets[1][26..28].fill(0);
    assert_eq!(groups(&packets), [[0], [1], [2]]);
}
