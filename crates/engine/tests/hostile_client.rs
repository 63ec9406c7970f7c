//! Nothing that a client sends makes the engine panic, block or change anything halfway. What becomes of descriptors:
//! `descriptors.rs`.

mod client;

use std::time::{Duration, Instant};

use udco_ipc::{Partial, ToEngine, VERSION};

use crate::client::netlink::new_link;
use crate::client::{Client, Owned, engine};

#[test]
fn a_client_of_another_version_learns_the_engines_and_is_not_served() {
    let engine = engine();
    let client = Client::new(&engine);
    let hello = ToEngine::Hello {
        version: VERSION + 1,
        pid: 1,
        program: b"test",
    };
    assert_eq!(client.ask(1, &hello, &[]), Some(Owned::Welcome(VERSION)));
    assert_eq!(client.ask(2, &ToEngine::OwnTun, &[]), None);
    assert!(client.end().is_err(), "the engine says why");
}

#[test]
fn garbage_ends_the_connection_and_nothing_else() {
    let engine = engine();
    let healthy = Client::welcome(&engine);
    for garbage in [&b"x"[..], &[0xff; 64], &[0; 8], &[1; 30_000]] {
        let client = Client::new(&engine);
        client.connection().send(garbage, &[]).unwrap();
        assert_eq!(client.receive(), None);
        assert!(client.end().is_err(), "the engine says why");
    }
    assert_eq!(healthy.ask(2, &ToEngine::OwnTun, &[]), Some(Owned::Done(0)));
    healthy.end().unwrap();
}

#[test]
fn unknown_channels_and_replies_to_nothing_are_harmless() {
    let engine = engine();
    let client = Client::welcome(&engine);
    let request = ToEngine::Request {
        channel: 99,
        port: 0,
        room: 0,
        admin: true,
        datagram: &[0; 16],
    };
    assert_eq!(client.ask(2, &request, &[]), Some(Owned::Done(22)));
    let option = ToEngine::SetOption {
        channel: 99,
        name: 1,
        value: 1,
    };
    assert_eq!(client.ask(3, &option, &[]), Some(Owned::Done(22)));
    client.send(
        4,
        &ToEngine::Socket {
            errno: 0,
            partial: Partial::Nothing,
        },
        &[],
    );
    client.send(
        5,
        &ToEngine::Tun {
            errno: 0,
            ifindex: 1,
            netns: 0,
            name: b"x",
        },
        &[],
    );
    client.send(
        6,
        &ToEngine::Return {
            channel: 99,
            datagram: &[0; 16],
        },
        &[],
    );
    assert_eq!(
        client.ask(7, &ToEngine::SocketClosed { fd: 3 }, &[]),
        Some(Owned::Done(0))
    );
    assert_eq!(
        client.ask(8, &ToEngine::Show, &[]),
        Some(Owned::Done(22)),
        "no file to write to"
    );
    let route = ToEngine::LinkRequest {
        port: 0,
        admin: true,
        ext_ack: false,
        cap_ack: false,
        datagram: &[0; 5],
    };
    assert_eq!(client.ask(9, &route, &[]), Some(Owned::Pass));
    client.end().unwrap();
}

/// faults B3: OpenVPN exits where it has to do without its device.
#[test]
fn a_client_may_take_seconds_to_make_a_device_while_others_are_served() {
    const ENOMEM: i32 = 12;
    let engine = engine();
    let (slow, other) = (Client::welcome(&engine), Client::welcome(&engine));
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
    assert_eq!(
        client::netlink::errno(&answer),
        Some(ENOMEM),
        "the late errno"
    );
}

#[test]
fn a_client_that_asks_something_else_has_given_up_its_question() {
    let engine = engine();
    let client = Client::welcome(&engine);
    begin_device(&client);
    let begin = Instant::now();
    client.send(3, &ToEngine::OwnTun, &[]);
    assert!(
        matches!(client.receive(), Some(Owned::Answer(_))),
        "a refusal"
    );
    assert_eq!(client.receive(), Some(Owned::Done(0)));
    assert!(
        begin.elapsed() < Duration::from_secs(30),
        "no deadline passed"
    );
    // And one that goes ends its session although it was asked.
    begin_device(&client);
    client.end().unwrap();
}

/// Asks for a device, up to the engine's own question.
fn begin_device(client: &Client) {
    let link = new_link("ovpn-dco", "nope0");
    let route = ToEngine::LinkRequest {
        port: 7,
        admin: true,
        ext_ack: false,
        cap_ack: false,
        datagram: &link,
    };
    let asked = client.ask(2, &route, &[]);
    assert!(matches!(asked, Some(Owned::NeedTun(_))));
}
