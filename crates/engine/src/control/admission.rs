//! Admission: each client gets a thread of its own, up to a limit.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use udco_ipc::message_id;
use udco_sys::process::named_limit;
use udco_sys::seqpacket::{Connection, Credentials};

use crate::control::account::Kind;
use crate::control::conversation::converse;
use crate::control::memory;
use crate::control::places::Lease;
use crate::engine::Engine;

/// How long a client may take to say hello: silent connections must not occupy places.
const GREETING: Duration = Duration::from_secs(5);

impl Engine {
    /// Serves one client on the calling thread until it disconnects; then everything that it created is removed.
    ///
    /// # Errors
    /// If the connection fails, or the client does not speak the protocol.
    pub fn serve(self: &Arc<Self>, connection: Connection) -> io::Result<()> {
        converse(self, connection, (None, None), Self::admit)
    }

    /// Serves a connection on a thread of its own, if a place is free. All that is known about the client is that it
    /// may connect, so it has to greet soon (faults D3). It holds a lease if it got the connection from a dispenser.
    pub(crate) fn admit(
        self: &Arc<Self>,
        connection: Connection,
        client: &Credentials,
        lease: Option<Lease>,
    ) {
        let (pid, uid) = (client.pid, client.uid);
        let account = self.accounts().of(uid);
        let place = self.places().take(uid);
        let (Some(place), Some(charge)) = (place, account.charge(Kind::Connections)) else {
            account.line(|| {
                tracing::warn!(
                    message_id = message_id::CLIENT_LIMIT,
                    pid,
                    uid,
                    "process {pid} is refused: user {uid} has reached the limit on connected clients"
                );
            });
            return;
        };
        let engine = Arc::clone(self);
        let lines = Arc::clone(&account);
        let work = move || {
            let _held = (place, charge);
            let admit = Self::admit;
            if let Err(error) = converse(&engine, connection, (Some(GREETING), lease), admit) {
                let error = named_limit(error);
                account.line(|| tracing::warn!(pid, uid, "process {pid}: {error}"));
            }
        };
        let started = memory::for_client().and_then(|_room| {
            let thread = std::thread::Builder::new().name("udco-connection".into());
            thread.spawn(work).map_err(named_limit)
        });
        if let Err(error) = started {
            lines.repeated_line(memory::ABOUT, Instant::now(), || {
                tracing::error!(pid, uid, "cannot serve process {pid}: {error}");
            });
        }
    }
}
