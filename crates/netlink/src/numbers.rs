//! Linux's numbers, under Linux's names: the protocol itself here, generic Netlink and rtnetlink below.
//!
//! They are the same on every architecture. The numbers of the families are in their schemas, error numbers in
//! [`crate::Errno`].

mod generic;
mod route;

pub use generic::*;
pub use route::*;

/// Alignment of messages and attributes (`NLMSG_ALIGNTO`, `NLA_ALIGNTO`).
pub const NLMSG_ALIGNTO: usize = 4;
/// Bytes of `nlmsghdr`.
pub const NLMSG_HDRLEN: usize = 16;
/// Bytes of `nlattr`, the header of an attribute.
pub const NLA_HDRLEN: usize = 4;

/// Bit of an attribute's type: the payload is a nest.
pub const NLA_F_NESTED: u16 = 0x8000;
/// Bit of an attribute's type: the payload is an integer in network byte order.
pub const NLA_F_NET_BYTEORDER: u16 = 0x4000;
/// The bits of an attribute's type that are its number.
pub const NLA_TYPE_MASK: u16 = !(NLA_F_NESTED | NLA_F_NET_BYTEORDER);

/// Message type of an error, or of an acknowledgement (error number 0).
pub const NLMSG_ERROR: u16 = 2;
/// Message type of the end of a dump.
pub const NLMSG_DONE: u16 = 3;
/// The first message type of a family; those below belong to the protocol.
pub const NLMSG_MIN_TYPE: u16 = 0x10;

/// A request.
pub const NLM_F_REQUEST: u16 = 1;
/// One of several messages, the last of which is `NLMSG_DONE`.
pub const NLM_F_MULTI: u16 = 2;
/// Of a request: acknowledge it.
pub const NLM_F_ACK: u16 = 4;
/// Of a request: echo the change. Accepted without effect.
pub const NLM_F_ECHO: u16 = 8;
/// Of a `GET` request: a dump. Each of its two bits alone means something else.
pub const NLM_F_DUMP: u16 = 0x300;
/// Of a `NEW` request: replace what exists.
pub const NLM_F_REPLACE: u16 = 0x100;
/// Of a `NEW` request: fail if it exists.
pub const NLM_F_EXCL: u16 = 0x200;
/// Of a `NEW` request: create it if it does not exist.
pub const NLM_F_CREATE: u16 = 0x400;
/// Of an answer: the echoed request is cut to its header.
pub const NLM_F_CAPPED: u16 = 0x100;
/// Of an answer: the attributes of an extended ACK follow the echoed request.
pub const NLM_F_ACK_TLVS: u16 = 0x200;

/// Extended ACK: text for people.
pub const NLMSGERR_ATTR_MSG: u16 = 1;
/// Extended ACK: offset of the offending attribute in the request.
pub const NLMSGERR_ATTR_OFFS: u16 = 2;
/// Extended ACK: the policy that the attribute violates.
pub const NLMSGERR_ATTR_POLICY: u16 = 4;
/// Extended ACK: number of the missing attribute.
pub const NLMSGERR_ATTR_MISS_TYPE: u16 = 5;
/// Extended ACK: offset of the nest that lacks it.
pub const NLMSGERR_ATTR_MISS_NEST: u16 = 6;

/// Address family of IPv4.
pub const AF_INET: u8 = 2;
/// Address family of IPv6.
pub const AF_INET6: u8 = 10;
