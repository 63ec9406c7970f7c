//! Waiting for many descriptors.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::{Timespec, epoll};
use rustix::io::Errno;

/// What to wait for. Errors and hang-ups are always reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interest {
    /// Data, a connection or the peer's half-close can be read.
    pub readable: bool,
    /// There is room to write.
    pub writable: bool,
}

impl Interest {
    /// Only errors and hang-ups.
    pub const NONE: Self = Self {
        readable: false,
        writable: false,
    };
    /// Readable.
    pub const READ: Self = Self {
        readable: true,
        writable: false,
    };
    /// Writable.
    pub const WRITE: Self = Self {
        readable: false,
        writable: true,
    };
    /// Both.
    pub const BOTH: Self = Self {
        readable: true,
        writable: true,
    };

    fn flags(self) -> epoll::EventFlags {
        let mut flags = epoll::EventFlags::empty();
        flags.set(
            epoll::EventFlags::IN | epoll::EventFlags::RDHUP,
            self.readable,
        );
        flags.set(epoll::EventFlags::OUT, self.writable);
        flags
    }
}

/// An event on one descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// The token given to [`Poller::add`].
    pub token: u64,
    /// Data or the end of the stream can be read.
    pub readable: bool,
    /// There is room to write.
    pub writable: bool,
    /// `EPOLLERR`: the error queue of a UDP socket needs a [`drain_errors`](crate::udp::UdpSocket::drain_errors), else
    /// this event recurs at once.
    pub error: bool,
    /// `EPOLLHUP` or `EPOLLRDHUP`: the other side has closed, or the TUN interface is gone.
    pub hangup: bool,
}

/// A fixed array that [`Poller::wait`] fills; make it once per thread.
pub struct Events {
    slots: Vec<epoll::Event>,
    filled: usize,
}

impl Events {
    /// Room for `capacity` events per call (at least one).
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        let empty = epoll::Event {
            flags: epoll::EventFlags::empty(),
            data: epoll::EventData::new_u64(0),
        };
        Self {
            slots: vec![empty; capacity.max(1)],
            filled: 0,
        }
    }

    /// The events of the last wait.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Event> + '_ {
        self.slots.iter().take(self.filled).map(|event| {
            let flags = event.flags;
            let hangup = flags.intersects(epoll::EventFlags::HUP | epoll::EventFlags::RDHUP);
            Event {
                token: event.data.u64(),
                readable: flags.contains(epoll::EventFlags::IN),
                writable: flags.contains(epoll::EventFlags::OUT),
                error: flags.contains(epoll::EventFlags::ERR),
                hangup,
            }
        })
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// A level-triggered epoll set.
///
/// Level-triggered because the descriptors are shared with other processes (promises G3): a datagram that another
/// process steals must not cost us the next edge.
#[derive(Debug)]
pub struct Poller {
    fd: OwnedFd,
}

impl Poller {
    /// An empty set.
    ///
    /// # Errors
    ///
    /// `EMFILE`, `ENFILE`, `ENOMEM`.
    pub fn new() -> io::Result<Self> {
        let fd = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        Ok(Self { fd })
    }

    /// Watches `fd`. Only [`Poller::remove`] takes a descriptor out of the set: closing ours does not, as long as
    /// another process has the same open file.
    ///
    /// # Errors
    ///
    /// `EEXIST`: it's already in the set; `EPERM`: files of this kind cannot be polled; `ENOSPC`, `ENOMEM`.
    pub fn add(&self, fd: impl AsFd, token: u64, interest: Interest) -> io::Result<()> {
        epoll::add(
            &self.fd,
            fd,
            epoll::EventData::new_u64(token),
            interest.flags(),
        )?;
        Ok(())
    }

    /// Changes which events to watch `fd` for.
    ///
    /// # Errors
    ///
    /// `ENOENT`: it's not in the set.
    pub fn modify(&self, fd: impl AsFd, token: u64, interest: Interest) -> io::Result<()> {
        epoll::modify(
            &self.fd,
            fd,
            epoll::EventData::new_u64(token),
            interest.flags(),
        )?;
        Ok(())
    }

    /// Watches `fd`, whether or not it is already in the set.
    ///
    /// # Errors
    ///
    /// As [`Poller::add`].
    pub fn set(&self, fd: impl AsFd, token: u64, interest: Interest) -> io::Result<()> {
        match self.add(&fd, token, interest) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                self.modify(fd, token, interest)
            }
            added => added,
        }
    }

    /// Stops watching `fd`.
    ///
    /// # Errors
    ///
    /// `ENOENT`: it's not in the set.
    pub fn remove(&self, fd: impl AsFd) -> io::Result<()> {
        epoll::delete(&self.fd, fd)?;
        Ok(())
    }

    /// Waits for at least one event or for `timeout` (`None`: for ever; zero: polls only), fills `events` and returns
    /// their number. A signal ends the wait with 0 events.
    ///
    /// # Errors
    ///
    /// Only those of a broken set (`EBADF`, `EINVAL`).
    pub fn wait(&self, events: &mut Events, timeout: Option<Duration>) -> io::Result<usize> {
        events.filled = 0;
        let timeout = timeout.map(timespec);
        match epoll::wait(&self.fd, events.slots.as_mut_slice(), timeout.as_ref()) {
            Ok(filled) => {
                events.filled = filled;
                Ok(filled)
            }
            Err(Errno::INTR) => Ok(0),
            Err(error) => Err(error.into()),
        }
    }
}

impl AsFd for Poller {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Limits a wait to about 24 days, the longest that older kernels accept in milliseconds.
pub(crate) fn timespec(duration: Duration) -> Timespec {
    const LONGEST: Duration = Duration::from_secs(i32::MAX as u64 / 1_000);
    let duration = duration.min(LONGEST);
    Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(0),
        tv_nsec: i64::from(duration.subsec_nanos()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wake::Waker;

    #[test]
    fn a_waker_is_reported_until_cleared_and_not_after_removal() -> io::Result<()> {
        let poller = Poller::new()?;
        let mut events = Events::with_capacity(4);
        let waker = Waker::new()?;
        poller.add(&waker, 42, Interest::READ)?;
        assert_eq!(poller.wait(&mut events, Some(Duration::ZERO))?, 0);
        waker.wake();
        waker.wake();
        for _ in 0..2 {
            assert_eq!(poller.wait(&mut events, None)?, 1);
            let event = events.iter().next();
            assert!(
                event.is_some_and(|event| event.token == 42 && event.readable && !event.hangup)
            );
        }
        assert!(waker.clear());
        assert!(!waker.clear());
        assert_eq!(
            poller.wait(&mut events, Some(Duration::from_micros(300)))?,
            0
        );
        assert_eq!(events.iter().len(), 0);
        poller.modify(&waker, 43, Interest::NONE)?;
        waker.wake();
        assert_eq!(poller.wait(&mut events, Some(Duration::ZERO))?, 0);
        poller.remove(&waker)?;
        assert!(poller.remove(&waker).is_err());
        Ok(())
    }
}
