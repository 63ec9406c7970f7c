//! The outer addresses of a peer over UDP, and their compact form.

use alloc::boxed::Box;
use core::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};

/// The outer addresses of a peer over UDP. IPv4 is never written as v4-mapped IPv6 here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Its address and port (and scope, if link-local).
    pub remote: SocketAddr,
    /// Our source address for packets to it; `None` leaves the choice to the route.
    pub local: Option<IpAddr>,
}

impl Endpoint {
    /// Whether `remote` is this peer's address and port. Scope and flow label are ignored (dco-behaviour 5.4).
    #[must_use]
    pub fn is_at(&self, remote: SocketAddr) -> bool {
        self.remote.ip() == remote.ip() && self.remote.port() == remote.port()
    }

    /// A hash that is equal for endpoints that [`Endpoint::is_at`] considers the same and that have the same local
    /// address. If two different endpoints collide, the only harm is that a peer's move from one to the other goes
    /// unnoticed.
    #[must_use]
    pub fn mark(&self) -> u64 {
        let [remote, local] = [Some(self.remote.ip()), self.local].map(|address| match address {
            Some(IpAddr::V4(address)) => 0xffff_0000_0000 | u128::from(u32::from(address)),
            Some(IpAddr::V6(address)) => u128::from(address),
            None => 0,
        });
        let words = [
            u64::from(self.remote.port()),
            remote as u64,
            (remote >> 64) as u64,
            local as u64,
            (local >> 64) as u64,
        ];
        words.into_iter().fold(0x9e37_79b9_7f4a_7c15, |mark, word| {
            let mixed = (mark ^ word).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed ^ mixed >> 29
        })
    }
}

/// A peer's endpoint, or none, in 16 bytes instead of the 52 of an [`Endpoint`], since there are many peers. Anything
/// but IPv4 is boxed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum KeptEndpoint {
    /// Over TCP: the stream knows the address.
    #[default]
    None,
    /// Both addresses are IPv4.
    V4 {
        /// See [`Endpoint::remote`].
        remote: SocketAddrV4,
        /// See [`Endpoint::local`].
        local: Option<Ipv4Addr>,
    },
    /// Anything else.
    Other(Box<Endpoint>),
}

impl From<Option<Endpoint>> for KeptEndpoint {
    fn from(endpoint: Option<Endpoint>) -> Self {
        let Some(endpoint) = endpoint else {
            return Self::None;
        };
        match (endpoint.remote, endpoint.local) {
            (SocketAddr::V4(remote), None) => Self::V4 {
                remote,
                local: None,
            },
            (SocketAddr::V4(remote), Some(IpAddr::V4(local))) => Self::V4 {
                remote,
                local: Some(local),
            },
            _ => Self::Other(Box::new(endpoint)),
        }
    }
}

impl KeptEndpoint {
    /// Whether its remote address is this one.
    pub(crate) fn is_host(&self, address: IpAddr) -> bool {
        match self {
            Self::None => false,
            Self::V4 { remote, .. } => IpAddr::V4(*remote.ip()) == address,
            Self::Other(endpoint) => endpoint.remote.ip().to_canonical() == address,
        }
    }

    /// The endpoint.
    pub(crate) fn get(&self) -> Option<Endpoint> {
        match self {
            Self::None => None,
            Self::V4 { remote, local } => Some(Endpoint {
                remote: SocketAddr::V4(*remote),
                local: local.map(IpAddr::V4),
            }),
            Self::Other(endpoint) => Some(**endpoint),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_survives_its_compact_form() {
        let remotes = ["192.0.2.1:1194", "[2001:db8::1]:1194", "[fe80::1%7]:9"];
        let locals = [None, Some("192.0.2.9"), Some("2001:db8::9")];
        for remote in remotes {
            for local in locals {
                let endpoint = Endpoint {
                    remote: remote.parse().unwrap(),
                    local: local.map(|local| local.parse().unwrap()),
                };
                assert_eq!(KeptEndpoint::from(Some(endpoint)).get(), Some(endpoint));
            }
        }
        assert_eq!(KeptEndpoint::from(None).get(), None);
        assert_eq!(size_of::<KeptEndpoint>(), 16);
    }
}
