//! Packets for the tests of this module, and what splitting and merging do together.

use alloc::vec::Vec;
use core::ops::Range;

use proptest::prelude::*;

use super::*;

pub(super) mod oracle;

/// A TCP or UDP packet to build.
#[derive(Clone, Debug)]
pub(super) struct Build {
    pub(super) v6: bool,
    pub(super) transport: Transport,
    /// Last byte of the source address.
    pub(super) source: u8,
    pub(super) port: u16,
    pub(super) tos: u8,
    pub(super) flow_label: u16,
    pub(super) ttl: u8,
    pub(super) id: u16,
    /// Flags and offset.
    pub(super) fragment: u16,
    /// IPv4 options or IPv6 extension headers.
    pub(super) extra: Vec<u8>,
    pub(super) seq: u32,
    pub(super) ack: u32,
    pub(super) window: u16,
    pub(super) flags: u8,
    pub(super) urgent: u16,
    pub(super) options: Vec<u8>,
    pub(super) payload: Vec<u8>,
}

impl Build {
    pub(super) fn tcp(v6: bool, seq: u32, payload: &[u8]) -> Self {
        Self {
            v6,
            transport: Transport::Tcp,
            source: 1,
            port: 1000,
            tos: 0,
            flow_label: 7,
            ttl: 64,
            id: 1,
            fragment: 0x4000,
            extra: Vec::new(),
            seq,
            ack: 5,
            window: 500,
            flags: tcp_flag::ACK,
            urgent: 0,
            // No-operations and a timestamp, as Linux sends them.
            options: vec![1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2],
            payload: payload.to_vec(),
        }
    }

    pub(super) fn udp(v6: bool, payload: &[u8]) -> Self {
        Self {
            transport: Transport::Udp,
            ..Self::tcp(v6, 0, payload)
        }
    }

    pub(super) fn headers(&self) -> usize {
        self.transport_at()
            + match self.transport {
                Transport::Tcp => 20 + self.options.len(),
                Transport::Udp => 8,
            }
    }

    pub(super) fn transport_at(&self) -> usize {
        self.extra.len() + if self.v6 { 40 } else { 20 }
    }

    /// The packet, with all lengths and checksums right.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut packet = Vec::new();
        let body_len = self.headers() - self.transport_at() + self.payload.len();
        let number = self.transport.number();
        if self.v6 {
            let word = 6 << 28 | u32::from(self.tos) << 20 | u32::from(self.flow_label);
            packet.extend_from_slice(&word.to_be_bytes());
            packet.extend_from_slice(&((self.extra.len() + body_len) as u16).to_be_bytes());
            packet.extend_from_slice(&[if self.extra.is_empty() { number } else { 60 }, self.ttl]);
            for last in [self.source, 99] {
                packet.extend_from_slice(&[0xfd; 15]);
                packet.push(last);
            }
        } else {
            packet.extend_from_slice(&[0x45 + (self.extra.len() / 4) as u8, self.tos]);
            let len = 20 + self.extra.len() + body_len;
            for word in [len as u16, self.id, self.fragment] {
                packet.extend_from_slice(&word.to_be_bytes());
            }
            packet.extend_from_slice(&[self.ttl, number, 0, 0]);
            packet.extend_from_slice(&[10, 8, 0, self.source, 10, 8, 0, 99]);
        }
        packet.extend_from_slice(&self.extra);
        packet.extend_from_slice(&self.port.to_be_bytes());
        packet.extend_from_slice(&443u16.to_be_bytes());
        match self.transport {
            Transport::Tcp => {
                packet.extend_from_slice(&self.seq.to_be_bytes());
                packet.extend_from_slice(&self.ack.to_be_bytes());
                packet.push(((5 + self.options.len() / 4) << 4) as u8);
                packet.push(self.flags);
                packet.extend_from_slice(&self.window.to_be_bytes());
                packet.extend_from_slice(&[0, 0]);
                packet.extend_from_slice(&self.urgent.to_be_bytes());
                packet.extend_from_slice(&self.options);
            }
            Transport::Udp => {
                packet.extend_from_slice(&(body_len as u16).to_be_bytes());
                packet.extend_from_slice(&[0, 0]);
            }
        }
        packet.extend_from_slice(&self.payload);
        set_checksums(&mut packet, self.transport_at(), self.transport);
        packet
    }
}

/// RFC 1071, word by word.
fn naive_sum(pieces: &[&[u8]]) -> u16 {
    let mut sum = 0u32;
    for word in pieces.iter().flat_map(|piece| piece.chunks(2)) {
        sum += u32::from(word[0]) << 8 | u32::from(*word.get(1).unwrap_or(&0));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// The pseudo-header's sum for a packet whose transport header begins at `transport_at`.
pub(super) fn naive_pseudo(packet: &[u8], transport_at: usize, transport: Transport) -> u16 {
    let addresses = if packet[0] >> 4 == 4 { 12..20 } else { 8..40 };
    let len = ((packet.len() - transport_at) as u32).to_be_bytes();
    naive_sum(&[&packet[addresses], &len, &[0, transport.number()]])
}

/// Sets the checksums of a packet.
pub(super) fn set_checksums(packet: &mut [u8], transport_at: usize, transport: Transport) {
    if packet[0] >> 4 == 4 {
        let header = usize::from(packet[0] & 0xf) * 4;
        put_u16(packet, 10, 0);
        let sum = naive_sum(&[&packet[..header]]);
        put_u16(packet, 10, !sum);
    }
    let field = transport_at + transport.checksum_field();
    put_u16(packet, field, 0);
    let pseudo = naive_pseudo(packet, transport_at, transport).to_be_bytes();
    let checksum = !naive_sum(&[&pseudo, &packet[transport_at..]]);
    let checksum = match (transport, checksum) {
        (Transport::Udp, 0) => 0xffff,
        _ => checksum,
    };
    put_u16(packet, field, checksum);
}

/// A cheap random generator.
#[derive(Clone, Debug)]
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((word ^ (word >> 31)) >> 16) as usize % end
    }

    fn one_in(&mut self, many: usize) -> bool {
        self.below(many) == 0
    }
}

/// Packets one after the other, as a batch holds them.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) buffer: Vec<u8>,
    pub(super) packets: Vec<Range<usize>>,
}

impl Batch {
    pub(super) fn push(&mut self, packet: &[u8]) {
        let start = self.buffer.len();
        self.buffer.extend_from_slice(packet);
        self.packets.push(start..self.buffer.len());
    }

    fn clear(&mut self) {
        self.buffer.clear();
        self.packets.clear();
    }
}

/// Fills a batch with packets of some flows that mostly continue one another, and every kind of exception.
fn random_batch(random: &mut Random, batch: &mut Batch, count: usize) {
    batch.clear();
    let mut flows: Vec<(Build, usize)> = (0..1 + random.below(5))
        .map(|_| {
            let mut flow = Build::tcp(random.one_in(2), random.below(1 << 32) as u32, &[]);
            if random.one_in(2) {
                flow.transport = Transport::Udp;
            }
            flow.source = random.below(3) as u8;
            flow.port += random.below(2) as u16;
            flow.id = random.below(1 << 16) as u16;
            if random.one_in(4) {
                flow.fragment = 0;
            }
            // The same in all packets of a flow, and still forbids merging.
            if random.one_in(8) {
                flow.flags |= 1 << random.below(8);
            }
            if random.one_in(16) {
                flow.extra = extra(flow.v6, flow.transport);
            }
            let options = random.below(11);
            flow.options = (0..options * 4).map(|_| random.below(256) as u8).collect();
            let size = match random.below(8) {
                0 => 1448,
                1 => 1,
                _ => 1 + random.below(60),
            };
            (flow, size)
        })
        .collect();
    let step = usize::from(!random.one_in(4)) as u16;
    for _ in 0..count {
        let flow = random.below(flows.len());
        let (flow, size) = &mut flows[flow];
        let mut packet = flow.clone();
        let len = if random.one_in(8) {
            random.below(*size + 2)
        } else {
            *size
        };
        packet.payload = (0..len)
            .map(|_| random.0.wrapping_mul(len as u64 + 3) as u8)
            .collect();
        flow.seq = flow.seq.wrapping_add(len as u32);
        flow.id = flow.id.wrapping_add(step);
        if random.one_in(12) {
            packet.flags |= tcp_flag::PSH;
        }
        if random.one_in(4) {
            match random.below(14) {
                0 => packet.tos ^= 1,
                1 => packet.ttl -= 1,
                2 => packet.fragment ^= 0x4000,
                3 => packet.fragment |= 0x2000,
                4 => packet.flow_label += 1,
                5 => packet.id ^= 1,
                6 => packet.seq ^= 1,
                7 => packet.ack += 1,
                8 => packet.window += 1,
                9 => packet.flags = random.below(256) as u8,
                10 => packet.urgent = 1,
                11 => packet.extra = extra(packet.v6, packet.transport),
                12 => packet.options = packet.options.iter().map(|byte| byte ^ 1).collect(),
                _ => packet.source += 1,
            }
        }
        let mut bytes = packet.bytes();
        if random.one_in(24) {
            let at = random.below(bytes.len());
            bytes[at] ^= 1 << random.below(8);
        }
        if random.one_in(48) {
            bytes.truncate(random.below(bytes.len()));
        }
        batch.push(&bytes);
    }
}

/// Destination options, or no-operations.
fn extra(v6: bool, transport: Transport) -> Vec<u8> {
    if v6 {
        vec![transport.number(), 0, 1, 4, 0, 0, 0, 0]
    } else {
        vec![1; 4]
    }
}

/// Number of the transport, and its ports.
type Ports = (u8, [u8; 4]);

/// The parts of a packet that identify its flow, as far as they can be read.
fn flow_of(packet: &[u8]) -> Option<(Vec<u8>, Option<Ports>)> {
    let (addresses, transport_at, number, hidden) = match packet.first()? >> 4 {
        4 => {
            let fragment = packet.get(6)? & 0x3f != 0 || *packet.get(7)? != 0;
            let header = usize::from(packet[0] & 0xf) * 4;
            (
                packet.get(12..20)?,
                header,
                packet[9],
                fragment || header < 20,
            )
        }
        6 => {
            let addresses = packet.get(8..40)?;
            match packet[6] {
                60 => (addresses, 48, *packet.get(40)?, false),
                number => (addresses, 40, number, number == 44),
            }
        }
        _ => return None,
    };
    let ports = packet
        .get(transport_at..)
        .and_then(|body| body.first_chunk());
    let known = ports.filter(|_| !hidden && matches!(number, 6 | 17));
    Some((addresses.to_vec(), known.map(|ports| (number, *ports))))
}

/// Whether the order of two packets matters.
fn related(left: &[u8], right: &[u8]) -> bool {
    let (Some(left), Some(right)) = (flow_of(left), flow_of(right)) else {
        return false;
    };
    left.0 == right.0 && left.1.is_some() && left.1 == right.1
}

/// Merges a batch and splits it again: the same packets must come out, no two of a flow reordered, and none merged that
/// promises E4 keeps apart. Returns how many groups it made.
fn check_batch(merger: &mut Merger, batch: &Batch) -> usize {
    for packet in &batch.packets {
        merger.add(&batch.buffer, packet.clone()).unwrap();
    }
    let mut order = Vec::new();
    let mut room = vec![0; 70_000];
    let mut count = 0;
    for group in merger.groups() {
        count += 1;
        let originals: Vec<_> = group.originals().collect();
        assert_eq!(originals.len(), group.packets);
        assert_eq!(originals[0], batch.packets[group.first]);
        assert_eq!(
            originals.iter().map(ExactSizeIterator::len).sum::<usize>(),
            group.bytes
        );
        if group.packets > 1 {
            let packets = originals.iter().map(|range| &batch.buffer[range.clone()]);
            let packets: Vec<_> = packets.collect();
            assert_eq!(oracle::objection(&packets), None, "{packets:x?}");
        }
        let (header, rest) = group.head.split_first_chunk().unwrap();
        let mut written = rest.to_vec();
        for payload in group.payloads() {
            written.extend_from_slice(&batch.buffer[payload]);
        }
        let header = Header::from_bytes(header);
        let mut splitter = Splitter::new(&header, &written).unwrap();
        assert_eq!(splitter.count(), originals.len());
        let first = &batch.buffer[originals[0].clone()];
        for (nth, range) in originals.iter().enumerate() {
            let original = &batch.buffer[range.clone()];
            let len = splitter.next(&mut room).unwrap();
            let same_id = nth > 0 && original[0] >> 4 == 4 && original[4..6] == first[4..6];
            if same_id {
                // The exception: RFC 6864 4.1.
                assert_eq!(original[6] & 0x40, 0x40);
                let mut expected = original.to_vec();
                let id = u16::from_be_bytes([original[4], original[5]]);
                put_u16(&mut expected, 4, id.wrapping_add(nth as u16));
                finish_ip_header(&mut expected[..20], len);
                assert_eq!(&room[..len], expected);
            } else {
                assert_eq!(&room[..len], original);
            }
            order.push(range.clone());
        }
        assert_eq!(splitter.next(&mut room), None);
    }
    for (nth, later) in order.iter().enumerate() {
        for earlier in order[..nth]
            .iter()
            .filter(|earlier| earlier.start > later.start)
        {
            let [later, earlier] = [later, earlier].map(|range| &batch.buffer[range.clone()]);
            assert!(!related(earlier, later), "{earlier:x?} overtook {later:x?}");
        }
    }
    order.sort_unstable_by_key(|range| (range.start, range.end));
    assert_eq!(order, batch.packets);
    merger.clear();
    count
}

proptest! {
    #[test]
    fn splitting_undoes_merging(seed: u64, count in 1usize..100) {
        let mut batch = Batch::default();
        random_batch(&mut Random(seed), &mut batch, count);
        check_batch(&mut Merger::new(count), &batch);
    }

    #[test]
    fn no_bytes_make_it_panic(packets in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..120), 1..20), header: [u8; virtio::LEN], v6: bool) {
        let mut batch = Batch::default();
        for mut packet in packets {
            if let [first, .., _] = packet.as_mut_slice() {
                *first = if v6 { 0x60 } else { 0x45 };
            }
            let mut room = [0; 200];
            if let Ok(mut splitter) = Splitter::new(&Header::from_bytes(&header), &packet) {
                while splitter.next(&mut room).is_some() {}
            }
            batch.push(&packet);
        }
        check_batch(&mut Merger::new(20), &batch);
    }

    #[test]
    fn no_damage_to_a_super_packet_makes_it_panic(v6: bool, udp: bool, at in 0usize..80, bit in 0u8..8, header_at in 0usize..virtio::LEN, header_bits: u8, cut in 0usize..700) {
        let build = Build { transport: if udp { Transport::Udp } else { Transport::Tcp }, ..Build::tcp(v6, 7, &[3; 600]) };
        let mut packet = build.bytes();
        let mut header = Header {
            flags: virtio::NEEDS_CSUM,
            gso_type: match (udp, v6) { (true, _) => 5, (false, false) => 1, (false, true) => 4 },
            hdr_len: build.headers() as u16,
            gso_size: 100,
            csum_start: build.transport_at() as u16,
            csum_offset: build.transport.checksum_field() as u16,
        }.to_bytes();
        prop_assert_eq!(Splitter::new(&Header::from_bytes(&header), &packet).unwrap().count(), 6);
        packet[at.min(build.headers())] ^= 1 << bit;
        header[header_at] ^= header_bits;
        packet.truncate(cut);
        let mut room = [0; 800];
        if let Ok(mut splitter) = Splitter::new(&Header::from_bytes(&header), &packet) {
            let count = splitter.count();
            let longest = splitter.longest();
            for _ in 0..count {
                prop_assert!(splitter.next(&mut room[..longest]).is_some());
            }
            prop_assert_eq!(splitter.next(&mut room), None);
        }
    }
}

#[test]
#[ignore = "takes some seconds: cargo test --release -p udco-core -- --ignored ten_million"]
fn ten_million_packets() {
    const COUNT: usize = 64;
    let (mut random, mut merger, mut batch) = (Random(1), Merger::new(COUNT), Batch::default());
    let (mut packets, mut groups) = (0, 0);
    while packets < 10_000_000 {
        random_batch(&mut random, &mut batch, COUNT);
        groups += check_batch(&mut merger, &batch);
        packets += COUNT;
    }
    // Otherwise the test shows nothing.
    assert!(groups < packets * 3 / 4, "{groups} groups of {packets}");
}
