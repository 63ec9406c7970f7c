//! This library's view of the program: its connection to the engine, and the fds that it serves.

use crate::addresses::Stale;
use crate::calls::{self, Errno};
use crate::channel::Channel;
use crate::connection::{self, Connection, Lost};
use crate::epoll::Registrations;
use crate::fib::Route;
use crate::inside::Inside;
use crate::journal;
use crate::lock::{self, Lock};
use crate::marks;
use crate::old_routes::OldRoutes;
use crate::output;
use crate::route_socket::RouteSocket;
use crate::tally::Tally;
use crate::transport::Transport;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use libc::c_int;
use udco_ipc::{ToEngine, message_id};

/// Everything behind the lock.
pub(crate) struct State {
    /// `None` before the first use, and again after the engine has gone.
    pub(crate) connection: Option<Connection>,
    /// The fds of the program whose files were replaced or are monitored.
    pub(crate) sockets: BTreeMap<c_int, Entry>,
    /// Its epoll sets.
    pub(crate) epolls: Registrations,
    /// The program has a TUN device of its own.
    pub(crate) has_own_tun: bool,
    /// Indexes of the devices that it has opened itself and given an address.
    pub(crate) own_devices: Vec<u32>,
    /// Indexes of the devices made for the engine, until they are deleted.
    pub(crate) devices: Vec<c_int>,
    /// The program is a client: the last device made for it has one peer.
    pub(crate) is_client: bool,
    /// Routes added around a device left behind by a killed run.
    pub(crate) detours: Vec<Route>,
    /// Indexes of such devices, hidden from the program in route dumps.
    pub(crate) left: Vec<u32>,
    /// Devices taken over that still have the killed run's addresses.
    pub(crate) stale: Stale,
    /// Routes of such devices that the program has not set.
    pub(crate) old_routes: OldRoutes,
    /// Addresses already reported as having no detour.
    pub(crate) advised: Vec<Vec<u8>>,
}

/// An fd of the program whose file was replaced, or that must be monitored.
pub(crate) enum Entry {
    /// A socket pair in place of a generic-netlink socket.
    Channel(Channel),
    /// A real rtnetlink socket.
    Route(RouteSocket),
    /// A relay in place of a transport socket.
    Transport(Transport),
    /// A TCP socket that may become one: bytes read from it are counted.
    Stream(Tally),
}

pub(crate) type Guard = lock::Guard<'static, State>;

static STATE: Lock<State> = Lock::new(State {
    connection: None,
    sockets: BTreeMap::new(),
    epolls: Registrations::new(),
    has_own_tun: false,
    own_devices: Vec::new(),
    devices: Vec::new(),
    is_client: false,
    detours: Vec::new(),
    left: Vec::new(),
    stale: Stale::new(),
    old_routes: OldRoutes::new(),
    advised: Vec::new(),
});

/// The process that owns the connection to the engine; a forked child only closes what it inherited.
static OWNER: AtomicU32 = AtomicU32::new(0);

const UNKNOWN: u8 = 0;
const WAITING: u8 = 1;
const CONNECTED: u8 = 2;
const OFF: u8 = 3;
/// No engine can be reached: only a device left behind that the program opens itself matters.
const ALONE: u8 = 4;
static STAGE: AtomicU8 = AtomicU8::new(UNKNOWN);

/// Whether there is, or may come to be, a connection. One atomic load once that is decided.
pub(crate) fn is_active() -> bool {
    match STAGE.load(Ordering::Acquire) {
        UNKNOWN => {
            let stage = if connection::is_configured() {
                WAITING
            } else {
                OFF
            };
            STAGE.store(stage, Ordering::Release);
            stage == WAITING
        }
        stage => !matches!(stage, OFF | ALONE),
    }
}

/// Whether there was to be an engine, even if none can be reached.
pub(crate) fn is_configured() -> bool {
    is_active() || STAGE.load(Ordering::Acquire) == ALONE
}

/// Runs a hook's own part. `None` means that libc handles the call: because the hook decided so, or because this
/// thread is already in a hook (our own calls, a signal handler). `errno` stays unchanged unless the hook's part fails.
pub(crate) fn enter<T>(
    hook: impl FnOnce() -> Option<Result<T, Errno>>,
) -> Option<Result<T, Errno>> {
    let inside = Inside::enter()?;
    let errno = calls::errno();
    let outcome = hook();
    drop(inside);
    calls::set_errno(match outcome {
        Some(Err(why)) => why,
        _ => errno,
    });
    outcome
}

/// Takes the lock. `None` in a forked child whose parent had another thread in here at the time: that thread doesn't
/// exist in the child, so the lock would never be released.
pub(crate) fn lock() -> Option<Guard> {
    let free = STATE.try_lock();
    free.or_else(|| is_owner().then(|| STATE.lock()))
}

/// Whether this process owns the connection to the engine.
pub(crate) fn is_owner() -> bool {
    let owner = OWNER.load(Ordering::Acquire);
    owner == 0 || owner == calls::process()
}

fn own() {
    OWNER.store(calls::process(), Ordering::Release);
}

impl State {
    /// Whether there is an engine; connects at the first call.
    pub(crate) fn connect(&mut self) -> bool {
        self.forget_closed();
        if STAGE.load(Ordering::Acquire) == WAITING {
            let stage = match Connection::open() {
                Ok(connection) => {
                    self.connection = Some(connection);
                    own();
                    CONNECTED
                }
                Err(why) => {
                    let why = journal::seen(&why);
                    let line = format!("udco: {why}: OpenVPN uses its own data path\n");
                    journal::say(message_id::OFFLOAD_UNAVAILABLE, &line);
                    ALONE
                }
            };
            STAGE.store(stage, Ordering::Release);
        }
        self.connection.is_some()
    }

    /// Gives a forked child whose parent lives on its own connection: on the parent's, each would read the other's
    /// answers (faults C1).
    pub(crate) fn part(&mut self) {
        let owner = OWNER.load(Ordering::Acquire);
        if is_owner() || !calls::is_running(owner) {
            return;
        }
        let Some(inherited) = self.connection.take() else {
            return;
        };
        self.connection = inherited.another().ok();
        own();
        // The parent's.
        self.devices.clear();
        let is_channel =
            |(fd, entry): (&c_int, &Entry)| matches!(entry, Entry::Channel(_)).then_some(*fd);
        let channels: Vec<c_int> = self.sockets.iter().filter_map(is_channel).collect();
        for fd in channels {
            self.forget(fd);
        }
    }

    /// Makes this process the owner of the connection to the engine.
    pub(crate) fn become_owner(&mut self) {
        self.forget_closed();
        own();
    }

    /// Where a forked child, or a forebear of it, has closed its parent's connection: there is no engine, and the number may
    /// be another file's. The mark says so until then, as each child inherits it. A child of `vfork` removes it for its
    /// parent, too, which owns the connection.
    pub(crate) fn forget_closed(&mut self) {
        let is_closed = |it: &Connection| !marks::has(it.raw(), marks::HIDDEN);
        if !is_owner() && self.connection.as_ref().is_some_and(is_closed) {
            self.connection = None;
            STAGE.store(ALONE, Ordering::Release);
        }
    }

    /// Whether there is an engine, or may be one that was not needed so far.
    pub(crate) fn may_have_engine(&self) -> bool {
        self.connection.is_some() || STAGE.load(Ordering::Acquire) == WAITING
    }

    /// Whether the engine has gone, even if that has not been noticed yet.
    pub(crate) fn has_lost_engine(&mut self) -> bool {
        self.forget_closed();
        if self.connection.as_ref().is_some_and(Connection::has_ended) {
            self.connection = None;
        }
        self.connection.is_none() && STAGE.load(Ordering::Acquire) == CONNECTED
    }

    /// Whether rtnetlink requests of the program may matter.
    pub(crate) fn watches_routes(&mut self) -> bool {
        self.may_have_engine() || self.has_own_tun || self.is_orphaned()
    }

    /// The program has taken over a device of a killed run.
    pub(crate) fn take_over(&mut self, ifindex: u32) {
        self.stale.extend(ifindex);
        self.old_routes.extend(ifindex);
    }

    /// The connection, for a request.
    pub(crate) fn connection(&mut self) -> Result<&mut Connection, Lost> {
        self.forget_closed();
        self.connection.as_mut().ok_or(Lost::Dead)
    }

    /// Whether the engine has gone and left a device behind: one made for this program, or one left by a killed run,
    /// which the program then takes for its own. With a TUN device of its own it needs neither.
    pub(crate) fn is_orphaned(&mut self) -> bool {
        (!self.devices.is_empty() || !self.has_own_tun) && self.has_lost_engine()
    }

    /// Records the outcome of a request: a dead engine gets no further ones.
    pub(crate) fn record<T>(&mut self, outcome: Result<T, Lost>) -> Result<T, Lost> {
        if matches!(outcome, Err(Lost::Dead)) {
            self.connection = None;
        }
        outcome
    }

    /// Sends a request that is answered by an errno.
    pub(crate) fn request_errno(&mut self, message: &ToEngine<'_>) -> Result<Errno, Lost> {
        let outcome = self
            .connection()
            .and_then(|connection| connection.request_errno(message));
        self.record(outcome)
    }

    /// Serves an fd from now on; `false` if its number is too high.
    pub(crate) fn serve(&mut self, fd: c_int, entry: Entry) -> bool {
        let possible = marks::possible(fd);
        if possible {
            self.sockets.insert(fd, entry);
            marks::add(fd, marks::SERVED);
        }
        possible
    }

    /// Stops serving an fd.
    pub(crate) fn forget(&mut self, fd: c_int) -> Option<Entry> {
        marks::remove(fd, marks::SERVED);
        self.sockets.remove(&fd)
    }
}

/// The program opened `/dev/net/tun` itself.
pub(crate) fn own_tun() -> Option<Result<c_int, Errno>> {
    let mut state = lock()?;
    if !is_owner() || state.has_own_tun {
        return None;
    }
    let is_connected = state.connect();
    connection::withdraw();
    state.has_own_tun = true;
    if is_connected {
        // No socket is handed over any more.
        let is_stream =
            |(fd, entry): (&c_int, &Entry)| matches!(entry, Entry::Stream(_)).then_some(*fd);
        let streams: Vec<c_int> = state.sockets.iter().filter_map(is_stream).collect();
        for fd in streams {
            state.forget(fd);
        }
        let _ = state.request_errno(&ToEngine::OwnTun);
    }
    None
}

/// The program's lines have been redirected. A forked child's are no concern of its parent's engine.
pub(crate) fn report_output() -> Option<Result<c_int, Errno>> {
    let state = lock().filter(|_| is_owner())?;
    if let Some(connection) = &state.connection {
        connection.report_output();
    }
    None
}

/// The program has daemonized: this process lives on.
pub(crate) fn daemonized(was_owner: bool) -> Option<Result<c_int, Errno>> {
    if was_owner {
        own();
    }
    if STAGE.load(Ordering::Acquire) == WAITING {
        connection::dispenser().into_iter().for_each(output::let_go);
        return None;
    }
    report_output()
}
