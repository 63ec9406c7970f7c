//! A front's connection: the conversation of [`udco_front`], from the engine's side.
//!
//! Each connection has a thread of its own, which also keeps the route mirrors of the devices made over it. All that a
//! program made goes when its connection ends, however it ends: its devices, its peers and their keys, its sockets.

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use udco_core::Mode;
use udco_front::{MAX_MESSAGE, ToEngine, ToFront, VERSION};
use udco_netlink::{Answers, Api, Asker, DeleteReason, membership, serve};
use udco_sys::epoll::{Events, Interest, Poller};
use udco_sys::route::Monitor;
use udco_sys::seqpacket::{Connection, FdList};
use udco_sys::tun;
use zeroize::Zeroize;

use crate::Engine;
use crate::channel::{Channel, FAMILIES};
use crate::device::Device;
use crate::route_mirror::{Link, RouteMirror};
use crate::service::Caller;
use crate::transport::Transport;
use crate::worker::{Placed, Source};

/// How long a front may take to hand over an fd that it was asked for.
const HAND_OVER: Duration = Duration::from_millis(500);

/// How long to wait until nobody uses a socket that the program has closed.
const RELEASE: Duration = Duration::from_millis(200);

/// Token of the connection itself. Channels have their number, devices [`DEVICE`] and their index.
const CONNECTION: u64 = 0;
const DEVICE: u64 = 1 << 32;

/// Netlink options that a front passes on, of `<linux/netlink.h>`.
const NETLINK_ADD_MEMBERSHIP: i32 = 1;
const NETLINK_DROP_MEMBERSHIP: i32 = 2;
const NETLINK_CAP_ACK: i32 = 10;
const NETLINK_EXT_ACK: i32 = 11;

const EINVAL: i32 = 22;

/// One front.
pub(crate) struct Session {
    pub(crate) engine: Arc<Engine>,
    connection: Connection,
    poller: Arc<Poller>,
    message: Box<[u8]>,
    reply: Box<[u8]>,
    program: String,
    next_channel: u32,
    channels: HashMap<u32, Arc<Channel>>,
    pub(crate) devices: HashMap<u32, Owned>,
    /// Transport sockets by the fd number under which the program knows them.
    pub(crate) sockets: HashMap<i32, Socket>,
    /// Foreign network namespaces that were told of, in the order of their ids.
    foreign: Vec<u64>,
}

/// A device made over this connection.
pub(crate) struct Owned {
    pub(crate) device: Arc<Device>,
    pub(crate) number: usize,
    placed: Vec<Placed>,
    mirror: RouteMirror,
}

/// A transport socket handed over on this connection.
pub(crate) struct Socket {
    pub(crate) transport: Arc<Transport>,
    /// The device whose peers it serves.
    pub(crate) device: Weak<Device>,
    placed: Placed,
}

/// What an exchange in the middle of a request brought.
pub(crate) struct HandedOver {
    pub(crate) errno: i32,
    pub(crate) socket: Option<OwnedFd>,
    pub(crate) relay: Option<OwnedFd>,
}

impl Session {
    /// Serves a front until it goes.
    ///
    /// # Errors
    /// Of the connection, or of a front that does not speak the protocol.
    pub(crate) fn serve(engine: &Arc<Engine>, connection: Connection) -> io::Result<()> {
        let mut session = Self {
            engine: Arc::clone(engine),
            connection,
            poller: Arc::new(Poller::new()?),
            message: vec![0; MAX_MESSAGE].into(),
            reply: vec![0; MAX_MESSAGE].into(),
            program: String::new(),
            next_channel: 1,
            channels: HashMap::new(),
            devices: HashMap::new(),
            sockets: HashMap::new(),
            foreign: Vec::new(),
        };
        session
            .poller
            .add(&session.connection, CONNECTION, Interest::READ)?;
        let mut events = Events::with_capacity(16);
        loop {
            session.poller.wait(&mut events, None)?;
            for event in events.iter() {
                match event.token {
                    CONNECTION => {
                        if !session.hear()? {
                            return Ok(());
                        }
                    }
                    token if token >= DEVICE => session.hear_kernel((token - DEVICE) as u32),
                    token => session.tend_channel(token as u32, event.hangup || event.error),
                }
            }
        }
    }

    /// Takes one message; returns whether the front is still there.
    fn hear(&mut self) -> io::Result<bool> {
        let received = match self.connection.receive(&mut self.message) {
            Ok(received) if received.len == 0 => return Ok(false),
            Ok(received) => received,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(false),
            Err(error) => return Err(error),
        };
        // Taken out so that the message can be read while the session changes.
        let mut message = std::mem::take(&mut self.message);
        let bytes = &mut message[..received.len];
        let outcome = match ToEngine::decode(bytes) {
            Ok((seq, question)) => self.answer(seq, question, received.fds),
            Err(udco_front::Malformed) => Err(malformed("not of this protocol")),
        };
        // It may have held a key (promises H1).
        bytes.zeroize();
        self.message = message;
        outcome.map(|()| true)
    }

    fn answer(&mut self, seq: u32, question: ToEngine<'_>, mut fds: FdList) -> io::Result<()> {
        match question {
            ToEngine::Hello {
                version,
                pid,
                program,
            } => {
                self.program = format!("{} ({pid})", String::from_utf8_lossy(program));
                if version != VERSION {
                    tracing::warn!(
                        "{}: its front speaks version {version}, this engine {VERSION}: install both from one release",
                        self.program
                    );
                    return self.tell(seq, ToFront::Refused { errno: EINVAL });
                }
                tracing::debug!("{} connected", self.program);
                self.tell(seq, ToFront::Welcome { version: VERSION })
            }
            ToEngine::OpenChannel => {
                let end = fds
                    .take(0)
                    .ok_or_else(|| malformed("a channel without an fd"))?;
                let channel = self.next_channel;
                let end = Connection::adopt(end)?;
                let opened = Channel::new(end, &self.poller, u64::from(channel))?;
                self.next_channel += 1;
                self.channels.insert(channel, Arc::new(opened));
                self.tell(seq, ToFront::Channel { channel })
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
                let Some(channel) = self.channels.get(&channel).map(Arc::clone) else {
                    return self.done(seq, EINVAL);
                };
                let (ext_ack, cap_ack) = channel.acknowledgement_options();
                let asker = Asker {
                    port,
                    ext_ack,
                    cap_ack,
                    admin,
                };
                self.request(seq, &channel, &asker, room as usize, datagram)
            }
            ToEngine::Return { channel, datagram } => {
                if let Some(channel) = self.channels.get(&channel) {
                    channel.put_back(datagram.to_vec());
                }
                Ok(())
            }
            ToEngine::Route {
                port,
                admin,
                ext_ack,
                cap_ack,
                datagram,
            } => {
                let asker = Asker {
                    port,
                    ext_ack,
                    cap_ack,
                    admin,
                };
                self.route(seq, &asker, datagram)
            }
            ToEngine::Shown { netns, message } => self.show_link(seq, netns, message),
            ToEngine::SocketClosed { fd } => {
                self.close_socket(fd);
                self.done(seq, 0)
            }
            ToEngine::OwnTun => {
                tracing::warn!(
                    "data channel offload is NOT active: {} opened a TUN device of its own (its log says why offload is off)",
                    self.program
                );
                self.done(seq, 0)
            }
            ToEngine::Show => {
                let errno = match fds.take(0) {
                    Some(file) => self.show(file),
                    None => EINVAL,
                };
                self.done(seq, errno)
            }
            // Replies to questions of ours that nobody has asked, or not any more.
            ToEngine::Tun { .. } | ToEngine::Socket { .. } | ToEngine::Link { .. } => Ok(()),
        }
    }

    fn set_option(&self, channel: u32, name: i32, value: i32) -> i32 {
        let Some(channel) = self.channels.get(&channel) else {
            return EINVAL;
        };
        match name {
            NETLINK_ADD_MEMBERSHIP | NETLINK_DROP_MEMBERSHIP => {
                let group = u32::try_from(value).unwrap_or(0);
                let Some(api) = membership(&FAMILIES, group) else {
                    return EINVAL;
                };
                channel.set_member(api, name == NETLINK_ADD_MEMBERSHIP);
                // OpenVPN 2.6 joins after it made its device, 2.7 before.
                for owned in self.devices.values() {
                    owned.device.add_listener(channel);
                }
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
        asker: &Asker,
        room: usize,
        datagram: &[u8],
    ) -> io::Result<()> {
        let mut answers = Answers::for_reader(room);
        channel.begin_answer();
        let mut caller = Caller {
            session: self,
            seq,
            netns: channel.netns,
            swap: false,
        };
        serve(&FAMILIES, asker, datagram, &mut caller, &mut answers);
        let swap = caller.swap;
        let more = !channel.end_answer(answers.into_datagrams());
        self.tell(
            seq,
            ToFront::Done {
                errno: 0,
                swap,
                more,
            },
        )
    }

    /// Takes over a TUN device; `place` is its network namespace and its interface index there.
    pub(crate) fn adopt_device(
        &mut self,
        place: (u64, u32),
        name: String,
        api: Api,
        mode: Mode,
        fds: FdList,
    ) -> io::Result<()> {
        let (_, ifindex) = place;
        let mut fds: Vec<OwnedFd> = fds.into_iter().collect();
        let monitor = fds
            .pop()
            .ok_or_else(|| malformed("a TUN device without fds"))?;
        let mirror = RouteMirror::start(Monitor::adopt(monitor)?)?;
        let queues = fds
            .into_iter()
            .map(tun::Queue::adopt)
            .collect::<io::Result<Vec<_>>>()?;
        let first = queues
            .first()
            .ok_or_else(|| malformed("a TUN device without a queue"))?;
        if !queues.iter().all(tun::Queue::vnet_header) {
            return Err(malformed("a TUN queue without packet headers"));
        }
        // Fails closed: when this process dies, packets meet a device without a program (design decision 4).
        first.set_persist(true)?;
        offer_offloads(first);
        self.poller.add(
            mirror.monitor(),
            DEVICE + u64::from(ifindex),
            Interest::READ,
        )?;
        let device = Arc::new(Device::new(place, name, api, mode, queues));
        for channel in self.channels.values() {
            device.add_listener(channel);
        }
        let number = self.engine.add_device(&device);
        let placed = (0..device.queues.len())
            .map(|queue| {
                let source = Source::Tun(Arc::clone(&device), queue);
                self.engine.workers().add(number + queue, source)
            })
            .collect();
        tracing::info!(
            "data channel offload active: {} of {}, {}",
            device.name,
            self.program,
            if mode == Mode::Mp { "server" } else { "client" }
        );
        self.devices.insert(
            ifindex,
            Owned {
                device,
                number,
                placed,
                mirror,
            },
        );
        Ok(())
    }

    /// Lets go of a device: its peers end, its queues are closed. The interface stays as long as it is persistent.
    pub(crate) fn drop_device(&mut self, ifindex: u32) {
        let Some(owned) = self.devices.remove(&ifindex) else {
            return;
        };
        let _ = self.poller.remove(owned.mirror.monitor());
        owned.device.remove_peers(DeleteReason::Teardown, |_| true);
        for placed in &owned.placed {
            self.engine.workers().remove(placed);
        }
        // Its sockets stay with the program, which may use them for another device.
        self.engine.remove_device(&owned.device);
    }

    /// An id for a network namespace that is not the program's, as the kernel would give it: the first free one.
    pub(crate) fn netns_id(&mut self, netns: u64) -> i32 {
        let known = self.foreign.iter().position(|other| *other == netns);
        let id = known.unwrap_or_else(|| {
            self.foreign.push(netns);
            self.foreign.len() - 1
        });
        i32::try_from(id).unwrap_or(i32::MAX)
    }

    /// Hands a transport socket over to the engine's workers.
    pub(crate) fn place_socket(&mut self, fd: i32, owner: u32, transport: Arc<Transport>) {
        let Some(owned) = self.devices.get(&owner) else {
            return;
        };
        let source = Source::Udp(Arc::clone(&owned.device), Arc::clone(&transport));
        // The worker beside the one that has the device's queue: each direction has a core.
        let placed = self.engine.workers().add(owned.number + 1, source);
        let device = Arc::downgrade(&owned.device);
        self.sockets.insert(
            fd,
            Socket {
                transport,
                device,
                placed,
            },
        );
    }

    /// A key is there for which packets may have waited.
    pub(crate) fn retry_packets(&self) {
        self.engine.workers().retry();
    }

    /// Gives a transport socket to another device's peers.
    pub(crate) fn move_socket(&mut self, fd: i32, owner: u32) {
        let Some(socket) = self.sockets.remove(&fd) else {
            return;
        };
        self.engine.workers().remove(&socket.placed);
        self.place_socket(fd, owner, socket.transport);
    }

    /// The program has closed a transport socket: its peers end, and its port becomes free before this returns.
    pub(crate) fn close_socket(&mut self, fd: i32) {
        let Some(socket) = self.sockets.remove(&fd) else {
            return;
        };
        if let Some(device) = socket.device.upgrade() {
            let transport = &socket.transport;
            device.remove_peers(DeleteReason::TransportDisconnect, |peer| {
                Arc::ptr_eq(&peer.transport, transport)
            });
        }
        self.release(socket);
    }

    fn release(&self, socket: Socket) {
        self.engine.workers().remove(&socket.placed);
        let last = Arc::downgrade(&socket.transport);
        drop(socket);
        // A worker may look at an old snapshot for the rest of a batch.
        let deadline = Instant::now() + RELEASE;
        while last.strong_count() > 0 && Instant::now() < deadline {
            std::thread::sleep(Duration::from_micros(50));
        }
        if last.strong_count() > 0 {
            tracing::warn!("a closed transport socket is still in use: its port is not free yet");
        }
    }

    /// Asks the front for a transport socket, in the middle of a request.
    pub(crate) fn need_socket(&mut self, seq: u32, fd: i32) -> Option<HandedOver> {
        self.tell(seq, ToFront::NeedSocket { fd }).ok()?;
        let (reply, mut fds) = self.reply(seq)?;
        match decode(&reply) {
            Ok(ToEngine::Socket { errno }) => Some(HandedOver {
                errno,
                socket: fds.take(0),
                relay: fds.take(1),
            }),
            _ => None,
        }
    }

    /// The front's reply to a question of ours.
    pub(crate) fn reply(&mut self, seq: u32) -> Option<(Vec<u8>, FdList)> {
        let deadline = Instant::now() + HAND_OVER;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let received = self.connection.receive_within(&mut self.reply, left).ok()?;
            let bytes = self.reply.get(..received.len)?;
            if matches!(ToEngine::decode(bytes), Ok((other, _)) if other == seq) {
                return Some((bytes.to_vec(), received.fds));
            }
        }
    }

    /// Something happened to routes or links in a device's namespace.
    fn hear_kernel(&mut self, ifindex: u32) {
        let Some(owned) = self.devices.get_mut(&ifindex) else {
            return;
        };
        match owned.mirror.update(&owned.device) {
            Ok(Link::There) => {}
            Ok(Link::Gone) => {
                tracing::info!("{} was deleted", owned.device.name);
                self.drop_device(ifindex);
            }
            Err(error) => {
                tracing::error!(
                    "{}: routes are not followed any more: {error}",
                    owned.device.name
                );
                let _ = self.poller.remove(owned.mirror.monitor());
            }
        }
    }

    /// A channel has room again, or the program has closed it.
    fn tend_channel(&mut self, number: u32, closed: bool) {
        if closed {
            self.channels.remove(&number);
        } else if let Some(channel) = self.channels.get(&number) {
            channel.flush();
        }
    }

    fn show(&self, file: OwnedFd) -> i32 {
        let state = self.engine.show();
        let written = serde_json::to_writer(std::fs::File::from(file), &state);
        if written.is_ok() { 0 } else { EINVAL }
    }

    fn done(&mut self, seq: u32, errno: i32) -> io::Result<()> {
        self.tell(
            seq,
            ToFront::Done {
                errno,
                swap: false,
                more: false,
            },
        )
    }

    pub(crate) fn tell(&mut self, seq: u32, message: ToFront<'_>) -> io::Result<()> {
        let len = message
            .encode(seq, &mut self.reply)
            .map_err(|udco_front::TooLong| malformed("an answer that is too long"))?;
        self.connection.send(&self.reply[..len], &[])
    }
}

impl Drop for Session {
    /// The program is gone: nothing of it stays.
    fn drop(&mut self) {
        let fds: Vec<i32> = self.sockets.keys().copied().collect();
        for fd in fds {
            self.close_socket(fd);
        }
        let devices: Vec<u32> = self.devices.keys().copied().collect();
        for ifindex in devices {
            if let Some(owned) = self.devices.get(&ifindex) {
                let name = &owned.device.name;
                // An orderly end: the interface goes with its last queue.
                for queue in &owned.device.queues {
                    let _ = queue.set_persist(false);
                }
                tracing::debug!("{name}: {} is gone", self.program);
            }
            self.drop_device(ifindex);
        }
    }
}

/// Tells the kernel what it may leave to us: super-packets, and checksums not yet computed. What it does not know it
/// does itself (design decision 6).
fn offer_offloads(queue: &tun::Queue) {
    use udco_sys::tun::offload::{CSUM, TSO_ECN, TSO4, TSO6, USO4, USO6};
    let tcp = CSUM | TSO4 | TSO6 | TSO_ECN;
    // UDP segmentation is known since Linux 6.2.
    for flags in [tcp | USO4 | USO6, tcp, CSUM] {
        if queue.set_offload(flags).is_ok() {
            return;
        }
    }
}

pub(crate) fn decode(reply: &[u8]) -> io::Result<ToEngine<'_>> {
    match ToEngine::decode(reply) {
        Ok((_, message)) => Ok(message),
        Err(udco_front::Malformed) => Err(malformed("not of this protocol")),
    }
}

pub(crate) fn malformed(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the front sent {what}"))
}
