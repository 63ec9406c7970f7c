//! Control messages (`cmsghdr`) as bytes: read and written without a pointer.
//!
//! The layout is the kernel's: a length as a machine word (header included), level and type as `int`s, the data, then
//! padding to a machine word. Lengths are checked as if an attacker had written them (promises A4).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{UDP_GRO, UDP_SEGMENT, address::fold_ip};

const WORD: usize = size_of::<usize>();
const HEADER: usize = WORD + 8;

/// Room for the messages we request and some that the socket's owner requested (timestamps, TTL, TOS, drop counter).
pub(super) const CONTROL_LEN: usize = 256;

/// Room for control messages, aligned as the kernel's structures.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(8))]
pub(super) struct Control(pub(super) [u8; CONTROL_LEN]);

impl Control {
    pub(super) const EMPTY: Self = Self([0; CONTROL_LEN]);
}

/// The contents of a received datagram's control messages.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Received {
    /// Our address, folded.
    pub(super) local: Option<IpAddr>,
    /// The interface it arrived on, 0 if unknown.
    pub(super) ifindex: u32,
    /// `UDP_GRO`'s segment size, not yet checked against the length.
    pub(super) segment: Option<i32>,
}

/// Reads all control messages; stops at the first that does not fit.
pub(super) fn decode(mut bytes: &[u8]) -> Received {
    let mut received = Received::default();
    let mut v4_info = false;
    while let Some((level, kind, data, rest)) = next(bytes) {
        bytes = rest;
        match (level, kind) {
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                // in_pktinfo: ifindex, spec_dst (ours, to reply from), addr (of the header).
                let Some((ifindex, address)) = split::<4, 4>(data) else {
                    continue;
                };
                received.ifindex = u32::from_ne_bytes(ifindex);
                received.local = Some(Ipv4Addr::from(address).into());
                v4_info = true;
            }
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) if !v4_info => {
                let Some((address, ifindex)) = split::<16, 4>(data) else {
                    continue;
                };
                received.ifindex = u32::from_ne_bytes(ifindex);
                received.local = Some(fold_ip(Ipv6Addr::from(address).into()).0);
            }
            (libc::IPPROTO_UDP, UDP_GRO) => {
                received.segment = data
                    .first_chunk::<4>()
                    .map(|size| i32::from_ne_bytes(*size));
            }
            _ => {}
        }
    }
    received
}

/// Level, type and data of the first message, and what follows it.
fn next(bytes: &[u8]) -> Option<(i32, i32, &[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<WORD>()?;
    let (level, rest) = rest.split_first_chunk::<4>()?;
    let (kind, rest) = rest.split_first_chunk::<4>()?;
    let length = usize::from_ne_bytes(*length).checked_sub(HEADER)?;
    let data = rest.get(..length)?;
    let padded = length.next_multiple_of(WORD).min(rest.len());
    let rest = rest.get(padded..)?;
    Some((
        i32::from_ne_bytes(*level),
        i32::from_ne_bytes(*kind),
        data,
        rest,
    ))
}

fn split<const A: usize, const B: usize>(data: &[u8]) -> Option<([u8; A], [u8; B])> {
    let (first, rest) = data.split_first_chunk::<A>()?;
    Some((*first, *rest.first_chunk::<B>()?))
}

/// A datagram's traffic class, by its family.
#[derive(Debug, Clone, Copy)]
pub(super) enum Class {
    /// TOS.
    V4(u8),
    /// Traffic class.
    V6(u8),
}

/// Writes the messages for sending and returns their length: the address to send from, the segment size and the traffic
/// class.
pub(super) fn encode(
    control: &mut Control,
    local: Option<IpAddr>,
    segment: Option<u16>,
    class: Option<Class>,
) -> usize {
    let mut writer = Writer { control, end: 0 };
    match local {
        Some(IpAddr::V4(address)) => {
            // in_pktinfo: no interface, spec_dst, addr (ignored).
            let mut info = [0; 12];
            if let Some(place) = info.get_mut(4..8) {
                place.copy_from_slice(&address.octets());
            }
            writer.push(libc::IPPROTO_IP, libc::IP_PKTINFO, &info);
        }
        Some(IpAddr::V6(address)) => {
            let mut info = [0; 20];
            if let Some(place) = info.get_mut(..16) {
                place.copy_from_slice(&address.octets());
            }
            writer.push(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &info);
        }
        None => {}
    }
    if let Some(size) = segment {
        writer.push(libc::IPPROTO_UDP, UDP_SEGMENT, &size.to_ne_bytes());
    }
    match class {
        Some(Class::V4(tos)) => {
            let tos = i32::from(tos).to_ne_bytes();
            writer.push(libc::IPPROTO_IP, libc::IP_TOS, &tos);
        }
        Some(Class::V6(class)) => {
            let class = i32::from(class).to_ne_bytes();
            writer.push(libc::IPPROTO_IPV6, libc::IPV6_TCLASS, &class);
        }
        None => {}
    }
    writer.end
}

struct Writer<'a> {
    control: &'a mut Control,
    end: usize,
}

impl Writer<'_> {
    /// Appends a message; all kinds together fit easily.
    fn push(&mut self, level: i32, kind: i32, data: &[u8]) {
        let length = HEADER + data.len();
        let padded = length.next_multiple_of(WORD);
        let Some(place) = self.control.0.get_mut(self.end..self.end + padded) else {
            return;
        };
        place.fill(0);
        let header = length
            .to_ne_bytes()
            .into_iter()
            .chain(level.to_ne_bytes())
            .chain(kind.to_ne_bytes());
        for (to, from) in place.iter_mut().zip(header.chain(data.iter().copied())) {
            *to = from;
        }
        self.end += padded;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_messages_read_back() {
        for local in [None, Some("192.0.2.1"), Some("2001:db8::1")] {
            let local = local.map(|text| text.parse().unwrap());
            let mut control = Control::EMPTY;
            let length = encode(&mut control, local, Some(1_400), Some(Class::V4(0xb8)));
            assert_eq!(length % WORD, 0);
            let info = decode(&control.0[..length]);
            assert_eq!(info.local, local);
        }
        let mut control = Control::EMPTY;
        assert_eq!(encode(&mut control, None, None, None), 0);
    }

    /// promises A4: forged lengths, levels and types; a million buffers of a fixed random stream.
    #[test]
    fn forged_control_messages_do_no_harm() {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut random = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        let levels = [libc::IPPROTO_IP, libc::IPPROTO_IPV6, libc::IPPROTO_UDP, 1];
        let kinds = [libc::IP_PKTINFO, libc::IPV6_PKTINFO, UDP_GRO, UDP_SEGMENT];
        let mut bytes = [0_u8; 96];
        for _ in 0..1_000_000 {
            let mut at = 0;
            while at + HEADER < bytes.len() {
                let length = match random() % 8 {
                    0 => random() as usize,
                    1 => 0,
                    _ => (random() % 64) as usize,
                };
                let level = levels[(random() % 4) as usize];
                let kind = kinds[(random() % 4) as usize];
                bytes[at..at + WORD].copy_from_slice(&length.to_ne_bytes());
                bytes[at + WORD..at + WORD + 4].copy_from_slice(&level.to_ne_bytes());
                bytes[at + WORD + 4..at + HEADER].copy_from_slice(&kind.to_ne_bytes());
                at += (length % 64).max(HEADER).next_multiple_of(WORD);
            }
            let length = (random() % 97) as usize;
            let info = decode(&bytes[..length]);
            assert!(info.local.is_none() || length >= HEADER + 8);
        }
    }
}
