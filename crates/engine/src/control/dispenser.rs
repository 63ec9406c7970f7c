//! What all processes below `udco run` inherit: a socket on which each asks for a connection of its own (faults C1).
//!
//! A shell, a restart loop and several OpenVPNs hold the same end. So the engine only ever receives here, and each
//! process speaks with it on the end of a pair that nobody else has.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use udco_ipc::{MAX_MESSAGE, ToEngine, VERSION};
use udco_sys::seqpacket::{Connection, FdList};

use crate::control::conversation::new_connection;
use crate::control::output;
use crate::control::places::Lease;
use crate::engine::Engine;

/// How long to wait for the first program before saying that none came.
const NOTICE: Duration = Duration::from_secs(10);

/// A limit where nothing has to be done at it.
const LONG: Duration = Duration::from_secs(24 * 60 * 60);

/// The engine's end.
#[derive(Debug)]
pub struct Dispenser {
    end: Connection,
}

/// What a message was.
enum Asked {
    Connection,
    Quiet,
    Nonsense,
}

impl Dispenser {
    /// Takes over the engine's end of a pair.
    ///
    /// # Errors
    /// If it is no Unix SEQPACKET socket.
    pub fn adopt(fd: OwnedFd) -> io::Result<Self> {
        let end = Connection::adopt(fd)?;
        Ok(Self { end })
    }

    /// Serves every program that asks for a connection, until no process is left that could ask, and no program that
    /// has.
    ///
    /// # Errors
    /// If the socket breaks.
    pub fn serve(&self, engine: &Arc<Engine>) -> io::Result<()> {
        let (lease, programs) = mpsc::channel();
        let mut buffer = vec![0; MAX_MESSAGE];
        let mut limit = NOTICE;
        let mut has_complained = false;
        loop {
            let received = self.end.receive_within(&mut buffer, limit);
            let asked = match received {
                Ok(received) if received.len == 0 => break,
                Ok(received) => {
                    let message = buffer.get(..received.len).unwrap_or_default();
                    hand_out(engine, message, received.fds, &lease)
                }
                Err(error) => match error.kind() {
                    io::ErrorKind::ConnectionReset => break,
                    io::ErrorKind::TimedOut => {
                        if limit == NOTICE {
                            nobody_came();
                        }
                        limit = LONG;
                        continue;
                    }
                    // Too long, or with too many descriptors.
                    io::ErrorKind::InvalidData => Asked::Nonsense,
                    _ => return Err(error),
                },
            };
            match asked {
                Asked::Connection => limit = LONG,
                Asked::Quiet => {}
                Asked::Nonsense if has_complained => {}
                Asked::Nonsense => {
                    has_complained = true;
                    tracing::warn!("a program sent something other than a request to connect");
                }
            }
        }
        drop(lease);
        // Nothing is ever sent: it ends with the last session.
        let _ = programs.recv();
        Ok(())
    }
}

fn hand_out(engine: &Arc<Engine>, message: &[u8], mut fds: FdList, lease: &Lease) -> Asked {
    match ToEngine::decode(message) {
        Ok((_, ToEngine::Connect)) => match new_connection(fds.take(0)) {
            Ok((connection, client)) => {
                engine.admit(connection, &client, Some(lease.clone()));
                Asked::Connection
            }
            Err(_) => Asked::Nonsense,
        },
        Ok((_, ToEngine::Output { .. })) => {
            output::let_go();
            Asked::Quiet
        }
        Ok((_, ToEngine::Hello { version, .. })) if version != VERSION => {
            tracing::warn!(
                "the preload library speaks version {version}, this engine {VERSION}: install both from the same release"
            );
            Asked::Quiet
        }
        _ => Asked::Nonsense,
    }
}

/// faults C2.
fn nobody_came() {
    tracing::warn!(
        "no program has requested offload within {} s. If OpenVPN is up, it runs without the preload library, which does \
         not survive `sudo`, `su -`, `env -i`, or setuid, setcap, static or musl programs: put `udco run --` right before \
         `openvpn`",
        NOTICE.as_secs()
    );
    output::let_go();
}
