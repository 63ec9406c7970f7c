//! Requests on a generic-netlink socket, and their answers.

use crate::engine::{Engine, acknowledgement, datagram, put};
use std::time::Duration;
use udco_ipc::{REQUEST_MARK, ToClient, ToEngine};

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
