//! Keeps a device's copy of the kernel's routes (design decision 8).
//!
//! Route changes are applied as they come. When links or addresses change, the kernel drops routes silently, and a burst
//! may overrun the socket: in both cases, all routes are requested again.

use std::io;
use std::time::{Duration, Instant};

use udco_core::Routes;
use udco_netlink::path::reports;
use udco_netlink::route::{Change, Family, changes, dump_request};
use udco_sys::route::{Monitor, Received};

use crate::device::paths::Paths;
use crate::device::{Device, random_seed};

/// Datagrams of one namespace handled before others get their turn: a hostile namespace never runs out of them.
const TURN: usize = 64;

/// Mirror of the routes of one network namespace, for one device.
pub(crate) struct RouteMirror {
    monitor: Monitor,
    /// The monitor's port, by which answers are recognised.
    port: u32,
    /// The paths to the device's peers, as this namespace's routes see them.
    paths: Paths,
    dump: Dump,
    /// Routes of a dump in progress; they replace the device's once it is complete.
    collected: Routes,
    seed: u64,
    /// Further routes are ignored: the namespace's administrator may create any number.
    most_routes: usize,
    buffer: Box<[u8]>,
}

/// The kernel runs one dump at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dump {
    /// None is running.
    Idle,
    /// This family's is running; `again` if something has made it stale meanwhile.
    Running { family: Family, again: bool },
}

/// Whether the device still exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Link {
    /// It does.
    There,
    /// It was moved to another network namespace.
    Moved,
    /// It was deleted.
    Gone,
}

impl RouteMirror {
    /// Knows nothing before [`RouteMirror::restart`].
    ///
    /// # Errors
    /// If the socket is broken.
    pub(crate) fn new(monitor: Monitor, most_routes: usize) -> io::Result<Self> {
        let seed = random_seed();
        let collected = Routes::new(seed);
        let buffer = vec![0; 64 * 1024].into();
        Ok(Self {
            port: monitor.port()?,
            paths: Paths::new(),
            monitor,
            dump: Dump::Idle,
            collected,
            seed,
            most_routes,
            buffer,
        })
    }

    /// Starts over with a dump of everything.
    ///
    /// # Errors
    /// If the kernel cannot be asked now.
    pub(crate) fn restart(&mut self) -> io::Result<()> {
        // If the last dump still runs, the kernel says so, and its end starts another.
        self.dump = Dump::Idle;
        self.paths.doubt();
        self.dump_all()
    }

    /// The socket, to wait for.
    pub(crate) const fn monitor(&self) -> &Monitor {
        &self.monitor
    }

    /// Maintains the paths of the device's peers; returns when to call it again.
    pub(crate) fn tick(&mut self, device: &Device, now: Instant) -> Duration {
        self.paths.tick(device, &self.monitor, now)
    }

    /// Applies the kernel's reports: at most [`TURN`] datagrams, so that other devices have their turn.
    pub(crate) fn update(&mut self, device: &Device) -> io::Result<Link> {
        for _ in 0..TURN {
            let len = match self.monitor.receive(&mut self.buffer)? {
                Received::Messages(len) => len,
                Received::Empty => {
                    self.paths.apply(device);
                    return Ok(Link::There);
                }
                // The interface's deletion may be among what was lost.
                Received::Overrun if device.interface.current_name().is_err() => {
                    return Ok(Link::Gone);
                }
                Received::Overrun => {
                    self.paths.doubt();
                    self.dump_all()?;
                    continue;
                }
            };
            let datagram = &self.buffer[..len];
            for report in reports(datagram, self.port) {
                self.paths.take_in(&self.monitor, report);
            }
            let received: Vec<Change> = changes(datagram, self.port).collect();
            if (self.dump == Dump::Idle || device.interface.is_away()) && !received.is_empty() {
                self.paths.doubt();
            }
            if received.contains(&Change::LinkGone {
                ifindex: device.interface.ifindex,
            }) {
                // A move looks like a deletion. The queue knows which it is, wherever the interface is (faults A7).
                return Ok(match device.interface.current_name() {
                    Ok(_) => Link::Moved,
                    Err(_) => Link::Gone,
                });
            }
            // Routes of the old namespace still lead to the peers' remote addresses, but not into the tunnel.
            if !device.interface.is_away() {
                self.apply(device, &received)?;
            }
        }
        Ok(Link::There)
    }

    fn apply(&mut self, device: &Device, received: &[Change]) -> io::Result<()> {
        if self.dump == Dump::Idle {
            device.change(|state| take_in(&mut state.routes, received, self.most_routes));
        } else {
            // A message may belong to the dump, or report a change between its parts; both count.
            take_in(&mut self.collected, received, self.most_routes);
        }
        for change in received {
            match change {
                Change::DumpDone => self.dump_is_done(device)?,
                Change::Surroundings | Change::DumpFailed => self.dump_all()?,
                _ => {}
            }
        }
        Ok(())
    }

    fn dump_all(&mut self) -> io::Result<()> {
        match &mut self.dump {
            Dump::Running { again, .. } => {
                *again = true;
                Ok(())
            }
            Dump::Idle => {
                self.collected = Routes::new(self.seed);
                self.dump_family(Family::V4)
            }
        }
    }

    fn dump_family(&mut self, family: Family) -> io::Result<()> {
        self.dump = Dump::Running {
            family,
            again: false,
        };
        self.monitor.send(&dump_request(family, 1))
    }

    fn dump_is_done(&mut self, device: &Device) -> io::Result<()> {
        match std::mem::replace(&mut self.dump, Dump::Idle) {
            Dump::Running { again: true, .. } => self.dump_all(),
            Dump::Running {
                family: Family::V4, ..
            } => self.dump_family(Family::V6),
            Dump::Running {
                family: Family::V6, ..
            } => {
                tracing::debug!(
                    device = device.interface.name,
                    "{}: {} route prefixes",
                    device.interface.name,
                    self.collected.len()
                );
                let routes = self.collected.clone();
                device.change(|state| state.routes = routes);
                Ok(())
            }
            Dump::Idle => Ok(()),
        }
    }
}

fn take_in(routes: &mut Routes, received: &[Change], most: usize) {
    for change in received {
        match change {
            Change::Added { route, replaced } if *replaced || routes.len() < most => {
                routes.add(in_core(route), *replaced);
            }
            Change::Removed(route) => routes.remove(&in_core(route)),
            _ => {}
        }
    }
}

const fn in_core(route: &udco_netlink::route::Route) -> udco_core::route::Route {
    udco_core::route::Route {
        destination: route.destination,
        prefix: route.prefix,
        metric: route.metric,
        gateway: route.gateway,
        ifindex: route.ifindex,
    }
}
