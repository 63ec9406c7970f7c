//! The library in a separate program, with the engine played by the test.
#![allow(unsafe_code)]

mod engine;
mod program;
mod skipped;

use engine::{Engine, acknowledgement, command, datagram, put, spawn};
use rustix::fs::FileType;
use rustix::net::{RecvFlags, recv};
use skipped::{has_tun, skip};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::Command;
use std::time::Duration;
use udco_ipc::{
    NO_MEMORY, Partial, REQUEST_MARK, RelayHeader, ToClient, ToEngine, VERSION, Wanted,
};

/// The program that tests start under the library.
#[test]
#[ignore = "started by the other tests"]
fn program() {
    let name = std::env::var("UDCO_TEST_PROGRAM").expect("a name");
    program::run(&name);
}

/// Skips a test where the library would rightly refuse to serve.
macro_rules! needs_tun {
    () => {
        if !has_tun() {
            return;
        }
    };
}

#[test]
fn without_an_engine_everything_is_the_kernels() {
    let said = spawn("kernel", command()).finish();
    assert!(!said.contains("udco:"), "{said}");
}

#[test]
fn a_wrong_fd_is_named_once_and_left_alone() {
    let mut command = command();
    command.env("UDCO_FD", "2");
    let said = spawn("kernel", command).finish();
    assert!(
        said.contains(
            "udco: UDCO_FD=2 is not an engine's socket (a program before this one may have closed it): OpenVPN uses its own data path\n"
        ),
        "{said}"
    );
}

#[test]
fn an_engine_of_another_release_leaves_the_kernel() {
    needs_tun!();
    let (engine, program) = Engine::start("kernel");
    let hello = engine.next();
    let version = VERSION - 1;
    engine.say(hello.seq, &ToClient::Welcome { version });
    let said = program.finish();
    assert_eq!(said.matches("udco: ").count(), 1, "{said}");
    let line = format!(
        "udco: the engine is of an older release (protocol version {version}, not {VERSION}): restart it, with its tunnels: \
         OpenVPN uses its own data path\n"
    );
    assert!(said.contains(&line), "{said}");
}

#[test]
fn an_engine_without_room_leaves_the_kernel() {
    needs_tun!();
    let (engine, program) = Engine::start("kernel");
    let engine = engine.welcome();
    let asked = engine.next();
    assert_eq!(asked.message(), ToEngine::OpenChannel);
    let refused = ToClient::Done {
        errno: libc::ENOMEM,
        replace_fd: false,
        more: false,
    };
    engine.say(asked.seq, &refused);
    let said = program.finish();
    let line = format!("udco: {NO_MEMORY}; OpenVPN uses its own data path\n");
    assert!(said.contains(&line), "{said}");
}

#[test]
fn a_program_without_memory_ends_and_that_is_no_bug() {
    needs_tun!();
    let (_engine, program) = Engine::start("without-memory");
    let said = program.fail();
    let line = "udco: this program has no memory left, so it ends: raise its LimitAS=";
    assert!(said.contains(line) && !said.contains("a bug"), "{said}");
}

#[test]
fn requests_and_options_go_to_the_engine_and_answers_back() {
    needs_tun!();
    let (engine, program) = Engine::start("request");
    let engine = engine.welcome();
    let channel = engine.channel();
    for (name, value, errno) in [
        (libc::NETLINK_ADD_MEMBERSHIP, 5, 0),
        (libc::NETLINK_EXT_ACK, 1, libc::EPERM),
    ] {
        let option = engine.next();
        let expected = ToEngine::SetOption {
            channel: 7,
            name,
            value,
        };
        assert_eq!(option.message(), expected);
        let done = ToClient::Done {
            errno,
            replace_fd: false,
            more: false,
        };
        engine.say(option.seq, &done);
    }
    let request = engine.begin_request(&channel);
    assert!(matches!(
        request.message(),
        ToEngine::Request { port: 4242, .. }
    ));
    let asked = datagram(&request);
    assert_eq!(asked[16..], [1, 2, 3, 4]);
    let mut stale = acknowledgement(&asked);
    stale[8] = 76;
    put(&channel, &stale);
    let event = [&16u32.to_ne_bytes()[..], &[0; 12]].concat();
    put(&channel, &event);
    put(&channel, &acknowledgement(&asked));
    engine.done(&request);
    let _second = engine.channel();
    program.finish();
}

#[test]
fn a_notification_older_than_the_request_goes_back_to_the_engine() {
    needs_tun!();
    let (engine, program) = Engine::start("returns");
    let engine = engine.welcome();
    let channel = engine.channel();
    let event = [&16u32.to_ne_bytes()[..], &[0; 12]].concat();
    let request = engine.request();
    put(&channel, &event);
    put(&channel, REQUEST_MARK);
    put(&channel, &acknowledgement(&datagram(&request)));
    engine.done(&request);
    let returned = engine.next();
    let expected = ToEngine::Return {
        channel: 7,
        datagram: &event,
    };
    assert_eq!(returned.message(), expected);
    put(&channel, &event);
    program.finish();
}

#[test]
fn a_dead_engine_is_no_such_device() {
    needs_tun!();
    let (engine, program) = Engine::start("engine-dies");
    let engine = engine.welcome();
    let channel = engine.channel();
    engine.request();
    drop((channel, engine));
    program.finish();
}

#[test]
fn a_silent_engine_is_busy() {
    needs_tun!();
    let (engine, program) = Engine::start("engine-is-silent");
    let engine = engine.welcome();
    let channel = engine.channel();
    let first = engine.begin_request(&channel);
    let option = engine.next();
    assert!(matches!(option.message(), ToEngine::SetOption { .. }));
    engine.done(&first);
    put(&channel, &acknowledgement(&datagram(&first)));
    engine.done(&option);
    let second = engine.begin_request(&channel);
    put(&channel, &acknowledgement(&datagram(&second)));
    engine.done(&second);
    program.finish();
}

#[test]
fn the_rest_of_an_answer_is_awaited() {
    needs_tun!();
    let (engine, program) = Engine::start("more");
    let engine = engine.welcome();
    let channel = engine.channel();
    let request = engine.begin_request(&channel);
    let asked = datagram(&request);
    put(&channel, &asked);
    engine.done_with(&request, false, true);
    std::thread::sleep(Duration::from_millis(200));
    put(&channel, &acknowledgement(&asked));
    program.finish();
}

/// What freezes the program (a suspend, a container that is paused) freezes its engine.
#[test]
fn a_program_that_was_frozen_waits_for_the_engine_again() {
    needs_tun!();
    let (engine, program) = Engine::start("more");
    let engine = engine.welcome();
    let channel = engine.channel();
    let request = engine.begin_request(&channel);
    program.freeze();
    let asked = datagram(&request);
    put(&channel, &asked);
    engine.done_with(&request, false, true);
    std::thread::sleep(Duration::from_millis(200));
    program.freeze();
    put(&channel, &acknowledgement(&asked));
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

#[test]
fn only_links_of_ours_are_answered_by_the_engine() {
    needs_tun!();
    let (engine, program) = Engine::start("route");
    let engine = engine.welcome();
    let _channel = engine.channel();
    let show = engine.next();
    assert!(matches!(show.message(), ToEngine::LinkRequest { port, .. } if port != 0));
    engine.say(show.seq, &ToClient::Pass);
    let delete = engine.next();
    let answer = acknowledgement(&datagram(&delete));
    engine.say(delete.seq, &ToClient::Answer { datagram: &answer });
    program.finish();
}

/// Starts a program in a network namespace of its own; `None` where that isn't allowed.
fn in_namespace(name: &str) -> Option<(Engine, engine::Program)> {
    let outside = Command::new("unshare").args(["-Urn", "true"]).status();
    if !outside.is_ok_and(|status| status.success()) {
        skip("no network namespace");
        return None;
    }
    let mut unshare = Command::new("unshare");
    unshare.arg("-Urn").arg(command().get_program());
    Some(Engine::start_with(name, unshare))
}

/// faults B8.
#[test]
fn a_device_is_made_where_unix_sockets_are_refused() {
    needs_tun!();
    makes_a_device("device-without-unix-sockets");
}

/// faults B8: OpenVPN does not detect offload.
#[test]
fn where_no_connection_can_be_made_everything_is_the_kernels() {
    needs_tun!();
    let (_engine, program) = Engine::start("kernel-without-pairs");
    let said = program.finish();
    assert_eq!(said.matches("udco: ").count(), 1, "{said}");
    assert!(said.contains("cannot make a pair of sockets"), "{said}");
}

#[test]
fn a_device_is_made_in_the_clients_namespace() {
    needs_tun!();
    makes_a_device("device");
}

fn makes_a_device(name: &str) {
    let Some((engine, program)) = in_namespace(name) else {
        return;
    };
    let engine = engine.welcome();
    let _channel = engine.channel();
    let need = ToClient::NeedTun(Wanted {
        queues: 2,
        mtu: 1416,
        multicast: false,
        up: false,
        nonce: 7,
        name: b"udcotest0",
    });
    let create = engine.next();
    engine.say(create.seq, &need);
    let tun = engine.next();
    assert!(
        matches!(tun.message(), ToEngine::Tun { errno: 0, ifindex, name: b"udcotest0", .. } if ifindex > 0)
    );
    assert_eq!(tun.fds.len(), 3);
    // Also on a machine where making it has taken long (faults B3).
    std::thread::sleep(Duration::from_millis(1500));
    let answer = acknowledgement(&datagram(&create));
    engine.say(create.seq, &ToClient::Answer { datagram: &answer });
    let again = engine.next();
    engine.say(again.seq, &need);
    let taken = engine.next();
    assert!(
        matches!(
            taken.message(),
            ToEngine::Tun {
                errno: libc::EEXIST,
                ..
            }
        ),
        "{:?}",
        taken.message()
    );
    let mut refusal = acknowledgement(&datagram(&again));
    refusal[16..20].copy_from_slice(&(-libc::EEXIST).to_ne_bytes());
    engine.say(again.seq, &ToClient::Answer { datagram: &refusal });
    // The kernel removes it.
    let delete = engine.next();
    engine.say(delete.seq, &ToClient::Pass);
    program.finish();
}

#[test]
fn a_device_goes_with_an_engine_that_dies_before_it_answers() {
    needs_tun!();
    let Some((engine, program)) = in_namespace("device-undone") else {
        return;
    };
    let engine = engine.welcome();
    let channel = engine.channel();
    let create = engine.next();
    let need = ToClient::NeedTun(Wanted {
        queues: 1,
        mtu: 1416,
        multicast: false,
        up: false,
        nonce: 7,
        name: b"udcotest0",
    });
    engine.say(create.seq, &need);
    let tun = engine.next();
    assert!(matches!(tun.message(), ToEngine::Tun { errno: 0, .. }));
    // Our copies of the device's fds stay open, as in a stopped process.
    drop((channel, engine));
    program.finish();
    drop(tun);
}

#[test]
fn a_forked_child_and_a_closer_of_all_fds_do_no_harm() {
    needs_tun!();
    let (engine, program) = Engine::start("fork");
    let engine = engine.welcome();
    let channel = engine.channel();
    let _taken = engine.take_socket(&channel);
    let request = engine.begin_request(&channel);
    put(&channel, &acknowledgement(&datagram(&request)));
    engine.done(&request);
    let closed = engine.next();
    assert!(matches!(closed.message(), ToEngine::SocketClosed { .. }));
    engine.done(&closed);
    assert!(engine.try_next().is_none());
    program.finish();
}

/// faults C1: answers on a connection that two processes share could reach either of them.
#[test]
fn a_forked_child_has_a_connection_of_its_own() {
    needs_tun!();
    let (engine, program) = Engine::start("fork-asks");
    let parents = engine.welcome();
    let _channel = parents.channel();
    let connect = parents.next();
    assert_eq!(connect.message(), ToEngine::Connect);
    let childs = parents.adopt(connect).welcome();
    let channel = childs.channel();
    let request = childs.begin_request(&channel);
    put(&channel, &acknowledgement(&datagram(&request)));
    childs.done(&request);
    // The child has gone, its parent has not.
    assert!(childs.try_next().is_none());
    let own = parents.next();
    assert_eq!(own.message(), ToEngine::OwnTun);
    parents.done(&own);
    program.finish();
}

/// faults C3.
#[test]
fn a_daemon_says_where_its_lines_go_now() {
    needs_tun!();
    let (engine, program) = Engine::start("daemonizes");
    let hello = engine.next();
    engine.say(hello.seq, &ToClient::Welcome { version: VERSION });
    // Standard error, a pipe here; then a file by dup2; then nothing, after daemon(3).
    let outputs: Vec<_> = [
        FileType::Fifo,
        FileType::RegularFile,
        FileType::CharacterDevice,
    ]
    .map(|kind| {
        let mut output = engine.next();
        if let ToEngine::OpenChannel = output.message() {
            engine.say(output.seq, &ToClient::Channel { channel: 7 });
            output = engine.next();
        }
        assert!(matches!(
            output.message(),
            ToEngine::Output { ident: b"", .. }
        ));
        let file = output.fds.pop().expect("a file");
        let stat = rustix::fs::fstat(&file).expect("its kind");
        assert_eq!(FileType::from_raw_mode(stat.st_mode), kind);
        file
    })
    .into_iter()
    .collect();
    drop(outputs);
    program.finish();
    assert!(engine.try_next().is_none());
}

#[test]
fn a_tun_of_the_clients_own_is_reported() {
    needs_tun!();
    let (engine, program) = Engine::start("own-tun");
    let engine = engine.welcome();
    let own = engine.next();
    assert_eq!(own.message(), ToEngine::OwnTun);
    engine.done(&own);
    program.finish();
}
