//! The I/O seam by example: a transport of one's own under the engine, here a queue in memory. The rest is taken from the
//! simulation. `cargo run -p udco-sim --example fake_transport`

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;

use udco_engine::io::{Datagram, Datagrams, Inbox, Io, Message, Outbox, Outcome, Sent, Source};
use udco_sim::Failure;
use udco_sim::loopback::exchange;
use udco_sim::node::outer;
use udco_sim::ready::{Bell, Ready, Set};
use udco_sim::{relay::Relay, tcp::Stream, tun::Tun};

/// Names this implementation of the seam.
#[derive(Clone, Copy, Debug, Default)]
struct Fake;

impl Io for Fake {
    type Handle<'a> = &'a Ready;
    type Tun = Tun;
    type Datagrams = Wire;
    type Stream = Stream;
    type Relay = Relay;
    type Waker = Bell;
    type Poller = Set;
}

type Queue = Rc<(Ready, RefCell<VecDeque<Vec<u8>>>)>;

/// One end of a wire: what it sends lies in the other end's queue.
struct Wire {
    arrived: Queue,
    far: Queue,
}

impl Source<Fake> for Wire {
    fn handle(&self) -> &Ready {
        &self.arrived.0
    }
}

impl Datagrams for Wire {
    type Inbox = Batch;
    type Outbox = Batch;

    fn drain_errors(&self) {}
}

/// A batch, in or out: here a batch in has one datagram.
#[derive(Default)]
struct Batch {
    buffer: Vec<u8>,
    messages: Vec<Message>,
    outcomes: Vec<Outcome>,
}

impl Inbox<Wire> for Batch {
    fn new(_: usize, _: usize) -> Self {
        Self::default()
    }

    fn receive(&mut self, wire: &Wire) -> io::Result<usize> {
        let (ready, queue) = &*wire.arrived;
        let datagram = queue.borrow_mut().pop_front();
        ready.set_readable(!queue.borrow().is_empty());
        self.buffer = datagram.unwrap_or_default();
        Ok(usize::from(!self.buffer.is_empty()))
    }

    fn datagram(&mut self, _: usize) -> Option<Datagram<'_>> {
        Some(Datagram {
            bytes: &mut self.buffer,
            source: outer(0),
            mapped: false,
            local: None,
            ifindex: 0,
            segment: None,
            truncated: false,
        })
    }

    fn offset(&self, _: usize) -> usize {
        0
    }

    fn buffer(&self) -> &[u8] {
        &self.buffer
    }
}

impl Outbox<Wire> for Batch {
    fn new(_: usize) -> Self {
        Self::default()
    }

    fn push(&mut self, message: Message) -> bool {
        self.messages.push(message);
        self.outcomes.push(Outcome::NotSent);
        true
    }

    fn is_full(&self) -> bool {
        self.messages.len() >= 64
    }

    fn messages(&self) -> &[Message] {
        &self.messages
    }

    fn outcomes(&self) -> &[Outcome] {
        &self.outcomes
    }

    fn send(&mut self, wire: &Wire, arena: &[u8]) -> Sent {
        let records = self
            .messages
            .iter()
            .filter_map(|it| arena.get(it.range.clone()));
        wire.far.1.borrow_mut().extend(records.map(<[u8]>::to_vec));
        wire.far.0.set_readable(true);
        self.outcomes.fill(Outcome::Sent);
        let sent = self.messages.len();
        Sent {
            sent,
            ..Sent::default()
        }
    }

    fn send_singly(&mut self, _: &Wire, _: &[u8], _: usize) -> usize {
        0
    }

    fn clear(&mut self) {
        self.messages.clear();
        self.outcomes.clear();
    }
}

fn main() -> Result<(), Failure> {
    let [arrived, far] = [Queue::default(), Queue::default()];
    let other = Wire {
        arrived: Rc::clone(&far),
        far: Rc::clone(&arrived),
    };
    exchange::<Fake>([Wire { arrived, far }, other], outer(0), 100)
}
