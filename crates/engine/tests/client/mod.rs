//! A client for tests, with its engine's thread at the other end: it says what the preload library would say.
#![allow(dead_code, reason = "each test program uses its part")]

pub(crate) mod namespace;
pub(crate) mod netlink;

use std::cell::RefCell;
use std::io::Seek;
use std::net::UdpSocket;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::net::netdevice;
use udco_engine::{Engine, Options};
use udco_ipc::{Alias, MAX_MESSAGE, Partial, ToClient, ToEngine, VERSION};
use udco_sys::process::memory_file;
use udco_sys::route::Monitor;
use udco_sys::seqpacket::Connection;
use udco_sys::tun;

/// How long the engine may take for an answer on a busy machine; on an idle one it takes far less.
const ANSWER: Duration = Duration::from_secs(20);

const NETLINK_ADD_MEMBERSHIP: i32 = 1;

/// A client, with its engine's thread at the other end.
pub(crate) struct Client {
    connection: Option<Connection>,
    thread: Option<JoinHandle<std::io::Result<()>>>,
    /// Reused, so that measurements show only the engine's time.
    buffer: RefCell<Vec<u8>>,
}

impl Client {
    pub(crate) fn new(engine: &Arc<Engine>) -> Self {
        let (ours, theirs) = Connection::pair().unwrap();
        let engine = Arc::clone(engine);
        let thread = std::thread::spawn(move || engine.serve(theirs));
        Self {
            connection: Some(ours),
            thread: Some(thread),
            buffer: RefCell::new(vec![0; MAX_MESSAGE]),
        }
    }

    /// A client that has said hello.
    pub(crate) fn welcome(engine: &Arc<Engine>) -> Self {
        Self::new(engine).greeted()
    }

    /// A client of an engine in another process, which listens at this path.
    pub(crate) fn connect(path: &Path) -> Self {
        Self::over(Connection::connect(path).unwrap())
    }

    /// A client at the other end of whose connection an engine is.
    pub(crate) fn over(connection: Connection) -> Self {
        let client = Self {
            connection: Some(connection),
            thread: None,
            buffer: RefCell::new(vec![0; MAX_MESSAGE]),
        };
        client.greeted()
    }

    /// A client that has said hello, and nothing else.
    pub(crate) fn stranger(engine: &Arc<Engine>) -> Self {
        Self::new(engine).hello()
    }

    fn hello(self) -> Self {
        let hello = ToEngine::Hello {
            version: VERSION,
            pid: 1,
            program: b"test",
        };
        assert_eq!(self.ask(1, &hello, &[]), Some(Owned::Welcome(VERSION)));
        self
    }

    /// Says hello, and reports its namespace in case the kernel does not number it (faults B5).
    fn greeted(self) -> Self {
        let this = self.hello();
        if !udco_sys::network_namespace(this.connection().as_fd()).is_known() {
            let inode = std::fs::metadata("/proc/self/ns/net").unwrap().ino();
            let answer = this.ask(1, &ToEngine::Namespace { inode }, &[]);
            assert_eq!(answer, Some(Owned::Done(0)));
        }
        this
    }

    pub(crate) fn connection(&self) -> &Connection {
        self.connection.as_ref().unwrap()
    }

    pub(crate) fn send(&self, seq: u32, message: &ToEngine<'_>, fds: &[BorrowedFd<'_>]) {
        let mut buffer = self.buffer.borrow_mut();
        let len = message.encode(seq, &mut buffer).unwrap();
        self.connection().send(&buffer[..len], fds).unwrap();
    }

    /// Sends a request and waits for the answer; `None` if the engine disconnects.
    pub(crate) fn ask(
        &self,
        seq: u32,
        message: &ToEngine<'_>,
        fds: &[BorrowedFd<'_>],
    ) -> Option<Owned> {
        self.send(seq, message, fds);
        self.receive()
    }

    pub(crate) fn receive(&self) -> Option<Owned> {
        let mut buffer = self.buffer.borrow_mut();
        let received = self.connection().receive_within(&mut buffer, ANSWER).ok()?;
        match ToClient::decode(&buffer[..received.len]).ok()?.1 {
            ToClient::Welcome { version } => Some(Owned::Welcome(version)),
            ToClient::Channel { channel } => Some(Owned::Channel(channel)),
            ToClient::Done { errno, .. } => Some(Owned::Done(errno)),
            ToClient::Pass => Some(Owned::Pass),
            ToClient::NeedTun(wanted) => Some(Owned::NeedTun(wanted.nonce)),
            ToClient::Answer { datagram } => Some(Owned::Answer(datagram.to_vec())),
            ToClient::NeedSocket { fd } => Some(Owned::NeedSocket(fd)),
            ToClient::NeedLink { ifindex } => Some(Owned::NeedLink(ifindex)),
            ToClient::Device { is_certain, .. } => Some(Owned::Device(is_certain)),
        }
    }

    /// Creates a TUN device in this process's network namespace, as for `RTM_NEWLINK` of this kind, and returns its
    /// interface index.
    pub(crate) fn make_device(&self, kind: &str, name: &str) -> u32 {
        self.make_device_in(kind, name, netlink::MULTI_PEER)
    }

    /// The same in this mode.
    pub(crate) fn make_device_in(&self, kind: &str, name: &str, mode: u8) -> u32 {
        // A device of the same test stays when its client disconnects (faults A1).
        let any = UdpSocket::bind("127.0.0.1:0").unwrap();
        if netdevice::name_to_index(&any, name).is_ok() {
            let delete = ["link", "del", name];
            std::process::Command::new("ip")
                .args(delete)
                .status()
                .unwrap();
        }
        let nonce = self.ask_for_device(kind, name, mode);
        let made = tun::create(name, 1).unwrap();
        set_alias(made.ifindex, Alias::new(kind, nonce).as_bytes());
        let monitor = Monitor::open().unwrap();
        let fds = [made.queues[0].as_fd(), monitor.as_fd()];
        assert_eq!(self.hand_over((made.ifindex, 0, name), &fds), 0);
        made.ifindex
    }

    /// Requests a device of this kind and mode, and returns the nonce of the engine's `NeedTun`.
    pub(crate) fn ask_for_device(&self, kind: &str, name: &str, mode: u8) -> u64 {
        let link = netlink::new_link_in(kind, name, mode);
        let route = ToEngine::LinkRequest {
            port: 7,
            admin: true,
            ext_ack: false,
            cap_ack: false,
            datagram: &link,
        };
        let asked = self.ask(2, &route, &[]);
        let Some(Owned::NeedTun(nonce)) = asked else {
            panic!("{asked:?}")
        };
        nonce
    }

    /// Hands over a device, and claims this index, name and namespace; returns the answer's errno.
    pub(crate) fn hand_over(
        &self,
        (ifindex, netns, name): (u32, u64, &str),
        fds: &[BorrowedFd<'_>],
    ) -> i32 {
        let reply = ToEngine::Tun {
            errno: 0,
            ifindex,
            netns,
            name: name.as_bytes(),
        };
        let answer = self.ask(2, &reply, fds);
        let Some(Owned::Answer(answer)) = answer else {
            panic!("{answer:?}")
        };
        netlink::errno(&answer).unwrap()
    }

    /// Opens a channel, which OpenVPN takes for a generic-netlink socket.
    pub(crate) fn open_channel(&self) -> Channel {
        let (ours, theirs) = Connection::pair().unwrap();
        self.open_channel_on(ours, &theirs)
    }

    /// The same with the ends of this pair: the client's and the engine's.
    pub(crate) fn open_channel_on(&self, ours: Connection, theirs: &Connection) -> Channel {
        let opened = self.ask(3, &ToEngine::OpenChannel, &[theirs.as_fd()]);
        let Some(Owned::Channel(number)) = opened else {
            panic!("{opened:?}")
        };
        Channel {
            number,
            end: ours,
            buffer: RefCell::new(vec![0; 2 * MAX_MESSAGE]),
        }
    }

    /// Sends a datagram on a channel and waits until it is answered there. If the engine needs a transport socket
    /// meanwhile, it gets `socket`, with the engine's end of a relay.
    pub(crate) fn request(
        &self,
        channel: &Channel,
        datagram: &[u8],
        socket: Option<[&OwnedFd; 2]>,
    ) {
        let request = ToEngine::Request {
            channel: channel.number,
            port: 7,
            room: MAX_MESSAGE as u32,
            admin: true,
            datagram,
        };
        let mut answer = self.ask(4, &request, &[]);
        loop {
            answer = match (answer, socket) {
                (Some(Owned::NeedSocket(_)), Some([socket, relay])) => {
                    let reply = ToEngine::Socket {
                        errno: 0,
                        partial: Partial::Nothing,
                    };
                    self.ask(4, &reply, &[socket.as_fd(), relay.as_fd()])
                }
                (Some(Owned::NeedLink(ifindex)), _) => {
                    let exists = is_link(ifindex);
                    self.ask(4, &ToEngine::Link { exists }, &[])
                }
                (answer, _) => {
                    assert_eq!(answer, Some(Owned::Done(0)));
                    return;
                }
            };
        }
    }

    /// The engine's state.
    pub(crate) fn show(&self) -> serde_json::Value {
        let mut file = memory_file("state").unwrap();
        let asked = self.ask(6, &ToEngine::Show, &[file.as_fd()]);
        assert_eq!(asked, Some(Owned::Done(0)));
        file.rewind().unwrap();
        serde_json::from_reader(file).unwrap()
    }

    /// Makes the engine remove a device, as for `RTM_DELLINK`; the caller must delete the interface.
    pub(crate) fn remove_device(&self, ifindex: u32) {
        let link = netlink::delete_link(ifindex);
        let route = ToEngine::LinkRequest {
            port: 7,
            admin: true,
            ext_ack: false,
            cap_ack: false,
            datagram: &link,
        };
        assert_eq!(self.ask(7, &route, &[]), Some(Owned::Pass));
    }

    /// Joins a channel to a group.
    pub(crate) fn join(&self, channel: &Channel, group: i32) {
        let join = ToEngine::SetOption {
            channel: channel.number,
            name: NETLINK_ADD_MEMBERSHIP,
            value: group,
        };
        assert_eq!(self.ask(5, &join, &[]), Some(Owned::Done(0)));
    }

    /// The numbers of a generic-netlink family and of its group, as `CTRL_CMD_GETFAMILY` reports them.
    pub(crate) fn family(&self, channel: &Channel, name: &str) -> (u16, i32) {
        let name = netlink::attribute(2, format!("{name}\0").as_bytes());
        self.request(channel, &netlink::request(0x10, 3, &[name]), None);
        let answers = channel.drain();
        let family = netlink::find_number(&answers[0], &[1]).unwrap();
        let group = netlink::find_number(&answers[0], &[7, 1, 2]).unwrap();
        (family as u16, group as i32)
    }

    /// Disconnects and waits until the engine has noticed.
    pub(crate) fn end(mut self) -> std::io::Result<()> {
        self.connection.take();
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.connection.take();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The client's end of a channel.
pub(crate) struct Channel {
    pub(crate) number: u32,
    end: Connection,
    buffer: RefCell<Vec<u8>>,
}

impl Channel {
    /// All netlink messages that are readable now, without the marks of requests.
    pub(crate) fn drain(&self) -> Vec<Vec<u8>> {
        let mut buffer = self.buffer.borrow_mut();
        let mut messages = Vec::new();
        while let Ok(received) = self.end.receive(&mut buffer) {
            messages.extend(netlink::messages(&buffer[..received.len]));
            if received.len == 0 {
                break;
            }
        }
        messages
    }
}

/// An answer without its buffer.
#[derive(Debug, PartialEq)]
pub(crate) enum Owned {
    Welcome(u16),
    Channel(u32),
    Done(i32),
    Pass,
    NeedTun(u64),
    Answer(Vec<u8>),
    NeedSocket(i32),
    NeedLink(u32),
    Device(bool),
}

pub(crate) fn engine() -> Arc<Engine> {
    engine_with(Options::default())
}

/// An engine with two workers, and these options otherwise.
pub(crate) fn engine_with(options: Options) -> Arc<Engine> {
    let workers = Some(2);
    Engine::start(Options { workers, ..options }).unwrap()
}

/// Gives an interface of the calling thread's network namespace an alias.
pub(crate) fn set_alias(ifindex: u32, alias: &[u8]) {
    // The kernel has applied it when `send` returns.
    let kernel = Monitor::open().unwrap();
    kernel.send(&netlink::set_alias(ifindex, alias)).unwrap();
}

/// Whether this process's network namespace has an interface with this index.
fn is_link(ifindex: u32) -> bool {
    let any = UdpSocket::bind("0.0.0.0:0").unwrap();
    netdevice::index_to_name(&any, ifindex).is_ok()
}
