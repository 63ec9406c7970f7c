//! The kernel's links, addresses and routes as a stream of rtnetlink messages.
//!
//! This is only the socket; what the messages mean is the reader's business. The socket belongs to
//! the network namespace it was made in, so the client makes it there and passes it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, getsockname, recvfrom,
    sendto, socket_with, sockopt,
};

/// `RTMGRP_LINK`, `_IPV4_IFADDR`, `_IPV4_ROUTE`, `_IPV6_IFADDR` and `_IPV6_ROUTE`.
const GROUPS: u32 = 0x1 | 0x10 | 0x40 | 0x100 | 0x400;

/// Room for a burst of changes while the reader is busy; the default holds some 200 messages.
const RECEIVE_BUFFER: usize = 1 << 20;

/// How many datagrams of other processes one call skips, since those may send endlessly.
const FORGERIES: usize = 64;

/// The result of [`Monitor::receive`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received {
    /// The first bytes of the buffer are this many bytes of netlink messages from the kernel.
    Messages(usize),
    /// Nothing to read now.
    Empty,
    /// Messages were lost (`ENOBUFS`, or one larger than the buffer): request a new dump of everything.
    Overrun,
}

/// A route monitor. Every call returns at once.
#[derive(Debug)]
pub struct Monitor {
    fd: OwnedFd,
}

impl Monitor {
    /// Makes a socket in the caller's network namespace that has joined the groups of links,
    /// addresses and routes of both families. Needs no capability.
    ///
    /// # Errors
    ///
    /// The kernel's error of `socket` or `bind`.
    pub fn open() -> io::Result<Self> {
        let fd = socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
            // NETLINK_ROUTE is protocol 0.
            None,
        )?;
        bind(&fd, &SocketAddrNetlink::new(0, GROUPS))?;
        // Best effort: an overrun is detected and repaired.
        let _ = sockopt::set_socket_recv_buffer_size(&fd, RECEIVE_BUFFER);
        Ok(Self { fd })
    }

    /// Takes over a socket made by [`Monitor::open`] in another process.
    ///
    /// # Errors
    ///
    /// `ENOTSOCK` if it's not a socket, `EPROTONOSUPPORT` if it's not of `NETLINK_ROUTE`. The descriptor is closed on
    /// error.
    pub fn adopt(fd: OwnedFd) -> io::Result<Self> {
        let protocol = crate::socket_option::int(fd.as_fd(), libc::SOL_SOCKET, libc::SO_PROTOCOL)?;
        if sockopt::socket_domain(&fd)? != AddressFamily::NETLINK || protocol != libc::NETLINK_ROUTE
        {
            return Err(Errno::PROTONOSUPPORT.into());
        }
        Ok(Self { fd })
    }

    /// The socket's port: all answers to its requests carry it.
    ///
    /// # Errors
    ///
    /// Only those of a broken socket.
    pub fn port(&self) -> io::Result<u32> {
        let address = SocketAddrNetlink::try_from(getsockname(&self.fd)?)?;
        Ok(address.pid())
    }

    /// Sends a request, e.g. for a dump, to the kernel.
    ///
    /// # Errors
    ///
    /// `EAGAIN`, `ENOBUFS`: try later; other errors of the kernel.
    pub fn send(&self, request: &[u8]) -> io::Result<()> {
        let kernel = SocketAddrNetlink::new(0, 0);
        loop {
            match sendto(&self.fd, request, SendFlags::DONTWAIT, &kernel) {
                Err(Errno::INTR) => {}
                result => return Ok(result.map(drop)?),
            }
        }
    }

    /// Receives one datagram of messages. 32 KiB suffice for `into`: the kernel never sends more at once.
    /// Datagrams from other processes are skipped, as they could forge routes.
    ///
    /// # Errors
    ///
    /// Only those of a broken socket.
    pub fn receive(&self, into: &mut [u8]) -> io::Result<Received> {
        let flags = RecvFlags::DONTWAIT | RecvFlags::TRUNC;
        for _ in 0..FORGERIES {
            match recvfrom(&self.fd, &mut *into, flags) {
                Ok((_, length, source)) => {
                    let port = source
                        .and_then(|source| SocketAddrNetlink::try_from(source).ok())
                        .map(|source| source.pid());
                    if port != Some(0) {
                        continue;
                    }
                    return Ok(if length > into.len() {
                        Received::Overrun
                    } else {
                        Received::Messages(length)
                    });
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(Received::Empty),
                Err(Errno::NOBUFS) => return Ok(Received::Overrun),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Received::Messages(0))
    }

    /// Gives up the descriptor, to be passed to the engine.
    #[must_use]
    pub fn into_fd(self) -> OwnedFd {
        self.fd
    }
}

impl AsFd for Monitor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests;
