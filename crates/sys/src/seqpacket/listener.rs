//! The socket file at which an engine's clients connect.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, chmod};
use rustix::io::Errno;
use rustix::net::{SocketAddrUnix, SocketFlags, accept_with, bind, listen, sockopt};

use super::{Connection, access_list, unix_socket};

/// How many clients may wait to be accepted. The kernel may allow fewer (`somaxconn`, 4,096 by default).
const BACKLOG: i32 = 4096;

/// A socket file at which clients connect.
#[derive(Debug)]
pub struct Listener {
    pub(super) fd: OwnedFd,
}

impl Listener {
    /// Listens at `path` for root, this process's user, and these users and groups.
    ///
    /// # Errors
    ///
    /// As [`Listener::listen`]; `Unsupported` if an access list is needed and the file system does not support them.
    pub fn listen_for(path: &Path, uids: &[u32], gids: &[u32]) -> io::Result<Self> {
        Self::listen_with(path, || access_list::restrict(path, uids, gids))
    }

    /// Listens at `path` with the file mode `mode` (permission bits, e.g. `0o660`).
    ///
    /// The mode is set before `listen`, so that no client can connect in between. Nothing here removes files, neither
    /// an old one beforehand nor this one at the end.
    ///
    /// # Errors
    ///
    /// `EADDRINUSE`: the file exists; `EACCES`, `ENOENT`, `ENAMETOOLONG`.
    pub fn listen(path: &Path, mode: u32) -> io::Result<Self> {
        Self::listen_with(path, || Ok(chmod(path, Mode::from_raw_mode(mode))?))
    }

    fn listen_with(path: &Path, restrict: impl FnOnce() -> io::Result<()>) -> io::Result<Self> {
        let fd = unix_socket()?;
        bind(&fd, &SocketAddrUnix::new(path)?)?;
        if let Err(error) = restrict() {
            let _ = std::fs::remove_file(path);
            return Err(error);
        }
        listen(&fd, BACKLOG)?;
        Ok(Self { fd })
    }

    /// Takes over a listening socket, e.g. from socket activation.
    ///
    /// # Errors
    ///
    /// `ENOTSOCK`, or `EPROTONOSUPPORT` for a socket of another kind or one that does not listen.
    pub fn adopt(fd: OwnedFd) -> io::Result<Self> {
        let fd = Connection::adopt(fd)?.into_fd();
        if !sockopt::socket_acceptconn(&fd)? {
            return Err(Errno::PROTONOSUPPORT.into());
        }
        rustix::io::ioctl_fionbio(&fd, true)?;
        Ok(Self { fd })
    }

    /// The next waiting connection; never blocks.
    ///
    /// # Errors
    ///
    /// `EAGAIN` (`WouldBlock`) if none waits; `EMFILE`, `ENFILE`: it keeps waiting.
    pub fn accept(&self) -> io::Result<Connection> {
        loop {
            match accept_with(&self.fd, SocketFlags::CLOEXEC) {
                Err(Errno::INTR | Errno::CONNABORTED) => {}
                result => return Ok(Connection { fd: result? }),
            }
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
