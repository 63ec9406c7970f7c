//! Workers: threads that move packets, each with its own epoll set and buffers (design decision 5).
//!
//! A worker runs to completion: an event is a queue or a socket with packets, and the worker that has it moves them all
//! the way. One worker at a time has a queue or socket, so packets leave in the order in which they came. Under load a
//! device's TUN queues and its transport socket are with different workers, if there are two: each direction has a core
//! (see [`crate::datapath::placement`]). The kernel keeps a flow in one queue: that through which its packets in the other
//! direction were delivered.

mod resting;
pub(crate) mod running;
mod thread;

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::thread::{CpuSet, sched_setaffinity};
use udco_core::Mode;
use udco_core::sparse::Class;
use udco_sys::clock;

use crate::datapath::load::LastSample;
use crate::datapath::placement::Placement;
use crate::device::Device;
use crate::device::registration::{EpollSet, WAKER};
use crate::device::stream::Stream;
use crate::device::transport::Transport;
use crate::io::{Io, Waker};
use crate::linux::{self, Linux};
use crate::sync::lock;
use crate::threads;

/// How long [`Workers::remove_all`] waits for a worker. A worker needs microseconds; only a stopped process takes longer.
pub(crate) const REMOVAL: Duration = Duration::from_millis(500);

/// The most queues of the kernel's for a device: their fds travel beside one message.
pub(crate) const MAX_QUEUES: usize = udco_ipc::MAX_FDS - 1;

/// Where packets come from.
#[derive(Clone)]
pub(crate) enum Source<I: Io = Linux> {
    /// Inner packets from a queue of a device.
    Tun(Arc<Device<I>>, usize),
    /// Outer packets from a transport socket, for the peers of a device.
    Network(Arc<Device<I>>, Arc<Transport<I>>),
}

/// The threads that move packets.
pub(crate) struct Workers {
    workers: Vec<Worker>,
    next_token: AtomicU64,
}

/// A source in the care of a worker; give it back with [`Workers::remove_all`].
#[derive(Debug, Default)]
pub(crate) struct Placed {
    placement: Placement,
    token: u64,
}

struct Worker {
    shared: Arc<Shared<Linux>>,
    thread: Option<JoinHandle<()>>,
}

/// A worker, as other threads reach it.
pub(crate) struct Shared<I: Io> {
    set: Arc<EpollSet<I>>,
    orders: Mutex<Vec<Order<I>>>,
    load: LastSample,
}

/// An order to a worker.
pub(crate) enum Order<I: Io> {
    Add(u64, Source<I>, Placement),
    Remove(u64, Sender<()>),
    /// A key was installed: packets may be waiting for it.
    Retry,
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

    /// How many workers there are.
    pub(crate) const fn count(&self) -> usize {
        self.workers.len()
    }

    /// The processor time of each, in seconds; 0 if unknown.
    pub(crate) fn cpu_seconds(&self) -> Vec<f64> {
        let spent = |worker: &Worker| worker.thread.as_ref().and_then(clock::spent_by);
        let seconds = |worker| spent(worker).map_or(0.0, |spent| spent.as_secs_f64());
        self.workers.iter().map(seconds).collect()
    }

    /// How many queues a device should have: one for each worker except the one that gets its transport socket. All of a
    /// peer's packets leave through one.
    pub(crate) fn queues(&self, mode: Mode) -> usize {
        match mode {
            Mode::P2p => 1,
            Mode::Mp => (self.workers.len() - 1).clamp(1, MAX_QUEUES),
        }
    }

    /// Gives a source to the worker with this number (modulo their count).
    pub(crate) fn add(&self, worker: usize, source: Source) -> Placed {
        let worker = worker % self.workers.len();
        let token = self.next_token.fetch_add(1, Ordering::Relaxed);
        let placement = Placement::at(worker);
        self.workers[worker].order(Order::Add(token, source, placement.clone()));
        Placed { placement, token }
    }

    /// Under light load, gives a source to this worker (modulo their count); with `None`, always to its preferred one.
    pub(crate) fn lend(&self, placed: &Placed, worker: Option<usize>) {
        let count = self.workers.len();
        placed.placement.share(worker.map(|worker| worker % count));
    }

    /// A key was installed: workers retry the packets that came before it.
    pub(crate) fn retry(&self) {
        for worker in &self.workers {
            worker.order(Order::Retry);
        }
    }

    /// Takes sources back: once this returns, no worker touches them. It waits for the workers, at most [`REMOVAL`] for all
    /// of them, so do not call it with a lock that requests or packets need.
    pub(crate) fn remove_all(&self, sources: impl IntoIterator<Item = Placed>) {
        let (done, removed) = channel();
        let mut workers = Vec::new();
        for placed in sources {
            placed.placement.clear(|worker| {
                self.workers[worker].order(Order::Remove(placed.token, done.clone()));
                workers.push(worker);
            });
        }
        let deadline = Instant::now() + REMOVAL;
        for _ in &workers {
            let left = deadline.saturating_duration_since(Instant::now());
            if removed.recv_timeout(left).is_err() {
                tracing::warn!("a worker of {workers:?} did not respond in time");
                return;
            }
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
    /// Starts the thread of the worker with this number.
    fn start(
        number: usize,
        all: &Arc<[Arc<Shared<Linux>>]>,
        cpu: Option<usize>,
    ) -> io::Result<Self> {
        let shared = Arc::clone(&all[number]);
        let thread = {
            let (pinned, is_pinned) = channel();
            let thread = threads::start(|| {
                let (all, pinned) = (Arc::clone(all), pinned.clone());
                let name = format!("udco-worker-{number}");
                std::thread::Builder::new().name(name).spawn(move || {
                    let outcome = cpu.map_or(Ok(()), pin);
                    let may_run = outcome.is_ok();
                    let _ = pinned.send(outcome);
                    if may_run {
                        running::Running::new(number, all, linux::now()).run();
                    }
                })
            })?;
            drop(pinned);
            is_pinned.recv().unwrap_or(Ok(()))?;
            thread
        };
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    fn order(&self, order: Order<Linux>) {
        self.shared.order(order);
    }
}

impl<I: Io> Shared<I> {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            set: Arc::new(EpollSet::new()?),
            orders: Mutex::new(Vec::with_capacity(running::ROOM)),
            load: LastSample::default(),
        })
    }

    pub(crate) fn order(&self, order: Order<I>) {
        lock(&self.orders).push(order);
        self.set.waker.wake();
    }
}

/// Pins the calling thread to one processor.
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

impl<I: Io> Source<I> {
    /// What to wait for: its only descriptor, or those of both classes.
    fn handles(&self) -> impl Iterator<Item = (Class, I::Handle<'_>)> {
        use crate::io::Source;
        let (bulk, sparse) = match self {
            Self::Tun(device, queue) => match device.interface.queues.get(*queue) {
                Some(queue) => (
                    Some(queue.bulk().handle()),
                    queue.sparse().map(Source::handle),
                ),
                None => (None, None),
            },
            Self::Network(_, transport) => (Some(transport.handle()), None),
        };
        let bulk = bulk.map(|handle| (Class::Bulk, handle));
        bulk.into_iter()
            .chain(sparse.map(|handle| (Class::Sparse, handle)))
    }

    fn device(&self) -> &Device<I> {
        match self {
            Self::Tun(device, _) | Self::Network(device, _) => device,
        }
    }

    /// Its activity, for log lines.
    const fn what(&self) -> &'static str {
        match self {
            Self::Tun(..) => "reading from the device",
            Self::Network(..) => "reading from a transport socket",
        }
    }

    /// Wakes the worker for packets that are handed off to it.
    fn waker(&self) -> Option<&I::Waker> {
        match self {
            Self::Tun(device, queue) => device.interface.handoffs.to(*queue).map(|way| &way.waker),
            Self::Network(..) => None,
        }
    }

    fn stream(&self) -> Option<&Stream<I>> {
        match self {
            Self::Network(_, transport) => transport.as_stream(),
            Self::Tun(..) => None,
        }
    }
}
