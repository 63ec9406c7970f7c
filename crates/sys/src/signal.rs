//! The signals that request an end, as a descriptor that becomes readable.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;

use rustix::io::{Errno, read};

/// Bytes of `struct signalfd_siginfo`, which starts with the signal's number.
const INFO: usize = 128;

/// SIGINT and SIGTERM; they no longer end the process by themselves.
#[derive(Debug)]
pub struct Termination {
    fd: OwnedFd,
}

impl Termination {
    /// Blocks both signals in the calling thread and in those that it starts: call it before there are others.
    ///
    /// # Errors
    ///
    /// `EMFILE`, `ENFILE`, `ENOMEM`.
    pub fn catch() -> io::Result<Self> {
        let set = signals();
        // SAFETY: `set` is initialised, and the old mask isn't requested.
        let error =
            unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, ptr::null_mut()) };
        if error != 0 {
            return Err(io::Error::from_raw_os_error(error));
        }
        let flags = libc::SFD_CLOEXEC | libc::SFD_NONBLOCK;
        // SAFETY: `set` is initialised; -1 makes a new descriptor.
        let fd = unsafe { libc::signalfd(-1, &raw const set, flags) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just made it for us.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self { fd })
    }

    /// The name of a signal, if one has arrived; never blocks.
    #[must_use]
    pub fn received(&self) -> Option<&'static str> {
        let mut info = [0; INFO];
        loop {
            match read(&self.fd, &mut info) {
                Err(Errno::INTR) => {}
                Ok(INFO) => break,
                _ => return None,
            }
        }
        let number = info.first_chunk().map(|bytes| i32::from_ne_bytes(*bytes));
        Some(match number {
            Some(libc::SIGINT) => "SIGINT",
            _ => "SIGTERM",
        })
    }
}

impl AsFd for Termination {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn signals() -> libc::sigset_t {
    // SAFETY: all zeroes is a valid sigset_t.
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: `set` is live and exclusive.
    unsafe { libc::sigemptyset(&raw mut set) };
    for signal in [libc::SIGINT, libc::SIGTERM] {
        // SAFETY: `set` is initialised, and the signal a valid one.
        unsafe { libc::sigaddset(&raw mut set, signal) };
    }
    set
}
