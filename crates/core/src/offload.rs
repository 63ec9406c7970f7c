//! Segmentation offload: one big packet instead of many small ones between the device and us (design decision 5).
//!
//! [`virtio`] is the header that says what is still to be done to a packet. [`split`] cuts a super-packet read from the
//! device into packets for the wire; [`merge`] joins the packets of one receive batch into super-packets for the
//! device. [`checksum`] is where both spend their time. Splitting and merging allocate nothing after construction,
//! leave their input unchanged, and never panic.

pub mod checksum;
pub mod merge;
pub mod split;
pub mod virtio;

mod flow;
mod run;

#[cfg(test)]
mod tests;

pub use merge::{Enabled, Group, MergeError, Merger};
pub use split::Splitter;
pub use virtio::{Header, HeaderError, Offload, Segmentation};

/// The transports whose packets can be split and merged.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Transport {
    /// TCP: segments of a stream.
    Tcp,
    /// UDP: datagrams of one size.
    Udp,
}

impl Transport {
    /// The number in IPv4's protocol and IPv6's next header field.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
        }
    }

    /// The transport with this number in an IP header.
    const fn from_number(number: u8) -> Option<Self> {
        match number {
            6 => Some(Self::Tcp),
            17 => Some(Self::Udp),
            _ => None,
        }
    }

    /// Offset of the checksum in the transport's header.
    const fn checksum_field(self) -> usize {
        match self {
            Self::Tcp => 16,
            Self::Udp => 6,
        }
    }
}

/// Bits of the flags byte of a TCP header (offset 13).
mod tcp_flag {
    pub(super) const FIN: u8 = 0x01;
    pub(super) const PSH: u8 = 0x08;
    pub(super) const ACK: u8 = 0x10;
    pub(super) const CWR: u8 = 0x80;
}

/// Puts two bytes in network order at an offset, if they fit.
fn put_u16(bytes: &mut [u8], at: usize, value: u16) {
    if let Some(field) = bytes.get_mut(at..at + 2) {
        field.copy_from_slice(&value.to_be_bytes());
    }
}

/// Updates the length and the checksum in an IP header, extensions aside, for a packet of `len` bytes.
fn finish_ip_header(header: &mut [u8], len: usize) {
    if header.first().is_some_and(|first| first >> 4 == 4) {
        put_u16(header, 2, len as u16);
        put_u16(header, 10, 0);
        let sum = checksum::fold(checksum::sum(header));
        put_u16(header, 10, !sum);
    } else {
        put_u16(header, 4, len.saturating_sub(40) as u16);
    }
}
