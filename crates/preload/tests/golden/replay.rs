//! Replays a scenario: an ordinary program with plain sockets, under the preload library.

use crate::calls::{self, address_in, delivered, is_readable, receive, send_to, set_int};
use crate::compare::{self, Numbers, difference};
use crate::transcript::{Scenario, Step};
use libc::*;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Before each line about a step: its number, a space, and the difference, if any, with `|` for ends of lines.
pub(crate) const STEP: &str = "golden step ";

/// Room for a datagram, as the recorder had it: the kernel fits dumps to it.
const ROOM: usize = 128 * 1024;

/// How long to wait for messages that were recorded, and for others, in milliseconds.
const LONG: c_int = 1000;

/// The same for notifications: a float is reported at most once a second (docs/netlink-api.md).
const NOTIFIED: c_int = 2500;
const SHORT: c_int = 4;

/// How long to wait on a plain socket for what must not arrive. A keepalive takes up to a second.
const SILENCE: c_int = 30;
const KEEPALIVE: c_int = 2500;

/// How long after a packet its peer's counters may lack it: the kernel counts while the packet is sent, an engine a
/// moment later. Much for a busy machine.
const COUNTED: Duration = Duration::from_secs(2);

/// `PEER_GET`, in both families.
const PEER_GET: u8 = 3;

/// How many seconds earlier than recorded an awaited event may occur: the environments of both recordings differ by
/// this much, and a peer that expires a second early is wrong.
const EARLY: f64 = 0.5;

/// Replays the scenario and prints a line for each step.
pub(crate) fn run(scenario: &Scenario) {
    // libtest has begun a line.
    println!();
    let mut replay = Replay::start(scenario);
    for (number, step) in scenario.steps.iter().enumerate() {
        let differences: Vec<String> = [replay.step(step), replay.listen(step)]
            .into_iter()
            .flatten()
            .collect();
        println!("{STEP}{number} {}", differences.join("|"));
    }
}

struct Replay<'a> {
    scenario: &'a Scenario,
    numbers: Numbers,
    netlink: BTreeMap<String, c_int>,
    sniffer: Option<c_int>,
    /// When the last packet was sent.
    sent: Option<Instant>,
}

impl<'a> Replay<'a> {
    fn start(scenario: &'a Scenario) -> Self {
        calls::set_loopback_up();
        let mut replay = Self {
            scenario,
            numbers: Numbers {
                family: (scenario.family, 0),
                group: (scenario.group, 0),
            },
            netlink: BTreeMap::new(),
            sniffer: None,
            sent: None,
        };
        let (family, group) = our_numbers();
        replay.numbers.family.1 = family;
        replay.numbers.group.1 = group;
        for socket in ["g", "n", "r"] {
            replay.open_netlink(socket);
        }
        // There, the requesting socket itself listens.
        let listener = if scenario.name == "order_same_socket" {
            "g"
        } else {
            "n"
        };
        replay.join(listener);
        replay
    }

    fn open_netlink(&mut self, name: &str) {
        let protocol = if name == "r" {
            NETLINK_ROUTE
        } else {
            NETLINK_GENERIC
        };
        let fd = calls::open_socket(AF_NETLINK, SOCK_RAW, protocol);
        calls::bind_netlink(fd, self.scenario.port(name));
        assert_eq!(set_int(fd, SOL_NETLINK, NETLINK_EXT_ACK, 1), Ok(()));
        self.netlink.insert(name.to_owned(), fd);
    }

    fn join(&self, name: &str) {
        let group = self.numbers.group.1.cast_signed();
        let joined = set_int(
            self.netlink[name],
            SOL_NETLINK,
            NETLINK_ADD_MEMBERSHIP,
            group,
        );
        assert_eq!(joined, Ok(()));
    }

    /// Executes a step; returns the difference.
    fn step(&mut self, step: &Step) -> Option<String> {
        let fd = step.number("fd") as c_int;
        match step.op.as_str() {
            "nl" => return self.request(step),
            "recv" => return receive_plain(step, fd),
            "send" => {
                self.sent = Some(Instant::now());
                return send_plain(step, fd);
            }
            "udp" => open_udp(step, fd),
            "tcp_pair" => open_tcp_pair(step),
            "open" => open_other(step.text("kind"), fd),
            "close" => calls::close_fd(fd),
            "connect" => calls::connect_inet(fd, step.address("to").expect("an address")),
            "setsockopt" => {
                let [level, name, value] =
                    ["level", "name", "value"].map(|of| step.number(of) as c_int);
                assert_eq!(set_int(fd, level, name, value), Ok(()));
            }
            "setsockopt-netlink" => {
                let known = [(NETLINK_EXT_ACK, "EXT_ACK"), (NETLINK_CAP_ACK, "CAP_ACK")];
                let option = known
                    .iter()
                    .find(|(number, name)| step.is_named("name", *number, name));
                let (option, value) = (option.expect("an option").0, step.number("value"));
                let fd = self.netlink[step.text("on")];
                assert_eq!(set_int(fd, SOL_NETLINK, option, value as c_int), Ok(()));
            }
            "join" => self.join(step.text("on")),
            "seteuid" => {
                calls::set_effective_user(step.number("uid") as u32);
                self.open_netlink("u");
            }
            "inject" => {
                self.sent = Some(Instant::now());
                let sent = calls::inject(step.text("dev"), &step.bytes("data"));
                return sent
                    .err()
                    .map(|errno| format!("not injected: errno {errno}"));
            }
            "sniff" => self.sniffer = Some(calls::sniffer(step.text("dev"))),
            "sniffed" => return self.sniffed(step),
            // Only its notifications matter.
            "wait" => {}
            other => panic!("no such step: {other}"),
        }
        None
    }

    /// A Netlink request with its answers.
    fn request(&self, step: &Step) -> Option<String> {
        let fd = self.netlink[step.text("on")];
        let is_route = step.text("on") == "r";
        let ours = |datagram: &Vec<u8>| match is_route {
            true => datagram.clone(),
            false => self.numbers.translate(datagram),
        };
        let request = ours(&step.bytes("req"));
        let expected: Vec<_> = step.list("rx").iter().map(ours).collect();
        match (
            send_to(fd, &request, None),
            step.number("send_errno") as c_int,
        ) {
            (Ok(_), 0) => {}
            (Err(errno), wanted) if errno == wanted => {}
            (sent, wanted) => return Some(format!("sent {sent:?}, kernel errno {wanted}")),
        }
        let is_get = !is_route && request.get(16) == Some(&PEER_GET);
        loop {
            let answers = datagrams(fd, expected.len(), LONG);
            let difference = compare::answers(&request, is_route, &answers, &expected);
            let may_count = self.sent.is_some_and(|sent| sent.elapsed() < COUNTED);
            if difference.is_none() || !is_get || !may_count {
                return difference;
            }
            std::thread::sleep(Duration::from_millis(10));
            if let Err(errno) = send_to(fd, &request, None) {
                return Some(format!("asked again: errno {errno}"));
            }
        }
    }

    /// The notifications after a step.
    fn listen(&self, step: &Step) -> Option<String> {
        let expected = step.notifications.iter();
        let expected: Vec<_> = expected.map(|one| self.numbers.translate(one)).collect();
        let patience = match step.op.as_str() {
            "wait" => (step.seconds("max_s") * 1000.0) as c_int,
            _ => NOTIFIED,
        };
        let start = Instant::now();
        let arrived = datagrams(self.netlink["n"], expected.len(), patience);
        let took = start.elapsed().as_secs_f64();
        if let Some(arrived) = step.arrived()
            && took < arrived - EARLY
        {
            return Some(format!("came after {took:.2} s, kernel {arrived} s"));
        }
        // RTM_DELLINK ends peers in the order of a hash.
        compare::notifications(step.text("on") == "r", &arrived, &expected)
    }

    fn sniffed(&self, step: &Step) -> Option<String> {
        let sniffer = self.sniffer.expect("a sniffer");
        let expected = step.list("data");
        let mut packets = Vec::new();
        while is_readable(
            sniffer,
            if packets.len() < expected.len() {
                LONG
            } else {
                SILENCE
            },
        ) {
            packets.extend(delivered(sniffer));
        }
        difference("delivered", &packets, &expected)
    }
}

/// Receives a Netlink socket's datagrams: waits for the expected number, and a moment longer.
fn datagrams(fd: c_int, expected: usize, patience: c_int) -> Vec<Vec<u8>> {
    let mut got = Vec::new();
    while is_readable(
        fd,
        if got.len() < expected {
            patience
        } else {
            SHORT
        },
    ) {
        match receive(fd, ROOM) {
            Ok((datagram, _)) => got.push(datagram),
            // A mark, which the library has consumed.
            Err(EAGAIN) => {}
            Err(errno) => panic!("a netlink socket failed: errno {errno}"),
        }
    }
    got
}

/// The numbers of `ovpn` and its group, resolved on a separate socket.
fn our_numbers() -> (u16, u32) {
    let fd = calls::open_socket(AF_NETLINK, SOCK_RAW, NETLINK_GENERIC);
    let request = [
        &[32, 0, 0, 0, 16, 0, 1, 0][..],
        &[0; 8],
        &[3, 1, 0, 0],
        &[9, 0, 2, 0],
        b"ovpn\0\0\0\0",
    ]
    .concat();
    assert_eq!(send_to(fd, &request, None), Ok(32));
    let answers = datagrams(fd, 1, LONG);
    calls::close_fd(fd);
    compare::numbers_in(answers.first().expect("an answer"))
}

fn open_udp(step: &Step, number: c_int) {
    let address = step.address("bind").expect("an address");
    let open = || {
        let fd = calls::open_socket(calls::family_of(address), SOCK_DGRAM, 0);
        if step.has("v6only") && address.is_ipv6() {
            let only = c_int::from(step.number("v6only") != 0 || step.is_true("v6only"));
            assert_eq!(set_int(fd, IPPROTO_IPV6, IPV6_V6ONLY, only), Ok(()));
        }
        calls::bind_inet(fd, address);
        fd
    };
    let fd = match step.text("netns") {
        "other" => calls::elsewhere(open),
        _ => open(),
    };
    calls::renumber(fd, number);
}

fn open_tcp_pair(step: &Step) {
    let [to, from] = ["listen", "client"].map(|name| step.address(name).expect("an address"));
    let listener = calls::open_socket(calls::family_of(to), SOCK_STREAM, 0);
    assert_eq!(set_int(listener, SOL_SOCKET, SO_REUSEADDR, 1), Ok(()));
    calls::bind_inet(listener, to);
    calls::listen_on(listener);
    let connected = calls::open_socket(calls::family_of(to), SOCK_STREAM, 0);
    calls::bind_inet(connected, from);
    calls::connect_inet(connected, to);
    let accepted = calls::accept_one(listener);
    calls::close_fd(listener);
    calls::renumber(accepted, step.number("fd_accepted") as c_int);
    calls::renumber(connected, step.number("fd_connected") as c_int);
}

fn open_other(kind: &str, number: c_int) {
    let (kind, parameter) = kind.split_once(' ').unwrap_or((kind, ""));
    let fd = match kind {
        "file" => calls::open_null(),
        "unix-dgram" => calls::open_socket(AF_UNIX, SOCK_DGRAM, 0),
        "unix-stream" => calls::open_socket(AF_UNIX, SOCK_STREAM, 0),
        "raw-icmp" => calls::open_socket(AF_INET, SOCK_RAW, IPPROTO_ICMP),
        "netlink" => calls::open_socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE),
        "tcp" => calls::open_socket(AF_INET, SOCK_STREAM, 0),
        "udp" => calls::open_socket(AF_INET, SOCK_DGRAM, 0),
        "tcp-listen" => {
            let address = parameter.parse().expect("an address and a port");
            let fd = calls::open_socket(calls::family_of(address), SOCK_STREAM, 0);
            calls::bind_inet(fd, address);
            calls::listen_on(fd);
            fd
        }
        other => panic!("no such file: {other}"),
    };
    calls::renumber(fd, number);
}

fn send_plain(step: &Step, fd: c_int) -> Option<String> {
    let sent = send_to(fd, &step.bytes("data"), step.address("to"));
    let errno = sent.err().unwrap_or(0);
    let expected = step.number("errno") as c_int;
    (errno != expected).then(|| format!("sent with errno {errno}, kernel {expected}"))
}

fn receive_plain(step: &Step, fd: c_int) -> Option<String> {
    let room = match step.number("max") {
        0 => ROOM,
        max => max as usize,
    };
    let is_due = step.has("data") || step.has("errno");
    let arrived = is_readable(fd, if is_due { KEEPALIVE } else { SILENCE });
    let received = if arrived {
        receive(fd, room)
    } else {
        Err(EAGAIN)
    };
    match received {
        Err(EAGAIN) if !is_due => None,
        Err(errno) if step.has("errno") && errno == step.number("errno") as c_int => None,
        Err(errno) => Some(format!("received nothing: errno {errno}")),
        Ok((data, _)) if !step.has("data") => difference("received", &[data], &[]),
        Ok((data, name)) => {
            let (source, expected) = (address_in(&name), step.address("from"));
            if expected.is_some() && source != expected {
                return Some(format!("received from {source:?}, kernel {expected:?}"));
            }
            difference("received", &[data], &[step.bytes("data")])
        }
    }
}
