//! The engine's socket file: OpenVPN processes and the CLI connect here.

use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::getuid;
use udco_ipc::message_id;
use udco_sys::confinement::User;
use udco_sys::process::named_limit;
use udco_sys::seqpacket::{Connection, Credentials, Listener};
use udco_sys::socket_file::{self, SocketFile};

use crate::backoff::Backoff;
use crate::control::account::LineBudget;
use crate::engine::Engine;

/// Who may connect, by the client credentials that the kernel reports. Root and the engine's own user always may.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// Other users.
    pub uids: Vec<u32>,
    /// Groups, primary or supplementary.
    pub gids: Vec<u32>,
}

impl Access {
    fn permits(&self, client: &Credentials, connection: &Connection) -> bool {
        client.uid == 0
            || client.uid == getuid().as_raw()
            || self.uids.contains(&client.uid)
            || self.gids.contains(&client.gid)
            || (!self.gids.is_empty() && self.permits_a_group_of(connection))
    }

    fn permits_a_group_of(&self, connection: &Connection) -> bool {
        let groups = connection.peer_groups();
        groups.iter().any(|group| self.gids.contains(group))
    }
}

/// A socket file on which an engine listens. Dropping this removes the file.
#[derive(Debug)]
pub struct Listening {
    listener: Listener,
    file: SocketFile,
    access: Access,
    removes: bool,
}

impl Listening {
    /// Listens at `path`. Replaces a socket that a dead engine of this user left behind, and nothing else.
    ///
    /// # Errors
    /// `AddrInUse` if an engine listens there already; `AlreadyExists` if the file is not ours to replace; otherwise
    /// the file system's.
    pub fn start(path: &Path, access: Access) -> io::Result<Self> {
        // File permissions stop all other users before they could connect (faults D3).
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

    /// Leaves the file for another process to remove: a confined engine cannot.
    #[must_use]
    pub fn without_removal(mut self) -> Self {
        self.removes = false;
        self
    }

    /// Gives the file to another user, who will serve here and may connect.
    ///
    /// # Errors
    /// If this process lacks the right.
    pub fn give_to(&self, user: User) -> io::Result<()> {
        std::os::unix::fs::lchown(self.path(), Some(user.uid), Some(user.gid))
    }

    /// The file's path.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// Serves each client that connects on a thread of its own, for the life of the process.
    pub fn serve(&self, engine: &Arc<Engine>) {
        self.serve_until(engine, &self.listener, PollFlags::empty());
    }

    /// The same until `end` is readable.
    pub fn serve_until_readable(&self, engine: &Arc<Engine>, end: impl AsFd) {
        self.serve_until(engine, end, PollFlags::IN);
    }

    fn serve_until(&self, engine: &Arc<Engine>, end: impl AsFd, is_end: PollFlags) {
        let refused = LineBudget::default();
        let mut failures = Backoff::default();
        loop {
            let mut polled = [
                PollFd::new(&self.listener, PollFlags::IN),
                PollFd::new(&end, is_end),
            ];
            let accepted = match poll(&mut polled, None) {
                Ok(_) if polled[1].revents().intersects(is_end) => return,
                Ok(_) => self.listener.accept(),
                Err(error) => Err(error.into()),
            };
            let connection = match accepted {
                Ok(connection) => connection,
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                    ) =>
                {
                    continue;
                }
                Err(error) => {
                    // Most likely out of file descriptors: waiting clients may be served later (promises J5).
                    let pause = failures.failed(Instant::now());
                    let error = named_limit(error);
                    if let Some(times) = pause.line {
                        tracing::error!("cannot accept a connection: {error}{times}; retrying");
                    }
                    std::thread::sleep(pause.length);
                    continue;
                }
            };
            self.admit(engine, connection, &refused);
        }
    }

    fn admit(&self, engine: &Arc<Engine>, connection: Connection, refused: &LineBudget) {
        let client = match connection.peer_credentials() {
            Ok(client) if self.access.permits(&client, &connection) => client,
            Ok(client) => {
                let (pid, uid) = (client.pid, client.uid);
                let refuse = || {
                    tracing::warn!(
                        message_id = message_id::ACCESS_DENIED,
                        pid,
                        uid,
                        "process {pid} of user {uid} may not use this engine (see --allow-uid)"
                    );
                };
                refused.write(Instant::now(), refuse, |more| {
                    tracing::warn!("{more} more connections from users who may not use this engine were refused");
                });
                return;
            }
            Err(error) => {
                tracing::warn!("a connection without credentials: {error}");
                return;
            }
        };
        engine.admit(connection, &client, None);
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        if self.removes {
            self.file.remove();
        }
    }
}
