//! The engine's socket file: several programs, and the CLI, connect here.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::getuid;
use udco_sys::confinement::User;
use udco_sys::seqpacket::{Connection, Credentials, Listener};
use udco_sys::socket_file::{self, SocketFile};

use crate::Engine;
use crate::account::{Kind, LineBudget, is_privileged};

/// The most connections at a time (promises G6): one for each program, none for its peers. Those of root and of the engine's
/// own user have places of their own, which nobody else takes (faults D3).
const MAX_OF_USERS: usize = 96;
const MAX_PRIVILEGED: usize = 64;

/// Who may connect, by the credentials that the kernel gives of the caller. Root and the engine's own user always may.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// Other users.
    pub uids: Vec<u32>,
    /// Groups, primary or supplementary.
    pub gids: Vec<u32>,
}

impl Access {
    fn permits(&self, caller: &Credentials, connection: &Connection) -> bool {
        caller.uid == 0
            || caller.uid == getuid().as_raw()
            || self.uids.contains(&caller.uid)
            || self.gids.contains(&caller.gid)
            || (!self.gids.is_empty() && self.permits_a_group_of(connection))
    }

    fn permits_a_group_of(&self, connection: &Connection) -> bool {
        let groups = connection.peer_groups();
        groups.iter().any(|group| self.gids.contains(group))
    }
}

/// A socket file at which an engine listens. The file goes when this is dropped.
#[derive(Debug)]
pub struct Listening {
    listener: Listener,
    file: SocketFile,
    access: Access,
    removes: bool,
}

impl Listening {
    /// Listens at `path`. A socket that a dead engine of this user left behind is replaced, and nothing else.
    ///
    /// # Errors
    /// `AddrInUse` if an engine listens there already; `AlreadyExists` if there is a file that is not ours to replace;
    /// else of the file system.
    pub fn start(path: &Path, access: Access) -> io::Result<Self> {
        // Others do not even get as far as being refused (faults D3).
        let listen = || Listener::listen_for(path, &access.uids, &access.gids);
        let listener = match listen() {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                if socket_file::remove_dead(path)? {
                    listen()?
                } else if Connection::connect(path).is_ok() {
                    return Err(error);
                } else {
                    return Err(io::ErrorKind::AlreadyExists.into());
                }
            }
            result => result?,
        };
        Ok(Self {
            listener,
            file: SocketFile::made_at(path)?,
            access,
            removes: true,
        })
    }

    /// The file is somebody else's to remove: a confined engine cannot.
    #[must_use]
    pub fn without_removal(mut self) -> Self {
        self.removes = false;
        self
    }

    /// Makes the file another user's, who is to serve here and may connect.
    ///
    /// # Errors
    /// If this process may not.
    pub fn give_to(&self, user: User) -> io::Result<()> {
        std::os::unix::fs::lchown(self.path(), Some(user.uid), Some(user.gid))
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// Serves whoever connects, each on a thread of its own. Returns only on an error.
    ///
    /// # Errors
    /// If the socket breaks.
    pub fn serve(&self, engine: &Arc<Engine>) -> io::Result<()> {
        let open = Open::default();
        loop {
            let connection = match self.listener.accept() {
                Ok(connection) => connection,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    poll(&mut [PollFd::new(&self.listener, PollFlags::IN)], None)?;
                    continue;
                }
                Err(error) => {
                    // Out of file descriptors, most likely: those who wait may be served later (promises J5).
                    tracing::error!("cannot accept a connection: {error}");
                    std::thread::sleep(Duration::from_millis(100));
                    continue;
                }
            };
            self.admit(engine, connection, &open);
        }
    }

    fn admit(&self, engine: &Arc<Engine>, connection: Connection, open: &Open) {
        let caller = match connection.peer_credentials() {
            Ok(caller) if self.access.permits(&caller, &connection) => caller,
            Ok(caller) => {
                let (pid, uid) = (caller.pid, caller.uid);
                let refuse = || {
                    tracing::warn!(
                        "process {pid} of user {uid} may not use this engine (see --allow-uid)"
                    );
                };
                open.refused.write(Instant::now(), refuse, |more| {
                    tracing::warn!("{more} more callers who may not use this engine were refused");
                });
                return;
            }
            Err(error) => {
                tracing::warn!("a caller without credentials: {error}");
                return;
            }
        };
        let account = engine.accounts().of(caller.uid);
        let (places, most) = match is_privileged(caller.uid) {
            true => (&open.privileged, MAX_PRIVILEGED),
            false => (&open.of_users, MAX_OF_USERS),
        };
        let place = Place::take(places, most);
        let (Some(place), Some(charge)) = (place, account.charge(Kind::Connections)) else {
            account.line(|| {
                let (pid, uid) = (caller.pid, caller.uid);
                tracing::warn!(
                    "process {pid} is refused: user {uid} has as many programs connected as there is room for"
                );
            });
            return;
        };
        let engine = Arc::clone(engine);
        let serve = move || {
            let _held = (place, charge);
            if let Err(error) = engine.serve_caller(connection) {
                account.line(|| tracing::warn!("process {}: {error}", caller.pid));
            }
        };
        let started = std::thread::Builder::new()
            .name("udco-connection".into())
            .spawn(serve);
        if let Err(error) = started {
            tracing::error!("cannot serve process {}: {error}", caller.pid);
        }
    }
}

/// Who is connected, and who was not let in.
#[derive(Default)]
struct Open {
    privileged: Arc<AtomicUsize>,
    of_users: Arc<AtomicUsize>,
    refused: LineBudget,
}

/// A connection's place among those there are; given back when dropped.
struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(places: &Arc<AtomicUsize>, most: usize) -> Option<Self> {
        let place = Self(Arc::clone(places));
        (places.fetch_add(1, Ordering::Relaxed) < most).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        if self.removes {
            self.file.remove();
        }
    }
}
