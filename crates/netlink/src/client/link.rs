//! The client side of rtnetlink: requests to create, change, report and delete links of our kinds.

use alloc::vec::Vec;

use crate::fixed_header::LinkHeader;
use crate::message::Header;
use crate::numbers::{
    IFF_UP, IFLA_IFALIAS, IFLA_IFNAME, IFLA_INFO_DATA, IFLA_INFO_KIND, IFLA_LINKINFO, IFLA_MTU,
    IFLA_OVPN_MODE, IFLA_TXQLEN, NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_ECHO, NLM_F_EXCL,
    NLM_F_REQUEST, RTM_DELLINK, RTM_GETLINK, RTM_NEWLINK,
};
use crate::tlv::Writer;
use crate::{Api, Mode};

/// Offset of the flags in `nlmsghdr`.
const FLAGS: usize = 6;

/// A link to create.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct New<'a> {
    /// The API, which determines its kind: `ovpn` or `ovpn-dco`.
    pub api: Api,
    /// Its name, at most 15 bytes; `%d` stands for the first free number.
    pub name: &'a str,
    /// Its mode.
    pub mode: Mode,
    /// MTU in bytes; `None`: the default of its API.
    pub mtu: Option<u32>,
    /// Whether to set it up.
    pub up: bool,
}

/// `RTM_NEWLINK` that fails if the link exists.
pub fn new(link: &New<'_>, sequence: u32) -> Vec<u8> {
    let flags = NLM_F_CREATE | NLM_F_EXCL;
    let up = if link.up { IFF_UP } else { 0 };
    let header = LinkHeader {
        ifindex: 0,
        flags: up,
        mask: up,
    };
    about(RTM_NEWLINK, flags, sequence, header, |message| {
        message.string(IFLA_IFNAME, link.name);
        if let Some(mtu) = link.mtu {
            message.u32(IFLA_MTU, mtu);
        }
        message.nest(IFLA_LINKINFO, |info| {
            info.string(IFLA_INFO_KIND, link.api.link_kind());
            info.nest(IFLA_INFO_DATA, |data| {
                data.u8(IFLA_OVPN_MODE, u8::from(link.mode == Mode::Mp));
            });
        });
    })
}

/// Turns a request for a [`new`] link into one that the kernel answers with the link (Linux 6.1): the answer has the
/// name even if the kernel chose its number.
#[must_use]
pub fn echoed(mut request: Vec<u8>) -> Vec<u8> {
    let low = request.get_mut(FLAGS..).and_then(<[u8]>::first_chunk_mut);
    if let Some(flags) = low {
        *flags = (u16::from_ne_bytes(*flags) | NLM_F_ECHO).to_ne_bytes();
    }
    request
}

/// `RTM_GETLINK` of every link.
pub fn all(sequence: u32) -> Vec<u8> {
    about(
        RTM_GETLINK,
        NLM_F_DUMP,
        sequence,
        LinkHeader::default(),
        |_| (),
    )
}

/// Packets in the transmit queue of our links, as in the driver's (faults E5).
const QUEUE_LENGTH: u32 = 1000;

/// `RTM_NEWLINK` that makes a TUN device look like a link of ours: sets its MTU in bytes, the flags (`IFF_*`) that
/// are in `mask`, and the length of its queue.
pub fn change(ifindex: u32, mtu: u32, flags: u32, mask: u32, sequence: u32) -> Vec<u8> {
    let header = LinkHeader {
        ifindex,
        flags,
        mask,
    };
    about(RTM_NEWLINK, 0, sequence, header, |message| {
        message.u32(IFLA_MTU, mtu);
        message.u32(IFLA_TXQLEN, QUEUE_LENGTH);
    })
}

/// `RTM_NEWLINK` that gives a link its alias.
pub fn alias(ifindex: u32, alias: &[u8], sequence: u32) -> Vec<u8> {
    about(RTM_NEWLINK, 0, sequence, at(ifindex), |message| {
        message.put(IFLA_IFALIAS, alias);
    })
}

/// `RTM_GETLINK`: answered by an `RTM_NEWLINK` message, then the acknowledgement.
pub fn show(ifindex: u32, sequence: u32) -> Vec<u8> {
    about(RTM_GETLINK, 0, sequence, at(ifindex), |_| {})
}

/// `RTM_DELLINK`.
pub fn delete(ifindex: u32, sequence: u32) -> Vec<u8> {
    about(RTM_DELLINK, 0, sequence, at(ifindex), |_| {})
}

/// Encodes a request with these flags in addition to those that every request has.
fn about(
    kind: u16,
    flags: u16,
    sequence: u32,
    link: LinkHeader,
    fill: impl FnOnce(&mut Writer),
) -> Vec<u8> {
    let header = Header {
        kind,
        flags: NLM_F_REQUEST | NLM_F_ACK | flags,
        sequence,
        port: 0,
    };
    header.write(&link.bytes(), fill)
}

/// The fixed header of a request that names a link and changes no flag.
fn at(ifindex: u32) -> LinkHeader {
    LinkHeader {
        ifindex,
        ..LinkHeader::default()
    }
}
