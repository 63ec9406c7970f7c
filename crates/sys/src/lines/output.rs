//! An output, and how to write to it without waiting.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, Mode, OFlags, fstat, open};
use rustix::io::{Errno, ReadWriteFlags, pwritev2, write};
use rustix::net::{SendFlags, send};

use super::form::{Style, journal};
use super::journal::Journal;
use super::record::LONGEST;

/// An output.
#[derive(Debug)]
pub(super) enum Output {
    /// `MSG_DONTWAIT`: the journal is a socket.
    Socket(Fd),
    /// A regular file, which never waits for a reader, or an open file of our own with `O_NONBLOCK`.
    Direct(Fd),
    /// Shared with processes that may want it to block: polled before each piece of this many bytes.
    Asked(Fd, usize),
    /// journald, which takes an entry as a whole.
    Journal(&'static Journal),
}

#[derive(Debug)]
pub(super) enum Fd {
    StandardError,
    Own(OwnedFd),
}

impl Output {
    /// An output, with an open file of our own where that helps, and the form of its lines.
    pub(super) fn of(fd: Fd) -> (Self, Style) {
        let style = Style::of(fd.as_fd());
        let kind = fstat(fd.as_fd()).map(|status| FileType::from_raw_mode(status.st_mode));
        let own = match kind {
            Ok(FileType::Fifo | FileType::CharacterDevice) => reopened(fd.as_fd()).ok(),
            _ => None,
        };
        match own {
            Some(own) => (Self::Direct(Fd::Own(own)), style),
            None => Self::shared(fd),
        }
    }

    /// Without an open file of our own: a confined engine cannot open one.
    pub(super) fn shared(fd: Fd) -> (Self, Style) {
        if let Some(journal) = journal().filter(|journal| journal.is_behind(&fd)) {
            return (Self::Journal(journal), Style::Journal);
        }
        let style = Style::of(fd.as_fd());
        let kind = fstat(fd.as_fd()).map(|status| FileType::from_raw_mode(status.st_mode));
        let output = match kind {
            Ok(FileType::Socket) => Self::Socket(fd),
            Ok(FileType::Fifo | FileType::CharacterDevice) => {
                // A terminal only promises room for one byte.
                let is_terminal = rustix::termios::isatty(fd.as_fd());
                Self::Asked(fd, if is_terminal { 1 } else { LONGEST })
            }
            _ => Self::Direct(fd),
        };
        (output, style)
    }

    /// Writes as much as fits without waiting, and returns how much that was.
    pub(super) fn write(&self, bytes: &[u8]) -> usize {
        let mut written = 0;
        while written < bytes.len() {
            match self.write_some(&bytes[written..]) {
                Ok(some) if some > 0 => written += some,
                Err(Errno::INTR) => {}
                _ => break,
            }
        }
        written
    }

    fn write_some(&self, bytes: &[u8]) -> rustix::io::Result<usize> {
        match self {
            Self::Socket(fd) => {
                let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
                send(fd.as_fd(), bytes, flags)
            }
            Self::Direct(fd) => write(fd.as_fd(), bytes),
            Self::Journal(journal) => journal.send(bytes),
            Self::Asked(fd, piece) => {
                let piece = &bytes[..bytes.len().min(*piece)];
                let now = ReadWriteFlags::NOWAIT;
                // Offset -1 means the file's own position.
                match pwritev2(fd.as_fd(), &[IoSlice::new(piece)], u64::MAX, now) {
                    Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL | Errno::SPIPE) => {}
                    result => return result,
                }
                let mut asked = [PollFd::new(fd, PollFlags::OUT)];
                poll(&mut asked, Some(&Timespec::default()))?;
                if !asked[0].revents().contains(PollFlags::OUT) {
                    return Err(Errno::AGAIN);
                }
                write(fd.as_fd(), piece)
            }
        }
    }
}

/// Opens the same file again: `O_NONBLOCK` is then ours alone. Fails without `/proc`, or for another user's terminal.
fn reopened(fd: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    Ok(open(path, flags, Mode::empty())?)
}

impl AsFd for Fd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::StandardError => rustix::stdio::stderr(),
            Self::Own(fd) => fd.as_fd(),
        }
    }
}
