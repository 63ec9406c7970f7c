//! A client's connection: the conversation of [`udco_ipc`], from the engine's side.
//!
//! Each connection has a thread of its own. What a client handed over, and so what goes when its connection ends,
//! however it ends, is in [`crate::control::resources`].

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use udco_core::{PeerId, mss};
use udco_ipc::{MssFix, ToClient, ToEngine, VERSION, message_id};
use udco_netlink::{Answers, Api, Requester, membership, serve};
use udco_sys::Netns;
use udco_sys::epoll::{Events, Interest};
use udco_sys::seqpacket::{Connection, Credentials, FdList};
use zeroize::Zeroize;

use crate::client::Client;
use crate::control::account::Kind;
use crate::control::capture::{self, Capturing};
use crate::control::channel::{Channel, FAMILIES};
use crate::control::namespace;
use crate::control::output;
use crate::control::places::Lease;
use crate::control::requests::Requests;
use crate::control::session::{Admit, Session, is_passing, malformed};
use crate::control::show;
use crate::device::capture::Filter;
use crate::device::snapshot::Tuning;
use crate::engine::Engine;

/// Bytes kept of the name of a client's program, which stands in log lines.
const LONGEST_NAME: usize = 64;

/// Token of the connection itself. Channels have their number.
const CONNECTION: u64 = 0;

/// Netlink options that a client passes on, of `<linux/netlink.h>`.
const NETLINK_ADD_MEMBERSHIP: i32 = 1;
const NETLINK_DROP_MEMBERSHIP: i32 = 2;
const NETLINK_CAP_ACK: i32 = 10;
const NETLINK_EXT_ACK: i32 = 11;

const EBUSY: i32 = 16;
const ENODEV: i32 = 19;
const EINVAL: i32 = 22;

/// Serves a client until it goes. If `greeting` is given, the client has to say hello within it.
///
/// # Errors
/// If the connection fails, or the client does not speak the protocol.
pub(crate) fn converse(
    engine: &Arc<Engine>,
    connection: Connection,
    (greeting, lease): (Option<Duration>, Option<Lease>),
    admit: Admit,
) -> io::Result<()> {
    let mut session = Session::new(engine, connection, lease, admit)?;
    let deadline = greeting.map(|time| Instant::now() + time);
    session
        .poller
        .add(&session.connection, CONNECTION, Interest::READ)?;
    let mut events = Events::with_capacity(16);
    loop {
        let left = deadline
            .filter(|_| !session.is_greeted)
            .map(|deadline| deadline.saturating_duration_since(Instant::now()));
        if left == Some(Duration::ZERO) {
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "no greeting in time",
            ));
        }
        let timeout = left
            .into_iter()
            .chain(session.capture.as_ref().map(Capturing::timeout))
            .min();
        if let Err(error) = session.poller.wait(&mut events, timeout) {
            session.rest(&error);
        }
        for event in events.iter() {
            match event.token {
                CONNECTION => {
                    if !session.receive()? {
                        return Ok(());
                    }
                    while let Some((mut message, fds)) = session.deferred.take() {
                        session.handle(&mut message, fds)?;
                    }
                }
                capture::TOKEN => session.tend_capture(event.hangup || event.error),
                token => session.tend_channel(token as u32, event.hangup || event.error),
            }
        }
        session.tend_capture(false);
    }
}

impl Session {
    /// Takes one message; returns whether the client is still there.
    fn receive(&mut self) -> io::Result<bool> {
        let received = match self.connection.receive(&mut self.message) {
            Ok(received) if received.len == 0 => return Ok(false),
            Ok(received) => received,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(false),
            Err(error) if is_passing(&error) => {
                self.rest(&error);
                return Ok(true);
            }
            Err(error) => return Err(error),
        };
        // Taken out so that the message can be read while the session changes.
        let mut message = std::mem::take(&mut self.message);
        let outcome = self.handle(&mut message[..received.len], received.fds);
        self.message = message;
        match outcome {
            // It has gone without waiting for its answer.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
            outcome => outcome.map(|()| true),
        }
    }

    fn handle(&mut self, message: &mut [u8], fds: FdList) -> io::Result<()> {
        let outcome = match ToEngine::decode(message) {
            Ok((seq, question)) => self.answer(seq, question, fds),
            Err(udco_ipc::Malformed) => Err(malformed("not of this protocol")),
        };
        // It may have held a key (promises H1).
        message.zeroize();
        outcome
    }

    fn answer(&mut self, seq: u32, question: ToEngine<'_>, mut fds: FdList) -> io::Result<()> {
        if !self.is_greeted && !matches!(question, ToEngine::Hello { .. }) {
            return Err(malformed("something before its greeting"));
        }
        match question {
            ToEngine::Hello {
                version,
                pid,
                program,
            } => {
                let program = program.get(..LONGEST_NAME).unwrap_or(program);
                self.name = format!("{} ({pid})", String::from_utf8_lossy(program));
                if version != VERSION {
                    let program = &self.name;
                    self.account.line(|| {
                        tracing::warn!(
                            message_id = message_id::VERSIONS_DIFFER,
                            program,
                            "{program}: the client speaks version {version}, this engine {VERSION}: install both from the same release"
                        );
                    });
                    return self.send(seq, ToClient::Refused { errno: EINVAL });
                }
                self.is_greeted = true;
                tracing::debug!(program = self.name, "{} connected", self.name);
                self.send(seq, ToClient::Welcome { version: VERSION })
            }
            ToEngine::OpenChannel => {
                let end = fds
                    .take(0)
                    .ok_or_else(|| malformed("a channel without an fd"))?;
                let channel = self.next_channel;
                let end = Connection::adopt_pair_end(end)?;
                let Some(charge) = self.account.charge(Kind::Channels) else {
                    return Err(io::Error::other(
                        "its user has reached the limit on channels",
                    ));
                };
                let client = self.client;
                let account = Arc::clone(&self.account);
                let opened =
                    Channel::new(end, (client, account), &self.poller, u64::from(channel))?;
                self.next_channel += 1;
                self.resources.end_with_client();
                self.channels.insert(channel, (Arc::new(opened), charge));
                self.send(seq, ToClient::Channel { channel })
            }
            ToEngine::SetOption {
                channel,
                name,
                value,
            } => {
                let errno = self.set_option(channel, name, value);
                self.done(seq, errno)
            }
            ToEngine::Request {
                channel,
                port,
                room,
                admin,
                datagram,
            } => {
                let channel = self
                    .channels
                    .get(&channel)
                    .map(|(channel, _)| Arc::clone(channel));
                let Some(channel) = channel else {
                    return self.done(seq, EINVAL);
                };
                let (ext_ack, cap_ack) = channel.acknowledgement_options();
                let requester = Requester {
                    port,
                    ext_ack,
                    cap_ack,
                    admin,
                };
                self.request(seq, &channel, &requester, room as usize, datagram)
            }
            ToEngine::Return { channel, datagram } => {
                if let Some((channel, _)) = self.channels.get(&channel) {
                    channel.put_back(datagram.to_vec());
                }
                Ok(())
            }
            ToEngine::LinkRequest {
                port,
                admin,
                ext_ack,
                cap_ack,
                datagram,
            } => {
                let requester = Requester {
                    port,
                    ext_ack,
                    cap_ack,
                    admin,
                };
                self.route(seq, &requester, datagram)
            }
            ToEngine::Shown { netns, message } => {
                self.show_link(seq, Netns::numbered(netns), message)
            }
            ToEngine::SocketClosed { fd } => {
                self.resources.close_socket(fd);
                self.done(seq, 0)
            }
            ToEngine::OwnTun => {
                let program = &self.name;
                self.account.line(|| {
                    tracing::warn!(
                        message_id = message_id::OFFLOAD_INACTIVE,
                        program,
                        "data channel offload is NOT active: {program} opened its own TUN device (its log says why offload is off)"
                    );
                });
                self.done(seq, 0)
            }
            ToEngine::Namespace { inode } => {
                if let Some(netns) = namespace::said(&self.client, inode) {
                    self.client.netns = netns;
                }
                self.done(seq, 0)
            }
            ToEngine::CompressionRefused => {
                let program = &self.name;
                self.account.line(|| {
                    tracing::warn!(
                        message_id = message_id::COMPRESSION_PUSHED,
                        program,
                        "{program}: its server pushes compression, which OpenVPN refuses with offload, so it reconnects \
                         forever: remove comp-lzo and compress from the server's configuration, or replace them with \
                         `compress migrate`, or set disable-dco on this client (pull-filter helps only if the server does \
                         not use what it pushes)"
                    );
                });
                self.done(seq, 0)
            }
            ToEngine::Options { mssfix, passtos } => {
                self.tuning = Tuning {
                    mssfix: in_core(mssfix),
                    passes_tos: passtos,
                };
                self.done(seq, 0)
            }
            ToEngine::Show => {
                let errno = match fds.take(0) {
                    Some(file) => self.show(file),
                    None => EINVAL,
                };
                self.done(seq, errno)
            }
            ToEngine::FindDevice {
                netns,
                ifindex,
                name,
            } => match self
                .engine
                .registry()
                .called(Netns::numbered(netns), ifindex, name)
            {
                Some((device, is_certain)) => self.send(
                    seq,
                    ToClient::Device {
                        is_dco_v2: device.api == Api::DcoV2,
                        is_certain,
                        engine: self.engine.netns_inode(),
                    },
                ),
                None => self.done(seq, ENODEV),
            },
            ToEngine::Capture {
                ifindex,
                peer,
                wanted,
                snap,
            } => {
                let id = peer.map(PeerId::new);
                let errno = match id {
                    Some(None) => EINVAL,
                    _ => {
                        let filter = Filter {
                            wanted,
                            peer: id.flatten(),
                            snap: usize::try_from(snap).unwrap_or(usize::MAX),
                        };
                        self.capture(ifindex, filter, fds.take(0))
                    }
                };
                self.done(seq, errno)
            }
            ToEngine::Connect => {
                // If it is refused, its end says so.
                if let Ok((connection, client)) = new_connection(fds.take(0))
                    && client.uid == self.client.uid
                {
                    (self.admit)(&self.engine, connection, &client, self.lease.clone());
                }
                Ok(())
            }
            ToEngine::Output {
                pid,
                facility,
                ident,
            } => {
                if self.lease.is_some() {
                    output::follow(fds.take(0), pid, facility, ident);
                }
                Ok(())
            }
            // Unsolicited or late replies: ignore.
            ToEngine::Tun { .. } | ToEngine::Socket { .. } | ToEngine::Link { .. } => Ok(()),
        }
    }

    fn set_option(&self, channel: u32, name: i32, value: i32) -> i32 {
        let Some((channel, _)) = self.channels.get(&channel) else {
            return EINVAL;
        };
        match name {
            NETLINK_ADD_MEMBERSHIP | NETLINK_DROP_MEMBERSHIP => {
                let group = u32::try_from(value).unwrap_or(0);
                let Some(api) = membership(&FAMILIES, group) else {
                    return EINVAL;
                };
                channel.set_member(api, name == NETLINK_ADD_MEMBERSHIP);
                self.engine.registry().listeners().add(channel);
            }
            NETLINK_EXT_ACK => channel.set_ext_ack(value != 0),
            NETLINK_CAP_ACK => channel.set_cap_ack(value != 0),
            _ => {}
        }
        0
    }

    /// A datagram sent on a channel: generic netlink.
    fn request(
        &mut self,
        seq: u32,
        channel: &Channel,
        requester: &Requester,
        room: usize,
        datagram: &[u8],
    ) -> io::Result<()> {
        let mut answers = Answers::for_reader(room);
        channel.begin_answer();
        let mut requests = Requests {
            client: Client {
                netns: channel.netns,
                ..self.client
            },
            session: self,
            seq,
            replace_fd: false,
        };
        serve(&FAMILIES, requester, datagram, &mut requests, &mut answers);
        let replace_fd = requests.replace_fd;
        let more = !channel.end_answer(answers.into_datagrams());
        self.send(
            seq,
            ToClient::Done {
                errno: 0,
                replace_fd,
                more,
            },
        )
    }

    /// A channel has room again, or the client has closed it.
    fn tend_channel(&mut self, number: u32, closed: bool) {
        if closed {
            self.channels.remove(&number);
        } else if let Some((channel, _)) = self.channels.get(&number) {
            channel.flush();
        }
    }

    /// Begins a capture; returns the errno of the answer.
    fn capture(&mut self, ifindex: u32, filter: Filter, end: Option<OwnedFd>) -> i32 {
        if self.capture.is_some() {
            return EBUSY;
        }
        let begun = Capturing::begin(
            (self.engine.registry(), &self.poller),
            (&self.client, &self.account),
            (ifindex, filter),
            end,
        );
        let capture = match begun {
            Ok(capture) => self.capture.insert(capture),
            Err(errno) => return errno,
        };
        let (program, device) = (&self.name, capture.device());
        self.account.line(|| {
            tracing::info!("{program} captures packets of {device}");
        });
        0
    }

    /// Passes on what was captured. `has_ended`: the client has closed its end.
    fn tend_capture(&mut self, has_ended: bool) {
        if let Some(capture) = &mut self.capture
            && (has_ended || !capture.pass_on())
        {
            self.capture = None;
        }
    }

    fn show(&self, file: OwnedFd) -> i32 {
        // A pipe that nobody reads, or a file of a file system that does not answer, would keep the thread for ever.
        if !udco_sys::process::is_memory_file(&file) {
            return EINVAL;
        }
        self.account.one_at_a_time(|| {
            let state = self.engine.show(&self.client);
            match show::write(&state, std::fs::File::from(file)) {
                Ok(()) => 0,
                Err(_) => EINVAL,
            }
        })
    }
}

/// The connection whose engine's end this is, and the process that made it, as the kernel reports it.
///
/// # Errors
/// If there is no descriptor, or it is no such socket.
pub(crate) fn new_connection(end: Option<OwnedFd>) -> io::Result<(Connection, Credentials)> {
    let end = end.ok_or(io::ErrorKind::InvalidData)?;
    let connection = Connection::adopt(end)?;
    let client = connection.peer_credentials()?;
    Ok((connection, client))
}

/// As the packet path has it.
const fn in_core(mssfix: MssFix) -> mss::MssFix {
    match mssfix {
        MssFix::Path => mss::MssFix::Path,
        MssFix::Off => mss::MssFix::Off,
        MssFix::Datagram(size) => mss::MssFix::Record(size),
        MssFix::Outer(size) => mss::MssFix::Outer(size),
        MssFix::Inner(size) => mss::MssFix::Inner(size),
    }
}
