//! Netlink messages, as far as this library must understand them: the header, and the error it makes up when the
//! engine does not answer.

use alloc::vec;
use alloc::vec::Vec;
use core::ops::Range;

/// Bytes of `struct nlmsghdr`.
pub(crate) const HEADER: usize = 16;
/// Bytes of `struct sockaddr_nl`.
pub(crate) const ADDRESS: usize = 12;

/// Bytes of `struct nlattr`.
const ATTRIBUTE: usize = 4;

/// `NLA_F_NESTED`.
const NESTED: u16 = 0x8000;

const NLMSG_NOOP: u16 = 1;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_CAPPED: u16 = 0x100;

/// `struct nlmsghdr`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Header {
    /// Length of the message with its header.
    pub(crate) len: u32,
    /// Message type.
    pub(crate) kind: u16,
    /// `NLM_F_*`.
    pub(crate) flags: u16,
    /// Sequence number; 0 in a notification.
    pub(crate) seq: u32,
    /// Port id of the sender of the request.
    pub(crate) port: u32,
}

impl Header {
    /// The header of the first message of a datagram.
    pub(crate) fn first(datagram: &[u8]) -> Option<Self> {
        let (bytes, _) = datagram.split_first_chunk::<HEADER>()?;
        let u16_at = |at: usize| u16::from_ne_bytes([bytes[at], bytes[at + 1]]);
        let u32_at = |at: usize| {
            u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        Some(Self {
            len: u32_at(0),
            kind: u16_at(4),
            flags: u16_at(6),
            seq: u32_at(8),
            port: u32_at(12),
        })
    }

    fn bytes(&self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[0..4].copy_from_slice(&self.len.to_ne_bytes());
        bytes[4..6].copy_from_slice(&self.kind.to_ne_bytes());
        bytes[6..8].copy_from_slice(&self.flags.to_ne_bytes());
        bytes[8..12].copy_from_slice(&self.seq.to_ne_bytes());
        bytes[12..16].copy_from_slice(&self.port.to_ne_bytes());
        bytes
    }
}

/// An `NLMSG_ERROR` with `-errno` to `request`, which was sent from `port`.
pub(crate) fn error(request: &Header, port: u32, errno: i32) -> Vec<u8> {
    let header = Header {
        len: 2 * HEADER as u32 + 4,
        kind: NLMSG_ERROR,
        flags: NLM_F_CAPPED,
        seq: request.seq,
        port,
    };
    [
        &header.bytes()[..],
        &errno.wrapping_neg().to_ne_bytes(),
        &request.bytes(),
    ]
    .concat()
}

/// Whether a datagram holds the last message of an answer: an error, an acknowledgement, or the end of a dump.
pub(crate) fn is_final(datagram: &[u8]) -> bool {
    messages(datagram).any(|(header, _)| matches!(header.kind, NLMSG_ERROR | NLMSG_DONE))
}

/// The header of the message with which the answer to a question for routes ends: the only route, an error, an
/// acknowledgement, or the end of a dump.
pub(crate) fn last_of_answer(datagram: &[u8]) -> Option<Header> {
    let is_last = |header: &Header| match header.kind {
        NLMSG_ERROR | NLMSG_DONE => true,
        kind => kind == libc::RTM_NEWROUTE && i32::from(header.flags) & libc::NLM_F_MULTI == 0,
    };
    messages(datagram).map(|(header, _)| header).find(is_last)
}

/// Whether a datagram is the refusal of a request.
pub(crate) fn is_refusal(datagram: &[u8]) -> bool {
    messages(datagram).any(|(header, body)| {
        header.kind == NLMSG_ERROR
            && body
                .first_chunk()
                .is_some_and(|e| i32::from_ne_bytes(*e) != 0)
    })
}

/// The sequence numbers of the messages of a datagram.
pub(crate) fn sequence_numbers(datagram: &[u8]) -> impl Iterator<Item = u32> {
    messages(datagram).map(|(header, _)| header.seq)
}

/// A request that does nothing and is acknowledged.
pub(crate) fn no_operation(seq: u32) -> [u8; HEADER] {
    let flags = libc::NLM_F_REQUEST | libc::NLM_F_ACK;
    let header = Header {
        len: HEADER as u32,
        kind: NLMSG_NOOP,
        flags: flags as u16,
        seq,
        port: 0,
    };
    header.bytes()
}

/// The sequence number of the request of [`no_operation`] that a datagram acknowledges.
pub(crate) fn acknowledged_no_operation(datagram: &[u8]) -> Option<u32> {
    let (header, body) = messages(datagram).next()?;
    let request = body.get(4..).and_then(Header::first)?;
    (header.kind == NLMSG_ERROR && request.kind == NLMSG_NOOP).then_some(header.seq)
}

/// The positions in a datagram of links that may be ours: those without a hardware address, as TUN devices are.
pub(crate) fn shown_links(datagram: &[u8]) -> impl Iterator<Item = Range<usize>> {
    let mut at = 0;
    messages(datagram).filter_map(move |(header, body)| {
        let place = at..at + header.len as usize;
        at = place.end.next_multiple_of(4);
        let kind = body.get(2..).and_then(<[u8]>::first_chunk)?;
        let may_be_ours = u16::from_ne_bytes(*kind) == libc::ARPHRD_NONE;
        (header.kind == libc::RTM_NEWLINK && may_be_ours).then_some(place)
    })
}

/// The messages of this type, each with its header.
pub(crate) fn messages_of(datagram: &[u8], kind: u16) -> impl Iterator<Item = &[u8]> {
    each(datagram).filter_map(move |(header, message)| (header.kind == kind).then_some(message))
}

/// A datagram without its messages of this type; `None` if it has none.
pub(crate) fn without(datagram: &[u8], kind: u16, drop: impl Fn(&[u8]) -> bool) -> Option<Vec<u8>> {
    let (mut kept, mut at) = (Vec::new(), 0);
    for (header, _) in messages(datagram) {
        let end = (at + header.len as usize).next_multiple_of(4);
        let message = datagram.get(at..end.min(datagram.len()))?;
        if !(header.kind == kind && drop(message)) {
            kept.extend_from_slice(message);
        }
        at = end;
    }
    (kept.len() < datagram.len()).then_some(kept)
}

/// The type of the only message of a datagram; `None` if there are several.
pub(crate) fn only_kind(datagram: &[u8]) -> Option<u16> {
    let header = Header::first(datagram)?;
    let end = (header.len as usize).checked_next_multiple_of(4)?;
    (header.len as usize >= HEADER && end >= datagram.len()).then_some(header.kind)
}

/// A request about a link, or (`RTM_DELLINK`) its removal: header and `struct ifinfomsg`. It requests no
/// acknowledgement.
pub(crate) fn about_link(kind: u16, ifindex: u32) -> [u8; 32] {
    let header = Header {
        len: 32,
        kind,
        flags: libc::NLM_F_REQUEST as u16,
        ..Header::default()
    };
    let mut bytes = [0; 32];
    bytes[..HEADER].copy_from_slice(&header.bytes());
    bytes[20..24].copy_from_slice(&ifindex.to_ne_bytes());
    bytes
}

/// A request with these attributes behind its fixed part.
pub(crate) fn request(kind: u16, flags: i32, fixed: &[u8], attributes: &[(u16, &[u8])]) -> Vec<u8> {
    let mut bytes = vec![0; HEADER];
    bytes.extend_from_slice(fixed);
    for (kind, value) in attributes {
        let len = (ATTRIBUTE + value.len()) as u16;
        bytes.extend_from_slice(&len.to_ne_bytes());
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }
    let header = Header {
        len: bytes.len() as u32,
        kind,
        flags: flags as u16,
        ..Header::default()
    };
    bytes[..HEADER].copy_from_slice(&header.bytes());
    bytes
}

/// Sets a link's alias, the free text that `ip link` shows with it.
pub(crate) fn link_alias(ifindex: u32, alias: &[u8]) -> Vec<u8> {
    let mut bytes = about_link(libc::RTM_NEWLINK, ifindex).to_vec();
    let len = ATTRIBUTE + alias.len();
    bytes.extend_from_slice(&(len as u16).to_ne_bytes());
    bytes.extend_from_slice(&libc::IFLA_IFALIAS.to_ne_bytes());
    bytes.extend_from_slice(alias);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    let total = bytes.len() as u32;
    bytes[..4].copy_from_slice(&total.to_ne_bytes());
    bytes
}

/// The attributes from an offset on: type, without the nested flag, and the position of the value.
pub(crate) fn attributes(bytes: &[u8], from: usize) -> impl Iterator<Item = (u16, Range<usize>)> {
    let mut at = from;
    core::iter::from_fn(move || {
        let (head, _) = bytes.get(at..)?.split_first_chunk::<ATTRIBUTE>()?;
        let end = at + usize::from(u16::from_ne_bytes([head[0], head[1]]));
        let value = at + ATTRIBUTE..end;
        bytes.get(value.clone())?;
        at = end.next_multiple_of(4);
        let kind = u16::from_ne_bytes([head[2], head[3]]);
        Some((kind & !NESTED, value))
    })
}

/// `struct sockaddr_nl` of a port; 0 is the kernel.
pub(crate) fn address(port: u32) -> [u8; ADDRESS] {
    let mut bytes = [0; ADDRESS];
    bytes[0..2].copy_from_slice(&(libc::AF_NETLINK as u16).to_ne_bytes());
    bytes[4..8].copy_from_slice(&port.to_ne_bytes());
    bytes
}

/// The port id in a `struct sockaddr_nl`.
pub(crate) fn port(address: &[u8]) -> Option<u32> {
    let (bytes, _) = address.split_first_chunk::<8>()?;
    Some(u32::from_ne_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]))
}

/// Each message, also decoded as far as its header; stops at the first malformed one, as the kernel does.
pub(crate) fn each(mut datagram: &[u8]) -> impl Iterator<Item = (Header, &[u8])> {
    core::iter::from_fn(move || {
        let header = Header::first(datagram)?;
        let message = datagram.get(..header.len as usize)?;
        let next = message.len().next_multiple_of(4);
        datagram = datagram.get(next..).unwrap_or_default();
        (message.len() >= HEADER).then_some((header, message))
    })
}

/// Each message's header and body.
fn messages(datagram: &[u8]) -> impl Iterator<Item = (Header, &[u8])> {
    each(datagram).map(|(header, message)| (header, message.get(HEADER..).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUEST: Header = Header {
        len: 24,
        kind: 21,
        flags: 5,
        seq: 77,
        port: 0,
    };

    #[test]
    fn a_made_up_error_echoes_the_request() {
        let made_up = error(&REQUEST, 4242, libc::ENODEV);
        let header = Header::first(&made_up).unwrap();
        assert_eq!((header.kind, header.seq, header.port), (2, 77, 4242));
        assert_eq!(header.len as usize, made_up.len());
        assert_eq!(made_up[16..20], (-libc::ENODEV).to_ne_bytes());
        assert_eq!(Header::first(&made_up[20..]), Some(REQUEST));
        assert!(is_final(&made_up) && is_refusal(&made_up));
    }

    #[test]
    fn an_acknowledgement_is_final_but_no_refusal() {
        let ack = error(&REQUEST, 1, 0);
        assert!(is_final(&ack) && !is_refusal(&ack));
    }

    #[test]
    fn the_end_of_a_dump_is_found_behind_other_messages() {
        let part = Header { len: 16, ..REQUEST };
        let done = Header {
            len: 16,
            kind: NLMSG_DONE,
            ..REQUEST
        };
        assert!(!is_final(&part.bytes()));
        assert!(is_final(&[part.bytes(), done.bytes()].concat()));
    }

    #[test]
    fn lengths_that_lie_are_harmless() {
        for len in [0, 15, 17, u32::MAX] {
            let datagram = Header { len, ..REQUEST }.bytes();
            assert!(!is_final(&datagram));
            let _ = only_kind(&datagram);
            assert_eq!(each(&datagram).count(), 0);
        }
        assert_eq!(only_kind(&[0; 15]), None);
    }

    #[test]
    fn messages_end_with_the_first_malformed_one() {
        let odd = [&Header { len: 17, ..REQUEST }.bytes()[..], &[9]].concat();
        let whole = Header { len: 16, ..REQUEST }.bytes();
        let cut_off = Header { len: 24, ..REQUEST }.bytes();
        let datagram = [&odd[..], &[0; 3], &whole, &cut_off].concat();
        let found: Vec<_> = each(&datagram).map(|(_, message)| message).collect();
        assert_eq!(found, [&odd[..], &whole]);
    }

    #[test]
    fn an_alias_is_shown_as_it_was_set() {
        let given = link_alias(7, b"udco ovpn");
        assert_eq!(Header::first(&given).unwrap().len as usize, given.len());
        assert_eq!(given[20..24], 7u32.to_ne_bytes());
        let left = udco_ipc::Interface::Left { several: None };
        assert_eq!(udco_ipc::interface(&given), left);
        let foreign = link_alias(7, b"a name");
        assert_eq!(udco_ipc::interface(&foreign), udco_ipc::Interface::Foreign);
    }

    #[test]
    fn only_a_single_message_has_an_only_kind() {
        let one = Header { len: 16, ..REQUEST }.bytes();
        assert_eq!(only_kind(&one), Some(21));
        assert_eq!(only_kind(&[one, one].concat()), None);
    }
}
