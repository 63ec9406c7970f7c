//! The dispenser: a socket that all processes below `udco run` inherit, to request connections of their own (faults
//! C1).
//!
//! A shell, a restart loop and several OpenVPNs share one end. So the engine only receives here, and each process talks
//! to it over one end of a socket pair that no other process has.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use udco_ipc::{MAX_MESSAGE, OtherVersion, ToEngine, VERSION, message_id};
use udco_sys::seqpacket::{Connection, FdList};

use crate::control::conversation::new_connection;
use crate::control::output;
use crate::control::places::Lease;
use crate::engine::Engine;

/// How long to wait for the first client before logging that none has connected.
const NOTICE: Duration = Duration::from_secs(10);

/// A timeout for when there is no deadline.
const LONG: Duration = Duration::from_secs(24 * 60 * 60);

/// The engine's end.
#[derive(Debug)]
pub struct Dispenser {
    end: Connection,
}

/// What was received.
enum Received {
    Connect,
    Other,
    /// With why it was lost, if it was not even read.
    Invalid(Option<io::Error>),
}

impl Dispenser {
    /// Takes over the engine's end of a pair.
    ///
    /// # Errors
    /// If it is not a Unix SEQPACKET socket.
    pub fn adopt(fd: OwnedFd) -> io::Result<Self> {
        let end = Connection::adopt(fd)?;
        Ok(Self { end })
    }

    /// Serves each client that requests a connection, until no process is left that could request one, and no client is
    /// connected.
    ///
    /// # Errors
    /// If the socket breaks.
    pub fn serve(&self, engine: &Arc<Engine>) -> io::Result<()> {
        let (lease, sessions) = mpsc::channel();
        let mut buffer = vec![0; MAX_MESSAGE];
        let mut limit = NOTICE;
        let mut has_warned = false;
        loop {
            let received = self.end.receive_within(&mut buffer, limit);
            let received = match received {
                Ok(received) if received.len == 0 => break,
                Ok(received) => {
                    let message = buffer.get(..received.len).unwrap_or_default();
                    hand_out(engine, message, received.fds, &lease)
                }
                Err(error) => match error.kind() {
                    io::ErrorKind::ConnectionReset => break,
                    io::ErrorKind::TimedOut => {
                        if limit == NOTICE {
                            warn_of_no_client();
                        }
                        limit = LONG;
                        continue;
                    }
                    // Too long, or with more descriptors than a message, or this process, may have.
                    io::ErrorKind::InvalidData => Received::Invalid(Some(error)),
                    _ => return Err(error),
                },
            };
            match received {
                Received::Connect => limit = LONG,
                Received::Other => {}
                Received::Invalid(_) if has_warned => {}
                Received::Invalid(why) => {
                    has_warned = true;
                    match why {
                        Some(error) => tracing::warn!("a process cannot connect: {error}"),
                        None => tracing::warn!(
                            "a process sent something other than a request to connect"
                        ),
                    }
                }
            }
        }
        drop(lease);
        // Nothing is ever sent: it disconnects with the last session.
        let _ = sessions.recv();
        Ok(())
    }
}

fn hand_out(engine: &Arc<Engine>, message: &[u8], mut fds: FdList, lease: &Lease) -> Received {
    match ToEngine::decode(message) {
        Ok((_, ToEngine::Connect)) => match new_connection(fds.take(0)) {
            Ok((connection, client)) => {
                engine.admit(connection, &client, Some(lease.clone()));
                Received::Connect
            }
            Err(_) => Received::Invalid(None),
        },
        Ok((_, ToEngine::Output { .. })) => {
            output::let_go();
            Received::Other
        }
        Ok((_, ToEngine::Hello { version, .. })) if version != VERSION => {
            tracing::warn!(
                message_id = message_id::VERSIONS_DIFFER,
                "{}",
                OtherVersion::Client(version)
            );
            Received::Other
        }
        _ => Received::Invalid(None),
    }
}

/// Reports that no client has connected: faults C2.
fn warn_of_no_client() {
    tracing::warn!(
        message_id = message_id::NO_CLIENT,
        "no program has requested offload within {} s. If OpenVPN is up, it runs without the preload library, which does \
         not survive `sudo`, `su -`, `env -i`, or setuid, setcap or static programs: put `udco run --` right before \
         `openvpn`",
        NOTICE.as_secs()
    );
    output::let_go();
}
