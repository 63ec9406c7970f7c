//! What the kernel tells of routes, links and addresses, as far as a mirror of its routes needs it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::message::{HEADER, Messages};
use crate::path::is_answer;
use crate::tlv::{Attribute, Attributes};

pub(crate) const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_NEWADDR: u16 = 20;
const RTM_DELADDR: u16 = 21;
pub(crate) const RTM_NEWROUTE: u16 = 24;
const RTM_DELROUTE: u16 = 25;
pub(crate) const RTM_GETROUTE: u16 = 26;

pub(crate) const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
pub(crate) const NLM_F_REQUEST: u16 = 1;
const NLM_F_DUMP: u16 = 0x300;
const NLM_F_REPLACE: u16 = 0x100;

/// Length of `rtmsg`, which follows the message header.
pub(crate) const ROUTE_HEADER: usize = 12;
const RTM_F_CLONED: u32 = 0x200;
const RTN_UNICAST: u8 = 1;
/// The main table: the one that OpenVPN writes to and that a look-up without marks ends in.
const MAIN_TABLE: u32 = 254;

pub(crate) const RTA_DST: u16 = 1;
pub(crate) const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_PRIORITY: u16 = 6;
const RTA_MULTIPATH: u16 = 9;
const RTA_TABLE: u16 = 15;
const RTA_VIA: u16 = 18;

/// Address families, as in `<sys/socket.h>`.
pub(crate) const AF_INET: u8 = 2;
pub(crate) const AF_INET6: u8 = 10;

/// A route of the main table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// Network address.
    pub destination: IpAddr,
    /// Prefix length.
    pub prefix: u8,
    /// Metric.
    pub metric: u32,
    /// Next hop; `None` on the link, or if the route leads nowhere (blackhole and the like).
    pub gateway: Option<IpAddr>,
    /// Index of the device it leaves by; 0 if none.
    pub ifindex: u32,
}

/// What a message of the kernel says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// There is this route now.
    Added {
        /// The route.
        route: Route,
        /// It took the place of those with its prefix and metric.
        replaced: bool,
    },
    /// This route is gone.
    Removed(Route),
    /// A link was added or changed, or an address came or went: routes may have gone without a word.
    Surroundings,
    /// A link is gone.
    LinkGone {
        /// Its index.
        ifindex: u32,
    },
    /// The dump that was asked for is complete.
    DumpDone,
    /// The dump that was asked for failed.
    DumpFailed,
}

/// The two families of routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// A request for all routes of a family.
pub fn dump_request(family: Family, seq: u32) -> Vec<u8> {
    let mut request = Vec::with_capacity(HEADER + ROUTE_HEADER);
    request.extend_from_slice(&((HEADER + ROUTE_HEADER) as u32).to_ne_bytes());
    request.extend_from_slice(&RTM_GETROUTE.to_ne_bytes());
    request.extend_from_slice(&(NLM_F_REQUEST | NLM_F_DUMP).to_ne_bytes());
    request.extend_from_slice(&seq.to_ne_bytes());
    request.extend_from_slice(&0u32.to_ne_bytes());
    request.push(if family == Family::V4 {
        AF_INET
    } else {
        AF_INET6
    });
    request.resize(HEADER + ROUTE_HEADER, 0);
    request
}

/// What the messages of a datagram say; those of no concern, and answers to a socket with this port about paths
/// ([`crate::path`]), are left out.
pub fn changes(datagram: &[u8], port: u32) -> impl Iterator<Item = Change> + '_ {
    Messages::of(datagram)
        .filter(move |message| !is_answer(message, port))
        .filter_map(change)
}

fn change(message: &[u8]) -> Option<Change> {
    let kind = u16::from_ne_bytes(*message.get(4..)?.first_chunk()?);
    let flags = u16::from_ne_bytes(*message.get(6..)?.first_chunk()?);
    match kind {
        RTM_NEWROUTE => {
            let replaced = flags & NLM_F_REPLACE != 0;
            route(message).map(|route| Change::Added { route, replaced })
        }
        RTM_DELROUTE => route(message).map(Change::Removed),
        RTM_NEWLINK | RTM_NEWADDR | RTM_DELADDR => Some(Change::Surroundings),
        RTM_DELLINK => {
            let ifindex = u32::from_ne_bytes(*message.get(HEADER + 4..)?.first_chunk()?);
            Some(Change::LinkGone { ifindex })
        }
        NLMSG_DONE => Some(Change::DumpDone),
        NLMSG_ERROR => Some(Change::DumpFailed),
        _ => None,
    }
}

/// The route of a message, if it is one of the main table that decides where packets go.
fn route(message: &[u8]) -> Option<Route> {
    let [family, prefix, _, _, table, _, _, kind, flags @ ..] =
        *message.get(HEADER..)?.first_chunk::<ROUTE_HEADER>()?;
    if u32::from_ne_bytes(flags) & RTM_F_CLONED != 0 {
        return None;
    }
    let mut route = Route {
        destination: match family {
            AF_INET => Ipv4Addr::UNSPECIFIED.into(),
            AF_INET6 => Ipv6Addr::UNSPECIFIED.into(),
            _ => return None,
        },
        prefix,
        metric: 0,
        gateway: None,
        ifindex: 0,
    };
    let mut table = u32::from(table);
    for attribute in Attributes::of(message, HEADER + ROUTE_HEADER) {
        match attribute.number() {
            RTA_DST => route.destination = address(family, &attribute)?,
            RTA_PRIORITY => route.metric = attribute.u32()?,
            RTA_TABLE => table = attribute.u32()?,
            RTA_MULTIPATH => first_hop(&mut route, family, attribute.payload)?,
            _ => hop(&mut route, family, &attribute)?,
        }
    }
    if kind != RTN_UNICAST {
        // A blackhole takes its addresses away from every peer: it is kept as a route to nowhere.
        route.gateway = None;
        route.ifindex = 0;
    }
    (table == MAIN_TABLE).then_some(route)
}

/// An attribute that tells of the next hop.
fn hop(route: &mut Route, family: u8, attribute: &Attribute<'_>) -> Option<()> {
    match attribute.number() {
        RTA_OIF => route.ifindex = attribute.u32()?,
        RTA_GATEWAY => route.gateway = Some(address(family, attribute)?),
        // An IPv4 route by way of an IPv6 next hop: family (u16), address.
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

/// The first of several next hops: the kernel's choice among them cannot be known here.
fn first_hop(route: &mut Route, family: u8, hops: &[u8]) -> Option<()> {
    let [a, b, _, _, ifindex @ ..] = *hops.first_chunk::<8>()?;
    route.ifindex = u32::from_ne_bytes(ifindex);
    let length = usize::from(u16::from_ne_bytes([a, b]));
    for attribute in Attributes::of(hops.get(..length)?, 8) {
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
mod tests {
    use super::*;
    use crate::tlv::Writer;

    /// A route message: type, flags, then `rtmsg` with this family, prefix length and kind, then attributes.
    fn message(kind: u16, flags: u16, rtmsg: (u8, u8, u8), attributes: &[(u16, &[u8])]) -> Vec<u8> {
        let (family, prefix, route_kind) = rtmsg;
        let mut bytes = vec![0; HEADER + ROUTE_HEADER];
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
        bytes[16] = family;
        bytes[17] = prefix;
        bytes[20] = MAIN_TABLE as u8;
        bytes[23] = route_kind;
        let mut writer = Writer::after(bytes);
        for (number, payload) in attributes {
            writer.put(*number, payload);
        }
        let mut bytes = writer.into_bytes();
        let length = bytes.len() as u32;
        bytes[..4].copy_from_slice(&length.to_ne_bytes());
        bytes
    }

    fn only(datagram: &[u8]) -> Option<Change> {
        let mut changes = changes(datagram, 7);
        let first = changes.next();
        assert_eq!(changes.next(), None);
        first
    }

    const IROUTE: Route = Route {
        destination: IpAddr::V4(Ipv4Addr::new(192, 168, 7, 0)),
        prefix: 24,
        metric: 100,
        gateway: Some(IpAddr::V4(Ipv4Addr::new(10, 8, 0, 2))),
        ifindex: 5,
    };

    fn iroute(kind: u16, flags: u16) -> Vec<u8> {
        let attributes: [(u16, &[u8]); 4] = [
            (RTA_DST, &[192, 168, 7, 0]),
            (RTA_GATEWAY, &[10, 8, 0, 2]),
            (RTA_OIF, &5u32.to_ne_bytes()),
            (RTA_PRIORITY, &100u32.to_ne_bytes()),
        ];
        message(kind, flags, (AF_INET, 24, RTN_UNICAST), &attributes)
    }

    #[test]
    fn routes_come_go_and_are_replaced() {
        let added = |replaced| {
            Some(Change::Added {
                route: IROUTE,
                replaced,
            })
        };
        assert_eq!(only(&iroute(RTM_NEWROUTE, 0)), added(false));
        assert_eq!(only(&iroute(RTM_NEWROUTE, NLM_F_REPLACE)), added(true));
        assert_eq!(
            only(&iroute(RTM_DELROUTE, 0)),
            Some(Change::Removed(IROUTE))
        );
    }

    #[test]
    fn a_blackhole_leads_nowhere_and_other_tables_are_left_out() {
        let mut blackhole = iroute(RTM_NEWROUTE, 0);
        blackhole[23] = 6;
        let nowhere = Route {
            gateway: None,
            ifindex: 0,
            ..IROUTE
        };
        assert_eq!(
            only(&blackhole),
            Some(Change::Added {
                route: nowhere,
                replaced: false
            })
        );
        let mut local = iroute(RTM_NEWROUTE, 0);
        local[20] = 255;
        assert_eq!(only(&local), None);
    }

    #[test]
    fn the_first_of_several_hops_counts() {
        let mut hops = 16u16.to_ne_bytes().to_vec();
        hops.extend_from_slice(&[0, 0]);
        hops.extend_from_slice(&5u32.to_ne_bytes());
        hops.extend_from_slice(&8u16.to_ne_bytes());
        hops.extend_from_slice(&RTA_GATEWAY.to_ne_bytes());
        hops.extend_from_slice(&[10, 8, 0, 2]);
        let attributes: [(u16, &[u8]); 3] = [
            (RTA_DST, &[192, 168, 7, 0]),
            (RTA_PRIORITY, &100u32.to_ne_bytes()),
            (RTA_MULTIPATH, &hops),
        ];
        let message = message(RTM_NEWROUTE, 0, (AF_INET, 24, RTN_UNICAST), &attributes);
        assert_eq!(
            only(&message),
            Some(Change::Added {
                route: IROUTE,
                replaced: false
            })
        );
    }

    #[test]
    fn every_cut_is_harmless() {
        let whole = iroute(RTM_NEWROUTE, 0);
        for cut in 0..whole.len() {
            let _ = changes(&whole[..cut], 7).count();
            let mut lying = whole[..cut].to_vec();
            if let Some(length) = lying.first_chunk_mut() {
                *length = (cut as u32).to_ne_bytes();
            }
            let _ = changes(&lying, 7).count();
        }
    }
}
