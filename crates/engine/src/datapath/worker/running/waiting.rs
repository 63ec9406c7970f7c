//! Which sources a worker waits for: it pauses those whose packets find no room, rests those whose calls fail, and takes
//! both up again.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use udco_core::sparse::Class;
use udco_ipc::message_id;

use super::Running;
use crate::datapath::worker::Source;
use crate::device::registration::{Registration, SECOND, SPARSE};
use crate::device::transport::Transport;
use crate::io::{Interest, Io, Moment, Poller, Source as _, Tun};

/// How often in a row a UDP socket may wake its worker for nothing. One that another process has shut down does so forever
/// (faults D2).
const FRUITLESS: u32 = 256;

/// How long such a socket rests.
const REST: Duration = Duration::from_millis(100);

impl<I: Io> Running<I> {
    /// Starts, or resumes, waiting for a source.
    pub(super) fn come_back(&mut self, token: u64, now: Moment) {
        let Some(source) = self.sources.get(&token) else {
            return;
        };
        if let Some(stream) = source.stream() {
            stream.rest(false);
            return;
        }
        let interest = match self.paused.contains(&token) {
            true => Interest::NONE,
            false => Interest::READ,
        };
        let poller = &self.shared.set.poller;
        let mut handles = source.handles();
        let watched = handles
            .try_for_each(|(class, handle)| poller.set(handle, marked(token, class), interest))
            .and_then(|()| match source.waker() {
                Some(waker) => poller.set(waker.handle(), token | SECOND, Interest::READ),
                None => Ok(()),
            });
        drop(handles);
        if let Err(error) = watched {
            self.rest(token, &error, now);
        }
    }

    /// Changes what is waited for at a queue.
    fn watch(&self, token: u64, interest: Interest) -> io::Result<()> {
        let poller = &self.shared.set.poller;
        let source = self.sources.get(&token).ok_or(io::ErrorKind::NotFound)?;
        let mut outcome = Ok(());
        for (class, handle) in source.handles() {
            let watched = poller.modify(handle, marked(token, class), interest);
            outcome = outcome.and(watched);
        }
        outcome
    }

    /// Stops waiting for a source; whether it was waited for.
    fn unwatch(&self, source: &Source<I>) -> bool {
        let poller = &self.shared.set.poller;
        let mut was_watched = true;
        for (_, handle) in source.handles() {
            // It may have left the set with its interface.
            was_watched &= poller.remove(handle).is_ok();
        }
        was_watched
    }

    pub(super) fn registration(&self, token: u64) -> Registration<I> {
        Registration::new(Arc::clone(&self.shared.set), token)
    }

    /// Stops reading a queue until there is room in the stream of its only peer.
    pub(super) fn pause(&mut self, token: u64, full: &Transport<I>) {
        let Some(stream) = full.as_stream() else {
            return;
        };
        if stream.wait(self.registration(token)) {
            if self.watch(token, Interest::NONE).is_ok() {
                self.paused.push(token);
            } else {
                let _ = self.watch(token, Interest::READ);
            }
        }
    }

    pub(super) fn resume(&mut self, token: u64) {
        let paused = self.paused.len();
        self.paused.retain(|other| *other != token);
        if self.paused.len() < paused {
            // It may have left the set with its interface.
            let _ = self.watch(token, Interest::READ);
        }
    }

    /// A queue waits for the only peer of its device; once there are others, it no longer waits.
    pub(super) fn resume_shared(&mut self) {
        let is_shared = |token: &u64| match self.sources.get(token) {
            Some(Source::Tun(device, _)) => device.snapshot().peers.len() != 1,
            _ => true,
        };
        let shared = self.paused.iter().copied().filter(is_shared);
        for token in shared.collect::<Vec<_>>() {
            self.resume(token);
        }
    }

    /// Rests a source that keeps waking the worker for nothing: a spinning worker is lost to the others.
    pub(super) fn mark_fruitless(&mut self, token: u64, was_fruitless: bool, now: Moment) {
        if !was_fruitless {
            if !self.fruitless.is_empty() {
                self.fruitless.retain(|(other, _)| *other != token);
            }
            return;
        }
        let known = self.fruitless.iter_mut().find(|(other, _)| *other == token);
        let Some((_, count)) = known else {
            self.fruitless.push((token, 1));
            return;
        };
        *count += 1;
        if *count < FRUITLESS {
            return;
        }
        self.fruitless.retain(|(other, _)| *other != token);
        if let Some(source) = self.sources.get(&token)
            && self.unwatch(source)
        {
            self.resting.leave_alone(token, now.after(REST));
        }
    }

    /// A call on a source has failed.
    pub(super) fn failed(&mut self, token: u64, error: &io::Error, now: Moment) {
        match self.sources.get(&token) {
            Some(Source::Tun(device, _)) if I::Tun::is_gone(error) => {
                // Trying again would only spin (promises J1). Its peers end here; the rest of it goes where waiting for
                // workers is allowed.
                let name = &device.interface.name;
                tracing::info!(
                    message_id = message_id::DEVICE_DELETED,
                    device = name,
                    "{name}: the device is gone"
                );
                device.end();
                drop(self.forget(token));
            }
            _ => self.rest(token, error, now),
        }
    }

    /// Rests a source (faults B2).
    pub(super) fn rest(&mut self, token: u64, error: &io::Error, now: Moment) {
        let Some(source) = self.sources.get(&token) else {
            return;
        };
        let pause = self.resting.begin(token, now);
        if let Some(times) = pause.line {
            tracing::warn!(
                device = source.device().interface.name,
                "{}: {} failed: {error}{times}; retrying",
                source.device().interface.name,
                source.what()
            );
        }
        if let Some(stream) = source.stream() {
            stream.rest(true);
        } else {
            self.unwatch(source);
        }
    }

    /// Waits again for the sources that have rested long enough.
    pub(crate) fn wake_rested(&mut self, now: Moment) {
        while let Some(token) = self.resting.take_due(now) {
            self.come_back(token, now);
        }
    }

    /// Gives up a source, and stops waiting for it.
    pub(super) fn forget(&mut self, token: u64) -> Option<Source<I>> {
        let source = self.sources.remove(&token)?;
        self.placements.retain(|(other, _)| *other != token);
        self.paused.retain(|other| *other != token);
        self.fruitless.retain(|(other, _)| *other != token);
        self.resting.forget(token);
        if let Some(stream) = source.stream() {
            stream.deregister(&mut self.control);
        } else {
            self.unwatch(&source);
            if let Some(waker) = source.waker() {
                let _ = self.shared.set.poller.remove(waker.handle());
            }
        }
        Some(source)
    }
}

/// The token of a source's descriptor for flows of this class.
const fn marked(token: u64, class: Class) -> u64 {
    match class {
        Class::Bulk => token,
        Class::Sparse => token | SPARSE,
    }
}
