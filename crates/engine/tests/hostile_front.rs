//! Nothing that a front sends makes the engine panic, block, leak a descriptor or change anything halfway.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use udco_engine::{Engine, Options};
use udco_front::{MAX_MESSAGE, ToEngine, ToFront, VERSION};
use udco_sys::seqpacket::Connection;

const ANSWER: Duration = Duration::from_secs(2);

/// A front, with its engine's thread at the other end.
struct Front {
    connection: Option<Connection>,
    thread: Option<JoinHandle<std::io::Result<()>>>,
}

impl Front {
    fn new(engine: &Arc<Engine>) -> Self {
        let (ours, theirs) = Connection::pair().unwrap();
        let engine = Arc::clone(engine);
        let thread = std::thread::spawn(move || engine.serve(theirs));
        Self {
            connection: Some(ours),
            thread: Some(thread),
        }
    }

    /// A front that has said hello.
    fn welcome(engine: &Arc<Engine>) -> Self {
        let front = Self::new(engine);
        let hello = ToEngine::Hello {
            version: VERSION,
            pid: 1,
            program: b"test",
        };
        assert!(matches!(front.ask(1, &hello, &[]), Some(Owned::Welcome)));
        front
    }

    fn connection(&self) -> &Connection {
        self.connection.as_ref().unwrap()
    }

    fn tell(&self, seq: u32, message: &ToEngine<'_>, fds: &[BorrowedFd<'_>]) {
        let mut buffer = vec![0; MAX_MESSAGE];
        let len = message.encode(seq, &mut buffer).unwrap();
        self.connection().send(&buffer[..len], fds).unwrap();
    }

    /// Asks, and waits for the answer; `None` if the engine hangs up.
    fn ask(&self, seq: u32, message: &ToEngine<'_>, fds: &[BorrowedFd<'_>]) -> Option<Owned> {
        self.tell(seq, message, fds);
        self.hear()
    }

    fn hear(&self) -> Option<Owned> {
        let mut buffer = vec![0; MAX_MESSAGE];
        let received = self.connection().receive_within(&mut buffer, ANSWER).ok()?;
        match ToFront::decode(&buffer[..received.len]).ok()?.1 {
            ToFront::Welcome { .. } => Some(Owned::Welcome),
            ToFront::Refused { errno } => Some(Owned::Refused(errno)),
            ToFront::Channel { channel } => Some(Owned::Channel(channel)),
            ToFront::Done { errno, .. } => Some(Owned::Done(errno)),
            ToFront::Pass => Some(Owned::Pass),
            ToFront::NeedTun { .. } => Some(Owned::NeedTun),
            ToFront::Answer { datagram } => Some(Owned::Answer(datagram.to_vec())),
            ToFront::NeedSocket { fd } => Some(Owned::NeedSocket(fd)),
            ToFront::NeedLink { ifindex } => Some(Owned::NeedLink(ifindex)),
        }
    }

    /// Hangs up and waits until the engine has noticed.
    fn end(mut self) -> std::io::Result<()> {
        self.connection.take();
        self.thread.take().unwrap().join().unwrap()
    }
}

/// An answer without the buffer it came in.
#[derive(Debug, PartialEq)]
enum Owned {
    Welcome,
    Refused(i32),
    Channel(u32),
    Done(i32),
    Pass,
    NeedTun,
    Answer(Vec<u8>),
    NeedSocket(i32),
    NeedLink(u32),
}

fn engine() -> Arc<Engine> {
    Engine::start(Options { workers: Some(2) }).unwrap()
}

/// `RTM_NEWLINK` of kind `ovpn-dco` as OpenVPN 2.6 sends it.
fn new_link(name: &str) -> Vec<u8> {
    let attribute = |kind: u16, payload: &[u8]| {
        let mut bytes = ((4 + payload.len()) as u16).to_ne_bytes().to_vec();
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(payload);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    };
    let data = attribute(2, &attribute(1, &[1]));
    let info = [attribute(1, b"ovpn-dco\0"), data].concat();
    let attributes = [
        attribute(3, format!("{name}\0").as_bytes()),
        attribute(18, &info),
    ]
    .concat();
    let mut message = ((32 + attributes.len()) as u32).to_ne_bytes().to_vec();
    message.extend_from_slice(&16u16.to_ne_bytes());
    message.extend_from_slice(&0x605u16.to_ne_bytes());
    message.extend_from_slice(&[0; 24]);
    message.extend_from_slice(&attributes);
    message
}

/// Descriptors of this process that are not somebody else's coming and going: those at the end are compared with
/// those at the beginning.
fn open_fds() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

#[test]
fn an_unknown_version_is_refused() {
    let engine = engine();
    let front = Front::new(&engine);
    let hello = ToEngine::Hello {
        version: VERSION + 1,
        pid: 1,
        program: b"test",
    };
    assert_eq!(front.ask(1, &hello, &[]), Some(Owned::Refused(22)));
    front.end().unwrap();
}

#[test]
fn garbage_ends_the_connection_and_nothing_else() {
    let engine = engine();
    let healthy = Front::welcome(&engine);
    for garbage in [&b"x"[..], &[0xff; 64], &[0; 8], &[1; 30_000]] {
        let front = Front::new(&engine);
        front.connection().send(garbage, &[]).unwrap();
        assert_eq!(front.hear(), None);
        assert!(front.end().is_err(), "the engine says why");
    }
    assert_eq!(healthy.ask(2, &ToEngine::OwnTun, &[]), Some(Owned::Done(0)));
    healthy.end().unwrap();
}

#[test]
fn unknown_channels_and_replies_to_nothing_are_harmless() {
    let engine = engine();
    let front = Front::welcome(&engine);
    let request = ToEngine::Request {
        channel: 99,
        port: 0,
        room: 0,
        admin: true,
        datagram: &[0; 16],
    };
    assert_eq!(front.ask(2, &request, &[]), Some(Owned::Done(22)));
    let option = ToEngine::SetOption {
        channel: 99,
        name: 1,
        value: 1,
    };
    assert_eq!(front.ask(3, &option, &[]), Some(Owned::Done(22)));
    front.tell(4, &ToEngine::Socket { errno: 0 }, &[]);
    front.tell(
        5,
        &ToEngine::Tun {
            errno: 0,
            ifindex: 1,
            netns: 0,
            name: b"x",
        },
        &[],
    );
    front.tell(
        6,
        &ToEngine::Return {
            channel: 99,
            datagram: &[0; 16],
        },
        &[],
    );
    assert_eq!(
        front.ask(7, &ToEngine::SocketClosed { fd: 3 }, &[]),
        Some(Owned::Done(0))
    );
    assert_eq!(
        front.ask(8, &ToEngine::Show, &[]),
        Some(Owned::Done(22)),
        "no file to write to"
    );
    let route = ToEngine::Route {
        port: 0,
        admin: true,
        ext_ack: false,
        cap_ack: false,
        datagram: &[0; 5],
    };
    assert_eq!(front.ask(9, &route, &[]), Some(Owned::Pass));
    front.end().unwrap();
}

#[test]
fn descriptors_of_the_wrong_kind_are_refused_and_closed() {
    let engine = engine();
    let front = Front::welcome(&engine);
    let file = || OwnedFd::from(File::open("/dev/null").unwrap());
    let (pipe, _other) = std::io::pipe().unwrap();
    let wrong: [OwnedFd; 4] = [
        file(),
        pipe.into(),
        std::net::TcpListener::bind("127.0.0.1:0").unwrap().into(),
        std::net::UdpSocket::bind("127.0.0.1:0").unwrap().into(),
    ];
    let link = new_link("nope0");
    for (seq, fd) in (10..).zip(&wrong) {
        // As a TUN queue and as the route monitor, one after the other and alone.
        for fds in [&[fd.as_fd(), fd.as_fd()][..], &[fd.as_fd()], &[]] {
            let route = ToEngine::Route {
                port: 7,
                admin: true,
                ext_ack: false,
                cap_ack: false,
                datagram: &link,
            };
            let asked = front.ask(seq, &route, &[]);
            assert_eq!(asked, Some(Owned::NeedTun));
            let tun = ToEngine::Tun {
                errno: 0,
                ifindex: 1,
                netns: 0,
                name: b"nope0",
            };
            let answer = front.ask(seq, &tun, fds);
            let Some(Owned::Answer(answer)) = answer else {
                panic!("{answer:?}")
            };
            let errno = i32::from_ne_bytes(answer[16..20].try_into().unwrap());
            assert!(errno < 0, "refused with {errno}");
        }
    }
    front.end().unwrap();
}

#[test]
fn a_front_that_does_not_answer_a_question_costs_half_a_second() {
    let engine = engine();
    let front = Front::welcome(&engine);
    let begin = Instant::now();
    let link = new_link("nope0");
    assert_eq!(
        front.ask(
            2,
            &ToEngine::Route {
                port: 7,
                admin: true,
                ext_ack: false,
                cap_ack: false,
                datagram: &link
            },
            &[]
        ),
        Some(Owned::NeedTun)
    );
    assert!(
        matches!(front.hear(), Some(Owned::Answer(_))),
        "an error, after a while"
    );
    assert!(begin.elapsed() < Duration::from_secs(1));
    assert_eq!(front.ask(3, &ToEngine::OwnTun, &[]), Some(Owned::Done(0)));
    front.end().unwrap();
}

#[test]
fn a_thousand_fronts_leave_no_descriptor_behind() {
    let engine = engine();
    Front::welcome(&engine).end().unwrap();
    let before = open_fds();
    for _ in 0..1000 {
        let front = Front::welcome(&engine);
        let (_ours, theirs) = Connection::pair().unwrap();
        let opened = front.ask(2, &ToEngine::OpenChannel, &[theirs.as_fd()]);
        assert!(matches!(opened, Some(Owned::Channel(_))));
        front.end().unwrap();
    }
    // Other tests of this program run beside this one.
    assert!(
        open_fds() < before + 200,
        "{} before, {} after",
        before,
        open_fds()
    );
}
