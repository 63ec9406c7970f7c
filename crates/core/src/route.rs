//! The next hop for an inner address: a mirror of the kernel's routes (design decision 8).
//!
//! The routing table is the cryptokey table: `192.168.7.0/24 via 10.8.0.2 dev tun0` makes the peer at 10.8.0.2 the
//! owner of 192.168.7.0/24, for packets to it and, by the reverse-path check, from it. Routes through other devices
//! are kept too, since a longer prefix elsewhere takes addresses away from a peer.

use alloc::vec::Vec;
use core::net::IpAddr;

use crate::cow_map::{CowKey, CowMap};

/// A route as the kernel has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// Network address; bits beyond the prefix length are ignored.
    pub destination: IpAddr,
    /// Prefix length.
    pub prefix: u8,
    /// Metric: the lowest of equal prefixes wins.
    pub metric: u32,
    /// Next hop; `None` if the destination is on the link (or leads nowhere).
    pub gateway: Option<IpAddr>,
    /// Index of the device it leaves by; 0 if none.
    pub ifindex: u32,
}

/// The routes of a network namespace, as a snapshot.
#[derive(Clone, Debug)]
pub struct Routes {
    v4: Family,
    v6: Family,
}

impl Routes {
    /// No routes. `seed` as for [`crate::Peers::new`].
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            v4: Family::new(seed),
            v6: Family::new(seed.rotate_left(13)),
        }
    }

    /// Adds a route. With `replace`, routes of the same prefix and metric are removed first, as `ip route replace`
    /// does.
    pub fn add(&mut self, route: Route, replace: bool) {
        self.family_mut(route.destination).add(route, replace);
    }

    /// Removes a route, if there is one.
    pub fn remove(&mut self, route: &Route) {
        self.family_mut(route.destination).remove(route);
    }

    /// The VPN address whose peer to send to for `destination`: the gateway of its best route, or `destination` itself.
    #[must_use]
    pub fn next_hop(&self, destination: IpAddr) -> IpAddr {
        let family = match destination {
            IpAddr::V4(_) => &self.v4,
            IpAddr::V6(_) => &self.v6,
        };
        family
            .best(destination)
            .and_then(|route| route.gateway)
            .unwrap_or(destination)
    }

    /// The number of prefixes.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.v4.by_prefix.len() + self.v6.by_prefix.len()
    }

    /// Whether there are no routes.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    const fn family_mut(&mut self, destination: IpAddr) -> &mut Family {
        match destination {
            IpAddr::V4(_) => &mut self.v4,
            IpAddr::V6(_) => &mut self.v6,
        }
    }
}

/// A prefix: its length and its address, left-aligned in 128 bits and padded with zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Prefix(u8, u128);

impl CowKey for Prefix {
    fn bits(&self) -> u64 {
        ((self.1 >> 64) as u64 ^ (self.1 as u64).rotate_left(29)).wrapping_add(u64::from(self.0))
    }
}

impl Prefix {
    fn of(address: IpAddr, length: u8) -> Self {
        let bits = match address {
            IpAddr::V4(ip) => u128::from(ip.to_bits()) << 96,
            IpAddr::V6(ip) => ip.to_bits(),
        };
        let mask = u128::MAX
            .checked_shl(128 - u32::from(length.min(128)))
            .unwrap_or(0);
        Self(length, bits & mask)
    }
}

/// The routes of one address family: one look-up for each prefix length in use, longest first.
#[derive(Clone, Debug)]
struct Family {
    by_prefix: CowMap<Prefix, Vec<Route>>,
    /// Prefix lengths in use, longest first, with their number of prefixes.
    lengths: Vec<(u8, usize)>,
}

impl Family {
    fn new(seed: u64) -> Self {
        Self {
            by_prefix: CowMap::new(seed),
            lengths: Vec::new(),
        }
    }

    fn best(&self, destination: IpAddr) -> Option<&Route> {
        self.lengths.iter().find_map(|(length, _)| {
            let routes = self.by_prefix.find(&Prefix::of(destination, *length))?;
            routes.iter().min_by_key(|route| route.metric)
        })
    }

    fn add(&mut self, route: Route, replace: bool) {
        let prefix = Prefix::of(route.destination, route.prefix);
        let mut routes = self.by_prefix.find(&prefix).cloned().unwrap_or_default();
        if routes.is_empty() {
            self.count(route.prefix, 1);
        }
        routes.retain(|other| {
            let same_hop = other.ifindex == route.ifindex && other.gateway == route.gateway;
            other.metric != route.metric || !(replace || same_hop)
        });
        routes.push(route);
        self.by_prefix.insert(prefix, routes);
    }

    fn remove(&mut self, route: &Route) {
        let prefix = Prefix::of(route.destination, route.prefix);
        let Some(mut routes) = self.by_prefix.find(&prefix).cloned() else {
            return;
        };
        routes.retain(|other| {
            (other.metric, other.ifindex, other.gateway)
                != (route.metric, route.ifindex, route.gateway)
        });
        if routes.is_empty() {
            self.by_prefix.remove(&prefix);
            self.count(route.prefix, -1);
        } else {
            self.by_prefix.insert(prefix, routes);
        }
    }

    fn count(&mut self, length: u8, change: isize) {
        match self
            .lengths
            .binary_search_by(|(other, _)| length.cmp(other))
        {
            Ok(at) => {
                let Some((_, count)) = self.lengths.get_mut(at) else {
                    return;
                };
                *count = count.saturating_add_signed(change);
                if *count == 0 {
                    self.lengths.remove(at);
                }
            }
            Err(at) if change > 0 => self.lengths.insert(at, (length, 1)),
            Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn route(destination: &str, prefix: u8, gateway: Option<&str>, metric: u32) -> Route {
        Route {
            destination: destination.parse().unwrap(),
            prefix,
            metric,
            gateway: gateway.map(|gateway| gateway.parse().unwrap()),
            ifindex: 5,
        }
    }

    fn hop(routes: &Routes, destination: &str) -> String {
        routes.next_hop(destination.parse().unwrap()).to_string()
    }

    #[test]
    fn the_longest_prefix_decides_and_then_the_metric() {
        let mut routes = Routes::new(1);
        routes.add(route("0.0.0.0", 0, Some("10.8.0.9"), 0), false);
        routes.add(route("10.8.0.0", 24, None, 0), false);
        routes.add(route("192.168.0.0", 16, Some("10.8.0.2"), 200), false);
        routes.add(route("192.168.7.0", 24, Some("10.8.0.3"), 200), false);
        routes.add(route("192.168.7.0", 24, Some("10.8.0.4"), 100), false);
        assert_eq!(hop(&routes, "10.8.0.77"), "10.8.0.77");
        assert_eq!(hop(&routes, "192.168.1.1"), "10.8.0.2");
        assert_eq!(hop(&routes, "192.168.7.1"), "10.8.0.4");
        assert_eq!(hop(&routes, "1.1.1.1"), "10.8.0.9");
        assert_eq!(hop(&routes, "fd00::1"), "fd00::1");
        routes.remove(&route("192.168.7.0", 24, Some("10.8.0.4"), 100));
        assert_eq!(hop(&routes, "192.168.7.1"), "10.8.0.3");
        routes.remove(&route("192.168.7.0", 24, Some("10.8.0.3"), 200));
        assert_eq!(hop(&routes, "192.168.7.1"), "10.8.0.2");
    }

    #[test]
    fn a_replaced_route_is_gone_whatever_its_gateway_was() {
        let mut routes = Routes::new(1);
        routes.add(route("192.168.7.0", 24, Some("10.8.0.3"), 100), false);
        routes.add(route("192.168.7.0", 24, Some("10.8.0.4"), 100), true);
        routes.remove(&route("192.168.7.0", 24, Some("10.8.0.4"), 100));
        assert_eq!(hop(&routes, "192.168.7.1"), "192.168.7.1");
        assert!(routes.is_empty());
    }

    #[test]
    fn ipv6_prefixes_of_every_length() {
        for length in 0..=128 {
            let mut routes = Routes::new(1);
            routes.add(route("fd00:8::1", length, Some("fd00:8::2"), 0), false);
            assert_eq!(hop(&routes, "fd00:8::1"), "fd00:8::2", "length {length}");
        }
    }

    proptest! {
        #[test]
        fn the_same_next_hop_as_a_linear_scan(
            changes in proptest::collection::vec((0u32..64, 24u8..=32, 0u8..4, any::<bool>()), 0..80),
            probes in proptest::collection::vec(0u32..64, 20),
        ) {
            let mut routes = Routes::new(3);
            let mut list: Vec<Route> = Vec::new();
            for (host, length, gateway, add) in changes {
                let network = (0x0a00_0000 | host) & u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
                let route = Route {
                    destination: IpAddr::V4(network.into()),
                    prefix: length,
                    metric: u32::from(gateway),
                    gateway: Some(IpAddr::V4(u32::from(gateway).into())),
                    ifindex: 1,
                };
                list.retain(|other| *other != route);
                if add {
                    list.push(route);
                    routes.add(route, false);
                } else {
                    routes.remove(&route);
                }
            }
            for probe in probes {
                let probe = IpAddr::V4((0x0a00_0000 | probe).into());
                let best = list
                    .iter()
                    .filter(|route| Prefix::of(probe, route.prefix) == Prefix::of(route.destination, route.prefix))
                    .min_by_key(|route| (core::cmp::Reverse(route.prefix), route.metric));
                let expected = best.and_then(|route| route.gateway).unwrap_or(probe);
                prop_assert_eq!(routes.next_hop(probe), expected);
            }
        }
    }
}
