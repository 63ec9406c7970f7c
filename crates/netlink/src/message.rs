//! Messages: their two headers, read and written.

use crate::requester::Requester;
use crate::tlv::{self, Attributes, Writer};

/// Length of `nlmsghdr`.
pub(crate) const HEADER: usize = 16;
/// Length of `nlmsghdr` and `genlmsghdr`.
pub(crate) const GENERIC_HEADER: usize = HEADER + 4;

/// Message types below are the protocol's own.
pub(crate) const TYPE_FIRST: u16 = 0x10;

/// A request.
pub(crate) const FLAG_REQUEST: u16 = 1;
/// One of several answers, `NLMSG_DONE` comes last.
pub(crate) const FLAG_MULTI: u16 = 2;
/// Answer with an ACK.
pub(crate) const FLAG_ACK: u16 = 4;
/// Show the result of a change, too: allowed, and without effect.
pub(crate) const FLAG_ECHO: u16 = 8;
/// Both bits of a dump.
pub(crate) const FLAG_DUMP: u16 = 0x300;
/// The messages of a datagram: each of the length that its header tells. Ends at the first one that
/// can't be.
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
        let length = Header::of(self.rest)?.length;
        if length < HEADER {
            return None;
        }
        let message = self.rest.get(..length)?;
        self.rest = self.rest.get(tlv::align(length)..).unwrap_or_default();
        Some(message)
    }
}

/// `nlmsghdr`.
#[derive(Clone, Copy)]
pub(crate) struct Header {
    pub(crate) length: usize,
    pub(crate) kind: u16,
    pub(crate) flags: u16,
    pub(crate) sequence: u32,
}

impl Header {
    /// The header of this message, if it's that long.
    pub(crate) fn of(message: &[u8]) -> Option<Self> {
        let [l0, l1, l2, l3, k0, k1, f0, f1, s0, s1, s2, s3, _, _, _, _] =
            *message.first_chunk()?;
        Some(Self {
            length: usize::try_from(u32::from_ne_bytes([l0, l1, l2, l3])).unwrap_or(usize::MAX),
            kind: u16::from_ne_bytes([k0, k1]),
            flags: u16::from_ne_bytes([f0, f1]),
            sequence: u32::from_ne_bytes([s0, s1, s2, s3]),
        })
    }

    /// Whether this asks for a dump: both bits, each alone means something else.
    pub(crate) fn is_dump(&self) -> bool {
        self.flags & FLAG_DUMP == FLAG_DUMP
    }
}

/// A generic Netlink request.
#[derive(Clone, Copy)]
pub(crate) struct Request<'a> {
    /// All of it.
    pub(crate) message: &'a [u8],
    pub(crate) header: Header,
    /// Number of the command in the family.
    pub(crate) command: u8,
    /// The reserved field of `genlmsghdr`. The version beside it is ignored: OpenVPN sends 0.
    pub(crate) reserved: u16,
}

impl<'a> Request<'a> {
    /// The request in this message, if both headers are there.
    pub(crate) fn of(message: &'a [u8]) -> Option<Self> {
        let header = Header::of(message)?;
        let [command, _version, r0, r1] = *message.get(HEADER..)?.first_chunk()?;
        Some(Self {
            message,
            header,
            command,
            reserved: u16::from_ne_bytes([r0, r1]),
        })
    }

    /// Its attributes.
    pub(crate) fn attributes(&self) -> Attributes<'a> {
        Attributes::of(self.message, GENERIC_HEADER)
    }
}

/// A generic Netlink message to `requester`, answering `request`, with the attributes that `fill`
/// writes.
pub(crate) fn reply(
    requester: &Requester,
    request: &Request<'_>,
    version: u8,
    flags: u16,
    command: u8,
    fill: impl FnOnce(&mut Writer),
) -> Vec<u8> {
    let start = start(
        request.header.kind,
        flags,
        request.header.sequence,
        requester.port,
    );
    generic(start, version, command, fill)
}

/// A generic Netlink message to listeners: no sequence number, no port (dco-behaviour 2.14).
pub(crate) fn multicast(
    family: u16,
    version: u8,
    command: u8,
    fill: impl FnOnce(&mut Writer),
) -> Vec<u8> {
    generic(start(family, 0, 0, 0), version, command, fill)
}

fn generic(
    mut message: Vec<u8>,
    version: u8,
    command: u8,
    fill: impl FnOnce(&mut Writer),
) -> Vec<u8> {
    message.extend_from_slice(&[command, version, 0, 0]);
    let mut writer = Writer::after(message);
    fill(&mut writer);
    let mut message = writer.into_bytes();
    set_length(&mut message);
    message
}

/// `nlmsghdr`, the length of which is still to be set.
pub(crate) fn start(kind: u16, flags: u16, sequence: u32, port: u32) -> Vec<u8> {
    let mut message = vec![0; 4];
    message.extend_from_slice(&kind.to_ne_bytes());
    message.extend_from_slice(&flags.to_ne_bytes());
    message.extend_from_slice(&sequence.to_ne_bytes());
    message.extend_from_slice(&port.to_ne_bytes());
    message
}

/// Sets the length of a finished message.
pub(crate) fn set_length(message: &mut [u8]) {
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    if let Some(field) = message.get_mut(..4) {
        field.copy_from_slice(&length.to_ne_bytes());
    }
}
