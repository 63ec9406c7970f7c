//! Transport sockets: their hand-over, the relay, and their return.

use crate::engine::{Engine, acknowledgement, datagram, put};
use rustix::net::{RecvFlags, recv};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;
use udco_ipc::{Partial, RelayHeader, ToClient, ToEngine};

#[test]
fn a_udp_socket_is_handed_over_and_relayed() {
    needs_tun!();
    let (engine, program) = Engine::start("udp");
    let engine = engine.welcome();
    let channel = engine.channel();
    let (real, relay) = engine.take_socket(&channel);
    for packet in [&b"one"[..], b"two", b"three"] {
        put(&relay, &relayed(packet));
    }
    let closed = engine.next();
    assert!(matches!(closed.message(), ToEngine::SocketClosed { fd } if fd > 2));
    drop((real, relay));
    engine.done(&closed);
    program.finish();
}

#[test]
fn an_ipv6_socket_gets_mapped_addresses() {
    needs_tun!();
    let (engine, program) = Engine::start("udp6");
    let engine = engine.welcome();
    let channel = engine.channel();
    let (_real, relay) = engine.take_socket(&channel);
    put(&relay, &relayed(b"mapped"));
    put(&relay, &relayed(b"again"));
    program.finish();
}

#[test]
fn a_udp_socket_returns_when_the_engine_dies() {
    needs_tun!();
    let (engine, program) = Engine::start("udp-engine-dies");
    let engine = engine.welcome();
    let channel = engine.channel();
    let taken = engine.take_socket(&channel);
    std::thread::sleep(Duration::from_millis(100));
    drop((taken, channel, engine));
    program.finish();
}

#[test]
fn a_tcp_socket_is_relayed_both_ways() {
    needs_tun!();
    let (engine, program) = Engine::start("tcp");
    let engine = engine.welcome();
    let channel = engine.channel();
    let (_real, relay) = engine.take_stream(&channel, Partial::Packet(8));
    put(&relay, b"\0\x04down");
    put(&relay, b"\0\x04cut!");
    put(&relay, &[0xff, 0xff, libc::ECONNRESET as u8]);
    let closed = engine.next();
    assert!(matches!(closed.message(), ToEngine::SocketClosed { .. }));
    let mut up = [0; 100];
    let (len, _) = recv(&relay, &mut up, RecvFlags::empty()).expect("data");
    assert_eq!(&up[..len], b"\0\x02up");
    engine.done(&closed);
    program.finish();
}

#[test]
fn what_is_no_transport_socket_is_not_handed_over() {
    needs_tun!();
    let (engine, program) = Engine::start("no-socket");
    let engine = engine.welcome();
    let channel = engine.channel();
    // A pipe, nothing, and a channel.
    for errno in [libc::ENOTSOCK, libc::EBADF, libc::EOPNOTSUPP] {
        let request = engine.begin_request(&channel);
        let asked = datagram(&request);
        let fd = i32::from_ne_bytes(asked[16..20].try_into().unwrap());
        engine.say(request.seq, &ToClient::NeedSocket { fd });
        let socket = engine.next();
        let expected = ToEngine::Socket {
            errno,
            partial: Partial::Nothing,
        };
        assert_eq!(socket.message(), expected);
        let mut refusal = acknowledgement(&asked);
        refusal[16..20].copy_from_slice(&(-libc::ENOTSOCK).to_ne_bytes());
        put(&channel, &refusal);
        engine.done(&request);
    }
    program.finish();
}

fn relayed(packet: &[u8]) -> Vec<u8> {
    let header = RelayHeader {
        source: SocketAddr::from(([192, 0, 2, 1], 1194)),
        local: IpAddr::V4(Ipv4Addr::LOCALHOST),
        ifindex: 3,
    };
    [&header.encode()[..], packet].concat()
}
