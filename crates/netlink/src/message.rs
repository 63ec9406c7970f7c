//! Messages: `nlmsghdr` and `genlmsghdr`, read and written.

use alloc::vec::Vec;

use crate::numbers::{GENL_HDRLEN, NLM_F_DUMP, NLMSG_HDRLEN};
use crate::requester::Requester;
use crate::tlv::{self, Attributes, Writer};

/// The messages of a datagram, each of the length that its header states. Ends at the first impossible length.
#[derive(Clone, Debug)]
pub struct Messages<'a> {
    rest: &'a [u8],
}

impl<'a> Messages<'a> {
    /// The messages of this datagram.
    pub fn of(datagram: &'a [u8]) -> Self {
        Self { rest: datagram }
    }
}

impl<'a> Iterator for Messages<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let length = stated_length(self.rest)?;
        if length < NLMSG_HDRLEN {
            return None;
        }
        let message = self.rest.get(..length)?;
        self.rest = self.rest.get(tlv::align(length)..).unwrap_or_default();
        Some(message)
    }
}

/// The length of a message in bytes, as its header states it.
pub(crate) fn stated_length(message: &[u8]) -> Option<usize> {
    let length = u32::from_ne_bytes(*message.first_chunk()?);
    Some(usize::try_from(length).unwrap_or(usize::MAX))
}

/// `nlmsghdr`, except for the length, which follows from the message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// Message type: of the protocol (`NLMSG_*`), of rtnetlink (`RTM_*`), or the number of a family.
    pub kind: u16,
    /// `NLM_F_*`.
    pub flags: u16,
    /// Sequence number, which answers copy from their request; 0 in notifications.
    pub sequence: u32,
    /// In answers, the Netlink port of the requester's socket (`nlmsg_pid`).
    pub port: u32,
}

impl Header {
    /// The header of this message; `None` if the message is shorter.
    pub fn of(message: &[u8]) -> Option<Self> {
        let [_, _, _, _, k0, k1, f0, f1, s0, s1, s2, s3, p0, p1, p2, p3] =
            *message.first_chunk()?;
        Some(Self {
            kind: u16::from_ne_bytes([k0, k1]),
            flags: u16::from_ne_bytes([f0, f1]),
            sequence: u32::from_ne_bytes([s0, s1, s2, s3]),
            port: u32::from_ne_bytes([p0, p1, p2, p3]),
        })
    }

    /// Whether this requests a dump: it has both bits of the flag, each of which alone means something else.
    pub fn is_dump(&self) -> bool {
        self.flags & NLM_F_DUMP == NLM_F_DUMP
    }

    /// Encodes a message: this header, then `fixed` (the family's own header, or any other body), then the attributes
    /// that `fill` writes.
    pub fn write(self, fixed: &[u8], fill: impl FnOnce(&mut Writer)) -> Vec<u8> {
        self.write_into(Vec::new(), fixed, fill)
    }

    /// [`Self::write`] into `buffer`, whose contents it replaces: given enough capacity, the message never moves while
    /// it is written, so no copy of a key is left behind.
    pub fn write_into(
        self,
        mut buffer: Vec<u8>,
        fixed: &[u8],
        fill: impl FnOnce(&mut Writer),
    ) -> Vec<u8> {
        buffer.clear();
        // The length is set last.
        buffer.extend_from_slice(&[0; 4]);
        buffer.extend_from_slice(&self.kind.to_ne_bytes());
        buffer.extend_from_slice(&self.flags.to_ne_bytes());
        buffer.extend_from_slice(&self.sequence.to_ne_bytes());
        buffer.extend_from_slice(&self.port.to_ne_bytes());
        buffer.extend_from_slice(fixed);
        let mut writer = Writer::after(buffer);
        fill(&mut writer);
        let mut message = writer.into_bytes();
        let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
        if let Some(field) = message.first_chunk_mut() {
            *field = length.to_ne_bytes();
        }
        message
    }

    /// Encodes a generic Netlink message: this header, `genlmsghdr`, then the attributes that `fill` writes.
    pub fn write_generic(
        self,
        command: u8,
        version: u8,
        fill: impl FnOnce(&mut Writer),
    ) -> Vec<u8> {
        self.write(&[command, version, 0, 0], fill)
    }
}

/// A generic Netlink message.
#[derive(Clone, Copy)]
pub(crate) struct Request<'a> {
    /// The whole message.
    pub(crate) message: &'a [u8],
    pub(crate) header: Header,
    /// Number of the command in the family.
    pub(crate) command: u8,
    /// The reserved field of `genlmsghdr`. The version beside it is ignored: OpenVPN sends 0.
    pub(crate) reserved: u16,
}

impl<'a> Request<'a> {
    /// The request in this message; `None` if it is shorter than the two headers.
    pub(crate) fn of(message: &'a [u8]) -> Option<Self> {
        let header = Header::of(message)?;
        let [command, _version, r0, r1] = *message.get(NLMSG_HDRLEN..)?.first_chunk()?;
        Some(Self {
            message,
            header,
            command,
            reserved: u16::from_ne_bytes([r0, r1]),
        })
    }

    /// Its attributes.
    pub(crate) fn attributes(&self) -> Attributes<'a> {
        Attributes::of(self.message, NLMSG_HDRLEN + GENL_HDRLEN)
    }
}

/// Encodes a generic Netlink message that answers `request`, with the attributes that `fill` writes.
pub(crate) fn reply(
    requester: &Requester,
    request: &Request<'_>,
    version: u8,
    flags: u16,
    command: u8,
    fill: impl FnOnce(&mut Writer),
) -> Vec<u8> {
    let header = Header {
        flags,
        port: requester.port,
        ..request.header
    };
    header.write_generic(command, version, fill)
}

/// Encodes a notification, which has neither sequence number nor port (dco-behaviour 2.14).
pub(crate) fn multicast(
    family: u16,
    version: u8,
    command: u8,
    fill: impl FnOnce(&mut Writer),
) -> Vec<u8> {
    let header = Header {
        kind: family,
        ..Header::default()
    };
    header.write_generic(command, version, fill)
}
