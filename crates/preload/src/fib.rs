//! The kernel's routing tables: the route of a packet, and the alternatives.

use crate::answer::{self, HEADER, attributes};
use crate::calls::{self, Errno};
use alloc::vec;
use alloc::vec::Vec;

/// Bytes of `struct rtmsg`.
pub(crate) const ROUTE: usize = 12;

/// Room for one datagram of an answer.
const ROOM: usize = 32 << 10;

/// The most routes or addresses read from one dump.
const MOST: usize = 100_000;

/// `RTM_F_FIB_MATCH`: return the matching route itself, not its result for one address.
const FIB_MATCH: u32 = 0x2000;

/// `RT_TABLE_MAIN`, `RTN_UNICAST`, `RTNH_F_ONLINK`.
const MAIN: u32 = 254;
const UNICAST: u8 = 1;
const ONLINK: u32 = 4;

/// `RT_SCOPE_UNIVERSE` and `RT_SCOPE_LINK`: behind a gateway, or on the link.
const BEHIND: u8 = 0;
const NEXT_TO: u8 = 253;

/// `RTA_MULTIPATH`, `RTA_VIA` and `RTA_METRICS`, and bytes of `struct rtnexthop`.
const MULTIPATH: u16 = 9;
const VIA: u16 = 18;
const METRICS: u16 = 8;
const HOP: usize = 8;

/// Protocol of the routes this library adds; it identifies those that a killed program left behind.
pub(crate) const PROTOCOL: u8 = 117;

/// `RTPROT_BOOT`: the protocol of routes that OpenVPN adds, and `ip route`.
pub(crate) const BOOT: u8 = 3;

/// A route with one next hop.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Route {
    /// `AF_INET` or `AF_INET6`.
    pub(crate) family: u8,
    /// Prefix length.
    pub(crate) prefix: u8,
    /// Destination address; empty for a default route.
    pub(crate) destination: Vec<u8>,
    /// The metric; 0 for an IPv4 route without one.
    pub(crate) metric: u32,
    /// Index of the interface it leads to.
    pub(crate) ifindex: u32,
    /// The origin of the route (`rtm_protocol`).
    pub(crate) protocol: u8,
    table: u32,
    kind: u8,
    flags: u32,
    /// Gateway, preferred source and the like, as the kernel encodes them.
    rest: Vec<(u16, Vec<u8>)>,
}

/// The route for an address of 4 or 16 bytes; `None` if there is none.
pub(crate) fn route_to(address: &[u8]) -> Option<Route> {
    let fixed = fixed(family_of(address)?, (address.len() * 8) as u8, FIB_MATCH);
    let destination = [(libc::RTA_DST, address)];
    let request = answer::request(
        libc::RTM_GETROUTE,
        libc::NLM_F_REQUEST,
        &fixed,
        &destination,
    );
    let reply = transact(&request).ok()?;
    answer::messages_of(&reply, libc::RTM_NEWROUTE).find_map(read)
}

/// The routes of one table and family.
pub(crate) fn routes(family: u8, table: u32) -> Vec<Route> {
    let flags = libc::NLM_F_REQUEST | libc::NLM_F_DUMP;
    let request = answer::request(libc::RTM_GETROUTE, flags, &fixed(family, 0, 0), &[]);
    dump(&request, libc::RTM_NEWROUTE, |message| {
        read(message).filter(|route| route.table == table && route.family == family)
    })
}

/// Requests a dump on a new socket, and reads its messages of this type.
pub(crate) fn dump<T>(request: &[u8], kind: u16, read: impl Fn(&[u8]) -> Option<T>) -> Vec<T> {
    let mut found = Vec::new();
    let Ok(socket) = calls::socket(libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_ROUTE) else {
        return found;
    };
    if calls::send(socket.raw(), request, &[]).is_err() {
        return found;
    }
    let mut reply = vec![0; ROOM];
    while found.len() < MOST {
        let Ok(len) = calls::receive(socket.raw(), &mut reply, libc::MSG_DONTWAIT) else {
            break;
        };
        let datagram = reply.get(..len).unwrap_or_default();
        found.extend(answer::messages_of(datagram, kind).filter_map(&read));
        if answer::is_final(datagram) {
            break;
        }
    }
    found
}

/// The routes of the main table.
pub(crate) fn main_routes(family: u8) -> Vec<Route> {
    routes(family, MAIN)
}

impl Route {
    /// Whether packets for this address can leave by it.
    pub(crate) fn covers(&self, address: &[u8]) -> bool {
        let bits = usize::from(self.prefix);
        let (whole, part) = (bits / 8, bits % 8);
        let mask = !(0xFF_u16 >> part) as u8;
        let same = |at: usize| {
            self.destination.get(at).map_or(0, |byte| byte & mask)
                == address.get(at).map_or(0, |byte| byte & mask)
        };
        self.kind == UNICAST
            && self.ifindex != 0
            && self.destination.get(..whole).unwrap_or_default()
                == address.get(..whole).unwrap_or_default()
            && (part == 0 || same(whole))
    }

    /// Whether it is a default route. A request to delete one may leave its type unspecified.
    pub(crate) fn is_default(&self) -> bool {
        self.prefix == 0 && matches!(self.kind, 0 | UNICAST)
    }

    /// Whether it has the same gateway as another route, or neither has one.
    pub(crate) fn has_gateway_of(&self, other: &Self) -> bool {
        let gateway = |route: &Self| {
            let mut all = route.rest.iter();
            all.find(|(kind, _)| *kind == libc::RTA_GATEWAY).cloned()
        };
        gateway(self) == gateway(other)
    }

    /// Whether it leads to the same destination.
    pub(crate) fn has_destination_of(&self, other: &Self) -> bool {
        let byte = |route: &Self, at: usize| route.destination.get(at).copied().unwrap_or(0);
        (self.family, self.prefix) == (other.family, other.prefix)
            && (0..16).all(|at| byte(self, at) == byte(other, at))
    }

    /// The same next hop for another destination, in another table, as a route of ours.
    pub(crate) fn copy(&self, destination: &[u8], table: u32, metric: u32) -> Self {
        Self {
            prefix: (destination.len() * 8) as u8,
            destination: destination.to_vec(),
            metric,
            protocol: PROTOCOL,
            table,
            ..self.clone()
        }
    }

    /// The same, as if added with `ip route`.
    pub(crate) fn by_hand(self) -> Self {
        Self {
            protocol: BOOT,
            ..self
        }
    }

    /// The same for the main table.
    pub(crate) fn in_main(&self, destination: &[u8], metric: u32) -> Self {
        self.copy(destination, MAIN, metric)
    }

    /// Adds it.
    pub(crate) fn add(&self) -> Result<(), Errno> {
        self.change(libc::RTM_NEWROUTE, libc::NLM_F_CREATE | libc::NLM_F_REPLACE)
    }

    /// Deletes it.
    pub(crate) fn delete(&self) -> Result<(), Errno> {
        self.change(libc::RTM_DELROUTE, 0)
    }

    fn change(&self, kind: u16, flags: i32) -> Result<(), Errno> {
        let is_behind = self
            .rest
            .iter()
            .any(|(kind, _)| matches!(*kind, libc::RTA_GATEWAY | VIA));
        let mut fixed = fixed(self.family, self.prefix, self.flags & ONLINK);
        fixed[5] = self.protocol;
        fixed[6] = if is_behind { BEHIND } else { NEXT_TO };
        fixed[7] = self.kind;
        let (table, metric) = (self.table.to_ne_bytes(), self.metric.to_ne_bytes());
        let ifindex = self.ifindex.to_ne_bytes();
        let mut attributes = vec![
            (libc::RTA_TABLE, &table[..]),
            (libc::RTA_PRIORITY, &metric),
            (libc::RTA_OIF, &ifindex),
        ];
        if !self.destination.is_empty() {
            attributes.push((libc::RTA_DST, &self.destination));
        }
        attributes.extend(
            self.rest
                .iter()
                .map(|(kind, value)| (*kind, value.as_slice())),
        );
        let flags = libc::NLM_F_REQUEST | libc::NLM_F_ACK | flags;
        let reply = transact(&answer::request(kind, flags, &fixed, &attributes))?;
        if answer::is_refusal(&reply) {
            return Err(libc::EINVAL);
        }
        Ok(())
    }
}

/// `AF_INET` for 4 bytes, `AF_INET6` for 16.
pub(crate) fn family_of(address: &[u8]) -> Option<u8> {
    match address.len() {
        4 => Some(libc::AF_INET as u8),
        16 => Some(libc::AF_INET6 as u8),
        _ => None,
    }
}

/// `struct rtmsg`; an attribute specifies the table.
fn fixed(family: u8, prefix: u8, flags: u32) -> [u8; ROUTE] {
    let mut fixed = [0; ROUTE];
    fixed[0] = family;
    fixed[1] = prefix;
    fixed[8..].copy_from_slice(&flags.to_ne_bytes());
    fixed
}

/// Parses an `RTM_NEWROUTE`. Of several next hops it takes the first.
pub(crate) fn read(message: &[u8]) -> Option<Route> {
    let fixed = message.get(HEADER..)?.first_chunk::<ROUTE>()?;
    let [family, prefix, _, _, table, protocol, _, kind, flags @ ..] = *fixed;
    let mut route = Route {
        family,
        prefix,
        protocol,
        kind,
        table: table.into(),
        // How the link is at the moment (`RTNH_F_LINKDOWN` and the like) is not the route's.
        flags: u32::from_ne_bytes(flags) & ONLINK,
        ..Route::default()
    };
    route.take(message, HEADER + ROUTE);
    Some(route)
}

impl Route {
    fn take(&mut self, bytes: &[u8], from: usize) {
        for (kind, place) in attributes(bytes, from) {
            let value = bytes.get(place.clone()).unwrap_or_default();
            let number = value.first_chunk().map_or(0, |it| u32::from_ne_bytes(*it));
            match kind {
                libc::RTA_DST => self.destination = value.to_vec(),
                libc::RTA_PRIORITY => self.metric = number,
                libc::RTA_OIF => self.ifindex = number,
                libc::RTA_TABLE => self.table = number,
                libc::RTA_GATEWAY | libc::RTA_PREFSRC | VIA | METRICS => {
                    self.rest.push((kind, value.to_vec()));
                }
                MULTIPATH => {
                    let [low, high, ..] = *value.first_chunk::<HOP>().unwrap_or(&[0; HOP]);
                    let len = usize::from(u16::from_ne_bytes([low, high]));
                    if let Some(hop) = value.get(..len).filter(|hop| hop.len() >= HOP) {
                        let index = hop.get(4..).and_then(<[u8]>::first_chunk);
                        self.ifindex = index.map_or(0, |it| u32::from_ne_bytes(*it));
                        self.take(hop, HOP);
                    }
                }
                _ => {}
            }
        }
    }
}

/// Sends a request on a new socket and returns the kernel's reply, which is there as soon as the request is sent.
pub(crate) fn transact(request: &[u8]) -> Result<Vec<u8>, Errno> {
    let socket = calls::socket(libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_ROUTE)?;
    calls::send(socket.raw(), request, &[])?;
    let mut reply = vec![0; ROOM];
    let len = calls::receive(socket.raw(), &mut reply, libc::MSG_DONTWAIT)?;
    reply.truncate(len);
    Ok(reply)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_covers_what_its_prefix_says() {
        let route = |prefix, destination: &[u8]| Route {
            prefix,
            destination: destination.to_vec(),
            ifindex: 1,
            kind: UNICAST,
            ..Route::default()
        };
        assert!(route(0, &[]).covers(&[192, 0, 2, 1]));
        assert!(
            route(1, &[]).covers(&[1, 0, 2, 1]),
            "0/1 may have no destination"
        );
        assert!(!route(1, &[0; 4]).covers(&[192, 0, 2, 1]));
        assert!(route(1, &[128, 0, 0, 0]).covers(&[192, 0, 2, 1]));
        assert!(route(26, &[192, 0, 2, 64]).covers(&[192, 0, 2, 127]));
        assert!(!route(26, &[192, 0, 2, 64]).covers(&[192, 0, 2, 128]));
        assert!(route(32, &[192, 0, 2, 1]).covers(&[192, 0, 2, 1]));
        assert!(!route(32, &[192, 0, 2, 1]).covers(&[192, 0, 2, 2]));
    }

    #[test]
    fn of_several_next_hops_the_first_is_taken() {
        let gateway = answer::request(0, 0, &[], &[(libc::RTA_GATEWAY, &[192, 0, 2, 1])]);
        let hop = [
            &16u16.to_ne_bytes()[..],
            &[0, 0],
            &7u32.to_ne_bytes(),
            &gateway[HEADER..],
        ]
        .concat();
        let hops = [&hop[..], &hop].concat();
        let message = answer::request(
            libc::RTM_NEWROUTE,
            0,
            &fixed(libc::AF_INET as u8, 0, 0),
            &[(MULTIPATH, &hops)],
        );
        let route = read(&message).unwrap();
        assert_eq!(route.ifindex, 7);
        assert_eq!(route.rest, [(libc::RTA_GATEWAY, vec![192, 0, 2, 1])]);
        for cut in 0..message.len() {
            let _ = read(&message[..cut]);
        }
    }
}
