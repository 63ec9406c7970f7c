//! The client's side against recordings of the kernel's driver: its answers are readable, and requests are written in
//! the form that it accepted.

use std::io::Write;
use std::path::Path;

use serde_json::Value;
use udco_netlink::client::{self, Command, Family, Received, link};
use udco_netlink::{Api, DeleteReason, Mode, Notification, Slot, driver_link};

/// A step of a recording.
struct Step(Value);

impl Step {
    fn bytes(value: &Value) -> Vec<u8> {
        let text = value.as_str().unwrap();
        let pairs = (0..text.len()).step_by(2);
        pairs
            .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
            .collect()
    }

    fn list(&self, member: &str) -> Vec<Vec<u8>> {
        let list = self.0[member].as_array();
        list.into_iter().flatten().map(Self::bytes).collect()
    }

    fn request(&self) -> Vec<u8> {
        Self::bytes(&self.0["req"])
    }

    /// Whether the recorder's words for one of the answers contain these.
    fn is(&self, words: &str) -> bool {
        self.0["is"]
            .as_array()
            .is_some_and(|all| all.iter().any(|it| it.as_str().unwrap().contains(words)))
    }
}

/// All steps of the scenario with this name, or of all.
fn steps(name: Option<&str>) -> Vec<Step> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../recordings/linux-7.3.4.json");
    let text = std::fs::read_to_string(file).unwrap();
    let scenarios: Value = serde_json::from_str(&text).unwrap();
    let scenarios = scenarios.as_array().unwrap().iter();
    scenarios
        .filter(|it| name.is_none_or(|name| it["name"] == name))
        .flat_map(|it| it["steps"].as_array().unwrap().clone())
        .map(Step)
        .collect()
}

/// The recordings are from a little-endian machine.
fn is_big_endian() -> bool {
    if cfg!(target_endian = "big") {
        // Past libtest's capture, which shows the output of failed tests only.
        let _ = writeln!(
            std::io::stdout(),
            "SKIPPED: the recordings are from a little-endian machine"
        );
    }
    cfg!(target_endian = "big")
}

/// The family's numbers on the machine of the recording.
fn family() -> Family {
    let answers = steps(None)
        .into_iter()
        .find(|step| step.0["d"] == "GETFAMILY name ovpn");
    let answers = answers.unwrap().list("rx");
    client::family(Api::Ovpn, &answers[0]).unwrap()
}

#[test]
fn the_family_is_found_in_the_kernels_answer() {
    if is_big_endian() {
        return;
    }
    let found = family();
    assert_eq!((found.id, found.peers), (0x15, 4));
}

#[test]
fn the_kernels_links_are_known_with_their_mode() {
    if is_big_endian() {
        return;
    }
    let mut seen = Vec::new();
    for (name, mode) in [("link_p2p", Mode::P2p), ("link_mp", Mode::Mp)] {
        for step in steps(Some(name)).iter().filter(|step| step.is("NEWLINK")) {
            for answer in step.list("rx") {
                let found = driver_link(&answer).unwrap();
                assert_eq!((found.ifindex, found.mode), (2, mode), "{name}");
                seen.push(found.name.to_owned());
            }
        }
    }
    assert!(seen.len() >= 6, "{seen:?}");
}

#[test]
fn every_peer_key_and_notification_of_the_kernel_is_read() {
    if is_big_endian() {
        return;
    }
    let families = [family()];
    let (mut peers, mut keys, mut deleted) = (0, 0, Vec::new());
    for step in steps(None) {
        for datagram in [step.list("rx"), step.list("ntf")].concat() {
            for (_, received) in client::decode(&families, &datagram) {
                match received {
                    Received::Peer(_) => peers += 1,
                    Received::Key(key) => {
                        keys += 1;
                        assert!(matches!(key.slot, Slot::Primary | Slot::Secondary));
                    }
                    Received::Notification(Notification::PeerDeleted { reason, .. }) => {
                        deleted.push(reason);
                    }
                    _ => {}
                }
            }
        }
    }
    assert!(peers > 10 && keys > 5, "{peers} peers, {keys} keys");
    for reason in [
        DeleteReason::Teardown,
        DeleteReason::Userspace,
        DeleteReason::Expired,
        DeleteReason::TransportDisconnect,
    ] {
        assert!(deleted.contains(&reason), "{reason:?}");
    }
}

/// Requests without options match the recorded ones, except for sequence number, port, version and `NLM_F_ACK`.
#[test]
fn requests_match_those_the_kernel_accepted() {
    if is_big_endian() {
        return;
    }
    let blank = |mut request: Vec<u8>| {
        request[8..16].fill(0);
        // The recorder also asked for the acknowledgement of dumps.
        request[6] &= !4;
        // The family's version, which no family checks.
        request.get_mut(17).into_iter().for_each(|it| *it = 0);
        request
    };
    let recorded: Vec<Vec<u8>> = steps(None)
        .iter()
        .filter(|step| step.0["op"] == "nl")
        .map(|step| blank(step.request()))
        .collect();
    let commands = [
        ("PEER_GET", Command::PeerGet(1)),
        ("PEER_GET, dump", Command::Peers),
        ("PEER_DEL", Command::PeerDel(1)),
        ("KEY_GET", Command::KeyGet(1, Slot::Primary)),
        ("KEY_SWAP", Command::KeySwap(1)),
        ("KEY_DEL", Command::KeyDel(1, Slot::Secondary)),
    ];
    for (name, command) in commands {
        let request = client::request(&family(), 2, 1, &command).unwrap();
        let request = blank(request);
        assert!(recorded.contains(&request), "{name}: {request:02x?}");
    }
}

#[test]
fn a_link_may_be_echoed() {
    let new = link::New {
        api: Api::Ovpn,
        name: "tun%d",
        mode: Mode::P2p,
        mtu: None,
        up: false,
    };
    let plain = link::new(&new, 1);
    let echoed = link::echoed(plain.clone());
    let flags = |message: &[u8]| u16::from_ne_bytes([message[6], message[7]]);
    assert_eq!(flags(&echoed), flags(&plain) | 8);
    assert_eq!(echoed[8..], plain[8..]);
}
