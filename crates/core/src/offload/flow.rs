//! Classifies inner packets for the merger: which flow they belong to, and whether they may be merged at all
//! (promises E4).

use super::{Transport, checksum, tcp_flag};
use crate::ip::array;

/// A 5-tuple and the IP version, as words that compare and hash quickly.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Flow {
    addresses: [u64; 4],
    /// IP version, transport, ports.
    rest: u64,
}

/// A packet that a super-packet can express in full.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Candidate {
    pub(super) flow: Flow,
    pub(super) transport: Transport,
    /// Offset of the transport header.
    pub(super) transport_at: usize,
    /// Offset of the payload.
    pub(super) payload_at: usize,
}

/// What the merger needs to know about a packet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    /// May be merged with others of its flow.
    Candidate(Candidate),
    /// Must go as it is, and later packets of its flow must stay behind it.
    Alone(Flow),
    /// Must go as it is. Its ports are not visible, so later packets of any flow between its addresses must stay behind
    /// it.
    Obscure(Flow),
    /// Belongs to no flow whose packets are ever merged.
    Unrelated,
}

impl Flow {
    /// The flow in an empty slot.
    pub(super) const NONE: Self = Self {
        addresses: [0; 4],
        rest: 0,
    };

    /// A hash of the flow. It needs no secret, since the cost of collisions is bounded.
    pub(super) fn hash(&self) -> u64 {
        let mut hash = self.rest;
        for word in self.addresses {
            hash = (hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            hash ^= hash >> 32;
        }
        hash
    }

    /// Whether both have the same IP version and addresses.
    pub(super) fn same_addresses(&self, other: &Self) -> bool {
        self.addresses == other.addresses && self.rest >> 48 == other.rest >> 48
    }

    fn new(version: u8, addresses: [u64; 4]) -> Self {
        Self {
            addresses,
            rest: u64::from(version) << 48,
        }
    }

    fn with_ports(self, transport: Transport, ports: [u8; 4]) -> Self {
        Self {
            rest: self.rest
                | u64::from(transport.number()) << 32
                | u64::from(u32::from_be_bytes(ports)),
            ..self
        }
    }
}

/// Classifies a packet. The transport's checksum is not verified here: see [`is_intact`].
pub(super) fn look(packet: &[u8]) -> Kind {
    let looked = match packet.first().map(|first| first >> 4) {
        Some(4) => look_v4(packet),
        Some(6) => look_v6(packet),
        _ => None,
    };
    looked.unwrap_or(Kind::Unrelated)
}

/// Whether a candidate's checksum is right, and what splitting would compute. Merging vouches for its packets, so a
/// wrong checksum must reach the stack as it is.
pub(super) fn is_intact(packet: &[u8], candidate: &Candidate) -> bool {
    let Some(body) = packet.get(candidate.transport_at..) else {
        return false;
    };
    let field = array::<2>(body, candidate.transport.checksum_field()).unwrap_or_default();
    let canonical = match candidate.transport {
        // Both zeros of ones' complement are right, but splitting never writes this one.
        Transport::Tcp => field != [0xff; 2],
        // No checksum at all: splitting would add one.
        Transport::Udp => field != [0; 2],
    };
    let pseudo = checksum::pseudo_header(packet, candidate.transport, body.len());
    canonical && pseudo.is_some_and(|pseudo| checksum::is_right(pseudo + checksum::sum(body)))
}

fn look_v4(packet: &[u8]) -> Option<Kind> {
    let header = packet.first_chunk::<20>()?;
    let flow = Flow::new(4, [u64::from_ne_bytes(array(header, 12)?), 0, 0, 0]);
    let Some(transport) = Transport::from_number(header[9]) else {
        return Some(Kind::Unrelated);
    };
    let fragment = u16::from_be_bytes([header[6], header[7]]);
    let plain = header[0] == 0x45
        // Any bit but DF.
        && fragment & !DONT_FRAGMENT == 0
        && usize::from(u16::from_be_bytes([header[2], header[3]])) == packet.len()
        && checksum::is_right(checksum::sum(header))
        && [header[10], header[11]] != [0xff; 2];
    if !plain {
        return Some(Kind::Obscure(flow));
    }
    Some(look_inside(packet, flow, transport, 20))
}

fn look_v6(packet: &[u8]) -> Option<Kind> {
    let header = packet.first_chunk::<40>()?;
    let (words, _) = header.as_chunks::<8>();
    let [_, addresses @ ..] = words else {
        return None;
    };
    let mut flow = Flow::new(6, [0; 4]);
    for (to, from) in flow.addresses.iter_mut().zip(addresses) {
        *to = u64::from_ne_bytes(*from);
    }
    let Some(transport) = Transport::from_number(header[6]) else {
        // These are the extension headers: any transport may follow one.
        let extension = matches!(header[6], 0 | 43 | 44 | 51 | 60 | 135 | 139 | 140);
        return Some(if extension {
            Kind::Obscure(flow)
        } else {
            Kind::Unrelated
        });
    };
    if usize::from(u16::from_be_bytes([header[4], header[5]])) + 40 != packet.len() {
        return Some(Kind::Obscure(flow));
    }
    Some(look_inside(packet, flow, transport, 40))
}

/// Looks at the transport header of a packet with a plain IP header.
fn look_inside(packet: &[u8], flow: Flow, transport: Transport, transport_at: usize) -> Kind {
    let body = packet.get(transport_at..).unwrap_or_default();
    let Some(ports) = body.first_chunk() else {
        return Kind::Obscure(flow);
    };
    let flow = flow.with_ports(transport, *ports);
    let header = match transport {
        Transport::Tcp => tcp_header(body),
        Transport::Udp => udp_header(body),
    };
    match header {
        Some(header) => Kind::Candidate(Candidate {
            flow,
            transport,
            transport_at,
            payload_at: transport_at + header,
        }),
        None => Kind::Alone(flow),
    }
}

/// Length of the header of a TCP segment with payload and no flags but ACK and PSH.
fn tcp_header(body: &[u8]) -> Option<usize> {
    let header = body.first_chunk::<20>()?;
    let len = usize::from(header[12] >> 4) * 4;
    // The low bits of byte 12 are flags too (AccECN uses one of them).
    let ordinary = header[12] & 0x0f == 0 && header[13] & !tcp_flag::PSH == tcp_flag::ACK;
    (ordinary && len >= 20 && body.len() > len).then_some(len)
}

/// Length of the header of a whole UDP datagram with payload.
fn udp_header(body: &[u8]) -> Option<usize> {
    let header = body.first_chunk::<8>()?;
    let len = usize::from(u16::from_be_bytes([header[4], header[5]]));
    (len == body.len() && len > 8).then_some(8)
}

/// "Don't fragment", in the word of IPv4's flags and fragment offset.
pub(super) const DONT_FRAGMENT: u16 = 0x4000;
