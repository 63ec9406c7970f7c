//! Refusals in the kernel's words (dco-behaviour 2.6 to 2.13), and those of our own where the driver has none.

use std::io;

use udco_core::PeerId;
use udco_ipc::NO_MEMORY;
use udco_netlink::{Errno, Refused, Slot};

use crate::control::session::Session;

const ENOENT: i32 = 2;
pub(super) const EBADF: i32 = 9;
pub(super) const EBUSY: i32 = 16;
const EEXIST: i32 = 17;
const ENODEV: i32 = 19;
pub(super) const EINVAL: i32 = 22;
const ERANGE: i32 = 34;
pub(super) const ENOTSOCK: i32 = 88;
pub(super) const EOPNOTSUPP: i32 = 95;
const EADDRINUSE: i32 = 98;
const EADDRNOTAVAIL: i32 = 99;
const EDQUOT: i32 = 122;

fn refused(errno: i32, text: impl Into<std::borrow::Cow<'static, str>>) -> Refused {
    let text = text.into();
    Refused {
        errno: Errno(errno),
        text: (!text.is_empty()).then_some(text),
    }
}

/// The device has come to its end (dco-behaviour 7).
pub(super) fn ended() -> Refused {
    refused(ENODEV, "")
}

/// The words of the driver's policy.
pub(super) fn out_of_range() -> Refused {
    refused(ERANGE, "integer out of range")
}

pub(super) fn no_peer(id: PeerId) -> Refused {
    refused(ENOENT, format!("cannot find peer with id {id}"))
}

/// There is no peer for which to do something with a key: `action` is "set key".
pub(super) fn no_peer_to(action: &str, id: PeerId) -> Refused {
    refused(ENOENT, format!("no peer with id {id} to {action} for"))
}

pub(super) fn peer_exists(id: PeerId) -> Refused {
    not_added(id, EEXIST)
}

/// A new peer has the VPN address of another.
pub(super) fn peer_has_address_of_another(id: PeerId) -> Refused {
    not_added(id, EADDRINUSE)
}

fn not_added(id: PeerId, errno: i32) -> Refused {
    refused(
        errno,
        format!("cannot add new peer (id={id}) to hashtable: -{errno}"),
    )
}

/// A peer was to change to the VPN address of another.
pub(super) fn vpn_address_taken() -> Refused {
    refused(EADDRINUSE, "VPN IP is already assigned to another peer")
}

pub(super) fn no_vpn_address() -> Refused {
    refused(EINVAL, "at least one VPN IP must be configured in MP mode")
}

pub(super) fn missing_remote() -> Refused {
    refused(EINVAL, "missing remote IP address for UDP socket")
}

pub(super) fn unexpected_remote() -> Refused {
    refused(EINVAL, "unexpected remote IP address with TCP socket")
}

/// Netlink's words for an address that no packet can have.
pub(super) fn unusable_address(text: &'static str) -> Refused {
    refused(EADDRNOTAVAIL, text)
}

pub(super) fn no_socket(fd: u32, errno: i32) -> Refused {
    refused(
        ENOTSOCK,
        format!("cannot lookup peer socket (fd={fd}): -{errno}"),
    )
}

/// Whatever the reason, the errno is that of dco-behaviour 2.6, check 17.
pub(super) fn cannot_encapsulate(errno: i32) -> Refused {
    refused(ENOTSOCK, format!("cannot encapsulate socket: -{errno}"))
}

pub(super) fn bad_key(peer: PeerId) -> Refused {
    refused(EINVAL, format!("cannot install new key for peer {peer}"))
}

/// The driver takes it, and seals other packets under the same nonces (promises B9).
pub(super) fn key_used(peer: PeerId) -> Refused {
    refused(
        EEXIST,
        format!("peer {peer} has had this key before: its nonces would repeat; install a new key"),
    )
}

pub(super) fn no_key(peer: u32, slot: Slot) -> Refused {
    let slot = slot as u8;
    refused(
        ENOENT,
        format!("cannot extract key from slot {slot} for peer {peer}"),
    )
}

/// Writes a line, too. Not ENOMEM, at which OpenVPN ends with all its clients.
pub(super) fn no_memory(session: &Session, error: &io::Error) -> Refused {
    let program = &session.name;
    let account = &session.account;
    account.line(|| tracing::error!(program, "{program}: {error}"));
    refused(EDQUOT, NO_MEMORY)
}

pub(super) fn too_many_peers() -> Refused {
    refused(EDQUOT, "this user has as many peers as it may")
}

pub(super) fn too_many_sockets() -> Refused {
    refused(EDQUOT, "this user has as many sockets as it may")
}
