//! Devices: links that the engine answers for, and those that the program makes for it or for itself.

use crate::engine::{Engine, Program, acknowledgement, command, datagram};
use crate::skipped::skip;
use std::process::Command;
use std::time::Duration;
use udco_ipc::{ToClient, ToEngine, Wanted};

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

/// faults B8.
#[test]
fn a_device_is_made_where_unix_sockets_are_refused() {
    needs_tun!();
    makes_a_device("device-without-unix-sockets");
}

#[test]
fn a_device_is_made_in_the_clients_namespace() {
    needs_tun!();
    makes_a_device("device");
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
fn a_tun_of_the_clients_own_is_reported() {
    needs_tun!();
    let (engine, program) = Engine::start("own-tun");
    let engine = engine.welcome();
    let own = engine.next();
    assert_eq!(own.message(), ToEngine::OwnTun);
    engine.done(&own);
    program.finish();
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

/// Starts a program in a network namespace of its own; `None` where that isn't allowed.
fn in_namespace(name: &str) -> Option<(Engine, Program)> {
    let outside = Command::new("unshare").args(["-Urn", "true"]).status();
    if !outside.is_ok_and(|status| status.success()) {
        skip("no network namespace");
        return None;
    }
    let mut unshare = Command::new("unshare");
    unshare.arg("-Urn").arg(command().get_program());
    Some(Engine::start_with(name, unshare))
}
