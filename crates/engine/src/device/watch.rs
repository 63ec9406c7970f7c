//! Watches the network namespaces of devices: their routes, the paths to their peers, and whether the interface still
//! exists.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use udco_ipc::message_id;
use udco_sys::epoll::{Events, Interest, Poller};
use udco_sys::route::Monitor;
use udco_sys::wake::Waker;

use crate::backoff::Backoff;
use crate::device::moves::Nudge;
use crate::device::route_mirror::{Link, RouteMirror};
use crate::device::{Device, Devices};
use crate::linux;
use crate::sync::lock;
use crate::threads;

/// How long to wait for more peers after the first new one.
const GATHERING: Duration = Duration::from_millis(2);

/// Token of the waker; devices have tokens from 1 on.
const WAKER: u64 = 0;

/// A thread with the route mirrors of all devices; ends when dropped.
pub(crate) struct Watch {
    shared: Arc<Shared>,
    next_token: AtomicU64,
}

struct Shared {
    poller: Poller,
    /// Woken when a peer has come or moved, and at the end.
    nudge: Arc<Nudge>,
    is_ended: AtomicBool,
    watched: Mutex<HashMap<u64, Watched>>,
}

struct Watched {
    device: Arc<Device>,
    mirror: RouteMirror,
    failures: Backoff,
    /// Set if a call on its monitor has failed (faults B2).
    rests_until: Option<Instant>,
}

impl Watch {
    /// Without a thread yet.
    ///
    /// # Errors
    /// If the system has no file descriptors left.
    pub(crate) fn new() -> io::Result<Self> {
        let shared = Shared {
            poller: Poller::new()?,
            nudge: Arc::new(Nudge::new(Waker::new()?)),
            is_ended: AtomicBool::new(false),
            watched: Mutex::default(),
        };
        let waker = &shared.nudge.waker;
        shared.poller.add(waker, WAKER, Interest::READ)?;
        Ok(Self {
            shared: Arc::new(shared),
            next_token: AtomicU64::new(WAKER + 1),
        })
    }

    /// Starts the thread, which removes devices that are gone.
    ///
    /// # Errors
    /// If the system has no threads left.
    pub(crate) fn start<D: Devices>(&self, devices: &Weak<D>) -> io::Result<()> {
        threads::start(|| {
            let (shared, devices) = (Arc::clone(&self.shared), devices.clone());
            std::thread::Builder::new()
                .name("udco-watch".into())
                .spawn(move || shared.run(&devices))
        })?;
        Ok(())
    }

    /// Follows the routes of a device's namespace, starting with a dump of all of them.
    ///
    /// # Errors
    /// If the monitor fails.
    pub(crate) fn add(
        &self,
        device: &Arc<Device>,
        monitor: Monitor,
        most_routes: usize,
    ) -> io::Result<()> {
        let mirror = RouteMirror::new(monitor, most_routes)?;
        let token = self.next_token.fetch_add(1, Ordering::Relaxed);
        let mut watched = lock(&self.shared.watched);
        self.shared
            .poller
            .add(mirror.monitor(), token, Interest::READ)?;
        device.watch_moves(&self.shared.nudge);
        let mut new = Watched {
            device: Arc::clone(device),
            mirror,
            failures: Backoff::default(),
            rests_until: None,
        };
        if let Err(error) = new.mirror.restart() {
            new.rest(&self.shared.poller, &error);
            self.shared.nudge.waker.wake();
        }
        watched.insert(token, new);
        Ok(())
    }

    /// A peer has come or moved: its path is to be queried now, not in a second.
    pub(crate) fn nudge(&self) {
        self.shared.nudge.nudge();
    }

    /// Follows the routes of one device for another from now on.
    pub(crate) fn replace(&self, old: &Arc<Device>, new: &Arc<Device>) {
        for watched in lock(&self.shared.watched).values_mut() {
            if Arc::ptr_eq(&watched.device, old) {
                watched.device = Arc::clone(new);
                // Including those since `new` was made.
                let routes = old.look(|state| state.routes.clone());
                new.change(|state| state.routes = routes.clone());
                new.watch_moves(&self.shared.nudge);
            }
        }
    }

    /// Stops following the routes of a device.
    pub(crate) fn remove(&self, device: &Arc<Device>) {
        let mut watched = lock(&self.shared.watched);
        watched.retain(|_, watched| {
            let stays = !Arc::ptr_eq(&watched.device, device);
            if !stays {
                let _ = self.shared.poller.remove(watched.mirror.monitor());
            }
            stays
        });
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.shared.is_ended.store(true, Ordering::Release);
        self.shared.nudge.waker.wake();
    }
}

impl Shared {
    fn run<D: Devices>(&self, devices: &Weak<D>) {
        let mut events = Events::with_capacity(16);
        let mut waits = Backoff::default();
        loop {
            // Without a device, nothing is due.
            let again = lock(&self.watched)
                .iter_mut()
                .map(|(token, watched)| watched.tick(&self.poller, *token, Instant::now()))
                .min();
            let again = again.into_iter().chain(self.process_moves()).min();
            if let Err(error) = self.poller.wait(&mut events, again) {
                let pause = waits.failed(Instant::now());
                if let Some(times) = pause.line {
                    tracing::error!("waiting for route changes failed: {error}{times}; retrying");
                }
                std::thread::sleep(pause.length);
            }
            for event in events.iter() {
                if event.token == WAKER {
                    self.nudge.waker.clear();
                    if self.is_ended.load(Ordering::Acquire) {
                        return;
                    }
                    // Peers come in crowds: handle all that have come by then at once.
                    std::thread::sleep(GATHERING);
                    self.nudge.rearm();
                    continue;
                }
                if let Some(device) = self.receive(event.token)
                    && let Some(devices) = devices.upgrade()
                {
                    let name = &device.interface.name;
                    tracing::info!(
                        message_id = message_id::DEVICE_DELETED,
                        device = name,
                        "{name} was deleted"
                    );
                    devices.remove(&device);
                }
            }
        }
    }

    /// Follows the peers that have moved; returns when to look again.
    fn process_moves(&self) -> Option<Duration> {
        let now = linux::now().time();
        let all = lock(&self.watched);
        let next = all
            .values()
            .filter_map(|watched| watched.device.process_moves(now));
        next.min()
    }

    /// Handles reports from a device's namespace; returns the device if it is gone.
    fn receive(&self, token: u64) -> Option<Arc<Device>> {
        let mut all = lock(&self.watched);
        let watched = all.get_mut(&token)?;
        loop {
            match watched.mirror.update(&watched.device) {
                Ok(Link::There) => return None,
                Ok(Link::Moved) => {
                    if watched.device.set_away() {
                        let name = &watched.device.interface.name;
                        tracing::info!(
                            device = name,
                            "{name} was moved to another network namespace"
                        );
                    }
                }
                Ok(Link::Gone) => return Some(Arc::clone(&watched.device)),
                Err(error) => {
                    watched.rest(&self.poller, &error);
                    return None;
                }
            }
        }
    }
}

impl Watched {
    /// Does what is due; returns when something is due again.
    fn tick(&mut self, poller: &Poller, token: u64, now: Instant) -> Duration {
        if self.rests_until.is_some_and(|until| until <= now) {
            self.rests_until = None;
            let watched = poller.set(self.mirror.monitor(), token, Interest::READ);
            if let Err(error) = watched.and_then(|()| self.mirror.restart()) {
                self.rest(poller, &error);
            }
        }
        let again = self.mirror.tick(&self.device, now);
        let rest = self
            .rests_until
            .map(|until| until.saturating_duration_since(now));
        rest.map_or(again, |rest| rest.min(again))
    }

    /// Rests the monitor. A dump makes up for what is missed.
    fn rest(&mut self, poller: &Poller, error: &io::Error) {
        let now = Instant::now();
        let pause = self.failures.failed(now);
        if let Some(times) = pause.line {
            tracing::warn!(
                device = self.device.interface.name,
                "{}: following route changes failed: {error}{times}; retrying with all routes",
                self.device.interface.name
            );
        }
        let _ = poller.remove(self.mirror.monitor());
        self.rests_until = Some(now + pause.length);
    }
}
