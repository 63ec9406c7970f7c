use alloc::vec::Vec;

use super::*;
use crate::offload::tests::{Build, naive_pseudo};
use crate::offload::virtio::{self, GSO_ECN, GSO_TCPV4, GSO_TCPV6, GSO_UDP_L4};

/// A super-packet as the kernel hands it out: with the pseudo-header's sum as its checksum.
fn super_packet(build: &Build, gso_size: usize, ecn: bool) -> (Header, Vec<u8>) {
    let mut packet = build.bytes();
    let at = build.transport_at();
    let field = at + build.transport.checksum_field();
    let pseudo = naive_pseudo(&packet, at, build.transport);
    put_u16(&mut packet, field, pseudo);
    let gso_type = match (build.transport, build.v6) {
        (Transport::Udp, _) => GSO_UDP_L4,
        (Transport::Tcp, false) => GSO_TCPV4,
        (Transport::Tcp, true) => GSO_TCPV6,
    };
    let header = Header {
        flags: virtio::NEEDS_CSUM,
        gso_type: gso_type | if ecn { GSO_ECN } else { 0 },
        hdr_len: build.headers() as u16,
        gso_size: gso_size as u16,
        csum_start: at as u16,
        csum_offset: build.transport.checksum_field() as u16,
    };
    (header, packet)
}

fn split(header: &Header, packet: &[u8]) -> Vec<Vec<u8>> {
    let mut splitter = Splitter::new(header, packet).unwrap();
    let mut room = vec![0xee; splitter.longest()];
    let mut segments = Vec::new();
    while let Some(len) = splitter.next(&mut room) {
        segments.push(room[..len].to_vec());
    }
    assert_eq!(segments.len(), splitter.count());
    assert_eq!(
        segments.iter().map(Vec::len).max(),
        Some(splitter.longest())
    );
    segments
}

/// The segments as their sender would have made them one by one.
fn expected(build: &Build, size: usize) -> Vec<Vec<u8>> {
    let count = build.payload.len().div_ceil(size);
    let chunks = build.payload.chunks(size).enumerate();
    let segments = chunks.map(|(nth, payload)| {
        let mut flags = build.flags;
        if nth > 0 {
            flags &= !tcp_flag::CWR;
        }
        if nth + 1 < count {
            flags &= !(tcp_flag::FIN | tcp_flag::PSH);
        }
        let segment = Build {
            id: build.id.wrapping_add(nth as u16),
            seq: build.seq.wrapping_add((nth * size) as u32),
            flags,
            payload: payload.to_vec(),
            ..build.clone()
        };
        segment.bytes()
    });
    segments.collect()
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 7 + at / 256) as u8).collect()
}

#[test]
fn segments_are_those_their_sender_would_have_made() {
    for v6 in [false, true] {
        for (len, size) in [
            (1, 1),
            (3, 1),
            (1000, 100),
            (1001, 100),
            (99, 100),
            (100, 100),
            (60_000, 1448),
            (65_000, 8),
        ] {
            let tcp = Build {
                // Both wrap around within the packet.
                seq: u32::MAX - 50,
                id: u16::MAX,
                flags: tcp_flag::ACK | tcp_flag::PSH | tcp_flag::FIN | tcp_flag::CWR,
                ..Build::tcp(v6, 0, &pattern(len))
            };
            let udp = Build {
                id: 0xfff0,
                ..Build::udp(v6, &pattern(len))
            };
            for (build, ecn) in [(&tcp, false), (&tcp, true), (&udp, false)] {
                let (header, packet) = super_packet(build, size, ecn);
                let segments = split(&header, &packet);
                assert_eq!(segments, expected(build, size), "{len} bytes by {size}");
            }
        }
    }
}

#[test]
fn options_and_extension_headers_are_in_every_segment() {
    for options in 0..=10 {
        let v4 = Build {
            options: vec![1; options * 4],
            extra: vec![1; options * 4],
            ..Build::tcp(false, 77, &pattern(500))
        };
        let v6 = Build {
            v6: true,
            extra: vec![6, 0, 1, 4, 0, 0, 0, 0],
            ..v4.clone()
        };
        for build in [&v4, &v6] {
            let (header, packet) = super_packet(build, 120, false);
            assert_eq!(split(&header, &packet), expected(build, 120));
        }
    }
}

#[test]
fn a_datagram_never_gets_checksum_zero() {
    // The payload's first word runs through all values, hence so does the sum.
    for word in 0..=u16::MAX {
        let build = Build::udp(false, &[&word.to_be_bytes()[..], &[0; 2]].concat());
        let (header, packet) = super_packet(&build, 2, false);
        let mut room = [0; 64];
        let len = Splitter::new(&header, &packet)
            .unwrap()
            .next(&mut room)
            .unwrap();
        assert_ne!(room[26..28], [0; 2]);
        assert!(checksum::is_right(
            checksum::pseudo_header(&room, Transport::Udp, 10).unwrap()
                + checksum::sum(&room[20..len])
        ));
    }
}

#[test]
fn headers_without_payload_are_one_segment() {
    let build = Build::tcp(false, 1, &[]);
    let (header, packet) = super_packet(&build, 100, false);
    assert_eq!(split(&header, &packet), [build.bytes()]);
}

#[test]
fn a_single_packet_passes_unchanged() {
    for packet in [Build::tcp(true, 1, &[1; 9]).bytes(), vec![0xff; 3], vec![]] {
        assert_eq!(split(&Header::default(), &packet), [packet]);
    }
}

/// promises E5.
#[test]
fn a_partial_checksum_is_completed() {
    for v6 in [false, true] {
        for build in [
            Build::tcp(v6, 5, &pattern(33)),
            Build::udp(v6, &pattern(34)),
        ] {
            let (header, packet) = super_packet(&build, 0, false);
            let header = Header {
                gso_type: virtio::GSO_NONE,
                hdr_len: 0,
                ..header
            };
            assert_eq!(split(&header, &packet), [build.bytes()]);
        }
    }
}

#[test]
fn too_little_room_loses_nothing() {
    let build = Build::tcp(false, 1, &pattern(250));
    let (header, packet) = super_packet(&build, 100, false);
    let mut splitter = Splitter::new(&header, &packet).unwrap();
    let mut room = [0; 152];
    assert_eq!(splitter.longest(), room.len());
    assert_eq!(splitter.next(&mut room[..151]), None);
    assert_eq!(splitter.next(&mut room), Some(152));
    assert_eq!(splitter.next(&mut room), Some(152));
    assert_eq!(splitter.next(&mut room[..101]), None);
    assert_eq!(splitter.next(&mut room[..102]), Some(102));
    assert_eq!(room[..102], expected(&build, 100)[2]);
}
