//! The descriptors of a received message.

use std::array;
use std::os::fd::OwnedFd;

use super::MAX_FDS;

/// Up to [`MAX_FDS`] descriptors, in the order they were sent. Dropping it closes the rest.
#[derive(Debug)]
pub struct FdList {
    fds: [Option<OwnedFd>; MAX_FDS],
    len: usize,
}

impl FdList {
    /// How many arrived.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether none arrived.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Takes the descriptor at `index`; `None` if it does not exist or has been taken.
    pub fn take(&mut self, index: usize) -> Option<OwnedFd> {
        self.fds.get_mut(index).and_then(Option::take)
    }

    pub(super) fn new() -> Self {
        Self {
            fds: [const { None }; MAX_FDS],
            len: 0,
        }
    }

    /// Adds `fd`; closes it and returns `false` if the list is full.
    pub(super) fn push(&mut self, fd: OwnedFd) -> bool {
        let Some(slot) = self.fds.get_mut(self.len) else {
            return false;
        };
        *slot = Some(fd);
        self.len += 1;
        true
    }
}

impl IntoIterator for FdList {
    type Item = OwnedFd;
    type IntoIter = std::iter::Flatten<array::IntoIter<Option<OwnedFd>, MAX_FDS>>;

    fn into_iter(self) -> Self::IntoIter {
        self.fds.into_iter().flatten()
    }
}
