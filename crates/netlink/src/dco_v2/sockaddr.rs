//! `struct sockaddr_in` and `sockaddr_in6` as bytes.

use alloc::vec::Vec;
use core::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use crate::numbers;

const AF_INET: u16 = numbers::AF_INET as u16;
const AF_INET6: u16 = numbers::AF_INET6 as u16;
/// Length of `sockaddr_in`.
const LENGTH4: usize = 16;
/// Length of `sockaddr_in6`.
const LENGTH6: usize = 28;

/// Reads an address, folding v4-mapped ones to IPv4; `None` if address family and length do not match.
pub(super) fn decode(bytes: &[u8]) -> Option<SocketAddr> {
    let [f0, f1, p0, p1] = *bytes.first_chunk()?;
    let port = u16::from_be_bytes([p0, p1]);
    match (u16::from_ne_bytes([f0, f1]), bytes.len()) {
        (AF_INET, LENGTH4) => {
            let address = Ipv4Addr::from(field::<4>(bytes, 4)?);
            Some(SocketAddr::new(address.into(), port))
        }
        (AF_INET6, LENGTH6) => {
            let flow = u32::from_be_bytes(field(bytes, 4)?);
            let address = Ipv6Addr::from(field::<16>(bytes, 8)?);
            let scope = u32::from_ne_bytes(field(bytes, 24)?);
            Some(match address.to_ipv4_mapped() {
                Some(address) => SocketAddr::new(address.into(), port),
                None => SocketAddrV6::new(address, port, flow, scope).into(),
            })
        }
        _ => None,
    }
}

/// Writes an address.
pub(super) fn encode(address: &SocketAddr) -> Vec<u8> {
    let (family, length) = match address {
        SocketAddr::V4(_) => (AF_INET, LENGTH4),
        SocketAddr::V6(_) => (AF_INET6, LENGTH6),
    };
    let mut bytes = family.to_ne_bytes().to_vec();
    bytes.extend_from_slice(&address.port().to_be_bytes());
    match address {
        SocketAddr::V4(address) => bytes.extend_from_slice(&address.ip().octets()),
        SocketAddr::V6(address) => {
            bytes.extend_from_slice(&address.flowinfo().to_be_bytes());
            bytes.extend_from_slice(&address.ip().octets());
            bytes.extend_from_slice(&address.scope_id().to_ne_bytes());
        }
    }
    bytes.resize(length, 0);
    bytes
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn ipv4_round_trip(octets: [u8; 4], port: u16) {
            let address = SocketAddr::new(octets.into(), port);
            prop_assert_eq!(decode(&encode(&address)), Some(address));
        }

        #[test]
        fn ipv6_round_trip(octets: [u8; 16], port: u16, flow: u32, scope: u32) {
            let address = SocketAddr::from(SocketAddrV6::new(octets.into(), port, flow, scope));
            prop_assert_eq!(decode(&encode(&address)), Some(address));
        }

        #[test]
        fn any_bytes_can_be_read(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            decode(&bytes);
        }
    }
}
