//! Marks the fd numbers that concern this library, readable without a lock.
//!
//! OpenVPN without offload reads and writes millions of packets a second through the same functions; a call on an fd
//! that isn't ours must cost no more than this look-up.

use core::sync::atomic::{AtomicU8, Ordering};
use libc::c_int;

/// The fd has an entry in [`crate::state::State`].
pub(crate) const SERVED: u8 = 1;
/// The fd is in an epoll set, or is one.
pub(crate) const POLLED: u8 = 2;
/// The fd is this library's own; the program doesn't know of it.
pub(crate) const HIDDEN: u8 = 4;

/// The fd is a new socket of IPv4 or IPv6, through which nothing has been sent.
pub(crate) const FRESH: u8 = 8;

/// Fds from this number on are never ours.
pub(crate) const LIMIT: usize = 1 << 16;

static MARKS: [AtomicU8; LIMIT] = [const { AtomicU8::new(0) }; LIMIT];

/// Whether the fd has one of the marks in `wanted`.
pub(crate) fn has(fd: c_int, wanted: u8) -> bool {
    mark(fd).is_some_and(|mark| mark.load(Ordering::Acquire) & wanted != 0)
}

/// Adds a mark.
pub(crate) fn add(fd: c_int, bits: u8) {
    if let Some(mark) = mark(fd) {
        mark.fetch_or(bits, Ordering::AcqRel);
    }
}

/// Removes a mark.
pub(crate) fn remove(fd: c_int, bits: u8) {
    if let Some(mark) = mark(fd) {
        mark.fetch_and(!bits, Ordering::AcqRel);
    }
}

/// Whether the fd number is one that can be marked.
pub(crate) fn possible(fd: c_int) -> bool {
    mark(fd).is_some()
}

fn mark(fd: c_int) -> Option<&'static AtomicU8> {
    MARKS.get(usize::try_from(fd).ok()?)
}
