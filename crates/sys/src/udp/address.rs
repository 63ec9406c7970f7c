//! Socket addresses as the kernel's bytes, with IPv4 folded out of IPv6.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// Bytes of `sockaddr_in6`, the larger of the two.
pub(super) const NAME_LEN: usize = 28;
/// Bytes of `sockaddr_in`.
const V4_LEN: usize = 16;

/// Room for either address, aligned as the kernel's structures.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(8))]
pub(super) struct Name(pub(super) [u8; NAME_LEN]);

impl Name {
    pub(super) const EMPTY: Self = Self([0; NAME_LEN]);

    /// Parses the kernel's bytes: `None` for anything but a whole address of IPv4 or IPv6.
    pub(super) fn decode(&self, length: usize) -> Option<SocketAddr> {
        let (family, rest) = self.0.get(..length)?.split_first_chunk::<2>()?;
        let (port, rest) = rest.split_first_chunk::<2>()?;
        let port = u16::from_be_bytes(*port);
        match libc::c_int::from(u16::from_ne_bytes(*family)) {
            libc::AF_INET => {
                let address = rest.first_chunk::<4>()?;
                let address = Ipv4Addr::from(*address);
                Some(SocketAddrV4::new(address, port).into())
            }
            libc::AF_INET6 => {
                let (flow, rest) = rest.split_first_chunk::<4>()?;
                let (address, rest) = rest.split_first_chunk::<16>()?;
                let scope = u32::from_ne_bytes(*rest.first_chunk::<4>()?);
                let flow = u32::from_ne_bytes(*flow);
                let address = Ipv6Addr::from(*address);
                Some(SocketAddrV6::new(address, port, flow, scope).into())
            }
            _ => None,
        }
    }

    /// Writes `address` for a socket of the given family and returns its length. An IPv6 address
    /// on an IPv4 socket is written as it is; the kernel refuses it with `EAFNOSUPPORT`.
    pub(super) fn encode(&mut self, address: SocketAddr, socket_v6: bool) -> usize {
        match unfold(address, socket_v6) {
            SocketAddr::V4(v4) => {
                let family = libc::AF_INET as u16;
                self.0 = [0; NAME_LEN];
                self.put(0, family.to_ne_bytes());
                self.put(2, v4.port().to_be_bytes());
                self.put(4, v4.ip().octets());
                V4_LEN
            }
            SocketAddr::V6(v6) => {
                let family = libc::AF_INET6 as u16;
                self.put(0, family.to_ne_bytes());
                self.put(2, v6.port().to_be_bytes());
                self.put(4, v6.flowinfo().to_ne_bytes());
                self.put(8, v6.ip().octets());
                self.put(24, v6.scope_id().to_ne_bytes());
                NAME_LEN
            }
        }
    }

    fn put<const N: usize>(&mut self, at: usize, bytes: [u8; N]) {
        if let Some(place) = self.0.get_mut(at..at + N) {
            place.copy_from_slice(&bytes);
        }
    }
}

/// IPv4 out of a v4-mapped address, and whether it was one.
pub(super) fn fold(address: SocketAddr) -> (SocketAddr, bool) {
    match fold_ip(address.ip()) {
        (ip @ IpAddr::V4(_), true) => (SocketAddr::new(ip, address.port()), true),
        _ => (address, false),
    }
}

/// [`fold`] of an address without a port.
pub(super) fn fold_ip(address: IpAddr) -> (IpAddr, bool) {
    match address {
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => (v4.into(), true),
            None => (address, false),
        },
        IpAddr::V4(_) => (address, false),
    }
}

/// The form an address has on a socket: v4-mapped on an IPv6 one.
fn unfold(address: SocketAddr, socket_v6: bool) -> SocketAddr {
    match address {
        SocketAddr::V4(v4) if socket_v6 => {
            SocketAddrV6::new(v4.ip().to_ipv6_mapped(), v4.port(), 0, 0).into()
        }
        _ => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_survive_the_way_through_the_kernels_bytes() {
        for (text, v6, mapped) in [
            ("192.0.2.7:1194", false, false),
            ("192.0.2.7:1194", true, true),
            ("[2001:db8::5]:443", true, false),
            ("[fe80::5%3]:443", true, false),
        ] {
            let address: SocketAddr = text.parse().unwrap();
            let mut name = Name::EMPTY;
            let length = name.encode(address, v6);
            let decoded = name.decode(length).unwrap();
            assert_eq!(fold(decoded), (address, mapped), "{text}");
            assert_eq!(decoded.is_ipv6(), v6);
        }
    }

    #[test]
    fn short_or_foreign_addresses_are_none() {
        let mut name = Name::EMPTY;
        let length = name.encode("[2001:db8::5]:443".parse().unwrap(), true);
        for short in 0..length {
            assert_eq!(name.decode(short), None);
        }
        assert_eq!(name.decode(NAME_LEN + 1), None);
        assert_eq!(Name::EMPTY.decode(NAME_LEN), None);
    }
}
