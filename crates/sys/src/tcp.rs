//! The kind of a received descriptor, and TCP streams that never block.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown, SocketType, getpeername, getsockname,
    recv, send, sendmsg, shutdown, sockopt,
};

use crate::socket_option;

/// The kind of a descriptor that came from outside (promises G2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A UDP socket of either family.
    Udp,
    /// A connected TCP socket of either family.
    TcpEstablished,
    /// A TCP socket in another state; the number is the kernel's (`TCP_LISTEN` is 10).
    Tcp(u8),
    /// Any other socket: raw, ICMP, UDP-Lite, MPTCP, Unix, netlink.
    OtherSocket,
    /// Not a socket at all, or an `O_PATH` descriptor.
    NotASocket,
}

/// How many times in a row to retry a call after a transient error.
const TRIES: usize = 4;

/// `TCP_ESTABLISHED` of `include/net/tcp_states.h`.
const ESTABLISHED: u8 = 1;
/// `TCP_LISTEN` of the same.
const LISTEN: u8 = 10;

/// Identifies `fd` by what the kernel reports, never by what its owner claims.
///
/// It works in every namespace and state, changes nothing, and needs no right on the socket.
#[must_use]
pub fn inspect(fd: BorrowedFd<'_>) -> Kind {
    match inspect_socket(fd) {
        Ok(kind) => kind,
        Err(Errno::NOTSOCK | Errno::BADF) => Kind::NotASocket,
        Err(_) => Kind::OtherSocket,
    }
}

fn inspect_socket(fd: BorrowedFd<'_>) -> rustix::io::Result<Kind> {
    use rustix::net::{AddressFamily, ipproto};

    let domain = sockopt::socket_domain(fd)?;
    if domain != AddressFamily::INET && domain != AddressFamily::INET6 {
        return Ok(Kind::OtherSocket);
    }
    let kind = sockopt::socket_type(fd)?;
    let protocol = sockopt::socket_protocol(fd)?;
    if kind == SocketType::DGRAM && protocol == Some(ipproto::UDP) {
        return Ok(Kind::Udp);
    }
    if kind != SocketType::STREAM || protocol != Some(ipproto::TCP) {
        return Ok(Kind::OtherSocket);
    }
    if sockopt::socket_acceptconn(fd)? {
        return Ok(Kind::Tcp(LISTEN));
    }
    // The state is the first byte of `struct tcp_info`; the kernel truncates the rest.
    let mut state = [0_u8; 8];
    let read = socket_option::bytes(fd, libc::IPPROTO_TCP, libc::TCP_INFO, &mut state);
    match (read, state) {
        (Ok(1..), [ESTABLISHED, ..]) => Ok(Kind::TcpEstablished),
        (Ok(1..), [other, ..]) => Ok(Kind::Tcp(other)),
        _ => Ok(Kind::OtherSocket),
    }
}

/// A connected TCP socket. Every call returns at once, whatever `O_NONBLOCK` says (promises G3).
#[derive(Debug)]
pub struct Stream {
    fd: OwnedFd,
}

impl Stream {
    /// Takes over a connected TCP socket.
    ///
    /// # Errors
    ///
    /// `ENOTSOCK` if it's not a socket, `EPROTONOSUPPORT` if not TCP, `ENOTCONN` if TCP in another state than
    /// established. The descriptor is closed on error.
    pub fn adopt(fd: OwnedFd) -> io::Result<Self> {
        match inspect(fd.as_fd()) {
            Kind::TcpEstablished => Ok(Self { fd }),
            Kind::Tcp(_) => Err(Errno::NOTCONN.into()),
            Kind::Udp | Kind::OtherSocket => Err(Errno::PROTONOSUPPORT.into()),
            Kind::NotASocket => Err(Errno::NOTSOCK.into()),
        }
    }

    /// Reads available bytes; 0 is the end of the stream.
    ///
    /// # Errors
    ///
    /// `EAGAIN` (`WouldBlock`) if there are none; else the error that has ended the connection.
    pub fn receive(&self, into: &mut [u8]) -> io::Result<usize> {
        lasting(|| recv(&self.fd, &mut *into, RecvFlags::DONTWAIT)).map(|(read, _)| read)
    }

    /// Clears the connection's error once everything is read: at the end of a stream a read reports only the end, so
    /// epoll would report the error for ever.
    pub fn forget_error(&self) {
        let _ = sockopt::socket_error(&self.fd);
    }

    /// Writes as much of `bytes` as fits and returns how much.
    ///
    /// # Errors
    ///
    /// `EAGAIN` (`WouldBlock`) if nothing fits; else the error that has ended the connection (`EPIPE`, without a
    /// signal).
    pub fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        lasting(|| send(&self.fd, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL))
    }

    /// [`Stream::send`] of several pieces at once (at most 1,024).
    ///
    /// # Errors
    ///
    /// As [`Stream::send`].
    pub fn send_vectored(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        lasting(|| sendmsg(&self.fd, pieces, &mut SendAncillaryBuffer::default(), flags))
    }

    /// The address of this end; a v4-mapped one as IPv4.
    ///
    /// # Errors
    ///
    /// The kernel's error.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        let address = SocketAddr::try_from(getsockname(&self.fd)?)?;
        Ok(SocketAddr::new(address.ip().to_canonical(), address.port()))
    }

    /// The address of the other end; a v4-mapped one as IPv4.
    ///
    /// # Errors
    ///
    /// The kernel's error: the connection has ended.
    pub fn remote_addr(&self) -> io::Result<SocketAddr> {
        let address = SocketAddr::try_from(getpeername(&self.fd)?.ok_or(Errno::NOTCONN)?)?;
        Ok(SocketAddr::new(address.ip().to_canonical(), address.port()))
    }

    /// `TCP_NOTSENT_LOWAT`: with this many bytes not yet sent by TCP, the socket counts as full. Bytes in flight don't
    /// count, so throughput does not suffer; the last packet in the queue waits less.
    ///
    /// # Errors
    ///
    /// The kernel's error.
    pub fn set_unsent_limit(&self, bytes: u32) -> io::Result<()> {
        let bytes = libc::c_int::try_from(bytes).unwrap_or(libc::c_int::MAX);
        let name = libc::TCP_NOTSENT_LOWAT;
        socket_option::set_int(self.fd.as_fd(), libc::IPPROTO_TCP, name, bytes)
    }

    /// Makes closing return at once, whatever `SO_LINGER` others have set on the socket.
    pub fn forget_linger(&self) {
        let _ = sockopt::set_socket_linger(&self.fd, None);
    }

    /// `TCP_NODELAY`.
    ///
    /// # Errors
    ///
    /// The kernel's error.
    pub fn set_nodelay(&self, on: bool) -> io::Result<()> {
        sockopt::set_tcp_nodelay(&self.fd, on)?;
        Ok(())
    }

    /// Shuts the connection down for every process that has the socket.
    ///
    /// # Errors
    ///
    /// `ENOTCONN` if it has ended already.
    pub fn shut_down(&self) -> io::Result<()> {
        shutdown(&self.fd, Shutdown::Both)?;
        Ok(())
    }

    /// Gives up the descriptor.
    #[must_use]
    pub fn into_fd(self) -> OwnedFd {
        self.fd
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Whether this error has ended the connection. Any other error concerns one call; if it did end the connection, the
/// next call reports that.
#[must_use]
pub fn has_ended(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(
            libc::ECONNRESET
                | libc::ECONNABORTED
                | libc::ETIMEDOUT
                | libc::EPIPE
                | libc::ESHUTDOWN
                | libc::ENOTCONN
                | libc::EBADF
                | libc::ENOTSOCK
        )
    )
}

/// Retries after an interruption, and after transient reports about the far end: OpenVPN sets `IP_RECVERR`, so an
/// established connection reports each such ICMP error once, and carries on (promises A9, J3). If the error did end the
/// connection, the next call reports that.
fn lasting<T>(mut call: impl FnMut() -> rustix::io::Result<T>) -> io::Result<T> {
    let mut tries = 0;
    loop {
        match call() {
            Err(Errno::INTR) => {}
            Err(errno) if passes(errno) && tries < TRIES => tries += 1,
            result => return Ok(result?),
        }
    }
}

/// The errors that the kernel maps ICMP errors to (`icmp_err_convert` and its IPv6 twin).
const fn passes(errno: Errno) -> bool {
    matches!(
        errno,
        Errno::HOSTUNREACH
            | Errno::NETUNREACH
            | Errno::HOSTDOWN
            | Errno::NETDOWN
            | Errno::NONET
            | Errno::CONNREFUSED
            | Errno::NOPROTOOPT
            | Errno::OPNOTSUPP
            | Errno::PROTO
            | Errno::ACCESS
    )
}

#[cfg(test)]
mod tests;
