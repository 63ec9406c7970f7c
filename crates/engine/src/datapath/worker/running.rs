//! How a worker handles events. Each comes with the time.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, DefaultHasher};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use udco_netlink::DeleteReason;

use super::resting::Resting;
use super::{Order, Shared, Source};
use crate::backoff::Backoff;
use crate::datapath::coalesce::Coalescing;
use crate::datapath::load::Load;
use crate::datapath::placement::Placement;
use crate::datapath::receive::Receiver;
use crate::datapath::transmit::Transmitter;
use crate::device::registration::{Registration, Request, SECOND, WAKER};
use crate::device::stream::control_scratch;
use crate::device::transport::{Socket, Transport};
use crate::io::{Datagrams, Event, Events, Interest, Io, Moment, Poller, Source as _, Tun, Waker};
use crate::sync::lock;

/// How often packets that wait for a key are retried.
const RETRY: Duration = Duration::from_millis(100);

/// How often in a row a UDP socket may wake its worker for nothing. One that another process has shut down does so forever
/// (faults D2).
const FRUITLESS: u32 = 256;

/// How long such a socket rests.
const REST: Duration = Duration::from_millis(100);

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

    /// Waits again for the sources that have rested long enough.
    pub(crate) fn wake_rested(&mut self, now: Moment) {
        while let Some(token) = self.resting.take_due(now) {
            self.come_back(token, now);
        }
    }

    /// Handles an event; returns whether to stop.
    pub(super) fn handle(&mut self, event: Event, now: Moment) -> bool {
        if event.token == WAKER {
            return self.obey(now);
        }
        match self.move_packets(event, now) {
            Ok(was_fruitless) => self.mark_fruitless(event.token, was_fruitless, now),
            Err(error) => self.failed(event.token & !SECOND, &error, now),
        }
        false
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
        match self.sources.get(&(event.token & !SECOND)) {
            Some(Source::Tun(device, queue)) if event.token & SECOND != 0 => {
                self.transmitter.run_handed_off(device, *queue, now);
            }
            Some(Source::Tun(device, queue)) => {
                if let Some(full) = self.transmitter.run(device, *queue, now)? {
                    self.pause(event.token, &full);
                }
            }
            Some(Source::Network(device, transport)) => match transport.socket() {
                Socket::Udp(socket, _) => {
                    if event.error {
                        // Level-triggered until drained (promises A9).
                        socket.drain_errors();
                    }
                    let before = self.receiver.taken();
                    self.receiver.run(device, transport, now)?;
                    return Ok(!event.error && self.receiver.taken() == before);
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

    /// Rests a source that keeps waking the worker for nothing: a spinning worker is lost to the others.
    fn mark_fruitless(&mut self, token: u64, was_fruitless: bool, now: Moment) {
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
        if let Some(handle) = self.sources.get(&token).and_then(Source::handle)
            && self.shared.set.poller.remove(handle).is_ok()
        {
            self.resting.leave_alone(token, now.after(REST));
        }
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

    /// Starts, or resumes, waiting for a source.
    fn come_back(&mut self, token: u64, now: Moment) {
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
        let watched = source
            .handle()
            .ok_or_else(|| io::ErrorKind::NotFound.into())
            .and_then(|handle| poller.set(handle, token, interest))
            .and_then(|()| match source.waker() {
                Some(waker) => poller.set(waker.handle(), token | SECOND, Interest::READ),
                None => Ok(()),
            });
        if let Err(error) = watched {
            self.rest(token, &error, now);
        }
    }

    fn registration(&self, token: u64) -> Registration<I> {
        Registration::new(Arc::clone(&self.shared.set), token)
    }

    /// Stops reading a queue until there is room in the stream of its only peer.
    fn pause(&mut self, token: u64, full: &Transport<I>) {
        let Some(stream) = full.as_stream() else {
            return;
        };
        if stream.wait(self.registration(token))
            && let Some(handle) = self.sources.get(&token).and_then(Source::handle)
            && self
                .shared
                .set
                .poller
                .modify(handle, token, Interest::NONE)
                .is_ok()
        {
            self.paused.push(token);
        }
    }

    fn resume(&mut self, token: u64) {
        let paused = self.paused.len();
        self.paused.retain(|other| *other != token);
        if self.paused.len() < paused
            && let Some(handle) = self.sources.get(&token).and_then(Source::handle)
        {
            // It may have left the set with its interface.
            let _ = self.shared.set.poller.modify(handle, token, Interest::READ);
        }
    }

    /// A queue waits for the only peer of its device; once there are others, it no longer waits.
    fn resume_shared(&mut self) {
        let is_shared = |token: &u64| match self.sources.get(token) {
            Some(Source::Tun(device, _)) => device.snapshot().peers.len() != 1,
            _ => true,
        };
        let shared = self.paused.iter().copied().filter(is_shared);
        for token in shared.collect::<Vec<_>>() {
            self.resume(token);
        }
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

    /// A call on a source has failed.
    fn failed(&mut self, token: u64, error: &io::Error, now: Moment) {
        match self.sources.get(&token) {
            Some(Source::Tun(device, _)) if I::Tun::is_gone(error) => {
                // Trying again would only spin (promises J1). Its peers end here; the rest of it goes where waiting for
                // workers is allowed.
                let name = &device.interface.name;
                tracing::info!(device = name, "{name}: the device is gone");
                device.end();
                drop(self.forget(token));
            }
            _ => self.rest(token, error, now),
        }
    }

    /// Rests a source (faults B2).
    fn rest(&mut self, token: u64, error: &io::Error, now: Moment) {
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
        } else if let Some(handle) = source.handle() {
            let _ = self.shared.set.poller.remove(handle);
        }
    }

    /// Tries every source as if it were ready.
    pub(super) fn try_all(&mut self, now: Moment) {
        for token in self.sources.keys().copied().collect::<Vec<_>>() {
            if self.resting.has(token) || self.paused.contains(&token) {
                continue;
            }
            for token in [token, token | SECOND] {
                let event = Event {
                    token,
                    readable: true,
                    writable: true,
                    error: false,
                    hangup: false,
                };
                if let Err(error) = self.move_packets(event, now) {
                    self.failed(token & !SECOND, &error, now);
                }
            }
        }
    }

    fn forget(&mut self, token: u64) -> Option<Source<I>> {
        let source = self.sources.remove(&token)?;
        self.placements.retain(|(other, _)| *other != token);
        self.paused.retain(|other| *other != token);
        self.fruitless.retain(|(other, _)| *other != token);
        self.resting.forget(token);
        if let Some(stream) = source.stream() {
            stream.deregister(&mut self.control);
        } else if let Some(handle) = source.handle() {
            // It may have left the set with its interface.
            let _ = self.shared.set.poller.remove(handle);
            if let Some(waker) = source.waker() {
                let _ = self.shared.set.poller.remove(waker.handle());
            }
        }
        Some(source)
    }
}
