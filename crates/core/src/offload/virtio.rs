//! The virtio-net header before each packet of a device with `IFF_VNET_HDR` (virtio 1.2, 5.1.6): what is still to be
//! done to it.
//!
//! ```text
//! 0  1  flags            6  2  where the checksum's coverage begins
//! 1  1  kind of GSO      8  2  where in it the checksum's field is
//! 2  2  header length    10
//! 4  2  segment size
//! ```
//!
//! Numbers are in the machine's own byte order, which is what Linux's TUN uses unless told otherwise (`TUNSETVNETBE`).

use core::fmt;

use super::Transport;
use crate::ip::array;

/// Length of the header in bytes.
pub const LEN: usize = 10;

/// Flag: the checksum holds the sum of the pseudo-header only.
pub const NEEDS_CSUM: u8 = 1;

/// Not a super-packet.
pub const GSO_NONE: u8 = 0;

/// A TCP super-packet over IPv4.
pub const GSO_TCPV4: u8 = 1;

/// UDP *fragmentation* (UFO): one big datagram. We never offer it to the device.
pub const GSO_UDP: u8 = 3;

/// A TCP super-packet over IPv6.
pub const GSO_TCPV6: u8 = 4;

/// UDP *segmentation* (USO): many datagrams, over IPv4 or IPv6.
pub const GSO_UDP_L4: u8 = 5;

/// Added to the kind of a TCP super-packet: its first segment has CWR set.
pub const GSO_ECN: u8 = 0x80;

/// The header, as it was read or is to be written. Believe nothing in it before [`Header::check`].
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Header {
    /// [`NEEDS_CSUM`], and flags that ask for nothing.
    pub flags: u8,
    /// `GSO_…`, perhaps with [`GSO_ECN`].
    pub gso_type: u8,
    /// Length of all headers; only a hint: Linux puts the size of the first buffer there, whatever it holds.
    pub hdr_len: u16,
    /// Payload bytes of each segment but the last, which may be shorter.
    pub gso_size: u16,
    /// Offset in the packet where the checksum's coverage begins, that is, of the transport header.
    pub csum_start: u16,
    /// Offset of the checksum's field from `csum_start`.
    pub csum_offset: u16,
}

/// What a header asks for, checked against the packet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Offload {
    /// Nothing: the packet is complete.
    Nothing,
    /// One packet, whose checksum is to be completed.
    Checksum {
        /// Offset where the coverage begins.
        start: usize,
        /// Offset of the checksum from `start`.
        field: usize,
    },
    /// A super-packet.
    Segments(Segmentation),
}

/// The anatomy of a super-packet. `transport_at < payload_at <=` the packet's length.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Segmentation {
    /// What it is cut into.
    pub transport: Transport,
    /// Offset of the transport header.
    pub transport_at: usize,
    /// Offset of the payload.
    pub payload_at: usize,
    /// Payload bytes of each segment but the last; never 0.
    pub size: usize,
}

/// Why a header does not describe its packet (promises E3).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum HeaderError {
    /// The checksum's field, or where its coverage begins, is not where this packet can have it.
    ChecksumMisplaced,
    /// A fragment cannot be a super-packet.
    Fragment,
    /// The headers are longer than the packet.
    HeaderTooLong,
    /// A header is shorter than any of its kind.
    HeaderTooShort,
    /// The length in the IP header is not that of the packet.
    LengthsDisagree,
    /// A super-packet with a finished checksum, which cannot fit its segments.
    NoChecksumNeeded,
    /// Segments without a size.
    NoSegmentSize,
    /// A kind of super-packet that we did not ask for.
    UnknownKind,
    /// The kind of super-packet does not fit the packet's IP version.
    WrongFamily,
    /// The kind of super-packet does not fit the packet's transport.
    WrongTransport,
}

impl Header {
    /// Reads a header.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; LEN]) -> Self {
        let [flags, gso_type, a, b, c, d, e, f, g, h] = *bytes;
        Self {
            flags,
            gso_type,
            hdr_len: u16::from_ne_bytes([a, b]),
            gso_size: u16::from_ne_bytes([c, d]),
            csum_start: u16::from_ne_bytes([e, f]),
            csum_offset: u16::from_ne_bytes([g, h]),
        }
    }

    /// The header's bytes.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; LEN] {
        let [a, b] = self.hdr_len.to_ne_bytes();
        let [c, d] = self.gso_size.to_ne_bytes();
        let [e, f] = self.csum_start.to_ne_bytes();
        let [g, h] = self.csum_offset.to_ne_bytes();
        [self.flags, self.gso_type, a, b, c, d, e, f, g, h]
    }

    /// Checks the header against its packet. A header that asks for nothing fits every packet, even one that is not IP.
    ///
    /// # Errors
    /// Any [`HeaderError`]: this packet cannot be sent.
    pub fn check(&self, packet: &[u8]) -> Result<Offload, HeaderError> {
        if usize::from(self.hdr_len) > packet.len() {
            return Err(HeaderError::HeaderTooLong);
        }
        let needs_checksum = self.flags & NEEDS_CSUM != 0;
        if self.gso_type != GSO_NONE {
            let segmentation = self.segmentation(packet)?;
            return match needs_checksum {
                true => Ok(Offload::Segments(segmentation)),
                false => Err(HeaderError::NoChecksumNeeded),
            };
        }
        if !needs_checksum {
            return Ok(Offload::Nothing);
        }
        let (start, field) = (usize::from(self.csum_start), usize::from(self.csum_offset));
        // No transport has its checksum within the IP header or outside the packet.
        if start < fixed_header(packet).ok_or(HeaderError::WrongFamily)?
            || start + field + 2 > packet.len()
        {
            return Err(HeaderError::ChecksumMisplaced);
        }
        Ok(Offload::Checksum { start, field })
    }

    /// The anatomy of a super-packet.
    fn segmentation(&self, packet: &[u8]) -> Result<Segmentation, HeaderError> {
        let version = packet.first().map(|first| first >> 4);
        let (transport, versions) = match self.gso_type {
            GSO_UDP_L4 => (Transport::Udp, [4, 6]),
            kind => match kind & !GSO_ECN {
                GSO_TCPV4 => (Transport::Tcp, [4, 4]),
                GSO_TCPV6 => (Transport::Tcp, [6, 6]),
                _ => return Err(HeaderError::UnknownKind),
            },
        };
        if !version.is_some_and(|version| versions.contains(&version)) {
            return Err(HeaderError::WrongFamily);
        }
        if self.gso_size == 0 {
            return Err(HeaderError::NoSegmentSize);
        }
        let (number, transport_at) = find_transport(packet)?;
        if number != transport.number() {
            return Err(HeaderError::WrongTransport);
        }
        if usize::from(self.csum_start) != transport_at
            || usize::from(self.csum_offset) != transport.checksum_field()
        {
            return Err(HeaderError::ChecksumMisplaced);
        }
        // Not `hdr_len`: on forwarded packets it covers payload too.
        let header = match transport {
            Transport::Tcp => {
                let byte = packet.get(transport_at + 12);
                usize::from(byte.ok_or(HeaderError::HeaderTooLong)? >> 4) * 4
            }
            Transport::Udp => 8,
        };
        if transport == Transport::Tcp && header < 20 {
            return Err(HeaderError::HeaderTooShort);
        }
        let payload_at = transport_at + header;
        if payload_at > packet.len() {
            return Err(HeaderError::HeaderTooLong);
        }
        Ok(Segmentation {
            transport,
            transport_at,
            payload_at,
            size: usize::from(self.gso_size),
        })
    }
}

impl fmt::Display for HeaderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ChecksumMisplaced => "the checksum is not in its place",
            Self::Fragment => "a fragment cannot be split",
            Self::HeaderTooLong => "the headers are longer than the packet",
            Self::HeaderTooShort => "a header is shorter than any of its kind",
            Self::LengthsDisagree => "the length in the IP header is not that of the packet",
            Self::NoChecksumNeeded => "a super-packet with a finished checksum",
            Self::NoSegmentSize => "a super-packet without a segment size",
            Self::UnknownKind => "an unknown kind of super-packet",
            Self::WrongFamily => "the kind of super-packet does not fit the IP version",
            Self::WrongTransport => "the kind of super-packet does not fit the transport",
        })
    }
}

impl core::error::Error for HeaderError {}

/// The length of this packet's IP header without options; `None` if the packet is shorter.
fn fixed_header(packet: &[u8]) -> Option<usize> {
    let len = match packet.first()? >> 4 {
        4 => 20,
        6 => 40,
        _ => return None,
    };
    (packet.len() >= len).then_some(len)
}

/// Number and offset of the transport of a packet that is not a fragment and whose lengths agree.
fn find_transport(packet: &[u8]) -> Result<(u8, usize), HeaderError> {
    let byte = |at: usize| packet.get(at).copied().ok_or(HeaderError::HeaderTooLong);
    let word = |at: usize| {
        let bytes = array::<2>(packet, at).ok_or(HeaderError::HeaderTooLong)?;
        Ok(usize::from(u16::from_be_bytes(bytes)))
    };
    if byte(0)? >> 4 == 4 {
        // More fragments, or an offset.
        if word(6)? & 0x3fff != 0 {
            return Err(HeaderError::Fragment);
        }
        if word(2)? != packet.len() {
            return Err(HeaderError::LengthsDisagree);
        }
        return match usize::from(byte(0)? & 0xf) * 4 {
            0..20 => Err(HeaderError::HeaderTooShort),
            header => Ok((byte(9)?, header)),
        };
    }
    if word(4)? + 40 != packet.len() {
        return Err(HeaderError::LengthsDisagree);
    }
    let (mut next, mut at) = (byte(6)?, 40);
    loop {
        let step = match next {
            // Hop-by-hop options, routing, destination options.
            0 | 43 | 60 => (usize::from(byte(at + 1)?) + 1) * 8,
            44 => return Err(HeaderError::Fragment),
            _ => return Ok((next, at)),
        };
        next = byte(at)?;
        at += step;
    }
}

#[cfg(test)]
mod tests;
