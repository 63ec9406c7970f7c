//! The kernel's notifications about routes, links and addresses, to the extent that a mirror of its routes needs them.

use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::fixed_header::{LinkHeader, RouteHeader};
use crate::message::{Header, Messages};
use crate::numbers::{
    AF_INET, AF_INET6, NLM_F_DUMP, NLM_F_REPLACE, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR,
    RT_TABLE_MAIN, RTA_DST, RTA_GATEWAY, RTA_MULTIPATH, RTA_OIF, RTA_PREF, RTA_PRIORITY, RTA_TABLE,
    RTA_VIA, RTM_DELADDR, RTM_DELLINK, RTM_DELROUTE, RTM_F_CLONED, RTM_GETROUTE, RTM_NEWADDR,
    RTM_NEWLINK, RTM_NEWROUTE, RTN_UNICAST, RTNEXTHOP_LEN,
};
use crate::path::is_answer;
use crate::tlv::{Attribute, Attributes};

/// A route of the main table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// Address of the destination network.
    pub destination: IpAddr,
    /// Prefix length of the destination, in bits.
    pub prefix: u8,
    /// Metric; the lowest one wins.
    pub metric: u32,
    /// Next hop; `None` if the destination is on the link, or the route leads nowhere (blackhole and the like).
    pub gateway: Option<IpAddr>,
    /// Index of the device it leaves by; 0: none.
    pub ifindex: u32,
}

/// A change that the kernel reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// A route was added.
    Added {
        /// The route.
        route: Route,
        /// Whether it replaced those with its prefix and metric.
        replaced: bool,
    },
    /// A route was removed.
    Removed(Route),
    /// A link was added or changed, or an address was added or removed: routes may have disappeared without a
    /// notification.
    Surroundings,
    /// A link was deleted.
    LinkGone {
        /// Its index.
        ifindex: u32,
    },
    /// The requested dump is complete.
    DumpDone,
    /// The requested dump failed.
    DumpFailed,
}

/// How much the router of an IPv6 route is preferred to others of routes with the same metric (RFC 4191).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preference {
    /// Less than others.
    Low,
    /// The default.
    Medium,
    /// More than others.
    High,
}

/// The address family of routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// Encodes the request for a dump of all routes of a family.
pub fn dump_request(family: Family, seq: u32) -> Vec<u8> {
    let header = Header {
        kind: RTM_GETROUTE,
        flags: NLM_F_REQUEST | NLM_F_DUMP,
        sequence: seq,
        port: 0,
    };
    let route = RouteHeader {
        family: match family {
            Family::V4 => AF_INET,
            Family::V6 => AF_INET6,
        },
        ..RouteHeader::default()
    };
    header.write(&route.bytes(), |_| ())
}

/// Decodes the messages of a datagram. Leaves out those that do not matter to the mirror, and answers about paths
/// ([`crate::path`]) to the socket with this port.
pub fn changes(datagram: &[u8], port: u32) -> impl Iterator<Item = Change> + '_ {
    Messages::of(datagram).filter_map(move |message| {
        let header = Header::of(message)?;
        change(&header, message).filter(|_| !is_answer(&header, port))
    })
}

fn change(header: &Header, message: &[u8]) -> Option<Change> {
    match header.kind {
        RTM_NEWROUTE => {
            let replaced = header.flags & NLM_F_REPLACE != 0;
            route(message).map(|route| Change::Added { route, replaced })
        }
        RTM_DELROUTE => route(message).map(Change::Removed),
        RTM_NEWLINK | RTM_NEWADDR | RTM_DELADDR => Some(Change::Surroundings),
        RTM_DELLINK => {
            let ifindex = LinkHeader::of(message)?.ifindex;
            Some(Change::LinkGone { ifindex })
        }
        NLMSG_DONE => Some(Change::DumpDone),
        NLMSG_ERROR => Some(Change::DumpFailed),
        _ => None,
    }
}

/// The route in a message, if it belongs to the main table and decides where packets go.
fn route(message: &[u8]) -> Option<Route> {
    let header = RouteHeader::of(message)?;
    let family = header.family;
    // Skip cached copies, and routes for certain sources: which peer gets a packet does not depend on its source.
    if header.flags & RTM_F_CLONED != 0 || header.source_bits != 0 {
        return None;
    }
    let mut route = Route {
        destination: match family {
            AF_INET => Ipv4Addr::UNSPECIFIED.into(),
            AF_INET6 => Ipv6Addr::UNSPECIFIED.into(),
            _ => return None,
        },
        prefix: header.destination_bits,
        metric: 0,
        gateway: None,
        ifindex: 0,
    };
    let mut table = u32::from(header.table);
    for attribute in Attributes::of(message, RouteHeader::END) {
        match attribute.number() {
            RTA_DST => route.destination = address(family, &attribute)?,
            RTA_PRIORITY => route.metric = attribute.u32()?,
            RTA_TABLE => table = attribute.u32()?,
            RTA_MULTIPATH => first_hop(&mut route, family, attribute.payload)?,
            _ => hop(&mut route, family, &attribute)?,
        }
    }
    if header.kind != RTN_UNICAST {
        // A blackhole withholds its addresses from all peers, so keep it as a route to nowhere.
        route.gateway = None;
        route.ifindex = 0;
    }
    (table == u32::from(RT_TABLE_MAIN)).then_some(route)
}

/// The preference of the router in a message about an IPv6 route.
pub fn preference(message: &[u8]) -> Preference {
    let mut attributes = Attributes::of(message, RouteHeader::END);
    let value = attributes.find(|it| it.number() == RTA_PREF);
    match value.as_ref().map(|it| it.payload) {
        Some([1]) => Preference::High,
        Some([3]) => Preference::Low,
        _ => Preference::Medium,
    }
}

/// Reads an attribute about the next hop.
fn hop(route: &mut Route, family: u8, attribute: &Attribute<'_>) -> Option<()> {
    match attribute.number() {
        RTA_OIF => route.ifindex = attribute.u32()?,
        RTA_GATEWAY => route.gateway = Some(address(family, attribute)?),
        // An IPv4 route with an IPv6 next hop: family (u16), address.
        RTA_VIA => {
            route.gateway = attribute
                .payload
                .get(2..)?
                .first_chunk()
                .map(|a: &[u8; 16]| IpAddr::from(*a));
        }
        _ => {}
    }
    Some(())
}

/// Reads the first of several next hops, since which of them the kernel chooses is unknown here.
fn first_hop(route: &mut Route, family: u8, hops: &[u8]) -> Option<()> {
    let [a, b, _, _, ifindex @ ..] = *hops.first_chunk::<RTNEXTHOP_LEN>()?;
    route.ifindex = u32::from_ne_bytes(ifindex);
    let length = usize::from(u16::from_ne_bytes([a, b]));
    for attribute in Attributes::of(hops.get(..length)?, RTNEXTHOP_LEN) {
        hop(route, family, &attribute)?;
    }
    Some(())
}

fn address(family: u8, attribute: &Attribute<'_>) -> Option<IpAddr> {
    match family {
        AF_INET => attribute.array::<4>().map(IpAddr::from),
        _ => attribute.array::<16>().map(IpAddr::from),
    }
}

#[cfg(test)]
mod tests;
