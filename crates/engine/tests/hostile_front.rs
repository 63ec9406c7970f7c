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

#[test]
fn a_front_that_does_not_answer_a_question_costs_half_a_second() {
    let engine = engine();
    let front = Front::welcome(&engine);
    let begin = Instant::now();
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
    assert!(
        matches!(front.hear(), Some(Owned::Answer(_))),
        "an error, after a while"
    );
    assert!(begin.elapsed() < Duration::from_secs(1));
    assert_eq!(front.ask(3, &ToEngine::OwnTun, &[]), Some(Owned::Done(0)));
    front.end().unwrap();
}
