//! The thread of a worker.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use udco_netlink::DeleteReason;
use udco_sys::clock;
use udco_sys::epoll::{Event, Events, Interest};
use udco_sys::tun;

use super::resting::Resting;
use super::{Order, Shared, Source};
use crate::backoff::Backoff;
use crate::datapath::coalesce::{self, Pace};
use crate::datapath::load::Load;
use crate::datapath::placement::Seat;
use crate::datapath::receive::Receiver;
use crate::datapath::transmit::Transmitter;
use crate::device::registration::{Registration, Request, SECOND, WAKER};
use crate::device::stream::control_scratch;
use crate::device::transport::{Socket, Transport};
use crate::sync::lock;

/// How often packets that wait for a key are looked at.
const RETRY: Duration = Duration::from_millis(100);

/// How many times a worker looks for more packets before it sleeps: 2 made a TCP stream up to 8 % faster for the same
/// processor time per GiB, 16 nothing more for a little more processor time.
const LOOKS: usize = 2;

/// How often in a row a UDP socket may wake its worker for nothing. One that was shut down by whoever shares it does so
/// for ever (faults D2).
const FRUITLESS: u32 = 256;

/// How long it is left alone then.
const REST: Duration = Duration::from_millis(100);

/// For how many sources and orders there is room from the start: where there are more, the lists grow once.
pub(super) const ROOM: usize = 32;

/// What the thread itself has.
pub(super) struct Running {
    number: usize,
    shared: Arc<Shared>,
    /// Of all workers.
    all: Arc<[Arc<Shared>]>,
    sources: HashMap<u64, Source>,
    /// The device queues among them, which may go to other workers.
    seats: Vec<(u64, Seat)>,
    load: Load,
    transmitter: Transmitter,
    receiver: Receiver,
    pace: Pace,
    /// Queues that wait for room in a stream.
    paused: Vec<u64>,
    /// UDP sockets that have woken this worker for nothing, and how often in a row.
    fruitless: Vec<(u64, u32)>,
    /// Sources that are left alone: their calls have failed, or they have woken it for nothing.
    resting: Resting,
    /// Failures of waiting.
    waits: Backoff,
    /// Empty; its room is for the next orders.
    orders: Vec<Order>,
    /// Likewise.
    requests: Vec<Request>,
    control: Box<[u8]>,
}

impl Running {
    pub(super) fn new(number: usize, all: Arc<[Arc<Shared>]>) -> Self {
        Self {
            number,
            shared: Arc::clone(&all[number]),
            all,
            sources: HashMap::with_capacity(ROOM),
            seats: Vec::with_capacity(ROOM),
            load: Load::from(clock::nanoseconds()),
            transmitter: Transmitter::new(),
            receiver: Receiver::new(),
            pace: Pace::from(clock::nanoseconds()),
            paused: Vec::with_capacity(ROOM),
            fruitless: Vec::with_capacity(ROOM),
            resting: Resting::default(),
            waits: Backoff::default(),
            orders: Vec::with_capacity(ROOM),
            requests: Vec::with_capacity(ROOM),
            control: control_scratch(),
        }
    }

    pub(super) fn run(&mut self) {
        let mut events = Events::with_capacity(64);
        loop {
            let is_waiting = self.receiver.is_waiting() || !self.paused.is_empty();
            let timeout = is_waiting.then_some(RETRY).into_iter();
            let timeout = timeout.chain(self.resting.next()).min();
            match self.wait(&mut events, timeout) {
                // A wait without a timeout ends with an event, or with a signal.
                Ok(0) => self.retry(),
                Ok(_) => {}
                Err(error) => {
                    if self.go_without_waiting(&error) {
                        return;
                    }
                }
            }
            while let Some(token) = self.resting.take_due() {
                self.come_back(token);
            }
            for event in events.iter() {
                if event.token == WAKER {
                    if self.obey() {
                        return;
                    }
                    continue;
                }
                match self.move_packets(event) {
                    Ok(was_fruitless) => self.mark_fruitless(event.token, was_fruitless),
                    Err(error) => self.failed(event.token & !SECOND, &error),
                }
            }
            self.take_stock();
        }
    }

    /// Looks how busy this worker is, every now and then, and whether another one should have its device queues.
    fn take_stock(&mut self) {
        let now = clock::nanoseconds();
        let Some(look) = self.load.look(now) else {
            return;
        };
        self.shared.load.tell(look, now);
        let number = self.number;
        for at in (0..self.seats.len()).rev() {
            let (token, seat) = &self.seats[at];
            // One that waits for room comes back to this worker.
            if self.paused.contains(token) {
                continue;
            }
            let (token, seat) = (*token, seat.clone());
            let all = Arc::clone(&self.all);
            let awake = |worker: usize| all[worker].load.awake(now);
            seat.move_on(number, look, awake, |to| {
                if let Some(source) = self.forget(token) {
                    tracing::debug!("worker {number} hands a queue to worker {to}");
                    all[to].order(Order::Add(token, source, seat.clone()));
                }
            });
        }
    }

    /// Waits for news, at most for the time given, and returns how many there are.
    ///
    /// Packets follow packets: it looks again a few times, in between lets those run that may send some, and only then
    /// sleeps, since a sleeping worker costs each sender a wake-up. Where very many come, it lets them (see
    /// [`crate::datapath::coalesce`]).
    fn wait(&mut self, events: &mut Events, timeout: Option<Duration>) -> io::Result<usize> {
        for _ in 0..LOOKS {
            let ready = self.shared.set.poller.wait(events, Some(Duration::ZERO))?;
            if ready > 0 {
                return Ok(ready);
            }
            rustix::thread::sched_yield();
        }
        let moved = self.transmitter.taken().wrapping_add(self.receiver.taken());
        let now = clock::nanoseconds();
        if self.pace.is_fast(moved, now) {
            coalesce::pause();
            let ready = self.shared.set.poller.wait(events, Some(Duration::ZERO))?;
            if ready > 0 {
                return Ok(ready);
            }
        }
        let ready = self.shared.set.poller.wait(events, timeout);
        self.load.slept(clock::nanoseconds().saturating_sub(now));
        ready
    }

    /// Moves the packets of the source that an event is about. Returns whether it was a UDP socket and had none.
    fn move_packets(&mut self, event: Event) -> io::Result<bool> {
        match self.sources.get(&(event.token & !SECOND)) {
            Some(Source::Tun(device, queue)) if event.token & SECOND != 0 => {
                self.transmitter.run_handed_over(device, *queue);
            }
            Some(Source::Tun(device, queue)) => {
                if let Some(full) = self.transmitter.run(device, *queue)? {
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
                    self.receiver.run(device, transport)?;
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
                        stream.stumble();
                    }
                    if event.readable || event.error || event.hangup {
                        self.receiver.run_stream(device, transport, stream)?;
                    }
                }
            },
            // Removed by an order earlier in this round.
            None => {}
        }
        Ok(false)
    }

    /// Leaves a source alone for a while that keeps on waking for nothing: a spinning worker is lost for the others.
    fn mark_fruitless(&mut self, token: u64, was_fruitless: bool) {
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
        if let Some(fd) = self.sources.get(&token).and_then(Source::as_fd)
            && self.shared.set.poller.remove(fd).is_ok()
        {
            self.resting.leave_alone(token, Instant::now() + REST);
        }
    }

    /// Does what was ordered; returns whether to stop.
    fn obey(&mut self) -> bool {
        self.shared.set.waker.clear();
        // All lists keep their room: queues change workers while packets flow.
        let mut orders = std::mem::take(&mut self.orders);
        std::mem::swap(&mut orders, &mut *lock(&self.shared.orders));
        let stops = orders.drain(..).any(|order| self.carry_out(order));
        self.orders = orders;
        let mut requests = std::mem::take(&mut self.requests);
        self.shared.set.take_requests(&mut requests);
        for request in requests.drain(..) {
            match request {
                Request::Resume(token) => self.resume(token),
                Request::Fail(token) => self.fail(token),
                Request::Rest(token, error) => self.rest(token, &error),
            }
        }
        self.requests = requests;
        stops
    }

    /// Does one thing; returns whether to stop.
    fn carry_out(&mut self, order: Order) -> bool {
        match order {
            Order::Add(token, source, seat) => self.add(token, source, seat),
            Order::Remove(token, done) => {
                drop(self.forget(token));
                let _ = done.send(());
            }
            Order::Retry => self.retry(),
            Order::Stop => return true,
        }
        false
    }

    fn add(&mut self, token: u64, source: Source, seat: Seat) {
        if let Some(stream) = source.stream() {
            stream.register(self.registration(token));
        }
        if matches!(source, Source::Tun(..)) {
            self.seats.push((token, seat));
        }
        self.sources.insert(token, source);
        self.come_back(token);
    }

    /// Waits for a source from now on, or again.
    fn come_back(&mut self, token: u64) {
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
            .as_fd()
            .ok_or_else(|| io::ErrorKind::NotFound.into())
            .and_then(|fd| poller.set(fd, token, interest))
            .and_then(|()| match source.waker() {
                Some(waker) => poller.set(waker, token | SECOND, Interest::READ),
                None => Ok(()),
            });
        if let Err(error) = watched {
            self.rest(token, &error);
        }
    }

    fn registration(&self, token: u64) -> Registration {
        Registration::new(Arc::clone(&self.shared.set), token)
    }

    /// Reads no packets from a queue until there is room in the stream of its only peer.
    fn pause(&mut self, token: u64, full: &Transport) {
        let Some(stream) = full.as_stream() else {
            return;
        };
        if stream.wait(self.registration(token))
            && let Some(fd) = self.sources.get(&token).and_then(Source::as_fd)
            && self
                .shared
                .set
                .poller
                .modify(fd, token, Interest::NONE)
                .is_ok()
        {
            self.paused.push(token);
        }
    }

    fn resume(&mut self, token: u64) {
        let paused = self.paused.len();
        self.paused.retain(|other| *other != token);
        if self.paused.len() < paused
            && let Some(fd) = self.sources.get(&token).and_then(Source::as_fd)
        {
            // It may have left the set with its interface.
            let _ = self.shared.set.poller.modify(fd, token, Interest::READ);
        }
    }

    /// A queue waits for the only peer of its device. If that is not the only one any more, the others don't wait.
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

    /// The peer of a stream is not reachable any more, or talks nonsense (dco-behaviour 5.10).
    fn fail(&self, token: u64) {
        if let Some(Source::Network(device, transport)) = self.sources.get(&token) {
            device.remove_peers(DeleteReason::TransportError, |peer| {
                Arc::ptr_eq(&peer.transport, transport)
            });
        }
    }

    /// Has the packets that wait for a key tried again, or given up.
    fn retry(&mut self) {
        self.resume_shared();
        if !self.receiver.is_waiting() {
            return;
        }
        for source in self.sources.values() {
            if let Source::Network(device, transport) = source {
                self.receiver.retry(device, transport);
            }
        }
    }

    /// A call on a source has failed.
    fn failed(&mut self, token: u64, error: &io::Error) {
        match self.sources.get(&token) {
            Some(Source::Tun(device, _)) if tun::is_gone(error) => {
                // Looking again would only spin (promises J1). Its peers end here, and the rest of it where that can
                // wait for workers.
                tracing::info!("{}: the device is gone", device.interface.name);
                device.end();
                drop(self.forget(token));
            }
            _ => self.rest(token, error),
        }
    }

    /// Leaves a source alone for a while (faults B2).
    fn rest(&mut self, token: u64, error: &io::Error) {
        let Some(source) = self.sources.get(&token) else {
            return;
        };
        let pause = self.resting.begin(token, Instant::now());
        if let Some(times) = pause.line {
            tracing::warn!(
                "{}: {} failed: {error}{times}; retrying",
                source.device().interface.name,
                source.what()
            );
        }
        if let Some(stream) = source.stream() {
            stream.rest(true);
        } else if let Some(fd) = source.as_fd() {
            let _ = self.shared.set.poller.remove(fd);
        }
    }

    /// Waiting has failed: after a pause everything is tried as if something had come. Returns whether to stop.
    fn go_without_waiting(&mut self, error: &io::Error) -> bool {
        let pause = self.waits.failed(Instant::now());
        if let Some(times) = pause.line {
            tracing::error!("waiting for packets failed: {error}{times}; retrying");
        }
        std::thread::sleep(pause.length);
        if self.obey() {
            return true;
        }
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
                if let Err(error) = self.move_packets(event) {
                    self.failed(token & !SECOND, &error);
                }
            }
        }
        false
    }

    fn forget(&mut self, token: u64) -> Option<Source> {
        let source = self.sources.remove(&token)?;
        self.seats.retain(|(other, _)| *other != token);
        self.paused.retain(|other| *other != token);
        self.fruitless.retain(|(other, _)| *other != token);
        self.resting.forget(token);
        if let Some(stream) = source.stream() {
            stream.deregister(&mut self.control);
        } else if let Some(fd) = source.as_fd() {
            // It may have left the set with its interface.
            let _ = self.shared.set.poller.remove(fd);
            if let Some(waker) = source.waker() {
                let _ = self.shared.set.poller.remove(waker);
            }
        }
        Some(source)
    }
}
