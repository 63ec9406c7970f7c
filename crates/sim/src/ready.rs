//! Readiness without a kernel: what a worker waits with.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::time::Duration;

use udco_engine::io::{Event, Events, Interest, Io, Poller, Source, Waker};

/// Any I/O whose sources are known by their readiness: one that replaces only some of [`crate::memory::Sim`]'s.
pub trait ByReady: for<'a> Io<Handle<'a> = &'a Ready> {}

impl<I: for<'a> Io<Handle<'a> = &'a Ready>> ByReady for I {}

/// What a source is ready for. Clones are the same source.
#[derive(Clone, Debug, Default)]
pub struct Ready(Rc<Cell<Flags>>);

#[derive(Clone, Copy, Debug, Default)]
struct Flags {
    readable: bool,
    writable: bool,
    hangup: bool,
}

impl Ready {
    /// Sets whether it can be read.
    pub fn set_readable(&self, readable: bool) {
        self.0.set(Flags {
            readable,
            ..self.0.get()
        });
    }

    /// Sets whether there is room to write.
    pub fn set_writable(&self, writable: bool) {
        self.0.set(Flags {
            writable,
            ..self.0.get()
        });
    }

    /// Its connection has ended.
    pub fn hang_up(&self) {
        self.0.set(Flags {
            readable: true,
            writable: true,
            hangup: true,
        });
    }

    fn event(&self, token: u64, interest: Interest) -> Option<Event> {
        let flags = self.0.get();
        let event = Event {
            token,
            readable: flags.readable && interest.readable,
            writable: flags.writable && interest.writable,
            error: flags.hangup,
            hangup: flags.hangup,
        };
        (event.readable || event.writable || event.hangup).then_some(event)
    }
}

/// A level-triggered set, which reports its sources in the order in which they came.
#[derive(Debug, Default)]
pub struct Set(RefCell<Vec<(Ready, u64, Interest)>>);

/// The events of one look.
#[derive(Debug)]
pub struct Happened {
    events: Vec<Event>,
    capacity: usize,
}

impl<I: ByReady> Poller<I> for Set {
    type Events = Happened;

    fn new() -> io::Result<Self> {
        Ok(Self::default())
    }

    fn set(&self, source: &Ready, token: u64, interest: Interest) -> io::Result<()> {
        if Poller::<I>::modify(self, source, token, interest).is_err() {
            let entry = (source.clone(), token, interest);
            self.0.borrow_mut().push(entry);
        }
        Ok(())
    }

    fn modify(&self, source: &Ready, token: u64, interest: Interest) -> io::Result<()> {
        let mut entries = self.0.borrow_mut();
        let entry = entries
            .iter_mut()
            .find(|(ready, ..)| Rc::ptr_eq(&ready.0, &source.0))
            .ok_or(io::ErrorKind::NotFound)?;
        (entry.1, entry.2) = (token, interest);
        Ok(())
    }

    fn remove(&self, source: &Ready) -> io::Result<()> {
        let mut entries = self.0.borrow_mut();
        let before = entries.len();
        entries.retain(|(ready, ..)| !Rc::ptr_eq(&ready.0, &source.0));
        match entries.len() < before {
            true => Ok(()),
            false => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn wait(&self, happened: &mut Happened, _: Option<Duration>) -> io::Result<usize> {
        happened.events.clear();
        let entries = self.0.borrow();
        let ready = entries
            .iter()
            .filter_map(|(ready, token, interest)| ready.event(*token, *interest));
        happened.events.extend(ready.take(happened.capacity));
        Ok(happened.events.len())
    }
}

impl Events for Happened {
    fn with_capacity(capacity: usize) -> Self {
        Self {
            events: Vec::with_capacity(capacity),
            capacity,
        }
    }

    fn iter(&self) -> impl Iterator<Item = Event> + '_ {
        self.events.iter().copied()
    }
}

/// Wakes the worker that waits for it.
#[derive(Debug, Default)]
pub struct Bell(Ready);

impl Waker for Bell {
    fn new() -> io::Result<Self> {
        Ok(Self::default())
    }

    fn wake(&self) {
        self.0.set_readable(true);
    }

    fn clear(&self) -> bool {
        let was_readable = self.0.0.get().readable;
        self.0.set_readable(false);
        was_readable
    }
}

impl<I: ByReady> Source<I> for Bell {
    fn handle(&self) -> &Ready {
        &self.0
    }
}
