//! Workers: threads that move packets, each with its own epoll set and buffers (design decision 5).
//!
//! A worker runs to completion: an event is a queue or a socket with packets, and the worker that has it moves them all
//! the way. A queue or socket is with one worker at a time, so that packets leave in the order in which they came. Under
//! load a device's TUN queues and its transport socket are with different workers where there are two: each direction has
//! a core (see [`crate::seat`]). The kernel keeps a flow in one queue: that through which its packets in the other
//! direction were delivered.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::thread::{CpuSet, sched_setaffinity};
use udco_netlink::DeleteReason;
use udco_sys::clock;
use udco_sys::epoll::{Event, Events, Interest, Poller};
use udco_sys::wake::Waker;

use crate::device::{Device, lock};
use crate::load::{LastLook, Load};
use crate::pace::{self, Pace};
use crate::receive::Receiver;
use crate::seat::{Seat, View};
use crate::stream::{Stream, control_scratch};
use crate::transmit::Transmitter;
use crate::transport::{Socket, Transport};

/// Token of the waker; sources have tokens from 1 on.
const WAKER: u64 = 0;

/// What the token of a source's second fd has in addition: of a stream's relay, or of the way by which packets are
/// handed over to a queue's worker.
const SECOND: u64 = 1 << 63;

/// How long [`Workers::remove`] waits for a worker. A worker needs microseconds; only a stopped process takes longer.
const REMOVAL: Duration = Duration::from_millis(500);

/// The most queues of a device: so many fds travel beside a message.
const MAX_QUEUES: usize = udco_front::MAX_FDS - 1;

/// How often packets that wait for a key are looked at.
const RETRY: Duration = Duration::from_millis(100);

/// How many times a worker looks for more packets before it sleeps: 2 made a TCP stream up to 8 % faster for the same
/// processor time per GiB, 16 nothing more for a little more processor time.
const LOOKS: usize = 2;

/// Where packets come from.
#[derive(Clone)]
pub(crate) enum Source {
    /// Inner packets from a queue of a device.
    Tun(Arc<Device>, usize),
    /// Outer packets from a transport socket, for the peers of a device.
    Network(Arc<Device>, Arc<Transport>),
}

/// What makes packets move.
pub(crate) struct Workers {
    workers: Vec<Worker>,
    next_token: AtomicU64,
}

/// A source in the care of a worker; give it back with [`Workers::remove`].
#[derive(Debug, Default)]
pub(crate) struct Placed {
    seat: Seat,
    token: u64,
}

struct Worker {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// A source's place with its worker: whoever holds it may change what the worker waits for.
#[derive(Clone)]
pub(crate) struct Place {
    shared: Arc<Shared>,
    token: u64,
}

struct Shared {
    poller: Poller,
    waker: Waker,
    orders: Mutex<Vec<Order>>,
    load: LastLook,
}

enum Order {
    Add(u64, Source, Seat),
    Remove(u64, Sender<()>),
    /// A key was installed: packets may wait for it.
    Retry,
    /// There is room again for the packets of this queue.
    Resume(u64),
    /// The peer of this stream is to be removed.
    Fail(u64),
    Stop,
}

impl Workers {
    /// Starts `count` threads, at least one, each on one of `cpus` if there are any.
    pub(crate) fn start(count: usize, cpus: &[usize]) -> io::Result<Self> {
        let all = (0..count.max(1))
            .map(|_| Shared::new().map(Arc::new))
            .collect::<io::Result<Arc<[_]>>>()?;
        let workers = (0..all.len())
            .map(|number| {
                let cpu = cpus.get(number % cpus.len().max(1));
                Worker::start(number, &all, cpu.copied())
            })
            .collect::<io::Result<_>>()?;
        Ok(Self {
            workers,
            next_token: AtomicU64::new(WAKER + 1),
        })
    }

    /// How many there are.
    pub(crate) const fn count(&self) -> usize {
        self.workers.len()
    }

    /// How many queues a device should have: one for each worker but one, which is for its transport socket.
    pub(crate) fn queues(&self) -> u16 {
        let queues = (self.workers.len() - 1).clamp(1, MAX_QUEUES);
        u16::try_from(queues).unwrap_or(1)
    }

    /// Gives a source to the worker with this number (modulo their count).
    pub(crate) fn add(&self, worker: usize, source: Source) -> Placed {
        let worker = worker % self.workers.len();
        let token = self.next_token.fetch_add(1, Ordering::Relaxed);
        let seat = Seat::at(worker);
        self.workers[worker].order(Order::Add(token, source, seat.clone()));
        Placed { seat, token }
    }

    /// While little comes, a source is to be with this worker (modulo their count), or always with its own.
    pub(crate) fn lend(&self, placed: &Placed, worker: Option<usize>) {
        let count = self.workers.len();
        placed.seat.lend(worker.map(|worker| worker % count));
    }

    /// A key was installed: packets that came before it are tried again.
    pub(crate) fn retry(&self) {
        for worker in &self.workers {
            worker.order(Order::Retry);
        }
    }

    /// Takes a source back. When this returns, the worker does not touch it any more.
    pub(crate) fn remove(&self, placed: &Placed) {
        let (done, removed) = channel();
        let mut asked = None;
        placed.seat.clear(|worker| {
            self.workers[worker].order(Order::Remove(placed.token, done));
            asked = Some(worker);
        });
        if let Some(worker) = asked
            && removed.recv_timeout(REMOVAL).is_err()
        {
            tracing::warn!("worker {worker} did not answer in time");
        }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        for worker in &self.workers {
            worker.order(Order::Stop);
        }
        for worker in &mut self.workers {
            if let Some(thread) = worker.thread.take() {
                let _ = thread.join();
            }
        }
    }
}

impl Worker {
    /// Starts the thread with this number of all.
    fn start(number: usize, all: &Arc<[Arc<Shared>]>, cpu: Option<usize>) -> io::Result<Self> {
        let shared = Arc::clone(&all[number]);
        let thread = {
            let all = Arc::clone(all);
            let name = format!("udco-worker-{number}");
            let (pinned, is_pinned) = channel();
            let thread = std::thread::Builder::new().name(name).spawn(move || {
                let outcome = cpu.map_or(Ok(()), pin);
                let may_run = outcome.is_ok();
                let _ = pinned.send(outcome);
                if may_run {
                    Running::new(number, all).run();
                }
            })?;
            is_pinned.recv().unwrap_or(Ok(()))?;
            thread
        };
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    fn order(&self, order: Order) {
        self.shared.order(order);
    }
}

impl Shared {
    fn new() -> io::Result<Self> {
        let (poller, waker) = (Poller::new()?, Waker::new()?);
        poller.add(&waker, WAKER, Interest::READ)?;
        Ok(Self {
            poller,
            waker,
            orders: Mutex::default(),
            load: LastLook::default(),
        })
    }

    fn order(&self, order: Order) {
        lock(&self.orders).push(order);
        self.waker.wake();
    }
}

impl Place {
    /// The place of a stream's relay.
    pub(crate) fn of_relay(&self) -> Self {
        let token = self.token | SECOND;
        Self {
            shared: Arc::clone(&self.shared),
            token,
        }
    }

    /// Has the worker wait for something else than before; `None` is not even for the end.
    pub(crate) fn watch(&self, fd: impl AsFd, before: Option<Interest>, now: Option<Interest>) {
        let (poller, token) = (&self.shared.poller, self.token);
        let watched = match (before, now) {
            (before, now) if before == now => Ok(()),
            (None, Some(interest)) => poller.add(fd, token, interest),
            (Some(_), Some(interest)) => poller.modify(fd, token, interest),
            (_, None) => poller.remove(fd),
        };
        if let Err(error) = watched {
            tracing::error!("cannot wait for packets: {error}");
        }
    }

    /// There is room again for the packets of this queue.
    pub(crate) fn resume(&self) {
        self.shared.order(Order::Resume(self.token));
    }

    /// The peer of this stream is to be removed.
    pub(crate) fn fail(&self) {
        self.shared.order(Order::Fail(self.token));
    }
}

/// Has the calling thread run on one processor only.
fn pin(cpu: usize) -> io::Result<()> {
    let mut set = CpuSet::new();
    if cpu < CpuSet::MAX_CPU {
        set.set(cpu);
    }
    sched_setaffinity(None, &set).map_err(|error| {
        let error = io::Error::from(error);
        io::Error::new(
            error.kind(),
            format!("cannot run on processor {cpu}: {error}"),
        )
    })
}

impl Source {
    fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Tun(device, queue) => device.queues.get(*queue).map(AsFd::as_fd),
            Self::Network(_, transport) => Some(transport.as_fd()),
        }
    }

    /// Wakes the worker for packets that are handed over to it.
    fn waker(&self) -> Option<&Waker> {
        match self {
            Self::Tun(device, queue) => device.handoffs.to(*queue).map(|way| &way.waker),
            Self::Network(..) => None,
        }
    }

    fn stream(&self) -> Option<&Stream> {
        match self {
            Self::Network(_, transport) => transport.as_stream(),
            Self::Tun(..) => None,
        }
    }
}

/// What the thread itself has.
struct Running {
    number: usize,
    shared: Arc<Shared>,
    /// Of all workers.
    all: Arc<[Arc<Shared>]>,
    sources: HashMap<u64, Source>,
    /// The device queues among them, which may go to other workers.
    seats: Vec<(u64, Seat)>,
    load: Load,
    /// For how many nanoseconds there has been little to do.
    quiet_for: u64,
    transmitter: Transmitter,
    receiver: Receiver,
    pace: Pace,
    /// Queues that wait for room in a stream.
    paused: Vec<u64>,
    control: Box<[u8]>,
}

impl Running {
    fn new(number: usize, all: Arc<[Arc<Shared>]>) -> Self {
        Self {
            number,
            shared: Arc::clone(&all[number]),
            all,
            sources: HashMap::new(),
            seats: Vec::new(),
            load: Load::from(clock::nanoseconds()),
            quiet_for: 0,
            transmitter: Transmitter::new(),
            receiver: Receiver::new(),
            pace: Pace::from(clock::nanoseconds()),
            paused: Vec::new(),
            control: control_scratch(),
        }
    }

    fn run(&mut self) {
        let mut events = Events::with_capacity(64);
        loop {
            let is_waiting = self.receiver.is_waiting() || !self.paused.is_empty();
            let timeout = is_waiting.then_some(RETRY);
            match self.wait(&mut events, timeout) {
                // A wait without a timeout ends with an event, or with a signal.
                Ok(0) => self.retry(),
                Ok(_) => {}
                Err(error) => {
                    tracing::error!("a worker cannot wait for packets: {error}");
                    return;
                }
            }
            for event in events.iter() {
                if event.token == WAKER {
                    if self.obey() {
                        return;
                    }
                    continue;
                }
                let moved = self.move_packets(event);
                if let Err(error) = moved {
                    self.give_up(event.token, &error);
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
        let view = View::new(self.number, look, self.quiet_for);
        self.quiet_for = view.quiet_for;
        for at in (0..self.seats.len()).rev() {
            let (token, seat) = &self.seats[at];
            // One that waits for room comes back to this worker.
            if self.paused.contains(token) {
                continue;
            }
            let (token, seat) = (*token, seat.clone());
            let all = Arc::clone(&self.all);
            let awake = |worker: usize| all[worker].load.awake(now);
            seat.move_on(&view, awake, |to| {
                if let Some(source) = self.forget(token) {
                    tracing::debug!("worker {} gives a queue to worker {to}", view.worker);
                    all[to].order(Order::Add(token, source, seat.clone()));
                }
            });
        }
    }

    /// Waits for news, at most for the time given, and returns how many there are.
    ///
    /// Packets follow packets: it looks again a few times, in between lets those run that may send some, and only then
    /// sleeps, since a sleeping worker costs each sender a wake-up. Where very many come, it lets them (see
    /// [`crate::pace`]).
    fn wait(&mut self, events: &mut Events, timeout: Option<Duration>) -> io::Result<usize> {
        for _ in 0..LOOKS {
            let ready = self.shared.poller.wait(events, Some(Duration::ZERO))?;
            if ready > 0 {
                return Ok(ready);
            }
            rustix::thread::sched_yield();
        }
        let moved = self.transmitter.taken().wrapping_add(self.receiver.taken());
        let now = clock::nanoseconds();
        if self.pace.is_fast(moved, now) {
            pace::pause();
            let ready = self.shared.poller.wait(events, Some(Duration::ZERO))?;
            if ready > 0 {
                return Ok(ready);
            }
        }
        let ready = self.shared.poller.wait(events, timeout);
        self.load.slept(clock::nanoseconds().saturating_sub(now));
        ready
    }

    /// Moves the packets of the source that an event is about.
    fn move_packets(&mut self, event: Event) -> io::Result<()> {
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
                    self.receiver.run(device, transport)?;
                }
                Socket::Tcp(stream) if event.token & SECOND != 0 => {
                    stream.take_control(&mut self.control);
                }
                Socket::Tcp(stream) => {
                    let is_over = event.error || event.hangup;
                    if event.writable {
                        stream.go_on();
                    }
                    if is_over {
                        stream.hang_up();
                    }
                    if event.readable || is_over {
                        self.receiver.run_stream(device, transport, stream);
                    }
                }
            },
            // Removed by an order earlier in this round.
            None => {}
        }
        Ok(())
    }

    /// Does what was ordered; returns whether to stop.
    fn obey(&mut self) -> bool {
        self.shared.waker.clear();
        let orders = std::mem::take(&mut *lock(&self.shared.orders));
        for order in orders {
            match order {
                Order::Add(token, source, seat) => self.add(token, source, seat),
                Order::Remove(token, done) => {
                    drop(self.forget(token));
                    let _ = done.send(());
                }
                Order::Retry => self.retry(),
                Order::Resume(token) => self.resume(token),
                Order::Fail(token) => self.fail(token),
                Order::Stop => return true,
            }
        }
        false
    }

    fn add(&mut self, token: u64, source: Source, seat: Seat) {
        if let Some(stream) = source.stream() {
            stream.settle(self.place(token));
        } else {
            let poller = &self.shared.poller;
            let added = source
                .as_fd()
                .ok_or_else(|| io::ErrorKind::NotFound.into())
                .and_then(|fd| poller.add(fd, token, Interest::READ))
                .and_then(|()| match source.waker() {
                    Some(waker) => poller.add(waker, token | SECOND, Interest::READ),
                    None => Ok(()),
                });
            if let Err(error) = added {
                tracing::error!("cannot wait for packets: {error}");
                return;
            }
        }
        if matches!(source, Source::Tun(..)) {
            self.seats.push((token, seat));
        }
        self.sources.insert(token, source);
    }

    fn place(&self, token: u64) -> Place {
        Place {
            shared: Arc::clone(&self.shared),
            token,
        }
    }

    /// Reads no packets from a queue until there is room in the stream of its only peer.
    fn pause(&mut self, token: u64, full: &Transport) {
        let Some(stream) = full.as_stream() else {
            return;
        };
        if stream.wait(self.place(token))
            && let Some(fd) = self.sources.get(&token).and_then(Source::as_fd)
            && self.shared.poller.modify(fd, token, Interest::NONE).is_ok()
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
            let _ = self.shared.poller.modify(fd, token, Interest::READ);
        }
    }

    /// A queue waits for the only peer of its device. If that is not the only one any more, the others don't wait.
    fn resume_shared(&mut self) {
        let is_shared = |token: &u64| match self.sources.get(token) {
            Some(Source::Tun(device, _)) => device.snapshot().peers.len() != 1,
            _ => true,
        };
        let shared = self.paused.iter().copied().find(is_shared);
        if let Some(token) = shared {
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

    /// A source that is broken for good (the interface was deleted): looking again would only spin (promises J1).
    fn give_up(&mut self, token: u64, error: &io::Error) {
        if let Some(Source::Tun(device, _)) = self.sources.get(&token) {
            tracing::info!("{}: no more packets from the device: {error}", device.name);
        }
        drop(self.forget(token));
    }

    fn forget(&mut self, token: u64) -> Option<Source> {
        let source = self.sources.remove(&token)?;
        self.seats.retain(|(other, _)| *other != token);
        self.paused.retain(|other| *other != token);
        if let Some(stream) = source.stream() {
            stream.unsettle(&mut self.control);
        } else if let Some(fd) = source.as_fd() {
            // It may have left the set with its interface.
            let _ = self.shared.poller.remove(fd);
            if let Some(waker) = source.waker() {
                let _ = self.shared.poller.remove(waker);
            }
        }
        Some(source)
    }
}
