//! Requests to the kernel for the MTU of the path to an address. The kernel knows the MTU of the route, and what it has
//! learnt from ICMP messages, after validating them.
//!
//! The requests share a socket with [`crate::route`]: answers are distinguished from notifications by the socket's
//! port and a range of sequence numbers.

use alloc::vec::Vec;
use core::net::IpAddr;

use crate::fixed_header::{LinkHeader, RouteHeader};
use crate::message::{Header, Messages};
use crate::numbers::{
    AF_INET, AF_INET6, DEVCONF_MTU6, IFLA_AF_SPEC, IFLA_INET6_CONF, IFLA_MTU, NLM_F_REQUEST,
    NLMSG_ERROR, RTA_DST, RTA_MARK, RTA_METRICS, RTA_OIF, RTA_SRC, RTAX_MTU, RTM_GETLINK,
    RTM_GETROUTE, RTM_NEWLINK, RTM_NEWROUTE,
};
use crate::tlv::{Attributes, Writer};

/// The sequence numbers of requests start here; those of dumps are smaller.
pub const FIRST_QUERY: u32 = 0x100;

/// A path, identified by its ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Path {
    /// The address at its far end.
    pub remote: IpAddr,
    /// The source address; if `None`, or of the other address family, the route decides.
    pub local: Option<IpAddr>,
    /// Index of the device that it must leave by (the scope of a link-local address, or the socket's device or VRF);
    /// 0: any.
    pub ifindex: u32,
    /// Mark of its packets, on which policy routing may base its choice of a table; 0: none.
    pub mark: u32,
}

/// The content of an answer, or of a notification about a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Report {
    /// A path leaves by this device.
    Path {
        /// Sequence number of the request.
        question: u32,
        /// MTU in bytes, that of the route or learnt from ICMP; `None`: that of the device.
        mtu: Option<u32>,
        /// Index of the device; 0: none.
        ifindex: u32,
    },
    /// There is no such path or device, or the request was refused.
    Nothing {
        /// Sequence number of the request.
        question: u32,
    },
    /// A device has this MTU.
    Link {
        /// Its index.
        ifindex: u32,
        /// Its MTU in bytes.
        mtu: u32,
        /// Its MTU for IPv6 in bytes, if the kernel reports it.
        mtu6: Option<u32>,
    },
}

/// Encodes the request for a path, which the kernel answers as if it had a packet to send.
pub fn path_query(path: &Path, question: u32) -> Vec<u8> {
    let (family, bits) = match path.remote {
        IpAddr::V4(_) => (AF_INET, 32),
        IpAddr::V6(_) => (AF_INET6, 128),
    };
    let local = path
        .local
        .filter(|local| local.is_ipv4() == path.remote.is_ipv4() && !local.is_unspecified());
    let route = RouteHeader {
        family,
        destination_bits: bits,
        source_bits: if local.is_some() { bits } else { 0 },
        ..RouteHeader::default()
    };
    request(RTM_GETROUTE, question).write(&route.bytes(), |attributes| {
        put(attributes, RTA_DST, path.remote);
        if let Some(local) = local {
            put(attributes, RTA_SRC, local);
        }
        if path.ifindex != 0 {
            attributes.u32(RTA_OIF, path.ifindex);
        }
        if path.mark != 0 {
            attributes.u32(RTA_MARK, path.mark);
        }
    })
}

/// Encodes the request for a device.
pub fn link_query(ifindex: u32, question: u32) -> Vec<u8> {
    let link = LinkHeader {
        ifindex,
        ..LinkHeader::default()
    };
    request(RTM_GETLINK, question).write(&link.bytes(), |_| ())
}

/// Decodes the messages of a datagram about paths and links. `port` is that of our own socket.
pub fn reports(datagram: &[u8], port: u32) -> impl Iterator<Item = Report> + '_ {
    Messages::of(datagram).filter_map(move |message| {
        let header = Header::of(message)?;
        let question = header.sequence;
        if header.kind == RTM_NEWLINK {
            return link(message);
        }
        if !is_answer(&header, port) {
            return None;
        }
        match header.kind {
            RTM_NEWROUTE => Some(path(message, question)),
            NLMSG_ERROR => Some(Report::Nothing { question }),
            _ => None,
        }
    })
}

/// Whether a message answers one of these requests, and so is not a notification. `port` is that of our own socket.
pub(crate) fn is_answer(header: &Header, port: u32) -> bool {
    // A notification carries the port of the requester that caused it.
    header.port == port && header.sequence >= FIRST_QUERY
}

fn request(kind: u16, question: u32) -> Header {
    Header {
        kind,
        flags: NLM_F_REQUEST,
        sequence: question,
        port: 0,
    }
}

fn put(attributes: &mut Writer, number: u16, address: IpAddr) {
    match address {
        IpAddr::V4(v4) => attributes.put(number, &v4.octets()),
        IpAddr::V6(v6) => attributes.put(number, &v6.octets()),
    }
}

fn path(message: &[u8], question: u32) -> Report {
    let (mut mtu, mut ifindex) = (None, 0);
    for attribute in Attributes::of(message, RouteHeader::END) {
        match attribute.number() {
            RTA_OIF => ifindex = attribute.u32().unwrap_or(0),
            RTA_METRICS => {
                mtu = attribute
                    .members()
                    .find(|metric| metric.number() == RTAX_MTU)
                    .and_then(|metric| metric.u32())
                    .filter(|mtu| *mtu > 0);
            }
            _ => {}
        }
    }
    Report::Path {
        question,
        mtu,
        ifindex,
    }
}

fn link(message: &[u8]) -> Option<Report> {
    let ifindex = LinkHeader::of(message)?.ifindex;
    let (mut mtu, mut mtu6) = (None, None);
    for attribute in Attributes::of(message, LinkHeader::END) {
        match attribute.number() {
            IFLA_MTU => mtu = attribute.u32(),
            IFLA_AF_SPEC => {
                mtu6 = attribute
                    .members()
                    .find(|family| family.number() == u16::from(AF_INET6))
                    .and_then(|family| {
                        let mut members = family.members();
                        members.find(|member| member.number() == IFLA_INET6_CONF)
                    })
                    .and_then(|conf| {
                        let value = conf.payload.get(DEVCONF_MTU6 * 4..)?.first_chunk()?;
                        Some(u32::from_ne_bytes(*value))
                    })
                    .filter(|mtu| *mtu > 0);
            }
            _ => {}
        }
    }
    Some(Report::Link {
        ifindex,
        mtu: mtu?,
        mtu6,
    })
}

#[cfg(test)]
mod tests;
