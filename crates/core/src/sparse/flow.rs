//! What tells one flow from another, as the kernel's symmetric hash does: both directions are one.

use crate::ip::array;
use crate::recursion::{TCP, UDP};

const DCCP: u8 = 33;
const SCTP: u8 = 132;
const UDP_LITE: u8 = 136;
const ICMP: u8 = 1;
const ICMP6: u8 = 58;

/// Of TCP's flags.
const SYN: u8 = 2;

/// A flow's addresses, transport and ports in one number.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Key {
    pub(super) hash: u64,
    /// The kernel sees the same flow, and no other. Of fragments it sees no ports, and it may look into tunnels and behind
    /// extension headers.
    pub(super) is_plain: bool,
}

/// The key of a packet's flow; `None` for what is not IP, or cut off. Where `has_ipv6` is not set, the kernel's flows of IPv6
/// may be without ports.
pub(super) fn key(packet: &[u8], seed: u64, has_ipv6: bool) -> Option<Key> {
    let seeded = |number| mix(number ^ seed);
    let (protocol, at, ends, has_ports) = match packet.first()? >> 4 {
        4 => {
            let header = packet.first_chunk::<20>()?;
            let is_fragment = u16::from_be_bytes([header[6], header[7]]) & 0x3fff != 0;
            let end = |at| Some(seeded(u64::from(u32::from_ne_bytes(array(header, at)?))));
            let at = usize::from(header[0] & 15) * 4;
            (header[9], at, (end(12)?, end(16)?), !is_fragment)
        }
        6 => {
            let header = packet.first_chunk::<40>()?;
            let word = |at| array(header, at).map(u64::from_ne_bytes);
            let end = |at| Some(seeded(seeded(word(at)?) ^ word(at + 8)?));
            (header[6], 40, (end(8)?, end(24)?), has_ipv6)
        }
        _ => return None,
    };
    let port = |at| Some(u64::from(u16::from_ne_bytes(array(packet, at)?)));
    let (ports, is_plain) = match protocol {
        _ if !has_ports => ((0, 0), false),
        TCP | UDP | DCCP | SCTP | UDP_LITE => ((port(at)?, port(at + 2)?), true),
        ICMP | ICMP6 => ((0, 0), true),
        _ => ((0, 0), false),
    };
    let one = seeded(ends.0 ^ ports.0);
    let other = seeded(ends.1 ^ ports.1);
    Some(Key {
        hash: mix(one.wrapping_add(other) ^ u64::from(protocol)),
        is_plain,
    })
}

/// All that [`key`] looks at, so that a packet of the same flow is known without a hash.
pub(super) type Id = [u64; 5];

/// The identity of a packet's flow; `None` for what is rare: options, fragments, packets too short.
pub(super) fn id(packet: &[u8]) -> Option<Id> {
    let word = |at| array(packet, at).map(u64::from_ne_bytes);
    let ports = |at| array(packet, at).map(u32::from_ne_bytes);
    let rest = |protocol: u8, ports| u64::from(protocol) << 32 | u64::from(ports);
    match packet.first()? {
        0x45 => {
            let header = packet.first_chunk::<24>()?;
            let is_whole = u16::from_be_bytes([header[6], header[7]]) & 0x3fff == 0;
            let ids = [word(12)?, 4, 0, 0, rest(header[9], ports(20)?)];
            is_whole.then_some(ids)
        }
        0x60..0x70 => {
            let header = packet.first_chunk::<44>()?;
            let ids = [word(8)?, word(16)?, word(24)?, word(32)?];
            let [a, b, c, d] = ids;
            Some([a, b, c, d, rest(header[6], ports(40)?)])
        }
        _ => None,
    }
}

/// Whether this is the first packet, or the first answer, of a TCP connection: nothing but what it answers has been sent the
/// other way.
pub(super) fn is_first(packet: &[u8]) -> bool {
    let first = packet.first().copied().unwrap_or_default();
    let at = match first >> 4 {
        4 if packet.get(9) == Some(&TCP) => usize::from(first & 15) * 4,
        6 if packet.get(6) == Some(&TCP) => 40,
        _ => return false,
    };
    packet.get(at + 13).is_some_and(|flags| flags & SYN != 0)
}

/// Spreads a number's bits over all others (the finalizer of SplitMix64).
const fn mix(mut number: u64) -> u64 {
    number = (number ^ number >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    number = (number ^ number >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ number >> 31
}
