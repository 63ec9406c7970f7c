//! An engine: its devices, and the threads that move packets and maintain the devices.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use udco_core::packet_id::PacketIds;
use udco_crypto::Digester;
use udco_ipc::message_id;
use udco_state::EngineState;
use udco_sys::process::TASK_LIMITS;

use crate::client::{Client, ClientId};
use crate::control::account::Accounts;
use crate::control::memory;
use crate::control::places::Places;
use crate::control::registry::Registry;
use crate::control::show;
use crate::datapath::worker::Workers;
use crate::device::keepalive::KeepaliveTimer;
use crate::device::offload::Forbidden;
use crate::device::queues;
use crate::device::watch::Watch;
use crate::device::{Device, Devices};
use crate::started::Started;
use crate::threads;

/// Open files that an engine with a device needs besides those of its workers, and per worker: its epoll set and waker,
/// and a queue (faults B7).
const FILES: u64 = 25;
const FILES_OF_WORKER: u64 = 4;

/// How to run an engine.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// How many worker threads; by default as many as there are `cpus`, else as the machine has cores.
    pub workers: Option<usize>,
    /// Processors to pin these threads to, one each, in turn. If empty, the kernel's scheduler chooses.
    pub cpus: Vec<usize>,
    /// Whether OpenVPN and its scripts are under the same limits as the engine.
    pub beside_openvpn: bool,
    /// Disabled offloads.
    pub forbidden: Forbidden,
    /// The packet id of each key's first packet instead of 1: only to test what happens when a key runs out of them
    /// (dco-behaviour 5.6).
    pub first_packet_id: Option<u32>,
    /// Allows installing the same key twice for a peer, as the kernel driver does, although its nonces repeat then:
    /// only for the kernel's own tests (promises B9).
    pub allow_key_reuse: bool,
}

/// An engine. Dropping it stops its threads and removes everything in it.
pub struct Engine {
    workers: Workers,
    registry: Registry,
    places: Places,
    next_session: AtomicU64,
    accounts: Accounts,
    watch: Watch,
    keepalive: OnceLock<KeepaliveTimer>,
    first_packet_id: u32,
    forbidden: Forbidden,
    /// The network namespace of this process, by its file's inode; 0 if unknown.
    netns_inode: u64,
    started: Started,
    /// The kernel tells IPv6 flows apart by their ports.
    has_ipv6_flows: bool,
    /// `None` if keys may be reused.
    digester: Option<Digester>,
}

impl Engine {
    /// Starts the workers.
    ///
    /// A panic in one of its threads leaves half an engine, which looks alive but moves no packets: the process that
    /// runs the engine must end then (promises H7).
    ///
    /// # Errors
    /// If the system has no threads or file descriptors left; `EINVAL` if it lacks one of the `cpus`.
    pub fn start(options: Options) -> io::Result<Arc<Self>> {
        Self::start_confined(options, || ())
    }

    /// The same; calls `confine` after the engine has inspected the system, and before it starts a thread. From then on
    /// it opens nothing.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_confined(options: Options, confine: impl FnOnce()) -> io::Result<Arc<Self>> {
        let netns_inode = std::fs::metadata("/proc/self/ns/net").map_or(0, |file| file.ino());
        let count = options.workers.unwrap_or_else(|| match options.cpus.len() {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            cpus => cpus,
        });
        let needed = FILES + FILES_OF_WORKER * count as u64;
        if let Some(files) = udco_sys::process::open_files().filter(|files| *files < needed) {
            return Err(io::Error::other(format!(
                "only {files} open files are allowed (LimitNOFILE=, ulimit -n), but {needed} are needed"
            )));
        }
        let digester = match options.allow_key_reuse {
            false => Some(Digester::new().map_err(io::Error::other)?),
            true => None,
        };
        let started = Started::now();
        let has_ipv6_flows = queues::has_ipv6_flows();
        confine();
        udco_sys::memory::spare_addresses();
        let wanted = count.max(1);
        let with_memory = memory::affordable(wanted)?;
        udco_sys::memory::keep_reserve()?;
        if with_memory < wanted {
            tracing::warn!(
                message_id = message_id::FEW_THREADS,
                "{with_memory} workers instead of {wanted}: {}",
                udco_sys::memory::no_room_for("more")
            );
        }
        let wanted = with_memory;
        let count = threads::affordable(wanted, options.beside_openvpn)?;
        if count < wanted {
            tracing::warn!(
                message_id = message_id::FEW_THREADS,
                "{count} workers instead of {wanted}: the thread limit ({TASK_LIMITS}) allows no more, and scripts need some"
            );
        }
        let workers = Workers::start(count, &options.cpus)?;
        let engine = Arc::new(Self {
            workers,
            registry: Registry::new(Arc::default()),
            places: Places::default(),
            next_session: AtomicU64::new(1),
            accounts: Accounts::default(),
            watch: Watch::new()?,
            keepalive: OnceLock::new(),
            first_packet_id: options.first_packet_id.unwrap_or(1),
            forbidden: options.forbidden,
            netns_inode,
            started,
            has_ipv6_flows,
            digester,
        });
        engine.watch.start(&Arc::downgrade(&engine))?;
        let keepalive = KeepaliveTimer::start(&Arc::downgrade(&engine))?;
        let _ = engine.keepalive.set(keepalive);
        Ok(engine)
    }

    pub(crate) const fn places(&self) -> &Places {
        &self.places
    }

    pub(crate) const fn accounts(&self) -> &Accounts {
        &self.accounts
    }

    /// Ends the peers of all devices, notifying their clients (reason TEARDOWN), and accepts no new ones. The
    /// interfaces stay, without an engine behind them. Returns how many there are.
    pub fn end_devices(&self) -> usize {
        let devices = self.registry.all();
        devices.iter().for_each(|device| device.end());
        devices.len()
    }

    pub(crate) const fn registry(&self) -> &Registry {
        &self.registry
    }

    pub(crate) const fn watch(&self) -> &Watch {
        &self.watch
    }

    /// The network namespace of this process, by its file's number; 0 if it is not known.
    pub(crate) const fn netns_inode(&self) -> u64 {
        self.netns_inode
    }

    /// A number for a connection.
    pub(crate) fn new_session(&self) -> ClientId {
        self.next_session.fetch_add(1, Ordering::Relaxed)
    }

    /// Removes a device; its interface stays while it is persistent.
    pub(crate) fn remove_device(&self, device: &Arc<Device>) {
        self.watch.remove(device);
        self.registry.remove(&self.workers, device);
    }

    /// The packet ids for a new key.
    pub(crate) const fn packet_ids(&self) -> PacketIds {
        PacketIds::starting_at(self.first_packet_id)
    }

    /// Detects reused keys; `None` if they may be reused.
    pub(crate) const fn digester(&self) -> Option<&Digester> {
        self.digester.as_ref()
    }

    /// Disabled offloads.
    pub(crate) const fn forbidden(&self) -> Forbidden {
        self.forbidden
    }

    /// Whether the kernel tells IPv6 flows apart by their ports.
    pub(crate) const fn has_ipv6_flows(&self) -> bool {
        self.has_ipv6_flows
    }

    pub(crate) const fn workers(&self) -> &Workers {
        &self.workers
    }

    /// How many peers all devices have.
    pub(crate) fn peers(&self) -> usize {
        let devices = self.registry.all();
        devices
            .iter()
            .map(|device| device.snapshot().peers.len())
            .sum()
    }

    pub(crate) fn show(&self, client: &Client) -> EngineState {
        EngineState {
            format: udco_state::FORMAT,
            version: env!("CARGO_PKG_VERSION").into(),
            pid: std::process::id(),
            netns: self.netns_inode,
            workers: self.workers.count(),
            started: self.started.seconds(),
            cpu_seconds: show::cpu_seconds(),
            worker_cpu_seconds: self.workers.cpu_seconds(),
            devices: self
                .registry
                .all_for(client)
                .iter()
                .map(|(device, owner, may_use)| show::device(device, *owner, *may_use))
                .collect(),
        }
    }
}

impl Devices for Engine {
    fn all(&self) -> Vec<Arc<Device>> {
        self.registry.all()
    }

    fn remove(&self, device: &Arc<Device>) {
        self.remove_device(device);
    }
}
