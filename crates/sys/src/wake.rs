//! Waking a worker that sleeps in `epoll`.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{EventfdFlags, eventfd};
use rustix::io::{Errno, read, write};

/// An eventfd: readable from [`Waker::wake`] until [`Waker::clear`]. Share it behind an `Arc`.
#[derive(Debug)]
pub struct Waker {
    fd: OwnedFd,
}

impl Waker {
    /// A waker that has not been woken yet.
    ///
    /// # Errors
    ///
    /// `EMFILE`, `ENFILE`, `ENOMEM`.
    pub fn new() -> io::Result<Self> {
        let fd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { fd })
    }

    /// Makes the fd readable. Never blocks and cannot fail: a full counter is readable already.
    pub fn wake(&self) {
        let _ = write(&self.fd, &1_u64.to_ne_bytes());
    }

    /// Makes the fd unreadable again; `true` if it was woken. Call it *before* checking for the announced work, else a
    /// wake-up in between is lost.
    pub fn clear(&self) -> bool {
        let mut count = [0_u8; 8];
        loop {
            match read(&self.fd, &mut count) {
                Err(Errno::INTR) => {}
                result => return result.is_ok(),
            }
        }
    }
}

impl AsFd for Waker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
