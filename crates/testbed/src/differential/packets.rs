//! Random packets, of flows that mostly continue, with every exception that merging must detect.

use std::ops::Range;

use crate::dice::Dice;

/// Length of a mark.
pub(super) const MARK: usize = 32;

const TCP: u8 = 6;
const UDP: u8 = 17;

/// TCP flags.
const PSH: u8 = 0x08;
const ACK: u8 = 0x10;

/// "Don't fragment" and "more fragments" of IPv4.
const DF: u16 = 0x4000;
const MF: u16 = 0x2000;

/// Packets in a row, as in an engine's batch.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) buffer: Vec<u8>,
    pub(super) packets: Vec<Range<usize>>,
}

/// A packet to build.
#[derive(Clone, Debug)]
pub(super) struct Build {
    pub(super) v6: bool,
    pub(super) transport: u8,
    pub(super) source: u8,
    pub(super) port: u16,
    pub(super) tos: u8,
    pub(super) flow_label: u32,
    pub(super) ttl: u8,
    pub(super) id: u16,
    pub(super) fragment: u16,
    /// IPv4 options, or IPv6 extension headers, the first of this kind.
    pub(super) extra: Vec<u8>,
    pub(super) extension: u8,
    pub(super) seq: u32,
    pub(super) ack: u32,
    /// The low bits of the byte that holds the header's length; one of them is AE.
    pub(super) high_flags: u8,
    pub(super) flags: u8,
    pub(super) window: u16,
    pub(super) urgent: u16,
    pub(super) options: Vec<u8>,
    pub(super) payload: Vec<u8>,
}

/// Some flows of one batch.
#[derive(Debug)]
pub(super) struct Flows {
    /// Each with its payload length.
    flows: Vec<(Build, usize)>,
    /// The increment of ids.
    step: u16,
}

impl Batch {
    pub(super) fn push(&mut self, packet: &[u8]) {
        let start = self.buffer.len();
        self.buffer.extend_from_slice(packet);
        self.packets.push(start..self.buffer.len());
    }

    pub(super) fn clear(&mut self) {
        self.buffer.clear();
        self.packets.clear();
    }

    /// The batch's packets.
    pub(super) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.packets.iter().map(|range| &self.buffer[range.clone()])
    }
}

impl Flows {
    pub(super) fn new(random: &mut Dice) -> Self {
        let flows = (0..1 + random.below(6))
            .map(|_| {
                let mut flow = Build::random(random);
                flow.fragment = if random.one_in(4) { 0 } else { DF };
                flow.options
                    .truncate(if random.one_in(2) { 12 } else { 40 });
                let size = match random.below(8) {
                    0 | 1 => 1000 + random.below(449),
                    2 => 1,
                    3 => 100 + random.below(500),
                    _ => 1 + random.below(64),
                };
                (flow, size)
            })
            .collect();
        Self {
            flows,
            step: u16::from(!random.one_in(4)),
        }
    }

    /// Adds packets to a batch.
    pub(super) fn fill(&mut self, random: &mut Dice, batch: &mut Batch, count: usize) {
        for _ in 0..count {
            let which = random.below(self.flows.len());
            let (flow, size) = &mut self.flows[which];
            let len = match random.below(40) {
                0 => random.below(*size + 1),
                // A longer one after shorter ones.
                1 => *size + random.below(20),
                _ => *size,
            };
            let mut packet = flow.clone();
            packet.payload = random.bytes(len);
            flow.seq = flow.seq.wrapping_add(len as u32);
            flow.id = flow.id.wrapping_add(self.step);
            if random.one_in(24) {
                packet.flags |= PSH;
            }
            if random.one_in(10) {
                packet.deviate(random);
                if random.one_in(3) {
                    // Changes the flow from here on.
                    (flow.tos, flow.ttl) = (packet.tos, packet.ttl);
                    (flow.ack, flow.window) = (packet.ack, packet.window);
                    flow.flow_label = packet.flow_label;
                }
            }
            let mut bytes = packet.bytes();
            spoil(random, &packet, &mut bytes);
            batch.push(&bytes);
        }
    }
}

impl Build {
    /// A packet of a random flow, without payload.
    pub(super) fn random(random: &mut Dice) -> Self {
        let options = random.below(11) * 4;
        Self {
            v6: random.one_in(2),
            transport: if random.one_in(2) { TCP } else { UDP },
            source: 1 + random.below(3) as u8,
            port: 1000 + random.below(2) as u16,
            tos: if random.one_in(2) {
                0
            } else {
                random.below(256) as u8
            },
            flow_label: random.below(3) as u32,
            ttl: 60 + random.below(3) as u8,
            id: random.next() as u16,
            fragment: DF,
            extra: Vec::new(),
            extension: 60,
            seq: random.next() as u32,
            ack: random.next() as u32,
            high_flags: 0,
            flags: ACK,
            window: random.next() as u16,
            urgent: 0,
            options: random.bytes(options),
            payload: Vec::new(),
        }
    }

    /// Changes one thing that (mostly) keeps a packet out of its flow's run.
    fn deviate(&mut self, random: &mut Dice) {
        match random.below(20) {
            0 => self.tos ^= 1 << random.below(8),
            1 => self.ttl -= 1,
            2 => self.fragment ^= DF,
            3 => self.fragment |= MF,
            4 => self.fragment |= 1 + random.below(100) as u16,
            5 => self.flow_label ^= 1 << random.below(20),
            6 => self.id ^= 1 << random.below(16),
            7 => self.seq ^= 1 << random.below(32),
            8 => self.seq = self.seq.wrapping_add(1),
            9 => self.ack = self.ack.wrapping_add(1),
            10 => self.window = self.window.wrapping_add(1),
            11 => self.flags = random.below(256) as u8,
            12 => self.flags |= 1 << random.below(8),
            13 => self.urgent = random.below(3) as u16,
            14 => self.high_flags = 1 << random.below(4),
            15 => self.extra_header(random),
            16 => self.options = random.bytes(self.options.len()),
            17 => {
                let len = random.below(11) * 4;
                self.options = random.bytes(len);
            }
            18 => self.payload.clear(),
            _ => self.source ^= 1,
        }
    }

    /// IPv4 options that do nothing, or one of the IPv6 extension headers.
    pub(super) fn extra_header(&mut self, random: &mut Dice) {
        self.extra = match (self.v6, random.below(3)) {
            (false, words) => vec![1; 4 * (words + 1)],
            (true, 0) => {
                // A fragment header: sometimes of an only fragment.
                self.extension = 44;
                let more = random.below(2) as u8;
                vec![self.transport, 0, 0, more, 1, 2, 3, 4]
            }
            (true, kind) => {
                // Hop-by-hop or destination options: padding only.
                self.extension = if kind == 1 { 0 } else { 60 };
                vec![self.transport, 0, 1, 4, 0, 0, 0, 0]
            }
        };
    }

    pub(super) fn transport_at(&self) -> usize {
        self.extra.len() + if self.v6 { 40 } else { 20 }
    }

    /// Length of all headers.
    pub(super) fn headers(&self) -> usize {
        let transport = if self.transport == TCP {
            20 + self.options.len()
        } else {
            8
        };
        self.transport_at() + transport
    }

    /// The packet, with all fields valid.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut packet = Vec::with_capacity(self.headers() + self.payload.len());
        let at = self.transport_at();
        let body_len = self.headers() - at + self.payload.len();
        if self.v6 {
            let word = 6 << 28 | u32::from(self.tos) << 20 | self.flow_label;
            packet.extend_from_slice(&word.to_be_bytes());
            packet.extend_from_slice(&((self.extra.len() + body_len) as u16).to_be_bytes());
            let next = if self.extra.is_empty() {
                self.transport
            } else {
                self.extension
            };
            packet.extend_from_slice(&[next, self.ttl]);
            for last in [self.source, 99] {
                packet.extend_from_slice(&[0xfd, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]);
            }
        } else {
            packet.extend_from_slice(&[0x45 + (self.extra.len() / 4) as u8, self.tos]);
            for word in [(at + body_len) as u16, self.id, self.fragment] {
                packet.extend_from_slice(&word.to_be_bytes());
            }
            packet.extend_from_slice(&[self.ttl, self.transport, 0, 0]);
            packet.extend_from_slice(&[10, 8, 0, self.source, 10, 8, 0, 99]);
        }
        packet.extend_from_slice(&self.extra);
        packet.extend_from_slice(&self.port.to_be_bytes());
        packet.extend_from_slice(&443u16.to_be_bytes());
        if self.transport == TCP {
            packet.extend_from_slice(&self.seq.to_be_bytes());
            packet.extend_from_slice(&self.ack.to_be_bytes());
            let words = (5 + self.options.len() / 4) as u8;
            packet.extend_from_slice(&[words << 4 | self.high_flags, self.flags]);
            packet.extend_from_slice(&self.window.to_be_bytes());
            packet.extend_from_slice(&[0, 0]);
            packet.extend_from_slice(&self.urgent.to_be_bytes());
            packet.extend_from_slice(&self.options);
        } else {
            packet.extend_from_slice(&(body_len as u16).to_be_bytes());
            packet.extend_from_slice(&[0, 0]);
        }
        packet.extend_from_slice(&self.payload);
        if !self.v6 {
            let sum = sum(&packet[..at], 0);
            packet[10..12].copy_from_slice(&(!sum).to_be_bytes());
        }
        let checksum = match !sum(&packet[at..], self.pseudo(body_len)) {
            0 if self.transport == UDP => 0xffff,
            checksum => checksum,
        };
        self.put_checksum(&mut packet, checksum);
        packet
    }

    /// The sum of the pseudo-header.
    pub(super) fn pseudo(&self, body_len: usize) -> u16 {
        let (first, last) = if self.v6 { (0xfd08, 99) } else { (0x0a08, 99) };
        let words = [
            first,
            u16::from(self.source),
            first,
            last,
            u16::from(self.transport),
            body_len as u16,
        ];
        words.iter().fold(0, |sum, word| plus(sum, *word))
    }

    pub(super) fn checksum_field(&self) -> usize {
        if self.transport == TCP { 16 } else { 6 }
    }

    pub(super) fn put_checksum(&self, packet: &mut [u8], checksum: u16) {
        let field = self.transport_at() + self.checksum_field();
        packet[field..field + 2].copy_from_slice(&checksum.to_be_bytes());
    }
}

/// Corrupts some packets.
fn spoil(random: &mut Dice, build: &Build, packet: &mut Vec<u8>) {
    match random.below(200) {
        0 => {
            let at = random.below(packet.len());
            packet[at] ^= 1 << random.below(8);
        }
        1 => packet.truncate(random.below(packet.len())),
        2 => packet.push(0),
        // No checksum, or the other zero.
        3 => build.put_checksum(packet, 0),
        4 => build.put_checksum(packet, 0xffff),
        5 => build.put_checksum(packet, random.next() as u16),
        _ => {}
    }
}

/// RFC 1071.
fn sum(bytes: &[u8], start: u16) -> u16 {
    let words = bytes.chunks(2).map(|word| match word {
        [a, b] => u64::from(u16::from_be_bytes([*a, *b])),
        [a] => u64::from(*a) << 8,
        _ => 0,
    });
    let mut sum = u64::from(start) + words.sum::<u64>();
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    sum as u16
}

fn plus(a: u16, b: u16) -> u16 {
    let (sum, carry) = a.overflowing_add(b);
    sum + u16::from(carry)
}

/// Whether an IPv4 header's checksum is right.
pub(super) fn is_right_v4(packet: &[u8]) -> bool {
    let header = packet
        .first()
        .map_or(0, |first| usize::from(first & 0xf) * 4);
    packet
        .get(..header)
        .is_some_and(|header| sum(header, 0) == 0xffff)
}

/// A packet as a router forwards it: TTL less one, without bytes behind the packet's own length. `None` if it is not a
/// packet.
pub(super) fn forwarded(packet: &[u8]) -> Option<Vec<u8>> {
    let mut packet = packet.to_vec();
    let word = |at: usize| {
        let bytes = packet.get(at..at + 2)?.try_into().ok()?;
        Some(u16::from_be_bytes(bytes))
    };
    match packet.first()? >> 4 {
        4 => {
            packet.truncate(usize::from(word(2)?));
            // RFC 1624, and never the other zero.
            let checksum = match plus(
                u16::from_be_bytes([*packet.get(10)?, *packet.get(11)?]),
                0x0100,
            ) {
                0xffff => 0,
                checksum => checksum,
            };
            packet
                .get_mut(10..12)?
                .copy_from_slice(&checksum.to_be_bytes());
            *packet.get_mut(8)? -= 1;
        }
        6 => {
            packet.truncate(usize::from(word(4)?) + 40);
            *packet.get_mut(7)? = packet.get(7)?.checked_sub(1)?;
        }
        _ => return None,
    }
    Some(packet)
}

/// A packet with a number, of a transport that nothing else uses.
pub(super) fn mark(number: u32) -> [u8; MARK] {
    let mut packet = [0; MARK];
    let start = [
        0x45, 0, 0, MARK as u8, 0, 0, 0, 0, 9, 253, 0, 0, 10, 8, 7, 1, 10, 8, 7, 99,
    ];
    packet[..20].copy_from_slice(&start);
    packet[20..24].copy_from_slice(&number.to_be_bytes());
    let checksum = !sum(&start, 0);
    packet[10..12].copy_from_slice(&checksum.to_be_bytes());
    packet
}
