//! A client's session: the state of its connection, and the questions that the engine asks it.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use udco_ipc::{MAX_MESSAGE, Partial, ToClient, ToEngine};
use udco_sys::epoll::Poller;
use udco_sys::seqpacket::{Connection, Credentials, FdList};
use zeroize::Zeroize;

use crate::backoff::Backoff;
use crate::client::Client;
use crate::control::account::{Account, Charge};
use crate::control::capture::Capturing;
use crate::control::channel::Channel;
use crate::control::namespace;
use crate::control::places::Lease;
use crate::control::resources::Resources;
use crate::device::snapshot::Tuning;
use crate::engine::Engine;

/// How long a client may take to hand over what it was asked for. A loaded machine takes seconds to make a device, and a
/// client that dies ends its connection (faults B3).
const HAND_OVER: Duration = Duration::from_secs(60);

/// The longest pause after a call that failed: the client waits a second for its answer.
const LONGEST_PAUSE: Duration = Duration::from_millis(16);

/// How often a message is sent again after a call that failed.
const SENDS: usize = 20;

/// How a connection that a client has handed out is served: a conversation does not know.
pub(crate) type Admit = fn(&Arc<Engine>, Connection, &Credentials, Option<Lease>);

/// The session of one client.
pub(crate) struct Session {
    pub(crate) engine: Arc<Engine>,
    /// The client at the other end.
    pub(crate) client: Client,
    /// Its user's account.
    pub(crate) account: Arc<Account>,
    /// How log lines name it: its program, and its process id.
    pub(crate) name: String,
    /// Its program alone.
    pub(super) program: String,
    pub(crate) resources: Resources,
    /// Its options for the packets of its devices.
    pub(crate) tuning: Tuning,
    pub(super) connection: Connection,
    pub(super) poller: Arc<Poller>,
    pub(super) message: Box<[u8]>,
    reply: Box<[u8]>,
    pub(super) next_channel: u32,
    pub(super) channels: HashMap<u32, (Arc<Channel>, Charge)>,
    pub(super) is_greeted: bool,
    /// A message that came in the place of a reply.
    pub(super) deferred: Option<(Vec<u8>, FdList)>,
    /// The client got its connection from a dispenser.
    pub(super) lease: Option<Lease>,
    pub(super) admit: Admit,
    /// Its capture of a device's packets.
    pub(super) capture: Option<Capturing>,
    failures: Backoff,
}

/// The result of an exchange in the middle of a request.
pub(crate) struct HandedOver {
    pub(crate) errno: i32,
    /// The packet of a TCP stream that the client has read in part.
    pub(crate) partial: Partial,
    pub(crate) socket: Option<OwnedFd>,
    pub(crate) relay: Option<OwnedFd>,
}

impl Session {
    /// A session of a client that has not greeted yet.
    pub(super) fn new(
        engine: &Arc<Engine>,
        connection: Connection,
        lease: Option<Lease>,
        admit: Admit,
    ) -> io::Result<Self> {
        let session = engine.new_session();
        let numbered = udco_sys::network_namespace(connection.as_fd());
        let client = Client {
            id: session,
            uid: connection.peer_credentials()?.uid,
            netns: namespace::at_first(numbered, session),
        };
        Ok(Self {
            engine: Arc::clone(engine),
            client,
            account: engine.accounts().of(client.uid),
            name: String::new(),
            program: String::new(),
            resources: Resources::new(engine, client.id),
            tuning: Tuning::default(),
            connection,
            poller: Arc::new(Poller::new()?),
            message: vec![0; MAX_MESSAGE].into(),
            reply: vec![0; MAX_MESSAGE].into(),
            next_channel: 1,
            channels: HashMap::new(),
            is_greeted: false,
            deferred: None,
            lease,
            admit,
            capture: None,
            failures: Backoff::up_to(LONGEST_PAUSE),
        })
    }

    /// Asks the client for a transport socket, in the middle of a request.
    pub(crate) fn need_socket(&mut self, seq: u32, fd: i32) -> Option<HandedOver> {
        self.send(seq, ToClient::NeedSocket { fd }).ok()?;
        let (reply, mut fds) = self.reply(seq)?;
        match decode(&reply) {
            Ok(ToEngine::Socket { errno, partial }) => Some(HandedOver {
                errno,
                partial,
                socket: fds.take(0),
                relay: fds.take(1),
            }),
            _ => None,
        }
    }

    /// The client's reply to a question of ours. A client has one question open at a time, so any message but the reply
    /// shows that it has given up waiting; it is handled afterwards.
    pub(crate) fn reply(&mut self, seq: u32) -> Option<(Vec<u8>, FdList)> {
        let received = match self.connection.receive_within(&mut self.reply, HAND_OVER) {
            Ok(received) if received.len > 0 => received,
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                let program = &self.name;
                self.account
                    .line(|| tracing::error!(program, "{program}: {error}"));
                return None;
            }
            _ => return None,
        };
        let bytes = self.reply.get_mut(..received.len)?;
        let message = bytes.to_vec();
        // It may have held a key (promises H1).
        bytes.zeroize();
        if matches!(ToEngine::decode(&message), Ok((other, _)) if other == seq) {
            return Some((message, received.fds));
        }
        self.deferred = Some((message, received.fds));
        None
    }

    /// A call has failed: no connection ends because of that (faults B2).
    pub(super) fn rest(&mut self, error: &io::Error) {
        let pause = self.failures.failed(Instant::now());
        if let Some(times) = pause.line {
            tracing::warn!(
                program = self.name,
                "{}: a call on its connection failed: {error}{times}; retrying",
                self.name
            );
        }
        std::thread::sleep(pause.length);
    }

    pub(super) fn done(&mut self, seq: u32, errno: i32) -> io::Result<()> {
        self.send(
            seq,
            ToClient::Done {
                errno,
                replace_fd: false,
                more: false,
            },
        )
    }

    pub(crate) fn send(&mut self, seq: u32, message: ToClient<'_>) -> io::Result<()> {
        let len = message
            .encode(seq, &mut self.reply)
            .map_err(|udco_ipc::TooLong| malformed("an answer that is too long"))?;
        for _ in 0..SENDS {
            match self.connection.send(&self.reply[..len], &[]) {
                Err(error) if is_passing(&error) => self.rest(&error),
                sent => return sent,
            }
        }
        self.connection.send(&self.reply[..len], &[])
    }
}

/// Whether a call has failed, and not the connection or the client.
pub(super) fn is_passing(error: &io::Error) -> bool {
    const LASTING: [io::ErrorKind; 3] = [
        io::ErrorKind::BrokenPipe,
        io::ErrorKind::ConnectionReset,
        io::ErrorKind::NotConnected,
    ];
    error.raw_os_error().is_some() && !LASTING.contains(&error.kind())
}

pub(crate) fn decode(reply: &[u8]) -> io::Result<ToEngine<'_>> {
    match ToEngine::decode(reply) {
        Ok((_, message)) => Ok(message),
        Err(udco_ipc::Malformed) => Err(malformed("not of this protocol")),
    }
}

pub(crate) fn malformed(what: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("the client sent {what}"),
    )
}
