//! Inner packets that know themselves, and the ledger of those that were sent.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use udco_core::offload::{Header, Splitter, virtio};

use crate::Failure;
use crate::rng::Rng;

/// IPv4 and UDP.
const HEADERS: usize = 28;

/// Bytes of the id that a payload begins with.
const ID: usize = 8;

/// The shortest inner packet.
pub const SHORTEST: usize = HEADERS + ID;

const UDP: u8 = 17;

/// What was sent, and what has arrived of it.
#[derive(Debug, Default)]
pub struct Ledger {
    sent: Vec<Entry>,
    delivered: u64,
    /// Each flow arrives in order.
    pub is_ordered: bool,
    last: BTreeMap<(Ipv4Addr, Ipv4Addr), u64>,
}

#[derive(Debug)]
struct Entry {
    flow: (Ipv4Addr, Ipv4Addr),
    len: usize,
    fate: Fate,
}

/// Where a packet may arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// At this node, once.
    For(usize),
    /// Nowhere.
    Dropped,
    /// It has arrived.
    Delivered,
}

impl Ledger {
    /// A packet from one inner address to another, `len` bytes long, as the host hands it to the engine.
    pub fn packet(&mut self, flow: (Ipv4Addr, Ipv4Addr), len: usize, fate: Fate) -> Vec<u8> {
        let len = len.max(SHORTEST);
        let id = self.enter(flow, len, fate);
        let mut packet = headers(flow, len, id);
        packet.extend(payload(id, len - HEADERS));
        let sum = udp_sum(&packet, true);
        put(&mut packet, 26, if sum == 0 { 0xffff } else { sum });
        [&[0; virtio::LEN], packet.as_slice()].concat()
    }

    /// A super-packet of `count` packets, each `len` bytes long.
    pub fn super_packet(
        &mut self,
        flow: (Ipv4Addr, Ipv4Addr),
        (len, count): (usize, usize),
        fate: Fate,
    ) -> Vec<u8> {
        let size = len.max(SHORTEST) - HEADERS;
        let count = count.clamp(2, 60_000 / size);
        let ids: Vec<u64> = (0..count)
            .map(|_| self.enter(flow, HEADERS + size, fate))
            .collect();
        let first = ids.first().copied().unwrap_or_default();
        let mut packet = headers(flow, HEADERS + count * size, first);
        packet.extend(ids.iter().flat_map(|id| payload(*id, size)));
        // Of the pseudo-header only: the rest is left to whoever splits it.
        let sum = !udp_sum(&packet[..HEADERS], false);
        put(&mut packet, 26, sum);
        let header = Header {
            flags: virtio::NEEDS_CSUM,
            gso_type: virtio::GSO_UDP_L4,
            hdr_len: HEADERS as u16,
            gso_size: size as u16,
            csum_start: 20,
            csum_offset: 6,
        };
        [header.to_bytes().as_slice(), &packet].concat()
    }

    /// Something that is no IP packet.
    pub fn garbage(&mut self, len: usize) -> Vec<u8> {
        let nowhere = (Ipv4Addr::UNSPECIFIED, Ipv4Addr::UNSPECIFIED);
        self.enter(nowhere, len, Fate::Dropped);
        vec![0; virtio::LEN + len]
    }

    fn enter(&mut self, flow: (Ipv4Addr, Ipv4Addr), len: usize, fate: Fate) -> u64 {
        self.sent.push(Entry { flow, len, fate });
        self.sent.len() as u64 - 1
    }

    /// The engine has written this to the host of a node: each packet in it must be one that was sent, unchanged, and
    /// must not have arrived before. Returns how many there were.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn receive(&mut self, node: usize, written: &[u8]) -> Result<u64, Failure> {
        let (header, packet) = written
            .split_first_chunk::<{ virtio::LEN }>()
            .ok_or_else(|| Failure::new("a packet without a header was delivered"))?;
        let header = Header::from_bytes(header);
        let mut splitter = Splitter::new(&header, packet)
            .map_err(|error| Failure::new(format!("a delivered super-packet: {error}")))?;
        let mut room = vec![0; splitter.longest()];
        let mut count = 0;
        while let Some(len) = splitter.next(&mut room) {
            self.receive_one(node, &room[..len])?;
            count += 1;
        }
        Ok(count)
    }

    fn receive_one(&mut self, node: usize, packet: &[u8]) -> Result<(), Failure> {
        let id = packet.get(HEADERS..).and_then(|rest| rest.first_chunk());
        let id = u64::from_le_bytes(*id.ok_or_else(|| Failure::new("a stub was delivered"))?);
        let entry = usize::try_from(id)
            .ok()
            .and_then(|id| self.sent.get_mut(id))
            .ok_or_else(|| Failure::new(format!("packet {id} was delivered, which nobody sent")))?;
        match entry.fate {
            Fate::For(right) if right == node => {}
            Fate::For(right) => {
                let wrong = format!("packet {id} for node {right} arrived at node {node}");
                return Err(Failure::new(wrong));
            }
            Fate::Dropped => return Err(Failure::new(format!("packet {id} had to be dropped"))),
            Fate::Delivered => return Err(Failure::new(format!("packet {id} arrived twice"))),
        }
        let address = |at: usize| {
            let octets = packet.get(at..).and_then(|rest| rest.first_chunk::<4>());
            octets.map(|octets| Ipv4Addr::from(*octets))
        };
        let is_same = packet.len() == entry.len
            && (address(12), address(16)) == (Some(entry.flow.0), Some(entry.flow.1))
            && packet[HEADERS..] == payload(id, entry.len - HEADERS)
            && udp_sum(packet, true) == 0;
        if !is_same {
            return Err(Failure::new(format!("packet {id} arrived changed")));
        }
        let last = self.last.insert(entry.flow, id);
        if self.is_ordered && last.is_some_and(|last| last > id) {
            return Err(Failure::new(format!("packet {id} came late")));
        }
        entry.fate = Fate::Delivered;
        self.delivered += 1;
        Ok(())
    }

    /// How many packets were sent.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sent.len() as u64
    }

    /// How many have arrived.
    #[must_use]
    pub const fn delivered(&self) -> u64 {
        self.delivered
    }

    /// Whether a packet has arrived.
    #[must_use]
    pub fn has_arrived(&self, id: u64) -> bool {
        let entry = usize::try_from(id).ok().and_then(|id| self.sent.get(id));
        entry.is_some_and(|entry| entry.fate == Fate::Delivered)
    }

    /// How many could arrive, and have not.
    #[must_use]
    pub fn missing(&self) -> u64 {
        let missing = self.sent.iter();
        missing
            .filter(|entry| matches!(entry.fate, Fate::For(_)))
            .count() as u64
    }
}

/// Headers of a UDP packet of `len` bytes, without its UDP checksum.
fn headers((source, destination): (Ipv4Addr, Ipv4Addr), len: usize, id: u64) -> Vec<u8> {
    let mut packet = vec![0; HEADERS];
    packet[0] = 0x45;
    put(&mut packet, 2, len as u16);
    put(&mut packet, 4, id as u16);
    (packet[8], packet[9]) = (64, UDP);
    packet[12..16].copy_from_slice(&source.octets());
    packet[16..20].copy_from_slice(&destination.octets());
    let sum = !fold(sum(&packet[..20], 0));
    put(&mut packet, 10, sum);
    // The same ports in both directions: they are one flow.
    let port = |address: Ipv4Addr| 4000 + u16::from(address.octets()[3]);
    put(&mut packet, 20, port(source));
    put(&mut packet, 22, port(destination));
    put(&mut packet, 24, (len - 20) as u16);
    packet
}

/// The payload of a packet: its id, and what follows from that.
fn payload(id: u64, len: usize) -> Vec<u8> {
    let mut payload = vec![0; len];
    let (front, rest) = payload.split_at_mut(ID);
    front.copy_from_slice(&id.to_le_bytes());
    Rng::new(id).fill(rest);
    payload
}

/// The complement of the sum over the pseudo-header and, if `all`, the rest: 0 if the checksum in there is right.
fn udp_sum(packet: &[u8], all: bool) -> u16 {
    let mut total = sum(&packet[12..20], 0);
    total += u32::from(UDP) + sum(&packet[24..26], 0);
    if all {
        total = sum(&packet[20..], total);
    }
    !fold(total)
}

fn sum(bytes: &[u8], from: u32) -> u32 {
    let words = bytes.chunks(2);
    words.fold(from, |sum, word| {
        let low = word.get(1).copied().unwrap_or_default();
        sum + u32::from(u16::from_be_bytes([word[0], low]))
    })
}

const fn fold(mut sum: u32) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

fn put(bytes: &mut [u8], at: usize, value: u16) {
    bytes[at..at + 2].copy_from_slice(&value.to_be_bytes());
}
