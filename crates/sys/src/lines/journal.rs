//! journald, by its native protocol: a line keeps its level, and its fields can be searched.

use std::ffi::OsStr;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixDatagram;

use rustix::fs::fstat;
use rustix::net::{SendFlags, send};

/// Where it listens.
const SOCKET: &str = "/run/systemd/journal/socket";

/// A connection to journald, and the stream to it that is a process's standard error.
#[derive(Debug)]
pub(super) struct Journal {
    socket: UnixDatagram,
    stream: File,
}

/// A file, whichever descriptor refers to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct File {
    device: u64,
    inode: u64,
}

impl File {
    fn of(fd: impl AsFd) -> io::Result<Self> {
        let status = fstat(fd)?;
        Ok(Self {
            device: status.st_dev,
            inode: status.st_ino,
        })
    }

    /// `DEVICE:INODE`, as in `JOURNAL_STREAM`.
    fn from_variable(text: &str) -> Option<Self> {
        let (device, inode) = text.split_once(':')?;
        Some(Self {
            device: device.parse().ok()?,
            inode: inode.parse().ok()?,
        })
    }
}

/// Whether standard error leads to the journal, by the variable `JOURNAL_STREAM` (systemd.exec(5)).
#[must_use]
pub fn is_standard_error(variable: Option<&OsStr>) -> bool {
    let stream = variable
        .and_then(OsStr::to_str)
        .and_then(File::from_variable);
    stream.is_some_and(|stream| File::of(rustix::stdio::stderr()).is_ok_and(|own| own == stream))
}

impl Journal {
    /// Connects. Standard error must lead there.
    ///
    /// # Errors
    /// If nothing listens there, as in many containers.
    pub(super) fn connect() -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.connect(SOCKET)?;
        let stream = File::of(rustix::stdio::stderr())?;
        Ok(Self { socket, stream })
    }

    /// Whether a descriptor refers to the same stream.
    pub(super) fn is_behind(&self, fd: impl AsFd) -> bool {
        File::of(fd).is_ok_and(|file| file == self.stream)
    }

    /// Sends an entry, without waiting.
    pub(super) fn send(&self, entry: &[u8]) -> rustix::io::Result<usize> {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        send(&self.socket, entry, flags)
    }
}
