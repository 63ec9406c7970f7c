//! The parts of an inner packet that the data channel looks at.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Source and destination of an inner packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// Source.
    pub source: IpAddr,
    /// Destination.
    pub destination: IpAddr,
}

/// Reads the addresses of a packet whose version and length fit an IPv4 or IPv6 header (dco-behaviour 1.2); `None` for
/// anything else.
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

/// The traffic class of a packet (TOS of IPv4): DSCP and congestion bits; 0 if it is neither IPv4 nor IPv6.
#[must_use]
pub fn traffic_class(packet: &[u8]) -> u8 {
    match packet {
        [first, second, ..] if first >> 4 == 6 => first << 4 | second >> 4,
        [first, second, ..] if first >> 4 == 4 => *second,
        _ => 0,
    }
}

/// Whether a packet to this address is for a group of hosts: multicast or limited broadcast.
#[must_use]
pub const fn is_group(destination: IpAddr) -> bool {
    destination.is_multicast() || is_limited_broadcast(destination)
}

/// Whether a packet is one that a host sends unprompted on every link that comes up (router solicitations, MLD, IGMP,
/// mDNS before there is an address): from an address that is valid only on its link, to a group on that link. A packet
/// to a single host never is, whatever its source.
#[must_use]
pub fn is_housekeeping(addresses: &Addresses) -> bool {
    match (addresses.source, addresses.destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let of_link = matches!(destination.octets(), [224, 0, 0, _]);
            (source.is_link_local() || source.is_unspecified())
                && (of_link || destination.is_broadcast())
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            // The scopes of interface and link, RFC 4291 2.7.
            let [first, second, ..] = destination.octets();
            (source.is_unicast_link_local() || source.is_unspecified())
                && first == 0xff
                && matches!(second & 0x0f, 1 | 2)
        }
        _ => false,
    }
}

const fn is_limited_broadcast(address: IpAddr) -> bool {
    matches!(address, IpAddr::V4(address) if address.is_broadcast())
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

    #[test]
    fn only_link_local_sources_to_groups_of_the_link_are_housekeeping() {
        let is = |source: &str, destination: &str| {
            is_housekeeping(&Addresses {
                source: source.parse().unwrap(),
                destination: destination.parse().unwrap(),
            })
        };
        for (source, destination) in [
            ("fe80::1", "ff02::2"),
            ("fe80::1", "ff02::16"),
            ("febf::1", "ff12::1"),
            ("::", "ff02::1:ff00:1"),
            ("fe80::1", "ff01::1"),
            ("0.0.0.0", "224.0.0.22"),
            ("169.254.3.4", "224.0.0.251"),
            ("0.0.0.0", "255.255.255.255"),
        ] {
            assert!(is(source, destination), "{source} to {destination}");
        }
        for (source, destination) in [
            ("fe80::1", "fe80::2"),
            ("fe80::1", "fd00::1"),
            ("fe80::1", "ff05::2"),
            ("fec0::1", "ff02::2"),
            ("fd00::1", "ff02::2"),
            ("::1", "ff02::2"),
            ("10.8.0.2", "224.0.0.22"),
            ("0.0.0.0", "10.8.0.1"),
            ("169.254.3.4", "224.0.1.1"),
            ("127.0.0.1", "224.0.0.1"),
        ] {
            assert!(!is(source, destination), "{source} to {destination}");
        }
    }

    #[test]
    fn groups_are_multicast_and_limited_broadcast() {
        let is = |address: &str| is_group(address.parse().unwrap());
        assert!(is("224.0.0.1") && is("239.255.255.250") && is("255.255.255.255"));
        assert!(is("ff02::1") && is("ff3e::1"));
        assert!(!is("10.8.0.255") && !is("240.0.0.1") && !is("fe80::1") && !is("fd00::1"));
    }
}
