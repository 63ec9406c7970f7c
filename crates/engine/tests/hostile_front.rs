//! Nothing that a front sends makes the engine panic, block or change anything halfway. What becomes of descriptors:
//! `descriptors.rs`.

mod front;

use std::time::{Duration, Instant};

use udco_front::{Begun, ToEngine, VERSION};

use crate::front::netlink::new_link;
use crate::front::{Front, Owned, engine};

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
    front.tell(
        4,
        &ToEngine::Socket {
            errno: 0,
            begun: Begun::Nothing,
        },
        &[],
    );
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

/// faults B3: OpenVPN exits where it has to do without its device.
#[test]
fn a_front_may_take_seconds_to_make_a_device_while_others_are_served() {
    const ENOMEM: i32 = 12;
    let engine = engine();
    let (slow, other) = (Front::welcome(&engine), Front::welcome(&engine));
    begin_device(&slow);
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_millis(1500) {
        assert_eq!(other.ask(3, &ToEngine::OwnTun, &[]), Some(Owned::Done(0)));
        std::thread::sleep(Duration::from_millis(10));
    }
    let late = ToEngine::Tun {
        errno: ENOMEM,
        ifindex: 0,
        netns: 0,
        name: b"nope0",
    };
    let Some(Owned::Answer(answer)) = slow.ask(2, &late, &[]) else {
        panic!("no answer");
    };
    assert_eq!(front::netlink::errno(&answer), Some(ENOMEM), "heeded");
}

#[test]
fn a_front_that_asks_something_else_has_given_up_its_question() {
    let engine = engine();
    let front = Front::welcome(&engine);
    begin_device(&front);
    let begin = Instant::now();
    front.tell(3, &ToEngine::OwnTun, &[]);
    assert!(matches!(front.hear(), Some(Owned::Answer(_))), "a refusal");
    assert_eq!(front.hear(), Some(Owned::Done(0)));
    assert!(
        begin.elapsed() < Duration::from_secs(30),
        "no deadline passed"
    );
    // And one that goes ends its session although it was asked.
    begin_device(&front);
    front.end().unwrap();
}

/// Asks for a device, up to the engine's own question.
fn begin_device(front: &Front) {
    let link = new_link("ovpn-dco", "nope0");
    let route = ToEngine::Route {
        port: 7,
        admin: true,
        ext_ack: false,
        cap_ack: false,
        datagram: &link,
    };
    let asked = front.ask(2, &route, &[]);
    assert!(matches!(asked, Some(Owned::NeedTun(_))));
}
