//! The data path without threads, for a program that brings its own I/O and clock: a simulation, or an event loop of its
//! own.
//!
//! A [`DataPath`] is a device with its workers. The caller says what has happened outside by making sources ready
//! ([`Poller`]), calls [`DataPath::turn`] until nothing is left to do, and calls the timers when they are due:
//!
//! | call | in the engine | how often |
//! |---|---|---|
//! | [`DataPath::turn`] | a worker's event loop | when a source is ready |
//! | [`DataPath::retry`] | a worker whose wait timed out | after [`DataPath::timeout`] |
//! | [`DataPath::tick`] | the keepalive thread | every [`TICK`] |
//! | [`DataPath::follow_moves`] | the watching thread | when a peer has moved, and after what it returns |
//!
//! With the same calls at the same times it does the same in each run: time, seeds and events all come from the caller.

mod peers;

use std::io::Result;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use udco_core::{Activity, DropReason, Endpoint, Loss, Mode, PeerId, Routes, Time};
use udco_ipc::Partial;
pub use udco_netlink::{Api, DeleteReason, Notification};
use udco_sys::Netns;

use crate::client::Client;
use crate::datapath::placement::Placement;
use crate::datapath::worker::running::Running;
use crate::datapath::worker::{Order, Shared, Source};
use crate::device::interface::{Interface, Offloads};
use crate::device::notify::{Audience, Notify};
use crate::device::offload::Merging;
use crate::device::peer::loss_of;
use crate::device::queues::Queue;
use crate::device::registration::WAKER;
use crate::device::stream::Stream;
use crate::device::transport::{self, Socket, Traits};
use crate::device::{Device, keepalive};
use crate::io::{Datagrams, Events, Io, Moment, Outbox, Poller};
use crate::sync::lock;

/// How often [`DataPath::tick`] is due; [`LINGERING`] while it returns `true`.
pub const TICK: Duration = keepalive::PERIOD;

/// See [`TICK`].
pub const LINGERING: Duration = keepalive::LINGERING;

/// Events of one wait.
const EVENTS: usize = 64;

/// The parts of a data path.
pub struct Setup<I: Io> {
    /// Name of the interface, for the log.
    pub name: String,
    /// Point-to-point or multi-peer.
    pub mode: Mode,
    /// The queues of the interface.
    pub queues: Vec<I::Tun>,
    /// More of its queues: those for sparse flows beside the first of `queues` (see [`udco_core::sparse`]).
    pub sparse: Vec<I::Tun>,
    /// Whether the interface takes super-packets of TCP, and of UDP.
    pub merges: (bool, bool),
    /// Workers, at least one; each queue is with one of them.
    pub workers: usize,
    /// Seeds the hash tables whose keys strangers choose.
    pub seed: u64,
    /// The time.
    pub now: Moment,
}

/// A socket's addresses, which its trait does not provide.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    /// The socket's own address.
    pub local: SocketAddr,
    /// The other end of a stream.
    pub remote: Option<SocketAddr>,
}

/// A transport socket that a data path serves.
pub struct Transport<I: Io>(Arc<transport::Transport<I>>);

/// A device and its workers.
pub struct DataPath<I: Io> {
    device: Arc<Device<I>>,
    workers: Vec<Worker<I>>,
    next_token: u64,
    keepalives: <I::Datagrams as Datagrams>::Outbox,
    notifications: Arc<Log>,
}

struct Worker<I: Io> {
    shared: Arc<Shared<I>>,
    running: Running<I>,
    events: <I::Poller as Poller<I>>::Events,
}

#[derive(Default)]
struct Log(Mutex<Vec<Notification>>);

impl Notify for Log {
    fn notify(&self, _: Audience, _: Api, notification: &Notification) {
        lock(&self.0).push(notification.clone());
    }
}

impl<I: Io> DataPath<I> {
    /// A device without peers.
    ///
    /// # Errors
    /// If wakers or pollers cannot be made.
    pub fn new(setup: Setup<I>) -> Result<Self> {
        let (tcp, udp) = setup.merges;
        let offloads = Offloads {
            from_device: 0,
            merge: Merging::new(tcp, udp),
        };
        let count = setup.queues.len();
        let tuns = setup.queues.into_iter().chain(setup.sparse).collect();
        let queues = Queue::pair(tuns, count, setup.seed, true);
        let interface = Interface::over((Netns::UNKNOWN, 1), setup.name, queues, offloads)?;
        let client = Client {
            id: 1,
            uid: 0,
            netns: Netns::UNKNOWN,
        };
        let notifications = Arc::new(Log::default());
        let device = Device::seeded(
            Arc::new(interface),
            (Api::Ovpn, setup.mode),
            &client,
            Arc::<Log>::clone(&notifications),
            setup.seed,
        );
        let all = (0..setup.workers.max(1))
            .map(|_| Shared::new().map(Arc::new))
            .collect::<Result<Arc<[_]>>>()?;
        let workers = (0..all.len()).map(|number| Worker {
            shared: Arc::clone(&all[number]),
            running: Running::new(number, Arc::clone(&all), setup.now),
            events: Events::with_capacity(EVENTS),
        });
        let mut path = Self {
            device: Arc::new(device),
            workers: workers.collect(),
            next_token: WAKER + 1,
            keepalives: Outbox::new(1),
            notifications,
        };
        for queue in 0..count {
            let source = Source::Tun(Arc::clone(&path.device), queue);
            path.serve(queue, source);
        }
        Ok(path)
    }

    /// Serves a UDP socket. `segments`: one send may hold several datagrams.
    pub fn serve_datagrams(
        &mut self,
        socket: (I::Datagrams, I::Relay),
        addresses: Addresses,
        segments: bool,
    ) -> Transport<I> {
        let socket = Socket::Udp(socket.0, socket.1);
        self.serve_socket(socket, addresses, segments)
    }

    /// Serves a connected TCP socket, on which a packet begins.
    pub fn serve_stream(
        &mut self,
        socket: (I::Stream, I::Relay),
        addresses: Addresses,
    ) -> Transport<I> {
        let stream = Stream::new(socket.0, socket.1, Partial::Nothing);
        self.serve_socket(Socket::Tcp(stream), addresses, false)
    }

    fn serve_socket(
        &mut self,
        socket: Socket<I>,
        addresses: Addresses,
        segmentation: bool,
    ) -> Transport<I> {
        let traits = Traits {
            local: addresses.local,
            remote: addresses.remote,
            segmentation,
            coalescing: false,
        };
        let transport = Arc::new(transport::Transport::over(
            socket,
            traits,
            Netns::UNKNOWN,
            (0, 0),
        ));
        let source = Source::Network(Arc::clone(&self.device), Arc::clone(&transport));
        // As in the engine: the socket is with another worker than the queues, where there is one.
        self.serve(self.workers.len() - 1, source);
        Transport(transport)
    }

    fn serve(&mut self, worker: usize, source: Source<I>) {
        let worker = worker % self.workers.len();
        let token = self.next_token;
        self.next_token += 1;
        let shared = &self.workers[worker].shared;
        shared.order(Order::Add(token, source, Placement::at(worker)));
    }

    /// Replaces the mirror of the kernel's routes.
    pub fn set_routes(&self, routes: Routes) {
        self.device.change(|state| state.routes = routes);
    }

    /// Each worker deals with what is ready, once. Returns how many events there were: 0 when nothing is left to do.
    ///
    /// # Errors
    /// If the poller fails.
    pub fn turn(&mut self, now: Moment) -> Result<usize> {
        let mut handled = 0;
        for worker in &mut self.workers {
            handled += worker.running.turn(&mut worker.events, now)?;
            worker.running.take_stock(now);
        }
        Ok(handled)
    }

    /// After which time without an event [`Self::retry`] is due; `None` if nothing waits.
    pub fn timeout(&mut self, now: Moment) -> Option<Duration> {
        let workers = self.workers.iter_mut();
        workers
            .filter_map(|worker| worker.running.timeout(now))
            .min()
    }

    /// Tries what waits again: packets that came before their key, and sources whose calls have failed.
    pub fn retry(&mut self, now: Moment) {
        for worker in &mut self.workers {
            worker.running.wake_rested(now);
            worker.running.retry(now);
        }
    }

    /// Removes peers whose keepalive timeout has expired, sends keepalives, and wipes retired keys. Returns whether it is
    /// due again after [`LINGERING`] already.
    pub fn tick(&mut self, now: Time) -> bool {
        keepalive::tick(&self.device, &mut self.keepalives, now)
    }

    /// Publishes where peers have moved to, and notifies of it at most once a second for each peer. Returns when to
    /// call again.
    pub fn follow_moves(&self, now: Time) -> Option<Duration> {
        self.device.process_moves(now)
    }

    /// Notifications to the API's listeners since the last call.
    pub fn take_notifications(&self) -> Vec<Notification> {
        std::mem::take(&mut lock(&self.notifications.0))
    }

    /// Counters and times of a peer.
    #[must_use]
    pub fn activity(&self, peer: PeerId) -> Option<Arc<Activity>> {
        let snapshot = self.device.snapshot();
        let peer = snapshot.peers.by_id(peer)?;
        Some(Arc::clone(&peer.activity))
    }

    /// Where packets to a peer go.
    #[must_use]
    pub fn endpoint(&self, peer: PeerId) -> Option<Endpoint> {
        self.device.snapshot().peers.by_id(peer)?.endpoint()
    }

    /// The packets that all peers have sent, those that have ended too, and those lost on the way here.
    #[must_use]
    pub fn loss(&self) -> Loss {
        // A peer ends under the lock that this takes, and so counts once.
        let device = &self.device;
        let (snapshot, mut sum) =
            device.look(|_| (device.snapshot(), device.interface.totals.loss()));
        for peer in snapshot.peers.iter() {
            sum += loss_of(peer);
        }
        sum
    }

    /// How many packets were dropped, by reason.
    pub fn drops(&self) -> impl Iterator<Item = (DropReason, u64)> + '_ {
        self.device.interface.drops.nonzero()
    }
}

impl<I: Io> Clone for Transport<I> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}
