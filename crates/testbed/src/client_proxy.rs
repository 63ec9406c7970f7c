//! Between a client and its engine: stops or kills the engine at the very moment when a certain request is sent.
//!
//! The proxy hands every message on with its file descriptors. When the client sends the first request of the wanted
//! kind, the engine gets a signal, and then the message: a stopped engine has it in its socket and does not answer.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::net::{Shutdown, shutdown};
use rustix::process::Signal;
use udco_ipc::{MAX_MESSAGE, ToEngine};
use udco_sys::seqpacket::{Connection, Listener};

use crate::procfs::{Proc, signal_pid};
use crate::version::Version;

/// How often a thread of the proxy checks that the proxy still exists.
const GLANCE: Duration = Duration::from_millis(100);

/// A request of the Netlink API, or one about the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// `CTRL_CMD_GETFAMILY`.
    GetFamily,
    /// `RTM_NEWLINK`: the device is made.
    NewLink,
    /// `PEER_NEW`.
    PeerNew,
    /// `PEER_SET`.
    PeerSet,
    /// `PEER_GET`, of one peer or as a dump.
    PeerGet,
    /// `PEER_DEL`.
    PeerDel,
    /// `KEY_NEW`.
    KeyNew,
    /// `KEY_SWAP`.
    KeySwap,
    /// `KEY_DEL`.
    KeyDel,
    /// `RTM_DELLINK`.
    DelLink,
}

impl Request {
    /// All of them, in the order in which OpenVPN sends them.
    pub const ALL: [Self; 10] = [
        Self::GetFamily,
        Self::NewLink,
        Self::PeerNew,
        Self::KeyNew,
        Self::PeerSet,
        Self::PeerGet,
        Self::KeySwap,
        Self::KeyDel,
        Self::PeerDel,
        Self::DelLink,
    ];

    /// Whether this message of a client is such a request; the numbers are those of the family that this OpenVPN uses
    /// (dco-behaviour 2.2, 3.1).
    fn is_in(self, message: &[u8], version: Version) -> bool {
        let by_version = |v26, v27| match version {
            Version::V26 => v26,
            Version::V27 => v27,
        };
        let command = match self {
            Self::GetFamily => 3,
            Self::PeerNew => 1,
            Self::PeerSet => 2,
            Self::PeerGet => by_version(7, 3),
            Self::PeerDel => by_version(3, 4),
            Self::KeyNew => by_version(4, 6),
            Self::KeySwap => by_version(5, 8),
            Self::KeyDel => by_version(6, 10),
            Self::NewLink | Self::DelLink => 0,
        };
        let kind = |datagram: &[u8]| {
            let bytes = datagram.get(4..6).and_then(|bytes| bytes.try_into().ok());
            bytes.map_or(0, u16::from_ne_bytes)
        };
        match ToEngine::decode(message) {
            Ok((_, ToEngine::LinkRequest { datagram, .. })) => match self {
                Self::NewLink => kind(datagram) == 16,
                Self::DelLink => kind(datagram) == 17,
                _ => false,
            },
            Ok((_, ToEngine::Request { datagram, .. })) => {
                let is_control = kind(datagram) == 0x10;
                is_control == (self == Self::GetFamily) && datagram.get(16) == Some(&command)
            }
            _ => false,
        }
    }
}

/// What happens to the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// SIGSTOP.
    Stop,
    /// SIGKILL.
    Kill,
}

/// The moment of the fault.
#[derive(Clone, Debug)]
pub struct Hit {
    /// Its time.
    pub at: Instant,
    /// The client's process.
    pub program: Proc,
    /// Its processor time until then.
    pub cpu: Duration,
    /// How long it and this process had been ready to run without a processor by then.
    starved: Duration,
}

impl Hit {
    /// How long the client, and the proxy in this process, have been ready to run without a processor since then: what a
    /// busy machine has cost them.
    pub fn starved(&self) -> Duration {
        starved(&self.program).saturating_sub(self.starved)
    }
}

fn starved(client: &Proc) -> Duration {
    let both = [Some(client.clone()), Proc::read(std::process::id())];
    let both = both.iter().flatten();
    both.filter_map(|process| process.starved().ok()).sum()
}

/// A proxy, until it is dropped.
#[derive(Debug)]
pub struct ClientProxy {
    path: PathBuf,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// The engine's socket file, and its process id as the testbed sees it.
    engine: (PathBuf, u32),
    version: Version,
    request: Request,
    fault: Fault,
    hit: Mutex<Option<Hit>>,
    ended: AtomicBool,
}

impl ClientProxy {
    /// Listens at `path` for clients of an OpenVPN of this version, and hands on to the engine that listens at
    /// `engine.0` and has process id `engine.1`.
    ///
    /// # Errors
    /// If it cannot listen.
    pub fn start(
        path: &Path,
        engine: (&Path, u32),
        version: Version,
        request: Request,
        fault: Fault,
    ) -> Result<Self> {
        let listener = Listener::listen(path, 0o666)
            .with_context(|| format!("cannot listen at {}", path.display()))?;
        let shared = Arc::new(Shared {
            engine: (engine.0.to_owned(), engine.1),
            version,
            request,
            fault,
            hit: Mutex::default(),
            ended: AtomicBool::new(false),
        });
        let serving = Arc::clone(&shared);
        thread::spawn(move || serving.accept(&listener));
        Ok(Self {
            path: path.to_owned(),
            shared,
        })
    }

    /// The proxy's socket file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The fault, once it has happened.
    pub fn hit(&self) -> Option<Hit> {
        let hit = self.shared.hit.lock();
        hit.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Resumes a stopped engine: it answers the pending request, much later than it should.
    ///
    /// # Errors
    /// If the engine is gone.
    pub fn resume(&self) -> Result<()> {
        signal_pid(self.shared.engine.1, Signal::CONT)
    }
}

impl Drop for ClientProxy {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
    }
}

impl Shared {
    fn accept(self: Arc<Self>, listener: &Listener) {
        while !self.ended.load(Ordering::Relaxed) {
            let Ok(client) = listener.accept() else {
                thread::sleep(Duration::from_millis(5));
                continue;
            };
            // A client without an engine finds the connection closed.
            if let Ok(engine) = Connection::connect(&self.engine.0) {
                let (client, engine) = (Arc::new(client), Arc::new(engine));
                let (shared, ends) = (
                    Arc::clone(&self),
                    (Arc::clone(&client), Arc::clone(&engine)),
                );
                thread::spawn(move || {
                    let program = ends.0.peer_credentials();
                    let program = program.map_or(0, |program| program.pid.unsigned_abs());
                    shared.relay(&ends.0, &ends.1, |message| {
                        shared.inject_fault(message, program)
                    });
                });
                let shared = Arc::clone(&self);
                thread::spawn(move || shared.relay(&engine, &client, |_| ()));
            }
        }
    }

    /// Relays messages until one of the ends closes; then closes both.
    fn relay(&self, from: &Connection, to: &Connection, look: impl Fn(&[u8])) {
        let mut buffer = vec![0; MAX_MESSAGE];
        while !self.ended.load(Ordering::Relaxed) {
            let received = match from.receive_within(&mut buffer, GLANCE) {
                Ok(received) if received.len > 0 => received,
                Err(error) if error.kind() == std::io::ErrorKind::TimedOut => continue,
                _ => break,
            };
            let message = &buffer[..received.len];
            let fds: Vec<OwnedFd> = received.fds.into_iter().collect();
            let fds: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
            look(message);
            if !self.send(to, message, &fds) {
                break;
            }
        }
        for end in [from, to] {
            let _ = shutdown(end, Shutdown::Both);
        }
    }

    /// Sends, and waits for room, which a stopped engine does not make; returns whether the other end is still
    /// connected.
    fn send(&self, to: &Connection, message: &[u8], fds: &[std::os::fd::BorrowedFd<'_>]) -> bool {
        while !self.ended.load(Ordering::Relaxed) {
            match to.send(message, fds) {
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    thread::sleep(Duration::from_millis(1));
                }
                result => return result.is_ok(),
            }
        }
        false
    }

    /// Causes the fault if this is the first message of the wanted kind.
    fn inject_fault(&self, message: &[u8], program: u32) {
        let mut hit = self.hit.lock().unwrap_or_else(PoisonError::into_inner);
        if hit.is_some() || !self.request.is_in(message, self.version) {
            return;
        }
        let engine = self.engine.1;
        let (signal, state) = match self.fault {
            Fault::Stop => (Signal::STOP, 'T'),
            Fault::Kill => (Signal::KILL, 'Z'),
        };
        // Before the signal: the client may see the engine's end, and be gone, before this thread goes on.
        let Some(program) = Proc::read(program) else {
            return;
        };
        let (at, cpu) = (Instant::now(), program.cpu_time().unwrap_or_default());
        let starved = starved(&program);
        if signal_pid(engine, signal).is_err() {
            return;
        }
        while Proc::read(engine).is_some_and(|engine| engine.state != state) {
            thread::sleep(Duration::from_micros(100));
        }
        *hit = Some(Hit {
            at,
            program,
            cpu,
            starved,
        });
    }
}
