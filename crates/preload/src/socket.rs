//! Dispatches a socket call on a served fd to its module. `None` everywhere: call libc's function.

use crate::calls::{self, Errno};
use crate::fds;
use crate::left;
use crate::link;
use crate::marks::{self, FRESH};
use crate::message::{Incoming, Outgoing};
use crate::route_socket::RouteSocket;
use crate::state::{self, Entry};
use crate::{answer, generic_netlink, hand_over, real, transport};
use libc::{c_int, c_void, sockaddr, socklen_t};

/// The result of a hook's own part.
pub(crate) type Outcome<T> = Option<Result<T, Errno>>;

/// `socket(AF_NETLINK)`.
pub(crate) fn open(kind: c_int, protocol: c_int) -> Outcome<c_int> {
    let mut state = state::lock()?;
    let opened = if protocol == libc::NETLINK_GENERIC {
        generic_netlink::open(&mut state, kind)?
    } else {
        if !state.watches_routes() {
            return None;
        }
        // SAFETY: no pointers.
        let opened = calls::checked(unsafe { real::socket(libc::AF_NETLINK, kind, protocol) });
        if let Ok(fd) = opened {
            state.serve(fd, Entry::Route(RouteSocket::default()));
        }
        opened
    };
    if let Ok(fd) = opened {
        state.epolls.forget(fd);
    }
    Some(opened)
}

/// `sendmsg` and its variants.
pub(crate) fn send(fd: c_int, outgoing: &Outgoing<'_>) -> Outcome<isize> {
    let mut state = state::lock()?;
    let sent = match state.sockets.get(&fd)? {
        Entry::Channel(_) => Some(generic_netlink::send(&mut state, fd, outgoing)),
        Entry::Route(_) => link::send(&mut state, fd, outgoing),
        Entry::Transport(transport) => {
            let view = transport.view();
            drop(state);
            transport::send(view, outgoing)
        }
        Entry::Stream(_) => None,
    };
    sent.map(|sent| sent.map(usize::cast_signed))
}

/// Before a new socket sends or connects to this `sockaddr`: clears devices left behind by a killed run from its
/// path.
pub(crate) fn first_use(fd: c_int, address: &[u8]) {
    if !marks::has(fd, FRESH) {
        return;
    }
    marks::remove(fd, FRESH);
    let family = address
        .first_chunk()
        .map(|it| c_int::from(u16::from_ne_bytes(*it)));
    let ip = match family {
        Some(libc::AF_INET) => address.get(4..8),
        Some(libc::AF_INET6) => match address.get(8..24) {
            // A v4-mapped address; and a link-local one, which is reached on the link of its scope id.
            Some([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, v4 @ ..]) => Some(v4),
            Some([0xFE, 0x80..=0xBF, ..]) => None,
            v6 => v6,
        },
        _ => None,
    };
    if let Some(ip) = ip
        && let Some(mut state) = state::lock()
    {
        left::clear_way(&mut state, ip);
    }
}

/// `recvmsg` and its variants. The lock is not held while the program waits for data.
pub(crate) fn receive(fd: c_int, incoming: &mut Incoming<'_>) -> Outcome<isize> {
    let mut state = state::lock()?;
    let received = match state.sockets.get_mut(&fd)? {
        Entry::Channel(_) => Some(generic_netlink::receive(state, fd, incoming)),
        Entry::Route(_) => link::receive(state, fd, incoming),
        Entry::Transport(transport) => {
            let view = transport.view();
            drop(state);
            let received = transport::receive(fd, view, incoming);
            Some(received.unwrap_or_else(|| {
                hand_over::restore(fd);
                transport::pass(fd, incoming)
            }))
        }
        Entry::Stream(_) => {
            drop(state);
            Some(receive_counted(fd, incoming))
        }
    };
    if received == Some(Err(libc::ENOTSOCK)) {
        // libc has closed it without our notice, and the number is another file's.
        fds::renew(fd);
        return None;
    }
    received.map(|received| received.map(usize::cast_signed))
}

/// `recvmsg` on a stream that has not been handed over.
fn receive_counted(fd: c_int, incoming: &mut Incoming<'_>) -> Result<usize, Errno> {
    let flags = incoming.flags;
    // SAFETY: the header is the program's, passed on as it is.
    let received = unsafe { real::recvmsg(fd, incoming.header(), flags) };
    let received = calls::checked_len(received)?;
    if flags & (libc::MSG_PEEK | libc::MSG_ERRQUEUE | libc::MSG_OOB | libc::MSG_TRUNC) == 0
        && let Some(mut state) = state::lock()
        && let Some(Entry::Stream(tally)) = state.sockets.get_mut(&fd)
    {
        incoming.each_received(received, |bytes| tally.count(bytes));
    }
    Ok(received)
}

/// The real socket behind a relayed fd.
pub(crate) fn real_of(fd: c_int) -> Option<c_int> {
    match state::lock()?.sockets.get(&fd)? {
        Entry::Transport(transport) => Some(transport.view().real),
        _ => None,
    }
}

/// Whether the fd is a channel.
pub(crate) fn is_channel(fd: c_int) -> bool {
    state::lock().is_some_and(|state| matches!(state.sockets.get(&fd), Some(Entry::Channel(_))))
}

/// `bind` on a channel.
pub(crate) fn bind(fd: c_int, address: &[u8]) -> Outcome<c_int> {
    match state::lock()?.sockets.get_mut(&fd)? {
        Entry::Channel(channel) => Some(channel.bind(fd, address)),
        _ => None,
    }
}

/// `getsockname` (`own`) and `getpeername` on a channel: the address.
pub(crate) fn address(fd: c_int, own: bool) -> Option<[u8; answer::ADDRESS]> {
    match state::lock()?.sockets.get(&fd)? {
        Entry::Channel(channel) if own => Some(channel.address()),
        Entry::Channel(_) => Some(answer::address(0)),
        _ => None,
    }
}

/// `setsockopt`. `value` is read only for options of a channel.
pub(crate) fn set_option(
    fd: c_int,
    level: c_int,
    name: c_int,
    value: impl FnOnce() -> Option<c_int>,
) -> Outcome<c_int> {
    let mut state = state::lock()?;
    match state.sockets.get(&fd)? {
        Entry::Channel(_) if level == libc::SOL_NETLINK => {
            let Some(value) = value() else {
                return Some(Err(libc::EINVAL));
            };
            Some(generic_netlink::set_option(&mut state, fd, name, value))
        }
        _ => None,
    }
}

/// `getsockopt` on a channel, where the real value would reveal it.
pub(crate) fn option(fd: c_int, level: c_int, name: c_int) -> Option<c_int> {
    if !is_channel(fd) {
        return None;
    }
    match (level, name) {
        (libc::SOL_SOCKET, libc::SO_DOMAIN) => Some(libc::AF_NETLINK),
        (libc::SOL_SOCKET, libc::SO_TYPE) => Some(libc::SOCK_RAW),
        (libc::SOL_SOCKET, libc::SO_PROTOCOL) => Some(libc::NETLINK_GENERIC),
        (libc::SOL_NETLINK, _) => Some(0),
        _ => None,
    }
}

/// Copies the result of `getsockname` or `getsockopt` into the program's memory.
///
/// # Safety
/// `to` has room for the number of bytes at `len`, or either is null.
pub(crate) unsafe fn give(
    bytes: &[u8],
    to: *mut c_void,
    len: *mut socklen_t,
) -> Result<c_int, Errno> {
    if len.is_null() || to.is_null() {
        return Err(libc::EFAULT);
    }
    // SAFETY: as the caller promised.
    let room = unsafe { *len } as usize;
    // SAFETY: as the caller promised, for `room` bytes; `bytes` is ours.
    unsafe {
        to.cast::<u8>()
            .copy_from_nonoverlapping(bytes.as_ptr(), bytes.len().min(room));
    };
    // SAFETY: as the caller promised.
    unsafe { *len = bytes.len() as socklen_t };
    Ok(0)
}

/// The bytes of an address that the program passed.
///
/// # Safety
/// `address` is null or points to `len` readable bytes, for as long as `'a`.
pub(crate) unsafe fn bytes_of<'a>(address: *const sockaddr, len: socklen_t) -> &'a [u8] {
    if address.is_null() {
        return &[];
    }
    // SAFETY: as the caller promised.
    unsafe { core::slice::from_raw_parts(address.cast(), len as usize) }
}
