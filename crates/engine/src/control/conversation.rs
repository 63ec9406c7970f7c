//! A client's connection: the conversation of [`udco_ipc`], from the engine's side.
//!
//! Each connection has a thread of its own. What a client handed over, and so what goes when its connection ends,
//! however it ends, is in [`crate::control::resources`].

mod channels;
mod reports;

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use udco_core::{PeerId, mss};
use udco_ipc::{MssFix, ToClient, ToEngine};
use udco_netlink::{Api, Errno, Requester};
use udco_sys::Netns;
use udco_sys::epoll::{Events, Interest};
use udco_sys::seqpacket::{Connection, Credentials, FdList};
use zeroize::Zeroize;

use crate::control::capture::{self, Capturing};
use crate::control::memory;
use crate::control::namespace;
use crate::control::output;
use crate::control::places::Lease;
use crate::control::session::{Admit, Session, is_passing, malformed};
use crate::control::show;
use crate::device::capture::Filter;
use crate::device::snapshot::Tuning;
use crate::engine::Engine;

/// Token of the connection itself. Channels have their number.
const CONNECTION: u64 = 0;

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
            } => self.greet(seq, version, (pid, program)),
            ToEngine::OpenChannel => {
                if !self.may_have_device() {
                    return self.done(seq, Errno::ENOMEM.0);
                }
                let channel = self.open_channel(fds.take(0))?;
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
                let sender = (port, admin, room as usize);
                self.request(seq, channel, sender, datagram)
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
                self.warn_of_own_tun();
                self.done(seq, 0)
            }
            ToEngine::Namespace { inode } => {
                if let Some(netns) = namespace::said(&self.client, inode) {
                    self.client.netns = netns;
                }
                self.done(seq, 0)
            }
            ToEngine::CompressionRefused => {
                self.warn_of_compression();
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
            let _room = match memory::for_report(self.engine.peers()) {
                Ok(room) => room,
                Err(error) => return self.no_room(&error),
            };
            let state = self.engine.show(&self.client);
            match show::write(&state, std::fs::File::from(file)) {
                Ok(()) => 0,
                Err(error) => error.raw_os_error().unwrap_or(EINVAL),
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
