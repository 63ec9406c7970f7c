//! How a worker handles events. Each comes with the time.

mod waiting;

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, DefaultHasher};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use udco_core::sparse::Class;
use udco_netlink::DeleteReason;

use super::resting::Resting;
use super::{Order, Shared, Source};
use crate::backoff::Backoff;
use crate::datapath::coalesce::Coalescing;
use crate::datapath::load::Load;
use crate::datapath::placement::Placement;
use crate::datapath::receive::Receiver;
use crate::datapath::transmit::Transmitter;
use crate::device::registration::{Request, SECOND, SPARSE, WAKER, source_of};
use crate::device::stream::control_scratch;
use crate::device::transport::Socket;
use crate::io::{Datagrams, Event, Events, Io, Moment, Poller, Waker};
use crate::sync::lock;

/// How often packets that wait for a key are retried.
const RETRY: Duration = Duration::from_millis(100);

/// Sources and orders for which there is room from the start; for more, the lists grow once.
pub(super) const ROOM: usize = 32;

/// A worker's own state.
pub(crate) struct Running<I: Io> {
    number: usize,
    pub(super) shared: Arc<Shared<I>>,
    /// Those of all workers.
    all: Arc<[Arc<Shared<I>>]>,
    /// In the same order in each run: the tokens are our own, so the hash needs no seed.
    sources: HashMap<u64, Source<I>, BuildHasherDefault<DefaultHasher>>,
    /// The device queues among them, which may move to other workers.
    placements: Vec<(u64, Placement)>,
    pub(super) load: Load,
    pub(super) transmitter: Transmitter<I>,
    pub(super) receiver: Receiver<I>,
    pub(super) coalescing: Coalescing,
    /// Queues that wait for room in a stream.
    paused: Vec<u64>,
    /// UDP sockets that have woken this worker for nothing, with how often in a row.
    fruitless: Vec<(u64, u32)>,
    /// Sources that rest: their calls have failed, or they have woken the worker for nothing.
    resting: Resting,
    /// Failures of the wait itself.
    pub(super) waits: Backoff<Moment>,
    /// Empty; its capacity is for the next orders.
    orders: Vec<Order<I>>,
    /// Likewise.
    requests: Vec<Request>,
    control: Box<[u8]>,
}

impl<I: Io> Running<I> {
    pub(crate) fn new(number: usize, all: Arc<[Arc<Shared<I>>]>, now: Moment) -> Self {
        Self {
            number,
            shared: Arc::clone(&all[number]),
            all,
            sources: HashMap::with_capacity_and_hasher(ROOM, BuildHasherDefault::default()),
            placements: Vec::with_capacity(ROOM),
            load: Load::from(now.as_nanos()),
            transmitter: Transmitter::new(2 * number),
            receiver: Receiver::new(2 * number + 1),
            coalescing: Coalescing::from(now.as_nanos()),
            paused: Vec::with_capacity(ROOM),
            fruitless: Vec::with_capacity(ROOM),
            resting: Resting::default(),
            waits: Backoff::default(),
            orders: Vec::with_capacity(ROOM),
            requests: Vec::with_capacity(ROOM),
            control: control_scratch(),
        }
    }

    /// Polls for events without waiting, and handles them. Returns how many there were.
    pub(crate) fn turn(
        &mut self,
        events: &mut <I::Poller as Poller<I>>::Events,
        now: Moment,
    ) -> io::Result<usize> {
        let ready = self.shared.set.poller.wait(events, Some(Duration::ZERO))?;
        self.wake_rested(now);
        for event in events.iter() {
            self.handle(event, now);
        }
        Ok(ready)
    }

    /// How long to wait for events at most before [`Self::retry`] is due.
    pub(crate) fn timeout(&mut self, now: Moment) -> Option<Duration> {
        let is_waiting = self.receiver.is_waiting() || !self.paused.is_empty();
        let timeout = is_waiting.then_some(RETRY).into_iter();
        timeout.chain(self.resting.next(now)).min()
    }

    /// Handles an event; returns whether to stop.
    pub(super) fn handle(&mut self, event: Event, now: Moment) -> bool {
        if event.token == WAKER {
            return self.obey(now);
        }
        let token = source_of(event.token);
        let is_end = event.error || event.hangup;
        if self.is_left_alone(token) && event.token & SECOND == 0 && !is_end {
            // Since an event before this one: a pair of queues has two.
            return false;
        }
        match self.move_packets(event, now) {
            Ok(was_fruitless) => self.mark_fruitless(token, was_fruitless, now),
            Err(error) => self.failed(token, &error, now),
        }
        false
    }

    /// Whether this is a queue that waits for room, or rests.
    fn is_left_alone(&self, token: u64) -> bool {
        self.paused.contains(&token) || self.resting.has(token)
    }

    /// Samples this worker's load from time to time, and gives its device queues to another worker if that should have them.
    pub(crate) fn take_stock(&mut self, now: Moment) {
        let now = now.as_nanos();
        let Some(sample) = self.load.sample(now) else {
            return;
        };
        self.shared.load.publish(sample, now);
        let number = self.number;
        for at in (0..self.placements.len()).rev() {
            let (token, placement) = &self.placements[at];
            // A queue that waits for room comes back to this worker.
            if self.paused.contains(token) {
                continue;
            }
            let (token, placement) = (*token, placement.clone());
            let all = Arc::clone(&self.all);
            let awake = |worker: usize| all[worker].load.awake(now);
            placement.move_on(number, sample, awake, |to| {
                if let Some(source) = self.forget(token) {
                    tracing::debug!("worker {number} hands a queue to worker {to}");
                    all[to].order(Order::Add(token, source, placement.clone()));
                }
            });
        }
    }

    /// Moves the packets of the source of an event. Returns whether that is a UDP socket that had none.
    fn move_packets(&mut self, event: Event, now: Moment) -> io::Result<bool> {
        match self.sources.get(&source_of(event.token)) {
            Some(Source::Tun(device, queue)) if event.token & SECOND != 0 => {
                self.transmitter.run_handed_off(device, *queue, now);
            }
            Some(Source::Tun(device, queue)) => {
                let woken = match event.token & SPARSE {
                    0 => Class::Bulk,
                    _ => Class::Sparse,
                };
                if let Some(full) = self.transmitter.run(device, *queue, woken, now)? {
                    self.pause(source_of(event.token), &full);
                }
            }
            Some(Source::Network(device, transport)) => match transport.socket() {
                Socket::Udp(socket, _) => {
                    if event.error {
                        // Level-triggered until drained (promises A9).
                        socket.drain_errors();
                    }
                    let before = self.receiver.moved();
                    self.receiver.run(device, transport, now)?;
                    return Ok(!event.error && self.receiver.moved() == before);
                }
                Socket::Tcp(stream) if event.token & SECOND != 0 => {
                    stream.take_control(&mut self.control)?;
                }
                Socket::Tcp(stream) => {
                    if event.writable {
                        stream.go_on()?;
                    }
                    if event.hangup {
                        stream.hang_up();
                    } else if event.error {
                        stream.clear_error();
                    }
                    if event.readable || event.error || event.hangup {
                        self.receiver.run_stream(device, transport, stream, now)?;
                    }
                }
            },
            // Removed by an order earlier in this round.
            None => {}
        }
        Ok(false)
    }

    /// Carries out all orders; returns whether to stop.
    pub(super) fn obey(&mut self, now: Moment) -> bool {
        self.shared.set.waker.clear();
        // All lists keep their capacity: queues change workers while packets flow.
        let mut orders = std::mem::take(&mut self.orders);
        std::mem::swap(&mut orders, &mut *lock(&self.shared.orders));
        let stops = orders.drain(..).any(|order| self.carry_out(order, now));
        self.orders = orders;
        let mut requests = std::mem::take(&mut self.requests);
        self.shared.set.take_requests(&mut requests);
        for request in requests.drain(..) {
            match request {
                Request::Resume(token) => self.resume(token),
                Request::Fail(token) => self.fail(token, now),
                Request::Rest(token, error) => self.rest(token, &error, now),
            }
        }
        self.requests = requests;
        stops
    }

    /// Carries out one order; returns whether to stop.
    fn carry_out(&mut self, order: Order<I>, now: Moment) -> bool {
        match order {
            Order::Add(token, source, placement) => self.add(token, source, placement, now),
            Order::Remove(token, done) => {
                drop(self.forget(token));
                let _ = done.send(());
            }
            Order::Retry => self.retry(now),
            Order::Stop => return true,
        }
        false
    }

    fn add(&mut self, token: u64, source: Source<I>, placement: Placement, now: Moment) {
        if let Some(stream) = source.stream() {
            stream.register(self.registration(token));
        }
        if matches!(source, Source::Tun(..)) {
            self.placements.push((token, placement));
        }
        self.sources.insert(token, source);
        self.come_back(token, now);
    }

    /// The peer of a stream can no longer be reached, or does not speak the protocol (dco-behaviour 5.10).
    fn fail(&self, token: u64, now: Moment) {
        if let Some(Source::Network(device, transport)) = self.sources.get(&token) {
            device.remove_peers(DeleteReason::TransportError, now.time(), |peer| {
                Arc::ptr_eq(&peer.transport, transport)
            });
        }
    }

    /// Retries the packets that wait for a key, or gives up on them.
    pub(crate) fn retry(&mut self, now: Moment) {
        self.resume_shared();
        if !self.receiver.is_waiting() {
            return;
        }
        for source in self.sources.values() {
            if let Source::Network(device, transport) = source {
                self.receiver.retry(device, transport, now);
            }
        }
    }

    /// Tries every source as if it were ready.
    pub(super) fn try_all(&mut self, now: Moment) {
        for token in self.sources.keys().copied().collect::<Vec<_>>() {
            if self.is_left_alone(token) {
                continue;
            }
            // The queue for sparse flows is read with the one for bulk flows.
            for token in [token, token | SECOND] {
                let event = Event {
                    token,
                    readable: true,
                    writable: true,
                    error: false,
                    hangup: false,
                };
                if let Err(error) = self.move_packets(event, now) {
                    self.failed(source_of(token), &error, now);
                }
            }
        }
    }
}
