//! Which flows are sparse, and through which of two queues their packets go (RFC 8290 calls a flow sparse that needs less
//! than its share).
//!
//! A device's queue can be a pair: one for bulk flows, one for sparse flows, so that a ping, a key stroke or a new
//! connection does not wait behind the megabytes of a stream. The kernel chooses between the two: it keeps a flow in the
//! queue through which a packet of its other direction was delivered last. So whoever delivers packets steers
//! ([`Steering::steer`]), and whoever reads the queues says which flows are bulk ([`Steering::was_read`]).
//!
//! A flow's packets stay in order. When a flow changes its queue, older packets of it may wait in the one that it leaves:
//!
//! - Whoever delivers asks for that one to be read empty before the other is read, and confirms once the packet is
//!   delivered ([`Steering::delivered`]): the host may answer it before the flow changes.
//! - The reader says which queue it reads ([`Steering::next`]). A flow does not change to that one: what is read from it now
//!   could be a packet from after the change. The change is tried again with the flow's next delivered packet.
//! - While the bulk queue does not run empty, what is in it stays there, apart from new TCP connections.
//!
//! What that does not cover: a flow to which nothing was delivered for three seconds, which the kernel forgets and puts where
//! it likes, and the first packets of one that is new; flows in a tunnel inside the tunnel, of which only the outermost header
//! is seen here; more flows at once than the table has room for; and an order that ends early, since no queue may wait forever
//! (`order.rs`).

mod flow;
mod order;
mod table;

use core::sync::atomic::{AtomicU8, AtomicU32, Ordering, fence};

use crate::Time;
use flow::{Id, Key};
use order::Orders;
pub use order::Precedence;
use table::Table;

/// A kind of flow, and the queue for it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Class {
    /// One that needs little.
    Sparse,
    /// One that takes all it gets.
    Bulk,
}

impl Class {
    /// The other one.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Sparse => Self::Bulk,
            Self::Bulk => Self::Sparse,
        }
    }
}

/// The bulk queue runs empty often if it did before this many packets.
const FEW: u32 = 64;

/// Units read of one flow after which they are entered in the table.
const NOTED: u64 = 256;

/// Neither queue is being read.
const NOTHING: u8 = u8::MAX;

/// What those who deliver to a pair of queues, and the one who reads from it, know about its flows.
#[derive(Debug)]
pub struct Steering {
    table: Table,
    orders: Orders,
    /// The queue that is being read, as a number, or [`NOTHING`].
    reading: AtomicU8,
    /// Packets read from the bulk queue since it was empty.
    since_empty: AtomicU32,
}

/// Where to deliver a packet; once it is there, [`Steering::delivered`] has to know.
#[derive(Debug)]
#[must_use]
pub struct Heading {
    /// The queue to write it to.
    pub to: Class,
    key: Option<Key>,
    /// It changes the queue of its flow.
    is_change: bool,
}

/// Consecutive packets of one flow that are not in the table yet. Only the reader uses it.
#[derive(Debug)]
pub struct Reads {
    id: Option<Id>,
    key: Option<Key>,
    units: u64,
    from: Class,
    now: Time,
}

impl Default for Reads {
    fn default() -> Self {
        Self {
            id: None,
            key: None,
            units: 0,
            from: Class::Sparse,
            now: Time::from_millis(0),
        }
    }
}

impl Steering {
    /// Nothing is known yet. The seed keeps strangers from choosing flows that are taken for one. Before Linux 6.6, the
    /// kernel may take all flows between two IPv6 addresses for one (`has_ipv6`): they are bulk there.
    #[must_use]
    pub fn new(seed: u64, has_ipv6: bool) -> Self {
        Self {
            table: Table::new(seed, has_ipv6),
            orders: Orders::default(),
            reading: AtomicU8::new(NOTHING),
            since_empty: AtomicU32::new(0),
        }
    }

    /// Through which queue to deliver a packet, so that the packets of its other direction come through the right one.
    pub fn steer(&self, packet: &[u8], now: Time) -> Heading {
        let key = self.table.key(packet);
        let (to, is_change) = match key {
            // Nothing that has flows.
            None => (Class::Bulk, false),
            Some(key) => self.place_for(key, packet, now),
        };
        Heading { to, key, is_change }
    }

    /// Where a flow is to be from now on, and whether that is a change.
    fn place_for(&self, key: Key, packet: &[u8], now: Time) -> (Class, bool) {
        let known = self.table.look_up(key, now);
        let wanted = match key.is_plain {
            true => known.class,
            // The kernel may see several flows in it.
            false => Class::Bulk,
        };
        if known.place == Some(wanted) {
            return (wanted, false);
        }
        if wanted == Class::Sparse && flow::is_first(packet) {
            // Nothing else of it can wait anywhere.
            return (wanted, false);
        }
        let may_change = wanted == Class::Bulk || self.since_empty.load(Ordering::Relaxed) < FEW;
        if let Some(place) = known.place {
            let is_change = may_change && self.ask(wanted);
            return (if is_change { wanted } else { place }, is_change);
        }
        // It may be in either. New flows are frequent, so nobody waits for their packet to be delivered: what the host
        // answers during that may be overtaken.
        let ways = match may_change && wanted == Class::Sparse {
            true => &[Class::Sparse, Class::Bulk][..],
            false => &[Class::Bulk],
        };
        let is_read = |to| self.reading.load(Ordering::Relaxed) == to as u8;
        let mut free = ways.iter().copied();
        let free = free.find(|to| !is_read(*to) && self.ask(*to));
        // A queue that is being read is the lesser evil: the packet read now would have to be one of this flow.
        let to = free.or_else(|| {
            let mut ways = [Class::Bulk, Class::Sparse].into_iter();
            ways.find(|to| self.orders.ask(to.other()))
        });
        if to.is_some() {
            self.orders.confirm();
        }
        (to.unwrap_or(Class::Bulk), false)
    }

    /// Asks for a flow's change to this queue; `false` if the other one cannot go first, or this one is being read.
    fn ask(&self, to: Class) -> bool {
        if !self.orders.ask(to.other()) {
            return false;
        }
        let is_free = self.reading.load(Ordering::Relaxed) != to as u8;
        if !is_free {
            // The order stands: it takes the reader to the other queue.
            self.orders.confirm();
        }
        is_free
    }

    /// The packet has been delivered, or refused.
    pub fn delivered(&self, heading: &Heading, was_refused: bool, now: Time) {
        if heading.is_change {
            self.orders.confirm();
        }
        if let Some(key) = heading.key
            && !was_refused
        {
            self.table.placed(key, heading.to, now);
        }
    }

    /// The queue to read from, as chosen from what the order is, and that order. All that was read before has been handled.
    pub fn next(
        &self,
        mut choose: impl FnMut(Precedence) -> Option<Class>,
    ) -> Option<(Class, Precedence)> {
        loop {
            let order = self.orders.now();
            let from = choose(order)?;
            if self.reading.load(Ordering::Relaxed) == from as u8 {
                return Some((from, order));
            }
            self.reading.store(from as u8, Ordering::Relaxed);
            // With the one in `Orders::ask`: who asks sees what is being read, or the reader sees the order.
            fence(Ordering::SeqCst);
            let order = self.orders.now();
            if order.first().is_none_or(|first| first == from) {
                return Some((from, order));
            }
        }
    }

    /// Stops reading, once everything read has been handled.
    pub fn rest(&self, reads: &mut Reads) {
        self.note(reads);
        // The next ones may be those of another device.
        reads.id = None;
        self.reading.store(NOTHING, Ordering::Release);
    }

    /// A packet was read from this queue, in this order.
    pub fn was_read(
        &self,
        reads: &mut Reads,
        (from, order): (Class, Precedence),
        packet: &[u8],
        now: Time,
    ) {
        if from == Class::Bulk {
            let packets = self.since_empty.load(Ordering::Relaxed);
            self.since_empty
                .store(packets.saturating_add(1), Ordering::Relaxed);
        }
        let units = table::units(packet.len());
        self.orders.was_read(from, order, units);
        let id = flow::id(packet);
        let is_next = id.is_some() && id == reads.id && from == reads.from;
        if !is_next || reads.units >= NOTED {
            self.note(reads);
            *reads = Reads {
                id,
                key: self.table.key(packet),
                units: 0,
                from,
                now,
            };
        }
        reads.units += units;
    }

    /// Has the table know what was read.
    fn note(&self, reads: &mut Reads) {
        if let Some(key) = reads.key
            && reads.units > 0
        {
            self.table.was_read(key, reads.from, reads.units, reads.now);
        }
        reads.units = 0;
    }

    /// A read from this queue, in this order, found nothing.
    pub fn was_empty(&self, queue: Class, order: Precedence) {
        if queue == Class::Bulk {
            self.since_empty.store(0, Ordering::Relaxed);
        }
        self.orders.was_empty(queue, order);
    }
}

#[cfg(test)]
mod tests;
