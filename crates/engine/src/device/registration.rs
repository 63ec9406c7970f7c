//! A stream's entry in the epoll set of the worker that has it.
//!
//! A thread that writes to a stream, or makes room in it, changes what the stream's worker waits for through its
//! registration, without knowing about workers.

use std::io;
use std::sync::{Arc, Mutex};

use crate::io::{Interest, Io, Poller, Source, Waker};
use crate::sync::lock;

/// Token of a worker's waker; sources have tokens from 1 on.
pub(crate) const WAKER: u64 = 0;

/// Marks the token of a source's second descriptor: a stream's relay, or the hand-off ring of a queue.
pub(crate) const SECOND: u64 = 1 << 63;

/// Marks the token of a queue's descriptor for sparse flows, the third one that it may have.
pub(crate) const SPARSE: u64 = 1 << 62;

/// The token of the source, without marks.
pub(crate) const fn source_of(token: u64) -> u64 {
    token & !(SECOND | SPARSE)
}

/// Room for requests from the start: they are made while packets flow.
const ROOM: usize = 32;

/// A worker's epoll set, and the requests that others leave for it.
pub(crate) struct EpollSet<I: Io> {
    pub(crate) poller: I::Poller,
    pub(crate) waker: I::Waker,
    requests: Mutex<Vec<Request>>,
}

/// A request to the worker that has a source, by the source's token.
pub(crate) enum Request {
    /// There is room again for the packets of this queue.
    Resume(u64),
    /// The peer of this stream is to be removed.
    Fail(u64),
    /// This source cannot be waited for.
    Rest(u64, io::Error),
}

/// A source's entry in a worker's set: it changes what the worker waits for.
#[derive(Clone)]
pub(crate) struct Registration<I: Io> {
    set: Arc<EpollSet<I>>,
    token: u64,
}

impl<I: Io> EpollSet<I> {
    pub(crate) fn new() -> io::Result<Self> {
        let (poller, waker) = (I::Poller::new()?, I::Waker::new()?);
        poller.set(waker.handle(), WAKER, Interest::READ)?;
        Ok(Self {
            poller,
            waker,
            requests: Mutex::new(Vec::with_capacity(ROOM)),
        })
    }

    /// Takes the requests, and leaves an empty list with capacity in their place.
    pub(crate) fn take_requests(&self, into: &mut Vec<Request>) {
        std::mem::swap(into, &mut *lock(&self.requests));
    }

    fn request(&self, request: Request) {
        lock(&self.requests).push(request);
        self.waker.wake();
    }
}

impl<I: Io> Registration<I> {
    /// The entry of the source with this token.
    pub(crate) const fn new(set: Arc<EpollSet<I>>, token: u64) -> Self {
        Self { set, token }
    }

    /// The entry of a stream's relay.
    pub(crate) fn of_relay(&self) -> Self {
        Self::new(Arc::clone(&self.set), self.token | SECOND)
    }

    /// Changes what the worker waits for; `None` waits for nothing, not even the end. Returns what it waits for now; if
    /// that differs, the worker retries after a pause.
    pub(crate) fn watch(
        &self,
        source: I::Handle<'_>,
        before: Option<Interest>,
        now: Option<Interest>,
    ) -> Option<Interest> {
        let (poller, token) = (&self.set.poller, self.token);
        let watched = match (before, now) {
            (before, now) if before == now => Ok(()),
            // An earlier removal may have failed.
            (None, Some(interest)) => poller.set(source, token, interest),
            (Some(_), Some(interest)) => poller.modify(source, token, interest),
            (_, None) => {
                // It may have left the set by itself.
                let _ = poller.remove(source);
                Ok(())
            }
        };
        match watched {
            Ok(()) => now,
            Err(error) => {
                self.set.request(Request::Rest(source_of(token), error));
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
