//! The engine's socket file: several programs, and the CLI, connect here.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::getuid;
use udco_sys::confinement::User;
use udco_sys::seqpacket::{Connection, Credentials, Listener};
use udco_sys::socket_file::{self, SocketFile};

use crate::Engine;

/// The most connections at a time (promises G6): one for each program, none for its peers.
const MAX_CONNECTIONS: usize = 64;

/// Who may connect, by the credentials that the kernel gives of the caller. Root and the engine's own user always may.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// Other users.
    pub uids: Vec<u32>,
    /// Groups, by the caller's primary group.
    pub gids: Vec<u32>,
}

impl Access {
    fn permits(&self, caller: &Credentials) -> bool {
        caller.uid == 0
            || caller.uid == getuid().as_raw()
            || self.uids.contains(&caller.uid)
            || self.gids.contains(&caller.gid)
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
        // Whoever may not connect is told so after the credentials were seen; the mode lets those in who might.
        let mode = if access.uids.is_empty() && access.gids.is_empty() {
            0o600
        } else {
            0o666
        };
        let listener = match Listener::listen(path, mode) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                if socket_file::remove_dead(path)? {
                    Listener::listen(path, mode)?
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
        let open = Arc::new(AtomicUsize::new(0));
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

    fn admit(&self, engine: &Arc<Engine>, connection: Connection, open: &Arc<AtomicUsize>) {
        let caller = match connection.peer_credentials() {
            Ok(caller) if self.access.permits(&caller) => caller,
            Ok(caller) => {
                let (pid, uid) = (caller.pid, caller.uid);
                tracing::warn!(
                    "process {pid} of user {uid} may not use this engine (see --allow-uid)"
                );
                return;
            }
            Err(error) => {
                tracing::warn!("a caller without credentials: {error}");
                return;
            }
        };
        if open.fetch_add(1, Ordering::Relaxed) >= MAX_CONNECTIONS {
            open.fetch_sub(1, Ordering::Relaxed);
            tracing::warn!(
                "process {} has to wait: {MAX_CONNECTIONS} programs are connected",
                caller.pid
            );
            return;
        }
        let (engine, count) = (Arc::clone(engine), Arc::clone(open));
        let serve = move || {
            if let Err(error) = engine.serve(connection) {
                tracing::warn!("process {}: {error}", caller.pid);
            }
            count.fetch_sub(1, Ordering::Relaxed);
        };
        let started = std::thread::Builder::new()
            .name("udco-connection".into())
            .spawn(serve);
        if let Err(error) = started {
            open.fetch_sub(1, Ordering::Relaxed);
            tracing::error!("cannot serve process {}: {error}", caller.pid);
        }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        if self.removes {
            self.file.remove();
        }
    }
}
