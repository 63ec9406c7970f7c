//! From a super-packet of the device to packets for the wire.
//!
//! The rules are those of Linux's own segmentation: every segment has the super-packet's headers, except for lengths,
//! IPv4 id, checksums, and, with TCP, the sequence number and the flags that belong to the first or last segment only.

use super::virtio::{Header, HeaderError, Offload, Segmentation};
use super::{Transport, checksum, finish_ip_header, put_u16, tcp_flag};
use crate::ip::array;

/// Cuts one packet of the device into packets for the wire. It only reads the packet: each segment is written to where
/// the caller wants it.
///
/// ```
/// use udco_core::offload::{Header, Splitter};
///
/// let packet = [0x45, 0, 0, 20, 0, 0, 0, 0, 64, 59, 0x66, 0x9f, 10, 8, 0, 1, 10, 8, 0, 2];
/// let mut splitter = Splitter::new(&Header::default(), &packet)?;
/// let mut room = [0; 1500];
/// assert_eq!((splitter.count(), splitter.longest()), (1, 20));
/// assert_eq!(splitter.next(&mut room), Some(20));
/// assert_eq!(splitter.next(&mut room), None);
/// # Ok::<_, udco_core::offload::HeaderError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Splitter<'p> {
    packet: &'p [u8],
    work: Work,
    /// Segments written so far.
    written: usize,
    count: usize,
}

#[derive(Clone, Debug)]
enum Work {
    Copy,
    Checksum { start: usize, field: usize },
    Segments(Segments),
}

/// What all segments have in common, computed once: sums without the words that differ.
#[derive(Clone, Debug)]
struct Segments {
    layout: Segmentation,
    /// The sum of the IPv4 header, without length, id and checksum.
    ip_sum: u64,
    /// The IPv4 id of the first segment.
    id: u16,
    /// The sum of pseudo-header and transport header, without lengths, checksum, sequence number and flags.
    transport_sum: u64,
    /// The sequence number of the first segment.
    seq: u32,
    /// The word with the TCP flags.
    flags: u16,
}

impl<'p> Splitter<'p> {
    /// Makes a splitter for a packet and the header that came with it.
    ///
    /// # Errors
    /// Any [`HeaderError`]: the header does not describe this packet, which is to be dropped.
    pub fn new(header: &Header, packet: &'p [u8]) -> Result<Self, HeaderError> {
        let (work, count) = match header.check(packet)? {
            Offload::Nothing => (Work::Copy, 1),
            Offload::Checksum { start, field } => (Work::Checksum { start, field }, 1),
            Offload::Segments(layout) => {
                let payload = packet.len().saturating_sub(layout.payload_at);
                let count = payload.div_ceil(layout.size).max(1);
                (Work::Segments(Segments::new(packet, layout)), count)
            }
        };
        Ok(Self {
            packet,
            work,
            written: 0,
            count,
        })
    }

    /// How many packets it makes, already written or not; at least 1.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// Their total length in bytes.
    #[must_use]
    pub fn total(&self) -> usize {
        let repeated = match &self.work {
            Work::Segments(Segments { layout, .. }) => layout.payload_at,
            _ => 0,
        };
        self.packet.len() + (self.count - 1) * repeated
    }

    /// Length of the longest in bytes. All but the last have this length.
    #[must_use]
    pub fn longest(&self) -> usize {
        match &self.work {
            Work::Segments(Segments { layout, .. }) => {
                self.packet.len().min(layout.payload_at + layout.size)
            }
            _ => self.packet.len(),
        }
    }

    /// Writes the next packet to the beginning of `room`, complete with all checksums. Returns its length, or `None` if
    /// none is left or it does not fit: provide [`Splitter::longest`] bytes of room.
    pub fn next(&mut self, room: &mut [u8]) -> Option<usize> {
        if self.written >= self.count {
            return None;
        }
        let len = match &self.work {
            Work::Segments(segments) => self.segment(segments, room)?,
            Work::Copy => {
                let len = self.packet.len();
                room.get_mut(..len)?.copy_from_slice(self.packet);
                len
            }
            Work::Checksum { start, field } => {
                let len = self.packet.len();
                let room = room.get_mut(..len)?;
                room.copy_from_slice(self.packet);
                // promises E5: no partial checksum leaves.
                checksum::complete(room, *start, *field)?;
                len
            }
        };
        self.written += 1;
        Some(len)
    }

    /// Writes segment number `written`.
    fn segment(&self, segments: &Segments, room: &mut [u8]) -> Option<usize> {
        let Segmentation {
            transport,
            transport_at,
            payload_at,
            size,
        } = segments.layout;
        let (headers, payload) = self.packet.split_at_checked(payload_at)?;
        let offset = self.written * size;
        let payload = payload.get(offset..payload.len().min(offset + size))?;
        let len = payload_at + payload.len();

        let (to, to_payload) = room.get_mut(..len)?.split_at_mut_checked(payload_at)?;
        to.copy_from_slice(headers);
        let (ip, header) = to.split_at_mut_checked(transport_at)?;
        if ip.first()? >> 4 == 4 {
            let id = segments.id.wrapping_add(self.written as u16);
            put_u16(ip, 2, len as u16);
            put_u16(ip, 4, id);
            let sum = segments.ip_sum + len as u64 + u64::from(id);
            put_u16(ip, 10, !checksum::fold(sum));
        } else {
            finish_ip_header(ip, len);
        }
        let transport_len = len - transport_at;
        let mut sum = segments.transport_sum + transport_len as u64;
        match transport {
            Transport::Tcp => {
                let seq = segments.seq.wrapping_add(offset as u32);
                let flags = segments.flags & (0xff00 | u16::from(self.flags_kept()));
                header.get_mut(4..8)?.copy_from_slice(&seq.to_be_bytes());
                put_u16(header, 12, flags);
                sum += u64::from(seq >> 16) + u64::from(seq & 0xffff) + u64::from(flags);
            }
            Transport::Udp => {
                put_u16(header, 4, transport_len as u16);
                sum += transport_len as u64;
            }
        }
        sum += checksum::copy_and_sum(to_payload, payload);
        let checksum = match (transport, !checksum::fold(sum)) {
            // 0 means "none" in UDP (RFC 768).
            (Transport::Udp, 0) => 0xffff,
            (_, checksum) => checksum,
        };
        put_u16(header, transport.checksum_field(), checksum);
        Some(len)
    }

    /// The TCP flags that the next segment may have: FIN and PSH belong to the end, CWR to the beginning (RFC 3168
    /// 6.1.2).
    fn flags_kept(&self) -> u8 {
        let mut kept = 0xff;
        if self.written > 0 {
            kept &= !tcp_flag::CWR;
        }
        if self.written + 1 < self.count {
            kept &= !(tcp_flag::FIN | tcp_flag::PSH);
        }
        kept
    }
}

impl Segments {
    fn new(packet: &[u8], layout: Segmentation) -> Self {
        let Segmentation {
            transport,
            transport_at,
            payload_at,
            ..
        } = layout;
        let ip = packet.get(..transport_at).unwrap_or_default();
        let header = packet.get(transport_at..payload_at).unwrap_or_default();
        let varying: &[usize] = match transport {
            Transport::Tcp => &[4, 6, 12],
            Transport::Udp => &[4],
        };
        let field = transport.checksum_field();
        Self {
            layout,
            ip_sum: sum_without(ip, &[2, 4, 10]),
            id: word(ip, 4),
            transport_sum: pseudo_header(packet, &layout)
                + sum_without(header, varying)
                + without(word(header, field)),
            seq: u32::from(word(header, 4)) << 16 | u32::from(word(header, 6)),
            flags: word(header, 12),
        }
    }
}

/// The sum of a header, without the words at these places.
fn sum_without(header: &[u8], places: &[usize]) -> u64 {
    let words = places.iter().map(|at| without(word(header, *at)));
    checksum::sum(header) + words.sum::<u64>()
}

/// The term that takes a word out of a sum, in ones' complement.
fn without(word: u16) -> u64 {
    u64::from(!word)
}

/// The word at a place of a header; 0 where there is none.
fn word(header: &[u8], at: usize) -> u16 {
    u16::from_be_bytes(array(header, at).unwrap_or_default())
}

/// The sum of the pseudo-header without the length. It is taken from the checksum field, where the sender put it with
/// the length of the super-packet, rather than computed from the addresses: behind a routing header only the sender
/// knows the final destination.
fn pseudo_header(packet: &[u8], layout: &Segmentation) -> u64 {
    let field = layout.transport_at + layout.transport.checksum_field();
    let whole = packet.len().saturating_sub(layout.transport_at) as u16;
    u64::from(word(packet, field)) + without(whole)
}

#[cfg(test)]
mod tests;
