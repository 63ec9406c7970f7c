//! Workers: threads that move packets, each with its own epoll set and buffers (design decision 5).
//!
//! A worker runs to completion: an event is a queue or a socket with packets, and the worker that has it moves them all
//! the way. A queue or socket belongs to one worker, so that packets leave in the order in which they came. A device's
//! TUN queue and its transport socket belong to different workers where there are two: each direction has a core.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use udco_sys::epoll::{Events, Interest, Poller};
use udco_sys::wake::Waker;

use crate::device::{Device, lock};
use crate::receive::Receiver;
use crate::transmit::Transmitter;
use crate::transport::Transport;

/// Token of the waker; sources have tokens from 1 on.
const WAKER: u64 = 0;

/// How long [`Workers::remove`] waits for a worker. A worker needs microseconds; only a stopped process takes longer.
const REMOVAL: Duration = Duration::from_millis(500);

/// How often packets that wait for a key are looked at.
const RETRY: Duration = Duration::from_millis(100);

/// Where packets come from.
#[derive(Clone)]
pub(crate) enum Source {
    /// Inner packets from a queue of a device.
    Tun(Arc<Device>, usize),
    /// Outer packets from a transport socket, for the peers of a device.
    Udp(Arc<Device>, Arc<Transport>),
}

/// What makes packets move.
pub(crate) struct Workers {
    workers: Vec<Worker>,
    next_token: AtomicU64,
}

/// A source in the care of a worker; give it back with [`Workers::remove`].
#[derive(Debug, Default)]
pub(crate) struct Placed {
    worker: usize,
    token: u64,
}

struct Worker {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    poller: Poller,
    waker: Waker,
    orders: Mutex<Vec<Order>>,
}

enum Order {
    Add(u64, Source),
    Remove(u64, Sender<()>),
    /// A key was installed: packets may wait for it.
    Retry,
    Stop,
}

impl Workers {
    /// Starts `count` threads, at least one.
    pub(crate) fn start(count: usize) -> io::Result<Self> {
        let workers = (0..count.max(1))
            .map(Worker::start)
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

    /// Gives a source to the worker with this number (modulo their count).
    pub(crate) fn add(&self, worker: usize, source: Source) -> Placed {
        let worker = worker % self.workers.len();
        let token = self.next_token.fetch_add(1, Ordering::Relaxed);
        self.workers[worker].order(Order::Add(token, source));
        Placed { worker, token }
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
        self.workers[placed.worker].order(Order::Remove(placed.token, done));
        if removed.recv_timeout(REMOVAL).is_err() {
            tracing::warn!("worker {} did not answer in time", placed.worker);
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
    fn start(number: usize) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            poller: Poller::new()?,
            waker: Waker::new()?,
            orders: Mutex::default(),
        });
        shared.poller.add(&shared.waker, WAKER, Interest::READ)?;
        let thread = {
            let shared = Arc::clone(&shared);
            let name = format!("udco-worker-{number}");
            std::thread::Builder::new()
                .name(name)
                .spawn(move || Running::new(shared).run())?
        };
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    fn order(&self, order: Order) {
        lock(&self.shared.orders).push(order);
        self.shared.waker.wake();
    }
}

impl Source {
    fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Tun(device, queue) => device.queues.get(*queue).map(AsFd::as_fd),
            Self::Udp(_, transport) => Some(transport.as_fd()),
        }
    }
}

/// What the thread itself has.
struct Running {
    shared: Arc<Shared>,
    sources: HashMap<u64, Source>,
    transmitter: Transmitter,
    receiver: Receiver,
}

impl Running {
    fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            sources: HashMap::new(),
            transmitter: Transmitter::new(),
            receiver: Receiver::new(),
        }
    }

    fn run(&mut self) {
        let mut events = Events::with_capacity(64);
        loop {
            let timeout = self.receiver.is_waiting().then_some(RETRY);
            match self.shared.poller.wait(&mut events, timeout) {
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
                let moved = match self.sources.get(&event.token) {
                    Some(Source::Tun(device, queue)) => self.transmitter.run(device, *queue),
                    Some(Source::Udp(device, transport)) => {
                        if event.error {
                            // Level-triggered until drained (promises A9).
                            transport.socket().drain_errors();
                        }
                        self.receiver.run(device, transport)
                    }
                    // Removed by an order earlier in this round.
                    None => Ok(()),
                };
                if let Err(error) = moved {
                    self.give_up(event.token, &error);
                }
            }
        }
    }

    /// Does what was ordered; returns whether to stop.
    fn obey(&mut self) -> bool {
        self.shared.waker.clear();
        let orders = std::mem::take(&mut *lock(&self.shared.orders));
        for order in orders {
            match order {
                Order::Add(token, source) => {
                    let added = source
                        .as_fd()
                        .ok_or_else(|| io::ErrorKind::NotFound.into())
                        .and_then(|fd| self.shared.poller.add(fd, token, Interest::READ));
                    match added {
                        Ok(()) => drop(self.sources.insert(token, source)),
                        Err(error) => tracing::error!("cannot wait for packets: {error}"),
                    }
                }
                Order::Remove(token, done) => {
                    self.forget(token);
                    let _ = done.send(());
                }
                Order::Retry => self.retry(),
                Order::Stop => return true,
            }
        }
        false
    }

    /// Has the packets that wait for a key tried again, or given up.
    fn retry(&mut self) {
        if !self.receiver.is_waiting() {
            return;
        }
        for source in self.sources.values() {
            if let Source::Udp(device, transport) = source {
                // A broken socket shows itself at its next event.
                let _ = self.receiver.run(device, transport);
            }
        }
    }

    /// A source that is broken for good (the interface was deleted): looking again would only spin (promises J1).
    fn give_up(&mut self, token: u64, error: &io::Error) {
        if let Some(Source::Tun(device, _)) = self.sources.get(&token) {
            tracing::info!("{}: no more packets from the device: {error}", device.name);
        }
        self.forget(token);
    }

    fn forget(&mut self, token: u64) {
        if let Some(source) = self.sources.remove(&token)
            && let Some(fd) = source.as_fd()
        {
            // It may have left the set with its interface.
            let _ = self.shared.poller.remove(fd);
        }
    }
}
