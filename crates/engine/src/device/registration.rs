//! A stream's entry in the epoll set of the worker that has it.
//!
//! Who may write to a stream, or free room in it, changes what its worker waits for: with a registration, without knowing
//! of workers.

use std::io;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex};

use udco_sys::epoll::{Interest, Poller};
use udco_sys::wake::Waker;

use crate::sync::lock;

/// Token of a worker's waker; sources have tokens from 1 on.
pub(crate) const WAKER: u64 = 0;

/// What the token of a source's second fd has in addition: of a stream's relay, or of the way by which packets are
/// handed over to a queue's worker.
pub(crate) const SECOND: u64 = 1 << 63;

/// Room for requests from the start: packets flow while they are made.
const ROOM: usize = 32;

/// What a worker waits with, and the requests that others leave for it.
pub(crate) struct EpollSet {
    pub(crate) poller: Poller,
    pub(crate) waker: Waker,
    requests: Mutex<Vec<Request>>,
}

/// What is asked of the worker that has a source, by the source's token.
pub(crate) enum Request {
    /// There is room again for the packets of this queue.
    Resume(u64),
    /// The peer of this stream is to be removed.
    Fail(u64),
    /// This source cannot be waited for.
    Rest(u64, io::Error),
}

/// A source's entry in a worker's set: its holder may change what the worker waits for.
#[derive(Clone)]
pub(crate) struct Registration {
    set: Arc<EpollSet>,
    token: u64,
}

impl EpollSet {
    pub(crate) fn new() -> io::Result<Self> {
        let (poller, waker) = (Poller::new()?, Waker::new()?);
        poller.add(&waker, WAKER, Interest::READ)?;
        Ok(Self {
            poller,
            waker,
            requests: Mutex::new(Vec::with_capacity(ROOM)),
        })
    }

    /// Takes the requests, and leaves an empty list with room in its place.
    pub(crate) fn take_requests(&self, into: &mut Vec<Request>) {
        std::mem::swap(into, &mut *lock(&self.requests));
    }

    fn request(&self, request: Request) {
        lock(&self.requests).push(request);
        self.waker.wake();
    }
}

impl Registration {
    /// The entry of the source with this token.
    pub(crate) const fn new(set: Arc<EpollSet>, token: u64) -> Self {
        Self { set, token }
    }

    /// The entry of a stream's relay.
    pub(crate) fn of_relay(&self) -> Self {
        Self::new(Arc::clone(&self.set), self.token | SECOND)
    }

    /// Has the worker wait for something else than before; `None` is not even for the end. Returns what it waits for
    /// now. If that is not what was asked for, it tries again after a pause.
    pub(crate) fn watch(
        &self,
        fd: impl AsFd,
        before: Option<Interest>,
        now: Option<Interest>,
    ) -> Option<Interest> {
        let (poller, token) = (&self.set.poller, self.token);
        let watched = match (before, now) {
            (before, now) if before == now => Ok(()),
            // Removing it may have failed.
            (None, Some(interest)) => poller.set(fd, token, interest),
            (Some(_), Some(interest)) => poller.modify(fd, token, interest),
            (_, None) => {
                // It may have left the set by itself.
                let _ = poller.remove(fd);
                Ok(())
            }
        };
        match watched {
            Ok(()) => now,
            Err(error) => {
                self.set.request(Request::Rest(token & !SECOND, error));
                before
            }
        }
    }

    /// There is room again for the packets of this queue.
    pub(crate) fn resume(&self) {
        self.set.request(Request::Resume(self.token));
    }

    /// The peer of this stream is to be removed.
    pub(crate) fn fail(&self) {
        self.set.request(Request::Fail(self.token));
    }
}
