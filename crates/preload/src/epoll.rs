//! Tracks which of the program's fds are in which epoll sets.
//!
//! An epoll set holds the open file, not the number: when another file takes over a number, the old one must be
//! removed from the set and the new one added with the same event. OpenVPN 2.7 and TCP servers of 2.6 register only
//! once.

use crate::calls::{self, Errno};
use crate::{marks, real};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::ptr::null_mut;
use libc::{c_int, epoll_event};

/// All registrations of the program, by (epoll fd, fd).
pub(crate) struct Registrations(BTreeMap<(c_int, c_int), epoll_event>);

impl Registrations {
    /// None yet.
    pub(crate) const fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// Records a successful `epoll_ctl` of the program.
    pub(crate) fn note(
        &mut self,
        epoll: c_int,
        operation: c_int,
        fd: c_int,
        event: Option<epoll_event>,
    ) {
        match (operation, event) {
            (libc::EPOLL_CTL_ADD | libc::EPOLL_CTL_MOD, Some(event)) => {
                self.0.insert((epoll, fd), event);
                marks::add(epoll, marks::POLLED);
                marks::add(fd, marks::POLLED);
            }
            (libc::EPOLL_CTL_DEL, _) => {
                self.0.remove(&(epoll, fd));
            }
            _ => {}
        }
    }

    /// Forgets a closed number, whether an epoll set or a member.
    pub(crate) fn forget(&mut self, closed: c_int) {
        if marks::has(closed, marks::POLLED) {
            self.0
                .retain(|(epoll, fd), _| *epoll != closed && *fd != closed);
            marks::remove(closed, marks::POLLED);
        }
    }

    /// Runs `put`, which puts another file under the number `fd`, and moves the registrations over.
    pub(crate) fn replace(
        &self,
        fd: c_int,
        put: impl FnOnce() -> Result<(), Errno>,
    ) -> Result<(), Errno> {
        let mut taken_out = Vec::new();
        for ((epoll, _), event) in self.0.iter().filter(|((_, member), _)| *member == fd) {
            // A set closed without our notice fails here and is left alone.
            // SAFETY: EPOLL_CTL_DEL reads no event.
            let result = unsafe { real::epoll_ctl(*epoll, libc::EPOLL_CTL_DEL, fd, null_mut()) };
            if calls::checked(result).is_ok() {
                taken_out.push((*epoll, *event));
            }
        }
        let result = put();
        for (epoll, mut event) in taken_out {
            // SAFETY: the event outlives the call.
            unsafe { real::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, fd, &raw mut event) };
        }
        result
    }
}
