//! A generic-netlink socket to the kernel, for clients of its own drivers.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::netlink::{GENERIC, SocketAddrNetlink};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recvfrom, sendto, socket_with,
    sockopt,
};

use crate::socket_option::set_int;

/// Room for a burst of notifications while the reader is busy.
const RECEIVE_BUFFER: usize = 1 << 20;

/// A socket. The kernel acts with the rights and in the network namespace of the process that made it.
#[derive(Debug)]
pub struct GenericSocket {
    fd: OwnedFd,
}

impl GenericSocket {
    /// Opens one; needs no capability.
    ///
    /// # Errors
    /// The kernel's.
    pub fn open() -> io::Result<Self> {
        let fd = socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
            Some(GENERIC),
        )?;
        // Best effort: the kernel reports lost notifications to listeners.
        let _ = sockopt::set_socket_recv_buffer_size(&fd, RECEIVE_BUFFER);
        Ok(Self { fd })
    }

    /// Sets an option of Netlink sockets (`NETLINK_*`).
    ///
    /// # Errors
    /// The kernel's.
    pub fn set_option(&self, name: i32, value: i32) -> io::Result<()> {
        set_int(self.fd.as_fd(), libc::SOL_NETLINK, name, value)
    }

    /// Sends a datagram to the kernel, which has acted on it when this returns.
    ///
    /// # Errors
    /// The kernel's.
    pub fn send(&self, datagram: &[u8]) -> io::Result<()> {
        let kernel = SocketAddrNetlink::new(0, 0);
        sendto(&self.fd, datagram, SendFlags::empty(), &kernel)?;
        Ok(())
    }

    /// Receives a datagram from the kernel, and returns its length; never blocks.
    ///
    /// # Errors
    /// `WouldBlock` if no datagram is waiting; `ENOBUFS` if the kernel has lost some.
    pub fn receive(&self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            let (len, _, source) = match recvfrom(&self.fd, &mut *into, RecvFlags::empty()) {
                Err(Errno::INTR) => continue,
                received => received?,
            };
            let source = source.map(SocketAddrNetlink::try_from);
            // Other processes may send, too.
            if matches!(source, Some(Ok(source)) if source.pid() == 0) {
                return Ok(len);
            }
        }
    }
}

impl AsFd for GenericSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
