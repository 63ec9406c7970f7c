//! As much of an inner packet as the data channel looks at.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Source and destination of an inner packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// Source.
    pub source: IpAddr,
    /// Destination.
    pub destination: IpAddr,
}

/// Reads the addresses of a packet that has the version and the length of an IPv4 or IPv6 header (dco-behaviour 1.2);
/// `None` for anything else.
#[must_use]
pub fn addresses(packet: &[u8]) -> Option<Addresses> {
    match packet.first()? >> 4 {
        4 if packet.len() >= 20 => Some(Addresses {
            source: Ipv4Addr::from(array::<4>(packet, 12)?).into(),
            destination: Ipv4Addr::from(array::<4>(packet, 16)?).into(),
        }),
        6 if packet.len() >= 40 => Some(Addresses {
            source: Ipv6Addr::from(array::<16>(packet, 8)?).into(),
            destination: Ipv6Addr::from(array::<16>(packet, 24)?).into(),
        }),
        _ => None,
    }
}

/// `N` bytes at an offset, if they are there.
pub(crate) fn array<const N: usize>(packet: &[u8], at: usize) -> Option<[u8; N]> {
    packet.get(at..)?.first_chunk().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_headers_of_version_4_and_6_have_addresses() {
        for version in 0..16u8 {
            for len in 0..64 {
                let mut packet = vec![7; len];
                if let Some(first) = packet.first_mut() {
                    *first = version << 4 | 5;
                }
                let whole = (version == 4 && len >= 20) || (version == 6 && len >= 40);
                assert_eq!(
                    addresses(&packet).is_some(),
                    whole,
                    "version {version}, {len} bytes"
                );
            }
        }
    }

    #[test]
    fn addresses_are_where_they_should_be() {
        let mut v4 = [0; 20];
        v4[0] = 0x45;
        v4[12..20].copy_from_slice(&[10, 8, 0, 1, 10, 8, 0, 2]);
        let found = addresses(&v4).unwrap();
        assert_eq!(found.source, IpAddr::from([10, 8, 0, 1]));
        assert_eq!(found.destination, IpAddr::from([10, 8, 0, 2]));
        let mut v6 = [0; 40];
        v6[0] = 0x60;
        v6[23] = 1;
        v6[39] = 2;
        let found = addresses(&v6).unwrap();
        assert_eq!(found.source, "::1".parse::<IpAddr>().unwrap());
        assert_eq!(found.destination, "::2".parse::<IpAddr>().unwrap());
    }
}
