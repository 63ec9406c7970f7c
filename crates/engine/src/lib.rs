//! The engine: devices, the workers that move their packets, and the conversation with the fronts that made them.
//!
//! Reading order: `transmit` and `receive` (a packet's way out and in), `worker` (who moves it), `device`
//! (what it meets), `connection` and `service` (how a program changes that), `route_mirror`, `keepalive`.
#![forbid(unsafe_code)]

mod channel;
mod cipher;
mod connection;
mod delivery;
mod device;
mod keepalive;
mod link;
mod listen;
mod parking;
mod receive;
mod route_mirror;
mod service;
mod show;
mod transmit;
mod transport;
mod worker;

use std::io;
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use udco_sys::seqpacket::Connection;

pub use listen::{Access, Listening};

use crate::device::{Device, lock};
use crate::keepalive::Keeper;
use crate::show::{DeviceState, EngineState};
use crate::worker::Workers;

/// How an engine is run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Threads that move packets; as many as the machine has cores if not given.
    pub workers: Option<usize>,
}

/// An engine. It stops when it is dropped, with everything in it.
pub struct Engine {
    workers: Workers,
    devices: Mutex<Vec<Arc<Device>>>,
    /// Counts devices, to spread them over the workers.
    numbers: AtomicUsize,
    keeper: OnceLock<Keeper>,
}

impl Engine {
    /// Starts the workers.
    ///
    /// From here on a panic in any thread ends the process: half an engine would look alive and move no packets
    /// (promises H7).
    ///
    /// # Errors
    /// If the system has no threads or file descriptors left.
    pub fn start(options: Options) -> io::Result<Arc<Self>> {
        abort_on_panic();
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let engine = Arc::new(Self {
            workers: Workers::start(options.workers.unwrap_or(cores))?,
            devices: Mutex::default(),
            numbers: AtomicUsize::new(0),
            keeper: OnceLock::new(),
        });
        let keeper = Keeper::start(Arc::downgrade(&engine))?;
        let _ = engine.keeper.set(keeper);
        Ok(engine)
    }

    /// Serves one front on the calling thread until it goes; then everything that it made is gone.
    ///
    /// # Errors
    /// Of the connection, or of a front that does not speak the protocol.
    pub fn serve(self: &Arc<Self>, connection: Connection) -> io::Result<()> {
        connection::Session::serve(self, connection)
    }

    /// The devices of all fronts.
    pub(crate) fn devices(&self) -> Vec<Arc<Device>> {
        lock(&self.devices).clone()
    }

    /// Adds a device; returns its number, by which it is spread over the workers.
    pub(crate) fn add_device(&self, device: &Arc<Device>) -> usize {
        lock(&self.devices).push(Arc::clone(device));
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn remove_device(&self, device: &Arc<Device>) {
        lock(&self.devices).retain(|other| !Arc::ptr_eq(other, device));
    }

    pub(crate) const fn workers(&self) -> &Workers {
        &self.workers
    }

    pub(crate) fn show(&self) -> EngineState {
        EngineState {
            version: env!("CARGO_PKG_VERSION"),
            pid: std::process::id(),
            netns: std::fs::metadata("/proc/self/ns/net").map_or(0, |netns| netns.ino()),
            workers: self.workers.count(),
            devices: self
                .devices()
                .iter()
                .map(|device| DeviceState::of(device))
                .collect(),
        }
    }
}

fn abort_on_panic() {
    static ONCE: OnceLock<()> = OnceLock::new();
    ONCE.get_or_init(|| {
        let report = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            report(panic);
            std::process::abort();
        }));
    });
}
