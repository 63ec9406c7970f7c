//! Questions and answers without a kernel: it is played by [`Script`].

use std::cell::{Cell, RefCell};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use udco_core::{Endpoint, Mode, NewPeer, PeerChange, Time};
use udco_netlink::{Api, Notification};
use udco_sys::Netns;
use udco_sys::seqpacket::Connection;

use super::*;
use crate::client::Client;
use crate::device::interface::{Interface, Offloads};
use crate::device::notify::{Audience, Notify};
use crate::device::offload::{Forbidden, Merging};
use crate::device::transport::Transport;

const VIA: u32 = 5;
const RTM_GETROUTE: u16 = 26;
const RTA_DST: u16 = 1;
const RTA_SRC: u16 = 2;

/// Keeps the questions; answers nothing by itself.
#[derive(Default)]
struct Script {
    questions: RefCell<Vec<Asked>>,
    is_busy: Cell<bool>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Path {
        number: u32,
        remote: Option<IpAddr>,
        with_local: bool,
    },
    Link {
        number: u32,
    },
}

impl Kernel for Script {
    fn ask(&self, question: &[u8]) -> io::Result<()> {
        if self.is_busy.get() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let number = u32::from_ne_bytes(question[8..12].try_into().unwrap());
        let asked = if u16::from_ne_bytes([question[4], question[5]]) == RTM_GETROUTE {
            Asked::Path {
                number,
                remote: address(question, RTA_DST),
                with_local: address(question, RTA_SRC).is_some(),
            }
        } else {
            Asked::Link { number }
        };
        self.questions.borrow_mut().push(asked);
        Ok(())
    }
}

/// An IPv4 address in a question about a route.
fn address(question: &[u8], wanted: u16) -> Option<IpAddr> {
    let mut attributes = question[28..].chunks_exact(8);
    attributes.find_map(|attribute| {
        let number = u16::from_ne_bytes([attribute[2], attribute[3]]);
        let octets: [u8; 4] = attribute[4..8].try_into().unwrap();
        (number == wanted).then(|| octets.into())
    })
}

/// A device, its paths, and the time.
struct Scene {
    device: Device,
    transport: Arc<Transport>,
    kernel: Script,
    paths: Paths,
    now: Instant,
}

/// There is no listener.
struct Nobody;

impl Notify for Nobody {
    fn notify(&self, _: Audience, _: Api, _: &Notification) {}
}

impl Scene {
    fn new() -> Self {
        Self::in_namespace(|of_socket| of_socket)
    }

    /// The device's namespace follows that of the socket.
    fn in_namespace(of_device: impl FnOnce(Netns) -> Netns) -> Self {
        let socket = OwnedFd::from(UdpSocket::bind("127.0.0.1:0").unwrap());
        let socket = udco_sys::udp::UdpSocket::adopt(socket).unwrap();
        let (relay, _) = Connection::pair().unwrap();
        let netns = udco_sys::network_namespace(socket.as_fd());
        let transport = Transport::new(socket, relay, Forbidden::default(), netns).unwrap();
        let is_known = transport.netns.is_known();
        assert!(is_known, "this kernel does not number namespaces");
        let offloads = Offloads {
            from_device: 0,
            merge: Merging::new(false, false),
        };
        let client = Client {
            id: 0,
            uid: 0,
            netns: Netns::UNKNOWN,
        };
        let place = (of_device(transport.netns), 7);
        let interface = Interface::new(place, "tun7".into(), Vec::new(), offloads).unwrap();
        let kind = (Api::DcoV2, Mode::Mp);
        let device = Device::new(Arc::new(interface), kind, &client, Arc::new(Nobody));
        let mut scene = Self {
            device,
            transport: Arc::new(transport),
            kernel: Script::default(),
            paths: Paths::new(),
            now: Instant::now(),
        };
        // The first round, before there are peers.
        assert_eq!(scene.tick(Duration::ZERO), []);
        scene
    }

    fn add(&self, id: u32, remote: &str, local: Option<&str>) {
        let vpn4 = (0x0a08_0000 + id + 2).into();
        let id = PeerId::new(id).unwrap();
        let new = NewPeer {
            id,
            tx_id: id,
            vpn4: Some(vpn4),
            vpn6: None,
            endpoint: Some(endpoint(remote, local)),
            keepalive: Default::default(),
            transport: Arc::clone(&self.transport),
        };
        self.device.change(|state| {
            state.measure(id);
            state.core.add_peer(new, Time::from_millis(0)).unwrap();
        });
    }

    fn move_to(&self, id: u32, remote: &str) {
        let id = PeerId::new(id).unwrap();
        let change = PeerChange {
            endpoint: Some(endpoint(remote, None)),
            ..PeerChange::default()
        };
        self.device.change(|state| {
            state.measure(id);
            state
                .core
                .change_peer(id, change, Time::from_millis(0))
                .unwrap();
        });
    }

    /// Time passes, then it is asked what is to be asked; returns the questions.
    fn tick(&mut self, after: Duration) -> Vec<Asked> {
        self.now += after;
        self.paths.tick(&self.device, &self.kernel, self.now);
        self.kernel.questions.take()
    }

    fn report(&mut self, report: Report) {
        self.paths.take_in(&self.kernel, report);
    }

    /// Answers questions, and those that follow, with these MTUs of all routes and the device.
    fn answer(&mut self, questions: Vec<Asked>, of_route: Option<u32>, of_link: u32) {
        let mut next = questions;
        while !next.is_empty() {
            for question in next {
                self.report(match question {
                    Asked::Path { number, .. } => Report::Path {
                        question: number,
                        mtu: of_route,
                        ifindex: VIA,
                    },
                    Asked::Link { .. } => Report::Link {
                        ifindex: VIA,
                        mtu: of_link,
                        mtu6: None,
                    },
                });
            }
            next = self.kernel.questions.take();
        }
        self.paths.apply(&self.device);
    }

    /// All questions of a round, answered step by step; returns how many were asked in each.
    fn round(&mut self, of_route: Option<u32>, of_link: u32) -> Vec<usize> {
        let mut steps = Vec::new();
        loop {
            let questions = self.tick(STEP_PAUSE);
            if questions.is_empty() {
                return steps;
            }
            steps.push(questions.len());
            self.answer(questions, of_route, of_link);
        }
    }

    fn mtu(&self, id: u32) -> u16 {
        let snapshot = self.device.snapshot();
        let id = PeerId::new(id).unwrap();
        snapshot.peers.by_id(id).unwrap().activity.path_mtu.bytes()
    }
}

fn endpoint(remote: &str, local: Option<&str>) -> Endpoint {
    Endpoint {
        remote: remote.parse::<SocketAddr>().unwrap(),
        local: local.map(|local| local.parse().unwrap()),
    }
}

#[test]
fn peers_behind_one_address_share_a_question() {
    let mut scene = Scene::new();
    scene.add(1, "192.0.2.1:1000", None);
    scene.add(2, "192.0.2.1:2000", None);
    scene.add(3, "192.0.2.3:1000", None);
    // Before the answers, what is assumed of any path.
    assert_eq!(scene.mtu(1), 1500);
    assert_eq!(scene.round(Some(1400), 1500), [2]);
    assert_eq!([1, 2, 3].map(|id| scene.mtu(id)), [1400; 3]);
    // One more there costs no question.
    scene.add(4, "192.0.2.1:3000", None);
    assert_eq!(scene.tick(STEP_PAUSE), []);
    assert_eq!(scene.mtu(4), 1400);
}

#[test]
fn questions_go_out_a_few_at_a_time() {
    let mut scene = Scene::new();
    for id in 0..150_u8 {
        scene.add(id.into(), &format!("192.0.2.{id}:1000"), None);
    }
    // Not before the pause is over.
    let first = scene.tick(Duration::ZERO);
    assert_eq!(first.len(), STEP);
    assert_eq!(scene.tick(STEP_PAUSE / 2), []);
    scene.answer(first, Some(1400), 1500);
    assert_eq!(scene.round(Some(1400), 1500), [STEP, 150 - 2 * STEP]);
    assert!((0..150).all(|id| scene.mtu(id) == 1400));
}

/// All of a crowd have their turn, though answers are lost, and little is kept of it.
#[test]
fn a_round_goes_through_a_crowd_part_by_part() {
    const CROWD: u32 = 3 * PART as u32 + 5;
    let mut scene = Scene::new();
    for id in 0..CROWD {
        let remote = format!("198.18.{}.{}:1000", id >> 8, id & 0xff);
        scene.add(id, &remote, None);
    }
    let (mut asked, mut has_lost) = (0, false);
    let mut ticks = 0;
    while (0..CROWD).filter(|id| scene.mtu(*id) == 1400).count() < CROWD as usize {
        ticks += 1;
        assert!(ticks < 1000, "{asked} were asked for");
        let questions = scene.tick(STEP_PAUSE);
        assert!(scene.paths.known.len() <= 2 * PART);
        asked += questions.len();
        // The answers to a step are lost once.
        if asked < 2 * PART || std::mem::replace(&mut has_lost, true) {
            scene.answer(questions, Some(1400), 1500);
        }
    }
}

#[test]
fn a_newcomer_is_asked_for_next_though_a_crowd_has_its_round() {
    let mut scene = Scene::new();
    for id in 0..2 * PART as u32 {
        scene.add(id, &format!("198.18.{}.{}:1000", id >> 8, id & 0xff), None);
    }
    scene.device.take_unmeasured();
    scene.now += ROUND;
    let first = scene.tick(STEP_PAUSE);
    assert_eq!((first.len(), scene.paths.to_ask.len()), (STEP, PART - STEP));
    scene.answer(first, Some(1400), 1500);
    scene.add(9_999, "192.0.2.9:1000", None);
    let second = scene.tick(STEP_PAUSE);
    let newcomer = "192.0.2.9".parse().ok();
    assert!(matches!(second[0], Asked::Path { remote, .. } if remote == newcomer));
    scene.answer(second, Some(1300), 1500);
    assert_eq!(scene.mtu(9_999), 1300);
}

#[test]
fn a_crowd_behind_one_address_costs_one_question_a_round() {
    let mut scene = Scene::new();
    for id in 0..3 * PART as u32 {
        scene.add(id, "192.0.2.1:1000", None);
    }
    scene.device.take_unmeasured();
    scene.now += ROUND;
    assert_eq!(scene.round(Some(1400), 1500), [1]);
    assert!((0..3 * PART as u32).all(|id| scene.mtu(id) == 1400));
}

#[test]
fn a_link_that_does_not_answer_changes_nothing() {
    let mut scene = Scene::new();
    scene.add(1, "192.0.2.1:1000", None);
    scene.round(Some(1400), 1500);
    scene.now += ROUND;
    let questions = scene.tick(STEP_PAUSE);
    let [Asked::Path { number, .. }] = questions[..] else {
        panic!("{questions:?}");
    };
    scene.report(Report::Path {
        question: number,
        mtu: None,
        ifindex: VIA,
    });
    assert!(matches!(
        scene.kernel.questions.take()[..],
        [Asked::Link { .. }]
    ));
    assert_eq!(scene.tick(PAUSE), []);
    assert_eq!(scene.mtu(1), 1400);
}

#[test]
fn the_narrower_of_route_and_device_counts() {
    let mut scene = Scene::new();
    scene.add(1, "192.0.2.1:1000", None);
    scene.round(Some(9000), 1300);
    assert_eq!(scene.mtu(1), 1300);
    scene.now += ROUND;
    scene.round(None, 1350);
    assert_eq!(scene.mtu(1), 1350);
}

#[test]
fn a_path_is_asked_for_without_a_local_address_that_is_gone() {
    let mut scene = Scene::new();
    scene.add(1, "192.0.2.1:1000", Some("192.0.2.9"));
    let first = scene.tick(STEP_PAUSE);
    let [
        Asked::Path {
            number: question,
            with_local: true,
            ..
        },
    ] = first[..]
    else {
        panic!("{first:?}");
    };
    scene.report(Report::Nothing { question });
    let second = scene.kernel.questions.take();
    let [
        Asked::Path {
            number: question,
            with_local: false,
            ..
        },
    ] = second[..]
    else {
        panic!("{second:?}");
    };
    scene.answer(second, Some(1400), 1500);
    assert_eq!(scene.mtu(1), 1400);
    // An answer that comes twice changes nothing.
    scene.report(Report::Path {
        question,
        mtu: Some(1300),
        ifindex: VIA,
    });
    scene.paths.apply(&scene.device);
    assert_eq!(scene.mtu(1), 1400);
}

#[test]
fn without_a_route_nothing_is_known_until_there_is_one() {
    let mut scene = Scene::new();
    scene.add(1, "192.0.2.1:1000", None);
    scene.round(Some(1400), 1500);
    scene.now += ROUND;
    let questions = scene.tick(STEP_PAUSE);
    let [
        Asked::Path {
            number: question, ..
        },
    ] = questions[..]
    else {
        panic!("{questions:?}");
    };
    scene.report(Report::Nothing { question });
    scene.paths.apply(&scene.device);
    assert_eq!(scene.mtu(1), 1500);
    scene.paths.doubt();
    scene.now += PAUSE;
    scene.round(Some(1400), 1500);
    assert_eq!(scene.mtu(1), 1400);
}

#[test]
fn what_is_not_answered_or_not_taken_is_asked_for_in_the_next_round() {
    let mut scene = Scene::new();
    scene.add(1, "192.0.2.1:1000", None);
    assert_eq!(scene.tick(STEP_PAUSE).len(), 1, "this one is lost");
    assert_eq!(scene.tick(PAUSE), []);
    scene.now += ROUND;
    scene.kernel.is_busy.set(true);
    assert_eq!(scene.tick(STEP_PAUSE), []);
    assert_eq!(scene.mtu(1), 1500);
    scene.kernel.is_busy.set(false);
    scene.now += ROUND;
    assert_eq!(scene.round(Some(1400), 1500), [1]);
    assert_eq!(scene.mtu(1), 1400);
}

#[test]
fn a_peer_that_moves_is_asked_for_at_once() {
    let mut scene = Scene::new();
    scene.add(1, "192.0.2.1:1000", None);
    scene.round(Some(1400), 1500);
    scene.move_to(1, "198.51.100.1:1000");
    let questions = scene.tick(STEP_PAUSE);
    let [Asked::Path { remote, .. }] = questions[..] else {
        panic!("{questions:?}");
    };
    assert_eq!(remote, Some("198.51.100.1".parse().unwrap()));
    // Until the answer what was known stays.
    assert_eq!(scene.mtu(1), 1400);
    scene.answer(questions, Some(1300), 1500);
    assert_eq!(scene.mtu(1), 1300);
}

#[test]
fn a_socket_in_another_namespace_has_no_path_here() {
    let mut scene = Scene::in_namespace(|of_socket| Netns::numbered(of_socket.number() + 1));
    scene.add(1, "192.0.2.1:1000", None);
    assert_eq!(scene.round(Some(1400), 1500), [0_usize; 0]);
    assert_eq!(scene.mtu(1), 1500);
}

#[test]
fn doubt_brings_the_next_round_forward_but_not_without_end() {
    let mut scene = Scene::new();
    scene.add(1, "192.0.2.1:1000", None);
    scene.round(Some(1400), 1500);
    assert_eq!(scene.tick(PAUSE), [], "nothing has happened");
    // By the kernel's news, then by a send that was too long.
    let doubts: [fn(&mut Scene); 2] = [
        |scene| scene.paths.doubt(),
        |scene| scene.device.doubt_paths(),
    ];
    for doubt in doubts {
        doubt(&mut scene);
        let questions = scene.tick(STEP_PAUSE);
        assert_eq!(questions.len(), 1);
        scene.answer(questions, Some(1300), 1500);
        assert_eq!(scene.mtu(1), 1300);
        // However often it is doubted, there is a pause between two rounds.
        doubt(&mut scene);
        assert_eq!(scene.tick(PAUSE / 2), []);
        let questions = scene.tick(PAUSE / 2);
        scene.answer(questions, Some(1400), 1500);
        assert_eq!(scene.mtu(1), 1400);
        scene.now += PAUSE;
    }
}

#[test]
fn peers_that_have_gone_are_not_waited_for() {
    let mut scene = Scene::new();
    scene.add(1, "192.0.2.1:1000", None);
    let questions = scene.tick(STEP_PAUSE);
    scene
        .device
        .change(|state| state.core.remove_peer(PeerId::from(1)).map(drop))
        .unwrap();
    scene.answer(questions, Some(1400), 1500);
    assert!(scene.paths.waiting.is_empty());
    scene.now += ROUND;
    assert_eq!(scene.tick(STEP_PAUSE), []);
    assert!(scene.paths.known.is_empty() && scene.paths.asked.is_empty());
}
