use alloc::vec::Vec;

use super::*;
use crate::offload::tests::{Batch, Build, naive_pseudo};
use crate::offload::virtio::Header;
use crate::offload::{put_u16, tcp_flag};

mod apart;

/// The groups of these packets, as the packets' numbers.
fn groups_with(merger: &mut Merger, packets: &[Vec<u8>]) -> Vec<Vec<usize>> {
    let mut batch = Batch::default();
    for packet in packets {
        batch.push(packet);
    }
    for range in &batch.packets {
        merger.add(&batch.buffer, range.clone()).unwrap();
    }
    let number = |range| batch.packets.iter().position(|packet| *packet == range);
    let groups = merger.groups();
    let groups = groups.map(|group| {
        group
            .originals()
            .map(|range| number(range).unwrap())
            .collect()
    });
    let groups = groups.collect();
    merger.clear();
    groups
}

fn groups(packets: &[Vec<u8>]) -> Vec<Vec<usize>> {
    groups_with(&mut Merger::new(packets.len()), packets)
}

/// Segment number `nth` of a flow, 100 bytes of payload.
fn tcp(v6: bool, nth: u32) -> Build {
    Build {
        id: 100 + nth as u16,
        ..Build::tcp(v6, 1000 + nth * 100, &[nth as u8; 100])
    }
}

fn udp(v6: bool, nth: u32) -> Build {
    Build {
        transport: Transport::Udp,
        ..tcp(v6, nth)
    }
}

fn with(mut build: Build, change: impl FnOnce(&mut Build)) -> Build {
    change(&mut build);
    build
}

#[test]
fn a_run_becomes_one_packet() {
    for v6 in [false, true] {
        for make in [tcp, udp] {
            let mut builds: Vec<_> = (0..5).map(|nth| make(v6, nth)).collect();
            builds[4].payload.truncate(37);
            builds[4].flags |= tcp_flag::PSH;
            let mut batch = Batch::default();
            for build in &builds {
                // What lies between the packets is left out.
                batch.buffer.extend_from_slice(&[0xaa; 24]);
                batch.push(&build.bytes());
            }
            let mut merger = Merger::new(5);
            for range in &batch.packets {
                merger.add(&batch.buffer, range.clone()).unwrap();
            }
            let groups: Vec<_> = merger.groups().collect();
            let [group] = groups.as_slice() else {
                panic!("{} groups", groups.len());
            };
            let whole = Build {
                payload: builds
                    .iter()
                    .flat_map(|build| build.payload.clone())
                    .collect(),
                flags: builds[4].flags,
                ..builds[0].clone()
            };
            let (headers, at) = (whole.headers(), whole.transport_at());
            assert_eq!(group.packets, 5);
            assert_eq!(group.bytes, 5 * headers + 437);

            let (virtio, rest) = group.head.split_first_chunk().unwrap();
            let expected = Header {
                flags: virtio::NEEDS_CSUM,
                gso_type: match (whole.transport, v6) {
                    (Transport::Udp, _) => virtio::GSO_UDP_L4,
                    (_, false) => virtio::GSO_TCPV4,
                    (_, true) => virtio::GSO_TCPV6,
                },
                hdr_len: headers as u16,
                gso_size: 100,
                csum_start: at as u16,
                csum_offset: whole.transport.checksum_field() as u16,
            };
            assert_eq!(Header::from_bytes(virtio), expected);

            let mut written = rest.to_vec();
            for payload in group.payloads() {
                written.extend_from_slice(&batch.buffer[payload]);
            }
            let mut packet = whole.bytes();
            let pseudo = naive_pseudo(&packet, at, whole.transport);
            put_u16(&mut packet, at + whole.transport.checksum_field(), pseudo);
            assert_eq!(written, packet);
        }
    }
}

#[test]
fn a_single_packet_is_written_as_it_is() {
    let packet = tcp(false, 0).bytes();
    let mut merger = Merger::new(1);
    merger.add(&packet, 0..packet.len()).unwrap();
    for _ in 0..2 {
        let groups: Vec<_> = merger.groups().collect();
        assert_eq!(groups.len(), 1);
        assert_eq!(groups[0].head, [0; virtio::LEN]);
        assert_eq!((groups[0].packets, groups[0].bytes), (1, packet.len()));
        assert!(groups[0].payloads().eq(core::iter::once(0..packet.len())));
    }
    assert!(!merger.is_empty());
    merger.clear();
    assert!(merger.is_empty());
    assert_eq!(merger.groups().count(), 0);
}

#[test]
fn another_5_tuple_is_another_flow() {
    let other_address = |nth| with(tcp(false, nth), |build| build.source = 2);
    let other_port = |nth| with(tcp(false, nth), |build| build.port = 2);
    let mut packets = Vec::new();
    for nth in 0..3 {
        packets.push(tcp(false, nth).bytes());
        packets.push(other_address(nth).bytes());
        packets.push(other_port(nth).bytes());
        packets.push(udp(false, nth).bytes());
        packets.push(tcp(true, nth).bytes());
    }
    let expected: Vec<_> = (0..5).map(|flow| vec![flow, flow + 5, flow + 10]).collect();
    assert_eq!(groups(&packets), expected);
}

#[test]
fn a_shorter_or_pushing_packet_is_the_last() {
    let short = |nth| with(tcp(true, nth), |build| build.payload.truncate(99));
    let push = |nth| with(tcp(true, nth), |build| build.flags |= tcp_flag::PSH);
    let after = |nth| with(tcp(true, nth), |build| build.seq -= 1);
    let packets = [tcp(true, 0), short(1), after(2), after(3)];
    assert_eq!(
        groups(&packets.map(|build| build.bytes())),
        [[0, 1], [2, 3]]
    );
    let packets = [
        tcp(true, 0),
        push(1),
        tcp(true, 2),
        push(3),
        push(4),
        tcp(true, 5),
    ];
    assert_eq!(
        groups(&packets.map(|build| build.bytes())),
        [vec![0, 1], vec![2, 3], vec![4], vec![5]]
    );
    let short = |nth| with(udp(true, nth), |build| build.payload.truncate(99));
    let packets = [udp(true, 0), short(1), short(2), short(3)];
    assert_eq!(
        groups(&packets.map(|build| build.bytes())),
        [[0, 1], [2, 3]]
    );
}

#[test]
fn pure_acknowledgements_stay_in_their_place() {
    let ack = |nth| with(tcp(false, nth), |build| build.payload.clear());
    let packets = [
        tcp(false, 0),
        tcp(false, 1),
        ack(2),
        tcp(false, 2),
        tcp(false, 3),
    ];
    assert_eq!(
        groups(&packets.map(|build| build.bytes())),
        [vec![0, 1], vec![2], vec![3, 4]]
    );
}

#[test]
fn odd_packets_close_all_groups_between_their_addresses() {
    let mut cut = tcp(false, 1).bytes();
    cut.truncate(22);
    let mut fragment = with(udp(false, 1), |build| build.fragment = 0x2000).bytes();
    // Another flow's port; in a later fragment these bytes would be payload.
    fragment[20] ^= 1;
    for packet in [cut, fragment] {
        let other = |nth| with(tcp(false, nth), |build| build.source = 2).bytes();
        let packets = [
            tcp(false, 0).bytes(),
            udp(false, 0).bytes(),
            other(0),
            packet,
            tcp(false, 1).bytes(),
            udp(false, 1).bytes(),
            other(1),
        ];
        assert_eq!(
            groups(&packets),
            [vec![0], vec![1], vec![2, 6], vec![3], vec![4], vec![5]]
        );
    }
    let mut icmp = tcp(false, 1).bytes();
    icmp[9] = 1;
    let packets = [
        tcp(false, 0).bytes(),
        icmp,
        vec![],
        vec![0xff; 3],
        vec![0x45; 9],
        tcp(false, 1).bytes(),
    ];
    assert_eq!(
        groups(&packets),
        [vec![0, 5], vec![1], vec![2], vec![3], vec![4]]
    );
}

#[test]
fn a_constant_id_needs_df() {
    let ids = |ids: [u16; 3], fragment| {
        let mut nth = 0..;
        groups(&ids.map(|id| {
            let build = tcp(false, nth.next().unwrap());
            Build {
                id,
                fragment,
                ..build
            }
            .bytes()
        }))
    };
    assert_eq!(ids([0, 0, 0], 0x4000), [[0, 1, 2]]);
    assert_eq!(ids([0, 0, 0], 0), [[0], [1], [2]]);
    assert_eq!(ids([0xffff, 0, 1], 0), [[0, 1, 2]]);
    assert_eq!(ids([7, 7, 8], 0x4000), [vec![0, 1], vec![2]]);
    assert_eq!(ids([7, 8, 8], 0x4000), [vec![0, 1], vec![2]]);
}

#[test]
fn super_packets_have_limits() {
    let sizes = |packets: Vec<Build>| -> Vec<usize> {
        let packets: Vec<_> = packets.iter().map(Build::bytes).collect();
        groups(&packets).iter().map(Vec::len).collect()
    };
    assert_eq!(
        sizes((0..150).map(|nth| tcp(true, nth)).collect()),
        [64, 64, 22]
    );
    assert_eq!(
        sizes((0..70).map(|nth| udp(true, nth)).collect()),
        [32, 32, 6]
    );
    for v6 in [false, true] {
        for headers_too_many in [0, 1] {
            // Two payloads that together just fit, or are a byte too long.
            let headers = tcp(v6, 0).headers();
            let first = (MAX_BYTES - headers).div_ceil(2);
            let second = MAX_BYTES - headers - first + headers_too_many;
            let packets = vec![
                Build::tcp(v6, 0, &vec![1; first]),
                with(Build::tcp(v6, first as u32, &vec![2; second]), |build| {
                    build.id = 2
                }),
            ];
            let expected: &[usize] = if headers_too_many == 0 { &[2] } else { &[1, 1] };
            assert_eq!(sizes(packets), expected);
        }
    }
}

#[test]
fn what_is_disabled_passes_alone() {
    let packets =
        [tcp(false, 0), udp(false, 0), tcp(false, 1), udp(false, 1)].map(|build| build.bytes());
    let mut merger = Merger::new(4);
    merger.enable(Enabled {
        tcp: false,
        udp: true,
    });
    assert_eq!(
        groups_with(&mut merger, &packets),
        [vec![0], vec![1, 3], vec![2]]
    );
    merger.enable(Enabled {
        tcp: true,
        udp: false,
    });
    assert_eq!(
        groups_with(&mut merger, &packets),
        [vec![0, 2], vec![1], vec![3]]
    );
    merger.enable(Enabled::default());
    assert_eq!(groups_with(&mut merger, &packets), [vec![0, 2], vec![1, 3]]);
}

#[test]
fn too_many_packets_and_bad_ranges_are_refused() {
    let packet = tcp(false, 0).bytes();
    let mut merger = Merger::new(2);
    let (start, end) = (packet.len(), 1);
    assert_eq!(
        merger.add(&packet, 0..packet.len() + 1),
        Err(MergeError::OutsideBatch)
    );
    assert_eq!(
        merger.add(&packet, start..end),
        Err(MergeError::OutsideBatch)
    );
    assert!(merger.is_empty());
    assert_eq!(merger.add(&packet, 0..packet.len()), Ok(()));
    assert_eq!(merger.add(&packet, 0..packet.len()), Ok(()));
    assert_eq!(merger.add(&packet, 0..packet.len()), Err(MergeError::Full));
    assert_eq!(merger.groups().count(), 2);
    merger.clear();
    assert_eq!(merger.add(&packet, 0..packet.len()), Ok(()));
    assert_eq!(Merger::new(0).add(&packet, 0..1), Err(MergeError::Full));
}

#[test]
fn flows_that_find_no_slot_stay_in_order() {
    // A table of two slots, and three flows whose packets alternate.
    let flow = |source, nth| with(tcp(false, nth), |build| build.source = source).bytes();
    let mut merger = Merger::new(64);
    let mut packets = Vec::new();
    for nth in 0..2 {
        for source in 0..32 {
            packets.push(flow(source, nth));
        }
    }
    let groups = groups_with(&mut merger, &packets);
    assert!(groups.len() < 40, "{} groups", groups.len());

    merger.slots.truncate(2);
    let packets: Vec<_> = (0..3)
        .flat_map(|nth| (0..3).map(move |source| flow(source, nth)))
        .collect();
    let groups = groups_with(&mut merger, &packets);
    assert_eq!(
        groups,
        [vec![0, 3, 6], vec![1, 4, 7], vec![2], vec![5], vec![8]]
    );
}

#[test]
fn a_cleared_merger_forgets_its_packets() {
    let other = |nth| with(tcp(false, nth), |build| build.source = 2).bytes();
    let mut merger = Merger::new(2);
    assert_eq!(
        groups_with(&mut merger, &[tcp(false, 0).bytes(), other(0)]).len(),
        2
    );
    // Otherwise the second would be taken for a packet of the first group.
    assert_eq!(
        groups_with(&mut merger, &[other(0), tcp(false, 1).bytes()]),
        [[0], [1]]
    );
    assert_eq!(
        groups_with(&mut merger, &[tcp(false, 0).bytes(), other(1)]),
        [[0], [1]]
    );
}

#[test]
fn nothing_is_allocated_after_construction() {
    let mut merger = Merger::new(8);
    let capacities = |merger: &Merger| {
        [
            merger.packets.capacity(),
            merger.groups.capacity(),
            merger.used.capacity(),
            merger.slots.capacity(),
        ]
    };
    let before = capacities(&merger);
    for round in 0..3 {
        let packets = [0, 1, 2, 3, 4, 5, 6, 7]
            .map(|source| with(tcp(false, round), |build| build.source = source).bytes());
        assert_eq!(groups_with(&mut merger, &packets).len(), 8);
        assert_eq!(capacities(&merger), before);
    }
}
