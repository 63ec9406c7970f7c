//! A TCP connection in memory: two buffers in each direction, between which the network moves bytes when it likes.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;

use udco_engine::io::{ByteStream, Source};

use crate::ready::{ByReady, Ready};

/// `ECONNRESET`.
const RESET: i32 = 104;

/// One end of a connection. Clones are the same end.
#[derive(Clone, Debug)]
pub struct Stream(Rc<End>);

#[derive(Debug)]
struct End {
    ready: Ready,
    outgoing: Rc<Pipe>,
    incoming: Rc<Pipe>,
    /// The connection was reset; reported once.
    reset: Cell<Option<Reset>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reset {
    Unreported,
    Reported,
}

/// One direction.
#[derive(Debug)]
struct Pipe {
    /// Of the sending socket.
    unsent: RefCell<VecDeque<u8>>,
    /// Of the receiving socket.
    arrived: RefCell<VecDeque<u8>>,
    room: usize,
    moved: Cell<u64>,
}

impl Pipe {
    fn new(room: usize) -> Rc<Self> {
        Rc::new(Self {
            unsent: RefCell::default(),
            arrived: RefCell::default(),
            room,
            moved: Cell::new(0),
        })
    }
}

impl Stream {
    /// Both ends of a connection whose sockets have buffers of `room` bytes.
    #[must_use]
    pub fn pair(room: usize) -> (Self, Self) {
        let (one, other) = (Pipe::new(room), Pipe::new(room));
        let end = |outgoing: &Rc<Pipe>, incoming: &Rc<Pipe>| {
            let ready = Ready::default();
            ready.set_writable(true);
            Self(Rc::new(End {
                ready,
                outgoing: Rc::clone(outgoing),
                incoming: Rc::clone(incoming),
                reset: Cell::new(None),
            }))
        };
        (end(&one, &other), end(&other, &one))
    }

    /// Bytes that wait for the network.
    #[must_use]
    pub fn unsent(&self) -> usize {
        self.0.outgoing.unsent.borrow().len()
    }

    /// Bytes that the network has moved away from this end.
    #[must_use]
    pub fn moved(&self) -> u64 {
        self.0.outgoing.moved.get()
    }

    /// The network moves up to `most` bytes from this end to `far`, and returns how many.
    pub fn transfer(&self, far: &Self, most: usize) -> usize {
        let pipe = &self.0.outgoing;
        let mut unsent = pipe.unsent.borrow_mut();
        let mut arrived = pipe.arrived.borrow_mut();
        let moved = most.min(unsent.len()).min(pipe.room - arrived.len());
        arrived.extend(unsent.drain(..moved));
        pipe.moved.set(pipe.moved.get() + moved as u64);
        if self.0.reset.get().is_none() {
            self.0.ready.set_writable(unsent.len() < pipe.room);
            far.0.ready.set_readable(!arrived.is_empty());
        }
        moved
    }

    /// Bytes that nobody sent arrive at this end.
    pub fn inject(&self, bytes: &[u8]) {
        self.0.incoming.arrived.borrow_mut().extend(bytes);
        self.0.ready.set_readable(true);
    }

    /// The connection is reset: what is on its way is lost.
    pub fn reset(&self, far: &Self) {
        for end in [self, far] {
            end.0.incoming.arrived.borrow_mut().clear();
            end.0.outgoing.unsent.borrow_mut().clear();
            end.0.reset.set(Some(Reset::Unreported));
            end.0.ready.hang_up();
        }
    }

    fn fail_if_reset(&self, after: io::Result<usize>) -> Option<io::Result<usize>> {
        match self.0.reset.get()? {
            Reset::Unreported => {
                self.0.reset.set(Some(Reset::Reported));
                Some(Err(io::Error::from_raw_os_error(RESET)))
            }
            Reset::Reported => Some(after),
        }
    }
}

impl ByteStream for Stream {
    fn receive(&self, into: &mut [u8]) -> io::Result<usize> {
        if let Some(result) = self.fail_if_reset(Ok(0)) {
            return result;
        }
        let mut arrived = self.0.incoming.arrived.borrow_mut();
        if arrived.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let len = arrived.len().min(into.len());
        for (to, byte) in into.iter_mut().zip(arrived.drain(..len)) {
            *to = byte;
        }
        self.0.ready.set_readable(!arrived.is_empty());
        Ok(len)
    }

    fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        let broken = io::Error::from_raw_os_error(RESET);
        if let Some(result) = self.fail_if_reset(Err(broken)) {
            return result;
        }
        let mut unsent = self.0.outgoing.unsent.borrow_mut();
        let len = bytes.len().min(self.0.outgoing.room - unsent.len());
        if len == 0 && !bytes.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        unsent.extend(&bytes[..len]);
        self.0
            .ready
            .set_writable(unsent.len() < self.0.outgoing.room);
        Ok(len)
    }

    fn has_ended(error: &io::Error) -> bool {
        error.raw_os_error() == Some(RESET)
    }

    fn clear_error(&self) {}

    fn limit_unsent(&self, _: u32) {}

    fn disable_nagle(&self) {}

    fn clear_linger(&self) {}
}

impl<I: ByReady> Source<I> for Stream {
    fn handle(&self) -> &Ready {
        &self.0.ready
    }
}
