//! Hands transport sockets over to the engine, and gives them back.

use crate::calls::{self, Errno, Fd};
use crate::state::{self, Entry, State};
use crate::transport::Transport;
use crate::{marks, real};
use libc::c_int;
use udco_ipc::{Partial, TRANSPORT_BUFFER};

/// Control packets come in bursts when many clients connect.
const BUFFER: c_int = 1 << 20;

/// Of `<linux/udp.h>`: the encapsulation a socket is used for, 0 if none.
const UDP_ENCAP: c_int = 100;

/// A transport socket on offer to the engine.
pub(crate) struct Offer {
    fd: c_int,
    partial: Partial,
    relay: Fd,
    transport: Transport,
}

impl Offer {
    /// Number by which the program knows the socket.
    pub(crate) fn fd(&self) -> c_int {
        self.fd
    }

    /// Number of the real socket.
    pub(crate) fn real(&self) -> c_int {
        self.transport.real.raw()
    }

    /// The packet of a stream that the program has read in part.
    pub(crate) fn partial(&self) -> Partial {
        self.partial
    }
}

/// Enlarges the buffers for bursts of datagrams, as far as this process is permitted: the engine is permitted less.
fn raise_buffers(socket: c_int) {
    let wanted = TRANSPORT_BUFFER as c_int;
    for name in [libc::SO_SNDBUF, libc::SO_RCVBUF] {
        // The kernel reports twice the requested size.
        let has = calls::option(socket, libc::SOL_SOCKET, name);
        if has.is_ok_and(|has| has / 2 < wanted) {
            calls::raise_buffer(socket, name, wanted);
        }
    }
}

/// Prepares to hand over a socket. Also returns the engine's end of the relay.
///
/// # Errors
/// The kernel driver's (dco-behaviour 2.6): `EBADF` and `ENOTSOCK`; `EOPNOTSUPP` if it is neither UDP nor TCP;
/// `EBUSY` if it is UDP with an encapsulation of its own.
pub(crate) fn offer(state: &State, fd: c_int) -> Result<(Offer, Fd), Errno> {
    let mut partial = Partial::Nothing;
    let real = match state.sockets.get(&fd) {
        // The engine has released it since, and takes it again.
        Some(Entry::Transport(transport)) => transport.real.raw(),
        Some(Entry::Stream(tally)) => {
            partial = tally.partial();
            fd
        }
        Some(_) => return Err(libc::EOPNOTSUPP),
        None if marks::has(fd, marks::HIDDEN) => return Err(libc::EBADF),
        None => fd,
    };
    let option = |name| calls::option(real, libc::SOL_SOCKET, name);
    let family = option(libc::SO_DOMAIN)?;
    let kind = option(libc::SO_TYPE)?;
    let is_served = matches!(
        (family, kind),
        (
            libc::AF_INET | libc::AF_INET6,
            libc::SOCK_DGRAM | libc::SOCK_STREAM
        )
    );
    if !(is_served && marks::possible(fd)) {
        return Err(libc::EOPNOTSUPP);
    }
    if kind == libc::SOCK_DGRAM
        && calls::option(real, libc::SOL_UDP, UDP_ENCAP).is_ok_and(|used| used != 0)
    {
        return Err(libc::EBUSY);
    }
    if kind == libc::SOCK_DGRAM {
        raise_buffers(real);
    }
    let (relay, engine) = calls::pair(libc::SOCK_SEQPACKET)?;
    for end in [relay.raw(), engine.raw()] {
        calls::raise_buffer(end, libc::SO_SNDBUF, BUFFER);
        calls::raise_buffer(end, libc::SO_RCVBUF, BUFFER);
    }
    calls::set_nonblocking(engine.raw())?;
    let transport = Transport {
        real: calls::duplicate(real)?.hide(),
        kind,
        family,
    };
    let offer = Offer {
        fd,
        partial,
        relay,
        transport,
    };
    Ok((offer, engine))
}

/// Replaces the program's fd by the relay.
pub(crate) fn swap(state: &mut State, offer: Offer) {
    let Offer {
        fd,
        relay,
        transport,
        partial: _,
    } = offer;
    if calls::is_nonblocking(fd) {
        let _ = calls::set_nonblocking(relay.raw());
    }
    for name in calls::TIMEOUTS {
        calls::copy_timeout(fd, relay.raw(), name);
    }
    if state.epolls.replace(fd, || put(relay.raw(), fd)).is_ok() {
        state.serve(fd, Entry::Transport(transport));
    }
}

/// Restores the real socket after the engine has gone.
pub(crate) fn restore(fd: c_int) {
    let Some(mut state) = state::lock() else {
        return;
    };
    if let Some(Entry::Transport(transport)) = state.forget(fd) {
        if calls::is_nonblocking(fd) {
            let _ = calls::set_nonblocking(transport.real.raw());
        }
        let _ = state.epolls.replace(fd, || put(transport.real.raw(), fd));
    }
}

/// `dup2` that keeps the close-on-exec flag of the number.
fn put(file: c_int, number: c_int) -> Result<(), Errno> {
    let closes = calls::flags(number, libc::F_GETFD)? & libc::FD_CLOEXEC != 0;
    let flags = if closes { libc::O_CLOEXEC } else { 0 };
    // SAFETY: no pointers.
    calls::checked(unsafe { real::dup3(file, number, flags) }).map(drop)
}
