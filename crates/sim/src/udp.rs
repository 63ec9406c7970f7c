//! A UDP socket in memory: batches, coalescing, segmentation, and refusals as the kernel has them.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::rc::Rc;

use udco_engine::io::{
    Datagram, Datagrams, Inbox, MAX_SEGMENTS, Message, Outbox, Outcome, Sent, Source,
};

use crate::ready::{ByReady, Ready};

/// `EMSGSIZE`: a segment is longer than the path's MTU.
const TOO_LONG: i32 = 90;

/// Datagrams that a socket holds for its owner; what comes beyond that is lost.
const ROOM: usize = 512;

/// A socket. Clones are the same one: the engine has one end, the network the other.
#[derive(Clone, Debug)]
pub struct Socket(Rc<State>);

#[derive(Debug)]
struct State {
    ready: Ready,
    local: Cell<IpAddr>,
    arrived: RefCell<VecDeque<Arrival>>,
    departed: RefCell<Vec<Departure>>,
    mood: Cell<Mood>,
}

/// How the kernel behind a socket treats its owner.
#[derive(Clone, Copy, Debug)]
pub struct Mood {
    /// It hands over datagrams of one size as one.
    pub coalesces: bool,
    /// It refuses messages of several segments.
    pub refuses_segments: bool,
    /// Datagrams that find room until [`Socket::take_departed`]; the rest is refused.
    pub room: usize,
}

/// A datagram on its way in.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// The payload.
    pub bytes: Vec<u8>,
    /// Where it came from.
    pub source: SocketAddr,
}

/// A datagram on its way out.
#[derive(Clone, Debug)]
pub struct Departure {
    /// The payload.
    pub bytes: Vec<u8>,
    /// Where it goes to.
    pub destination: SocketAddr,
}

impl Default for Mood {
    fn default() -> Self {
        Self {
            coalesces: false,
            refuses_segments: false,
            room: usize::MAX,
        }
    }
}

impl Socket {
    /// A socket with this address of its own.
    #[must_use]
    pub fn new(local: IpAddr) -> Self {
        Self(Rc::new(State {
            ready: Ready::default(),
            local: Cell::new(local),
            arrived: RefCell::default(),
            departed: RefCell::default(),
            mood: Cell::default(),
        }))
    }

    /// Sets how the kernel behaves from now on.
    pub fn set_mood(&self, mood: Mood) {
        self.0.mood.set(mood);
    }

    /// Its host has this address from now on, and no longer the one before.
    pub fn set_local(&self, local: IpAddr) {
        self.0.local.set(local);
    }

    /// A datagram arrives; `false` if there is no room.
    pub fn push(&self, arrival: Arrival) -> bool {
        let mut arrived = self.0.arrived.borrow_mut();
        if arrived.len() >= ROOM {
            return false;
        }
        arrived.push_back(arrival);
        self.0.ready.set_readable(true);
        true
    }

    /// What was sent since the last call.
    #[must_use]
    pub fn take_departed(&self) -> Vec<Departure> {
        self.0.departed.take()
    }

    /// One message with these bytes leaves, or not.
    fn send(&self, message: &Message, bytes: &[u8]) -> Outcome {
        let mood = self.0.mood.get();
        let size = message.segment.map_or(bytes.len(), usize::from).max(1);
        let count = bytes.len().div_ceil(size);
        let mut departed = self.0.departed.borrow_mut();
        if departed.len() + count > mood.room {
            return Outcome::NotSent;
        }
        if count > 1 && mood.refuses_segments || count > MAX_SEGMENTS {
            return Outcome::Failed(TOO_LONG);
        }
        departed.extend(bytes.chunks(size).map(|bytes| Departure {
            bytes: bytes.to_vec(),
            destination: message.destination,
        }));
        match message.local {
            Some(local) if local != self.0.local.get() => Outcome::SentWithoutLocal,
            _ => Outcome::Sent,
        }
    }
}

impl Datagrams for Socket {
    type Inbox = Received;
    type Outbox = Batch;

    fn drain_errors(&self) {}
}

impl<I: ByReady> Source<I> for Socket {
    fn handle(&self) -> &Ready {
        &self.0.ready
    }
}

/// A batch of received datagrams.
#[derive(Debug)]
pub struct Received {
    slots: usize,
    buffer: Vec<u8>,
    datagrams: Vec<Slot>,
}

#[derive(Debug)]
struct Slot {
    range: Range<usize>,
    source: SocketAddr,
    local: IpAddr,
    segment: Option<usize>,
}

impl Inbox<Socket> for Received {
    fn new(slots: usize, _: usize) -> Self {
        Self {
            slots,
            buffer: Vec::new(),
            datagrams: Vec::with_capacity(slots),
        }
    }

    fn receive(&mut self, socket: &Socket) -> io::Result<usize> {
        self.buffer.clear();
        self.datagrams.clear();
        let mut arrived = socket.0.arrived.borrow_mut();
        let coalesces = socket.0.mood.get().coalesces;
        while self.datagrams.len() < self.slots
            && let Some(first) = arrived.pop_front()
        {
            let (start, size) = (self.buffer.len(), first.bytes.len());
            self.buffer.extend_from_slice(&first.bytes);
            let mut segment = None;
            // As GRO does: the last may be shorter, and ends the run.
            let mut last = size;
            while coalesces
                && size > 0
                && last == size
                && let Some(next) = arrived.front()
                && next.source == first.source
                && (1..=size).contains(&next.bytes.len())
            {
                last = next.bytes.len();
                self.buffer.extend_from_slice(&next.bytes);
                segment = Some(size);
                arrived.pop_front();
            }
            self.datagrams.push(Slot {
                range: start..self.buffer.len(),
                source: first.source,
                local: socket.0.local.get(),
                segment,
            });
        }
        socket.0.ready.set_readable(!arrived.is_empty());
        Ok(self.datagrams.len())
    }

    fn datagram(&mut self, index: usize) -> Option<Datagram<'_>> {
        let slot = self.datagrams.get(index)?;
        Some(Datagram {
            bytes: self.buffer.get_mut(slot.range.clone())?,
            source: slot.source,
            mapped: false,
            local: Some(slot.local),
            ifindex: 1,
            segment: slot.segment,
            truncated: false,
        })
    }

    fn offset(&self, index: usize) -> usize {
        self.datagrams.get(index).map_or(0, |slot| slot.range.start)
    }

    fn buffer(&self) -> &[u8] {
        &self.buffer
    }
}

/// A batch of messages to be sent.
#[derive(Debug)]
pub struct Batch {
    capacity: usize,
    messages: Vec<Message>,
    /// What each message holds behind its own range.
    more: Vec<Vec<Range<usize>>>,
    outcomes: Vec<Outcome>,
}

impl Batch {
    /// The bytes of the message at `index`, next to each other.
    fn gathered(&self, index: usize, arena: &[u8]) -> Vec<u8> {
        let pieces = self.pieces(index);
        pieces
            .flat_map(|range| arena.get(range).unwrap_or_default().to_vec())
            .collect()
    }
}

impl Outbox<Socket> for Batch {
    fn new(capacity: usize) -> Self {
        Self {
            capacity,
            messages: Vec::with_capacity(capacity),
            more: Vec::with_capacity(capacity),
            outcomes: Vec::with_capacity(capacity),
        }
    }

    fn push(&mut self, message: Message) -> bool {
        if self.is_full() {
            return false;
        }
        self.messages.push(message);
        self.more.push(Vec::new());
        self.outcomes.push(Outcome::NotSent);
        true
    }

    fn extend(&mut self, range: Range<usize>) -> bool {
        let last = self.more.last_mut();
        last.is_some_and(|more| {
            more.push(range);
            true
        })
    }

    fn pieces(&self, index: usize) -> impl Iterator<Item = Range<usize>> + Clone + '_ {
        let message = self.messages.get(index);
        let first = message.map(|message| message.range.clone());
        first
            .into_iter()
            .chain(self.more.get(index).into_iter().flatten().cloned())
    }

    fn is_full(&self) -> bool {
        self.messages.len() >= self.capacity
    }

    fn messages(&self) -> &[Message] {
        &self.messages
    }

    fn outcomes(&self) -> &[Outcome] {
        &self.outcomes
    }

    fn send(&mut self, socket: &Socket, arena: &[u8]) -> Sent {
        let mut sum = Sent::default();
        for index in 0..self.messages.len() {
            let bytes = self.gathered(index, arena);
            let (Some(message), Some(outcome)) =
                (self.messages.get(index), self.outcomes.get_mut(index))
            else {
                break;
            };
            // What finds no room ends the batch.
            *outcome = match sum.not_sent {
                0 => socket.send(message, &bytes),
                _ => Outcome::NotSent,
            };
            match outcome {
                Outcome::Sent | Outcome::SentWithoutLocal => sum.sent += 1,
                Outcome::Failed(_) => sum.failed += 1,
                Outcome::NotSent => sum.not_sent += 1,
            }
        }
        sum
    }

    fn send_singly(&mut self, socket: &Socket, arena: &[u8], index: usize) -> usize {
        let bytes = self.gathered(index, arena);
        let (Some(message), Some(outcome)) =
            (self.messages.get(index), self.outcomes.get_mut(index))
        else {
            return 0;
        };
        let size = message.segment.map_or(usize::MAX, usize::from).max(1);
        let single = Message {
            segment: None,
            ..message.clone()
        };
        let mut sent = 0;
        for datagram in bytes.chunks(size) {
            *outcome = socket.send(&single, datagram);
            if !outcome.is_sent() {
                break;
            }
            sent += 1;
        }
        sent
    }

    fn clear(&mut self) {
        self.messages.clear();
        self.more.clear();
        self.outcomes.clear();
    }
}
