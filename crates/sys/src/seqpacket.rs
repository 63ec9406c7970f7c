//! Control connections of the engine: Unix `SOCK_SEQPACKET` sockets that carry descriptors.
//!
//! Every received descriptor is owned as soon as it exists here, and so closed on every path that does not take it
//! (promises G2).

mod access_list;
mod fd_list;
mod listener;

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, Shutdown, SocketAddrUnix, SocketFlags,
    SocketType, connect, getpeername, recvmsg, sendmsg, shutdown, socket_with, socketpair, sockopt,
};

use crate::epoll::timespec;
use crate::socket_option;

pub use fd_list::FdList;
pub use listener::Listener;

/// Option of `<asm-generic/socket.h>`.
const SO_PEERGROUPS: libc::c_int = 59;

/// The most descriptors a message may carry: 16 queues and a socket.
pub const MAX_FDS: usize = 17;

/// How long, and how often, a client tries to get into the backlog.
const CROWDED: Duration = Duration::from_secs(1);
const CROWD_STEP: Duration = Duration::from_millis(2);

/// Room for [`MAX_FDS`] descriptors. Alignment makes the kernel see room for one more, which [`FdList`] refuses.
const CONTROL_LEN: usize = rustix::cmsg_space!(ScmRights(MAX_FDS));

/// The credentials of the other end, as of its `connect` or `socketpair` (`SO_PEERCRED`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Credentials {
    /// Process id in our pid namespace, 0 if the process is in another one; it may have ended since.
    pub pid: i32,
    /// Effective user id in our user namespace.
    pub uid: u32,
    /// Effective group id in our user namespace.
    pub gid: u32,
}

/// A received message.
#[derive(Debug)]
pub struct Received {
    /// Length of the message in the caller's buffer. 0: the other end has closed.
    pub len: usize,
    /// The descriptors that came with it, all close-on-exec.
    pub fds: FdList,
}

/// One end of a connection.
#[derive(Debug)]
pub struct Connection {
    fd: OwnedFd,
}

impl Connection {
    /// Takes over a connected Unix `SOCK_SEQPACKET` socket.
    ///
    /// # Errors
    ///
    /// `ENOTSOCK`, or `EPROTONOSUPPORT` for another kind of socket. The descriptor is closed on error.
    pub fn adopt(fd: OwnedFd) -> io::Result<Self> {
        if sockopt::socket_domain(&fd)? != AddressFamily::UNIX
            || sockopt::socket_type(&fd)? != SocketType::SEQPACKET
        {
            return Err(Errno::PROTONOSUPPORT.into());
        }
        Ok(Self { fd })
    }

    /// Takes over an end of a socket pair, and refuses an end of a connection to a listening socket: otherwise a client
    /// could make the engine keep a connection to itself open for ever.
    ///
    /// # Errors
    ///
    /// As [`Connection::adopt`]; `EINVAL` for an end of a connection; `ENOTCONN`.
    pub fn adopt_pair_end(fd: OwnedFd) -> io::Result<Self> {
        let end = Self::adopt(fd)?;
        let peer = getpeername(&end.fd)?.map(SocketAddrUnix::try_from);
        let is_named = match peer {
            Some(Ok(peer)) => {
                let name = peer.path_bytes().or_else(|| peer.abstract_name());
                name.is_some_and(|name| !name.is_empty())
            }
            Some(Err(_)) => true,
            None => false,
        };
        if is_named {
            return Err(Errno::INVAL.into());
        }
        Ok(end)
    }

    /// Connects to the engine that listens at `path`. Waits at most a second if its backlog is full.
    ///
    /// # Errors
    ///
    /// `ENOENT`, `ECONNREFUSED`: no engine; `EACCES`; `EAGAIN`: its backlog is full; `ENAMETOOLONG`.
    pub fn connect(path: &Path) -> io::Result<Self> {
        let fd = unix_socket()?;
        let address = SocketAddrUnix::new(path)?;
        let end = Instant::now() + CROWDED;
        loop {
            match connect(&fd, &address) {
                // The others may be hostile: a client that keeps trying gets its turn (faults D3).
                Err(Errno::AGAIN) if Instant::now() < end => std::thread::sleep(CROWD_STEP),
                result => {
                    result?;
                    return Ok(Self { fd });
                }
            }
        }
    }

    /// Two connected ends, both close-on-exec.
    ///
    /// # Errors
    ///
    /// `EMFILE`, `ENFILE`, `ENOMEM`.
    pub fn pair() -> io::Result<(Self, Self)> {
        let flags = SocketFlags::CLOEXEC;
        let (one, other) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        Ok((Self { fd: one }, Self { fd: other }))
    }

    /// Sends one message with at most [`MAX_FDS`] descriptors, whole or not at all; never blocks.
    ///
    /// # Errors
    ///
    /// `EINVAL` for an empty message (it would read as the end) or too many descriptors; `EAGAIN` (`WouldBlock`) if the
    /// other end does not read; `EPIPE`, `ECONNRESET` if it has closed; `EMSGSIZE`; `ETOOMANYREFS` if too many
    /// descriptors are in flight.
    pub fn send(&self, message: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        if message.is_empty() || fds.len() > MAX_FDS {
            return Err(Errno::INVAL.into());
        }
        self.send_all(&[IoSlice::new(message)], fds)
    }

    /// [`Connection::send`] of one message that lies in two places, without descriptors.
    ///
    /// # Errors
    ///
    /// As [`Connection::send`]; `EINVAL` if the first part is empty.
    pub fn send_parts(&self, first: &[u8], second: &[u8]) -> io::Result<()> {
        if first.is_empty() {
            return Err(Errno::INVAL.into());
        }
        self.send_all(&[IoSlice::new(first), IoSlice::new(second)], &[])
    }

    fn send_all(&self, parts: &[IoSlice<'_>], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        let mut space = [MaybeUninit::uninit(); CONTROL_LEN];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
            return Err(Errno::INVAL.into());
        }
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        loop {
            match sendmsg(&self.fd, parts, &mut control, flags) {
                Err(Errno::INTR) => {}
                result => return Ok(result.map(drop)?),
            }
        }
    }

    /// Requests room for this many bytes of messages that the other end has not received. The kernel gives at most twice
    /// the system's limit (`net.core.wmem_max`).
    ///
    /// # Errors
    ///
    /// The kernel's error.
    pub fn set_send_buffer(&self, bytes: usize) -> io::Result<()> {
        Ok(sockopt::set_socket_send_buffer_size(&self.fd, bytes)?)
    }

    /// Receives one message; never blocks.
    ///
    /// # Errors
    ///
    /// `EAGAIN` (`WouldBlock`) if there is none; `InvalidData` if it did not fit in `into` or carried more than
    /// [`MAX_FDS`] descriptors (or more than we may open): the message is lost and all of its descriptors are closed;
    /// `ECONNRESET` if the other end closed with messages of ours unread.
    pub fn receive(&self, into: &mut [u8]) -> io::Result<Received> {
        let mut space = [MaybeUninit::uninit(); CONTROL_LEN];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
        let received = loop {
            let mut pieces = [IoSliceMut::new(into)];
            match recvmsg(&self.fd, &mut pieces, &mut control, flags) {
                Err(Errno::INTR) => {}
                result => break result?,
            }
        };
        let mut fds = FdList::new();
        let mut too_many = false;
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(arrived) = message {
                for fd in arrived {
                    too_many |= !fds.push(fd);
                }
            }
        }
        let is_cut = |flag| received.flags.intersects(flag);
        if too_many || is_cut(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
            let is_at_limit = is_cut(ReturnFlags::CTRUNC) && fds.len() < MAX_FDS;
            let text = match is_at_limit {
                true => {
                    "the limit on open files (LimitNOFILE=, ulimit -n) leaves no room for those of a message"
                }
                false => "a message that is too long, or carries too many descriptors",
            };
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        Ok(Received {
            len: received.bytes,
            fds,
        })
    }

    /// [`Connection::receive`], waiting at most `limit` for a message.
    ///
    /// # Errors
    ///
    /// `ETIMEDOUT` if none came; else as [`Connection::receive`].
    pub fn receive_within(&self, into: &mut [u8], limit: Duration) -> io::Result<Received> {
        let end = Instant::now() + limit;
        loop {
            match self.receive(into) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return result,
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Errno::TIMEDOUT.into());
            }
            let mut fds = [PollFd::new(&self.fd, PollFlags::IN)];
            match poll(&mut fds, Some(&timespec(left))) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Half-closes: after the messages already sent, the other end reads end of stream. Receiving still works.
    ///
    /// # Errors
    ///
    /// `ENOTCONN` if the other end has closed.
    pub fn finish(&self) -> io::Result<()> {
        shutdown(&self.fd, Shutdown::Write)?;
        Ok(())
    }

    /// The credentials of the other end.
    ///
    /// # Errors
    ///
    /// The kernel's error.
    pub fn peer_credentials(&self) -> io::Result<Credentials> {
        // Three numbers of 32 bits. rustix cannot represent a process whose id is 0 here: one in another pid namespace.
        let mut value = [0_u8; 12];
        let fd = self.fd.as_fd();
        socket_option::bytes(fd, libc::SOL_SOCKET, libc::SO_PEERCRED, &mut value)?;
        let [pid, uid, gid] = [0, 4, 8].map(|at| {
            let word = value.get(at..).and_then(|rest| rest.first_chunk());
            word.copied().map_or(0, u32::from_ne_bytes)
        });
        Ok(Credentials {
            pid: pid.cast_signed(),
            uid,
            gid,
        })
    }

    /// The supplementary groups of the other end; empty if they cannot be read.
    #[must_use]
    pub fn peer_groups(&self) -> Vec<u32> {
        // Room for as many groups as the kernel allows a process.
        let mut value = vec![0_u8; 4 * 65_536];
        let fd = self.fd.as_fd();
        let len = socket_option::bytes(fd, libc::SOL_SOCKET, SO_PEERGROUPS, &mut value);
        let bytes = value.get(..len.unwrap_or(0)).unwrap_or_default();
        let groups = bytes
            .chunks_exact(4)
            .filter_map(|group| group.first_chunk());
        groups.map(|group| u32::from_ne_bytes(*group)).collect()
    }

    /// Gives up the descriptor.
    #[must_use]
    pub fn into_fd(self) -> OwnedFd {
        self.fd
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn unix_socket() -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(socket_with(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        flags,
        None,
    )?)
}

#[cfg(test)]
mod tests;
