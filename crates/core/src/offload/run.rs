//! A growing run of packets that one super-packet will stand for: what may be appended, and how its head is made.

use core::ops::Range;

use super::flow::{Candidate, DONT_FRAGMENT};
use super::virtio::{self, Header};
use super::{Transport, checksum, finish_ip_header, put_u16, tcp_flag};
use crate::ip::array;

/// The most TCP segments in one super-packet.
pub const MAX_SEGMENTS: usize = 64;

/// The most UDP datagrams in one super-packet: they reach the receiving socket all at once, and must fit its default
/// buffer (performance 5.1).
pub const MAX_DATAGRAMS: usize = 32;

/// Length of the longest super-packet in bytes, IP header included.
pub const MAX_BYTES: usize = 65_535;

/// The longest head: virtio header, IPv6 header, and TCP header with all its options.
const MAX_HEAD: usize = virtio::LEN + 40 + 60;

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Run {
    /// Room for the virtio header, then the headers of the first packet.
    head: [u8; MAX_HEAD],
    transport: Transport,
    transport_at: usize,
    /// Length of IP and transport header.
    headers: usize,
    packets: usize,
    /// Payload bytes of each packet but the last.
    size: usize,
    /// Payload bytes so far.
    payload: usize,
    /// The step from one IPv4 id to the next; unknown with one packet.
    id_step: Option<u16>,
    /// The last packet has PSH.
    push: bool,
    /// Nothing may follow.
    closed: bool,
}

impl Run {
    /// Begins a run with a packet. `None` only if the packet is shorter than its headers.
    pub(super) fn begin(packet: &[u8], candidate: &Candidate) -> Option<Self> {
        let (headers, payload) = packet.split_at_checked(candidate.payload_at)?;
        let mut head = [0; MAX_HEAD];
        head.get_mut(virtio::LEN..virtio::LEN + headers.len())?
            .copy_from_slice(headers);
        let push = pushes(packet, candidate);
        Some(Self {
            head,
            transport: candidate.transport,
            transport_at: candidate.transport_at,
            headers: headers.len(),
            packets: 1,
            size: payload.len(),
            payload: payload.len(),
            id_step: None,
            push,
            closed: push,
        })
    }

    /// Appends a packet of the same flow, if it continues the run.
    pub(super) fn append(&mut self, packet: &[u8], candidate: &Candidate) -> bool {
        let payload = packet.len().saturating_sub(candidate.payload_at);
        let most = match self.transport {
            Transport::Tcp => MAX_SEGMENTS,
            Transport::Udp => MAX_DATAGRAMS,
        };
        if self.closed
            || self.packets >= most
            || payload > self.size
            || self.headers + self.payload + payload > MAX_BYTES
        {
            return false;
        }
        let Some(id_step) = self.id_step_if_next(packet) else {
            return false;
        };
        self.packets += 1;
        self.payload += payload;
        self.id_step = Some(id_step);
        self.push = pushes(packet, candidate);
        // A shorter packet can only be the last.
        self.closed = self.push || payload < self.size;
        true
    }

    /// The transport of its packets.
    pub(super) const fn transport(&self) -> Transport {
        self.transport
    }

    /// Turns the head into that of a super-packet. More packets may be appended afterwards.
    pub(super) fn finish(&mut self) {
        let Some((virtio, rest)) = self.head.split_first_chunk_mut() else {
            return;
        };
        let headers = rest.get_mut(..self.headers).unwrap_or_default();
        let version = headers.first().map_or(0, |first| first >> 4);
        *virtio = Header {
            flags: virtio::NEEDS_CSUM,
            gso_type: match (self.transport, version) {
                (Transport::Udp, _) => virtio::GSO_UDP_L4,
                (Transport::Tcp, 4) => virtio::GSO_TCPV4,
                (Transport::Tcp, _) => virtio::GSO_TCPV6,
            },
            hdr_len: self.headers as u16,
            gso_size: self.size as u16,
            csum_start: self.transport_at as u16,
            csum_offset: self.transport.checksum_field() as u16,
        }
        .to_bytes();
        let len = self.headers + self.payload;
        let transport_len = len - self.transport_at;
        let pseudo = checksum::pseudo_header(headers, self.transport, transport_len);
        let Some((ip, transport)) = headers.split_at_mut_checked(self.transport_at) else {
            return;
        };
        finish_ip_header(ip, len);
        match self.transport {
            Transport::Tcp => {
                if let Some(flags) = transport.get_mut(13).filter(|_| self.push) {
                    *flags |= tcp_flag::PSH;
                }
            }
            Transport::Udp => put_u16(transport, 4, transport_len as u16),
        }
        // Not inverted: Linux expects a checksum that way if it has to complete it.
        let partial = checksum::fold(pseudo.unwrap_or_default());
        put_u16(transport, self.transport.checksum_field(), partial);
    }

    /// Virtio, IP and transport header.
    pub(super) fn head(&self) -> &[u8] {
        self.head
            .get(..virtio::LEN + self.headers)
            .unwrap_or_default()
    }

    /// Length of IP and transport header.
    pub(super) fn headers(&self) -> usize {
        self.headers
    }

    /// The step of the IPv4 ids (0 with IPv6, which has none) if the headers of a packet are those of the next segment,
    /// else `None`.
    fn id_step_if_next(&self, packet: &[u8]) -> Option<u16> {
        let head = self.head.get(virtio::LEN..)?;
        let same = |range: Range<usize>| {
            let bytes = packet.get(range.clone());
            bytes.is_some() && bytes == head.get(range)
        };
        let at = self.transport_at;
        let id_step = if packet.first()? >> 4 == 4 {
            // Version, length and TOS; DF, TTL and protocol.
            if !(same(0..2) && same(6..10)) {
                return None;
            }
            self.id_step(head, packet)?
        } else {
            // Version, traffic class and flow label; next header and hop limit.
            if !(same(0..4) && same(6..8)) {
                return None;
            }
            0
        };
        if self.transport == Transport::Tcp {
            let first = u32::from_be_bytes(array(head, at + 4)?);
            let seq = u32::from_be_bytes(array(packet, at + 4)?);
            // Acknowledgement and header length, hence equally long headers; window; urgent pointer and options. The
            // flags have been checked already.
            if seq != first.wrapping_add(self.payload as u32)
                || !(same(at + 8..at + 13) && same(at + 14..at + 16) && same(at + 18..self.headers))
            {
                return None;
            }
        }
        Some(id_step)
    }

    /// The step to this packet's IPv4 id, if it follows: 1, or 0 where ids mean nothing.
    fn id_step(&self, head: &[u8], packet: &[u8]) -> Option<u16> {
        let first = u16::from_be_bytes(array(head, 4)?);
        let id = u16::from_be_bytes(array(packet, 4)?);
        let may_be_fragmented = u16::from_be_bytes(array(packet, 6)?) & DONT_FRAGMENT == 0;
        match self.id_step {
            Some(step) => {
                let next = first.wrapping_add(step.wrapping_mul(self.packets as u16));
                (id == next).then_some(step)
            }
            None if id == first.wrapping_add(1) => Some(1),
            None if id == first && !may_be_fragmented => Some(0),
            None => None,
        }
    }
}

/// Whether a packet is a TCP segment with PSH.
fn pushes(packet: &[u8], candidate: &Candidate) -> bool {
    let flags = packet.get(candidate.transport_at + 13);
    candidate.transport == Transport::Tcp && flags.is_some_and(|flags| flags & tcp_flag::PSH != 0)
}
