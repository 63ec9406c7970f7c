//! UDP sockets with batches, segmentation offloads and packet info.
//!
//! [`Inbox`] receives many datagrams per call, [`Outbox`] sends many; neither allocates once made.
//!
//! # IPv4 on an IPv6 socket
//!
//! A dual-stack `AF_INET6` socket sees IPv4 peers as `::ffff:a.b.c.d`. Here they are always IPv4: addresses are folded
//! on the way in and unfolded on the way out. The local address of such a datagram arrives in both `IPV6_PKTINFO`
//! (v4-mapped) and `IP_PKTINFO`, if requested, and the kernel accepts either when sending to a v4-mapped destination;
//! we read `IP_PKTINFO` first, since its `spec_dst` is an address we may send from even when the datagram came to a
//! broadcast address, and write `IP_PKTINFO`, which every kernel honours.

mod address;
mod control;
mod inbox;
mod message;
mod outbox;
mod pieces;

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, getsockname, recv, sockopt};

use crate::socket_option;
use crate::tcp::{Kind, inspect};

pub use inbox::{Datagram, Inbox};
pub use message::{MAX_SEGMENTS, Message, Outcome};
pub use outbox::{Outbox, Sent};

/// `UDP_SEGMENT` and `UDP_GRO` of `linux/udp.h`; not every libc has them.
const UDP_SEGMENT: libc::c_int = 103;
const UDP_GRO: libc::c_int = 104;

/// The most errors that one call drains: a flood must not keep a worker busy.
const ERRORS_PER_DRAIN: usize = 1_024;

/// A UDP socket of either family. Every call returns at once, whatever `O_NONBLOCK` says.
#[derive(Debug)]
pub struct UdpSocket {
    fd: OwnedFd,
    v6: bool,
}

impl UdpSocket {
    /// Takes over a UDP socket. It may be bound or not, connected or not.
    ///
    /// # Errors
    ///
    /// `ENOTSOCK` if it's not a socket, `EPROTONOSUPPORT` if not UDP. The descriptor is closed on error.
    pub fn adopt(fd: OwnedFd) -> io::Result<Self> {
        match inspect(fd.as_fd()) {
            Kind::Udp => {}
            Kind::NotASocket => return Err(Errno::NOTSOCK.into()),
            _ => return Err(Errno::PROTONOSUPPORT.into()),
        }
        let v6 = sockopt::socket_domain(&fd)? == AddressFamily::INET6;
        Ok(Self { fd, v6 })
    }

    /// Whether it is an `AF_INET6` socket, which also carries IPv4 unless `IPV6_V6ONLY` is set.
    #[must_use]
    pub fn is_v6(&self) -> bool {
        self.v6
    }

    /// The bound address; v4-mapped ones are folded to IPv4.
    ///
    /// # Errors
    ///
    /// The kernel's error.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        let address = SocketAddr::try_from(getsockname(&self.fd)?)?;
        Ok(address::fold(address).0)
    }

    /// Requests the local address and interface of every datagram ([`Datagram::local`]).
    ///
    /// # Errors
    ///
    /// The kernel's error.
    pub fn enable_packet_info(&self) -> io::Result<()> {
        let fd = self.fd.as_fd();
        if !self.v6 {
            return socket_option::set_int(fd, libc::IPPROTO_IP, libc::IP_PKTINFO, 1);
        }
        socket_option::set_int(fd, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1)?;
        // Better for v4-mapped datagrams, but IPV6_PKTINFO alone suffices.
        let _ = socket_option::set_int(fd, libc::IPPROTO_IP, libc::IP_PKTINFO, 1);
        Ok(())
    }

    /// Allows the kernel to deliver several datagrams as one ([`Datagram::segment`]). Slots of an [`Inbox`] should
    /// then have 65,535 bytes.
    ///
    /// # Errors
    ///
    /// `ENOPROTOOPT`: this kernel does not support it (before 5.0).
    pub fn enable_gro(&self) -> io::Result<()> {
        self.set_gro(true)
    }

    /// Turns the coalescing of received datagrams off again.
    ///
    /// # Errors
    ///
    /// As [`UdpSocket::enable_gro`].
    pub fn disable_gro(&self) -> io::Result<()> {
        self.set_gro(false)
    }

    /// Whether this kernel can coalesce received datagrams; changes nothing.
    #[must_use]
    pub fn supports_gro(&self) -> bool {
        socket_option::int(self.fd.as_fd(), libc::IPPROTO_UDP, UDP_GRO).is_ok()
    }

    /// Whether this kernel supports segmentation on sending. A path may still refuse it: see
    /// [`Outcome::refuses_segments`].
    #[must_use]
    pub fn supports_gso(&self) -> bool {
        socket_option::int(self.fd.as_fd(), libc::IPPROTO_UDP, UDP_SEGMENT).is_ok()
    }

    /// Empties the error queue (ICMP errors, if the socket's owner set `IP_RECVERR`) and returns how many there were
    /// (promises A9). Call it on `EPOLLERR`. Drains at most 1,024 per call.
    pub fn drain_errors(&self) -> usize {
        let mut count = 0;
        let mut quoted = [0_u8; 1];
        let flags = RecvFlags::ERRQUEUE | RecvFlags::DONTWAIT;
        while count < ERRORS_PER_DRAIN {
            match recv(&self.fd, &mut quoted, flags) {
                Ok(_) => count += 1,
                Err(Errno::INTR) => {}
                Err(_) => break,
            }
        }
        count
    }

    /// The pending error, cleared by reading it (`SO_ERROR`): the cause of `EPOLLERR` if the error queue is empty.
    #[must_use]
    pub fn take_error(&self) -> Option<io::Error> {
        match sockopt::socket_error(&self.fd) {
            Ok(Err(pending)) => Some(pending.into()),
            _ => None,
        }
    }

    /// Raises the receive buffer to `bytes`, beyond `rmem_max` if we may, and returns its size afterwards (the kernel
    /// doubles it for its own bookkeeping). Never lowers it.
    ///
    /// # Errors
    ///
    /// The kernel's error of reading the size; failing to raise it is not an error.
    pub fn raise_receive_buffer(&self, bytes: usize) -> io::Result<usize> {
        let now = sockopt::socket_recv_buffer_size(&self.fd)?;
        if now / 2 >= bytes {
            return Ok(now);
        }
        if sockopt::set_socket_recv_buffer_size_force(&self.fd, bytes).is_err() {
            let _ = sockopt::set_socket_recv_buffer_size(&self.fd, bytes);
        }
        Ok(sockopt::socket_recv_buffer_size(&self.fd)?)
    }

    /// Raises the send buffer, like [`UdpSocket::raise_receive_buffer`].
    ///
    /// # Errors
    ///
    /// Those of [`UdpSocket::raise_receive_buffer`].
    pub fn raise_send_buffer(&self, bytes: usize) -> io::Result<usize> {
        let now = sockopt::socket_send_buffer_size(&self.fd)?;
        if now / 2 >= bytes {
            return Ok(now);
        }
        if sockopt::set_socket_send_buffer_size_force(&self.fd, bytes).is_err() {
            let _ = sockopt::set_socket_send_buffer_size(&self.fd, bytes);
        }
        Ok(sockopt::socket_send_buffer_size(&self.fd)?)
    }

    /// Gives up the descriptor.
    #[must_use]
    pub fn into_fd(self) -> OwnedFd {
        self.fd
    }

    fn set_gro(&self, on: bool) -> io::Result<()> {
        let value = libc::c_int::from(on);
        socket_option::set_int(self.fd.as_fd(), libc::IPPROTO_UDP, UDP_GRO, value)
    }
}

impl AsFd for UdpSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests;
