//! The answers that any request can get: ACK, error, the end of a dump; and the list in which answers are collected.

use alloc::borrow::Cow;
use alloc::borrow::ToOwned;
use alloc::vec::Vec;

use crate::Errno;
use crate::message::{Header, Request};
use crate::numbers::{
    NLM_F_ACK_TLVS, NLM_F_CAPPED, NLM_F_MULTI, NLMSG_DONE, NLMSG_ERROR, NLMSG_HDRLEN,
};
use crate::rejection::Extack;
use crate::requester::Requester;
use crate::tlv;

/// Answer datagrams, in the order in which they must be received. Has no `Debug`: an error echoes its request, which
/// may hold a key.
pub struct Answers {
    datagrams: Vec<Vec<u8>>,
    dump_room: usize,
}

impl Answers {
    /// Default size of a dump's datagrams in bytes: the smallest fixed buffer in use, which is OpenVPN's for rtnetlink.
    pub const DUMP_ROOM: usize = 16 * 1024;

    /// Bounds of that size; the lower one applies until the requester has received something (golden `ctrl_getpolicy`).
    const LEAST_DUMP_ROOM: usize = 3776;
    const MOST_DUMP_ROOM: usize = 32_448;

    /// No answers yet, for a requester whose largest receive buffer so far was `bytes`; 0 if it has not received yet.
    /// Dumps are split to fit that buffer, as the kernel splits them.
    pub fn for_reader(bytes: usize) -> Self {
        Self::with_dump_room(bytes.clamp(Self::LEAST_DUMP_ROOM, Self::MOST_DUMP_ROOM))
    }

    /// No answers yet, with the default size of dumps.
    pub fn new() -> Self {
        Self::with_dump_room(Self::DUMP_ROOM)
    }

    /// No answers yet. Dumps are split into datagrams of at most `bytes`, except for a single message that is longer.
    pub fn with_dump_room(bytes: usize) -> Self {
        Self {
            datagrams: Vec::new(),
            dump_room: bytes,
        }
    }

    /// The datagrams so far.
    pub fn datagrams(&self) -> &[Vec<u8>] {
        &self.datagrams
    }

    /// Takes the datagrams.
    pub fn into_datagrams(self) -> Vec<Vec<u8>> {
        self.datagrams
    }

    /// Adds a datagram.
    pub(crate) fn push(&mut self, datagram: Vec<u8>) {
        self.datagrams.push(datagram);
    }

    /// Adds the messages of a dump, packed into datagrams, and its end in a datagram of its own, as the kernel does.
    pub(crate) fn push_dump(
        &mut self,
        requester: &Requester,
        request: &Request<'_>,
        messages: impl Iterator<Item = Vec<u8>>,
    ) {
        let mut datagram = Vec::new();
        for message in messages {
            if !datagram.is_empty() && datagram.len() + message.len() > self.dump_room {
                self.push(core::mem::take(&mut datagram));
            }
            datagram.extend_from_slice(&message);
        }
        if !datagram.is_empty() {
            self.push(datagram);
        }
        self.push(done(
            requester,
            request.message,
            Errno(0),
            &Extack::default(),
        ));
    }
}

impl Default for Answers {
    fn default() -> Self {
        Self::new()
    }
}

/// Encodes the ACK of `request`, which is one whole message.
pub fn acknowledgement(requester: &Requester, request: &[u8]) -> Vec<u8> {
    error_message(requester, request, Errno(0), &Extack::default())
}

/// Encodes the refusal of `request`, which is one whole message, with `text` in the extended ACK.
pub fn refusal(requester: &Requester, request: &[u8], errno: Errno, text: Option<&str>) -> Vec<u8> {
    let text = text.map(|text| Cow::Owned(text.to_owned()));
    error_message(
        requester,
        request,
        errno,
        &Extack {
            text,
            ..Extack::default()
        },
    )
}

/// `NLMSG_ERROR` for `request`; an ACK if the errno is 0 (dco-behaviour 2.16, golden `no_ext_ack`).
pub(crate) fn error_message(
    requester: &Requester,
    request: &[u8],
    errno: Errno,
    extack: &Extack,
) -> Vec<u8> {
    let mut flags = 0;
    // Of a request that succeeded, only the header is echoed.
    let echo = if errno.0 == 0 || requester.cap_ack {
        flags |= NLM_F_CAPPED;
        request.get(..NLMSG_HDRLEN).unwrap_or(request)
    } else {
        request
    };
    let mut body = (-errno.0).to_ne_bytes().to_vec();
    body.extend_from_slice(echo);
    body.resize(tlv::align(body.len()), 0);
    finish(requester, request, NLMSG_ERROR, flags, &body, extack)
}

/// Encodes the end of a dump, which also ends a dump whose handler fails (golden `ifindex_errors`).
pub(crate) fn done(
    requester: &Requester,
    request: &[u8],
    errno: Errno,
    extack: &Extack,
) -> Vec<u8> {
    let body = (-errno.0).to_ne_bytes();
    finish(requester, request, NLMSG_DONE, NLM_F_MULTI, &body, extack)
}

/// Encodes the answer, with the attributes of `extack` if there are any and the requester understands them.
fn finish(
    requester: &Requester,
    request: &[u8],
    kind: u16,
    mut flags: u16,
    body: &[u8],
    extack: &Extack,
) -> Vec<u8> {
    let extended = requester.ext_ack && !extack.is_empty();
    if extended {
        flags |= NLM_F_ACK_TLVS;
    }
    let header = Header {
        kind,
        flags,
        sequence: Header::of(request).map_or(0, |header| header.sequence),
        port: requester.port,
    };
    header.write(body, |attributes| {
        if extended {
            extack.write(attributes);
        }
    })
}

#[cfg(test)]
mod tests;
