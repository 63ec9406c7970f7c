//! Programs under the library that do with their files what OpenVPN itself does not.
#![allow(unsafe_code)]

#[path = "../program/calls.rs"]
#[allow(dead_code, reason = "the other tests use the rest")]
mod calls;
#[path = "../engine/mod.rs"]
#[allow(dead_code, reason = "the other tests use the rest")]
mod engine;
mod program;
#[path = "../skipped/mod.rs"]
mod skipped;

use engine::{Engine, acknowledgement, datagram, put};
use skipped::has_tun;

/// The program that tests start under the library.
#[test]
#[ignore = "started by the other tests"]
fn program() {
    let name = std::env::var("UDCO_TEST_PROGRAM").expect("a name");
    program::run(&name);
}

#[test]
fn a_forked_child_redirects_no_lines_of_its_parent() {
    if has_tun() {
        let (engine, program) = Engine::start("child-redirects");
        let engine = engine.welcome();
        let _channel = engine.channel();
        assert!(engine.try_next().is_none());
        program.finish();
    }
}

#[test]
fn a_child_that_has_closed_everything_speaks_to_no_engine() {
    closes("child-closes");
}

#[test]
fn nor_does_what_such_a_child_starts() {
    closes("grandchild-closes");
    closes("childs-daemon-closes");
}

fn closes(name: &str) {
    if has_tun() {
        let (engine, program) = Engine::start(name);
        let engine = engine.welcome();
        let _channel = engine.channel();
        assert!(engine.try_next().is_none());
        let said = program.finish();
        assert!(!said.contains("udco:"), "{said}");
        assert_eq!(said.matches(program::WELL).count(), 2, "{said}");
    }
}

#[test]
fn a_child_that_keeps_only_a_socket_sends_from_its_port() {
    if has_tun() {
        let (engine, program) = Engine::start("child-keeps");
        let engine = engine.welcome();
        let channel = engine.channel();
        let _taken = engine.take_socket(&channel);
        program.finish();
    }
}

#[test]
fn a_program_without_a_free_number_takes_none_from_the_library() {
    if has_tun() {
        let (engine, program) = Engine::start("no-way");
        let engine = engine.welcome();
        let channel = engine.channel();
        for _ in 0..2 {
            let request = engine.begin_request(&channel);
            put(&channel, &acknowledgement(&datagram(&request)));
            engine.done(&request);
        }
        program.finish();
    }
}

#[test]
fn a_number_that_was_closed_inside_libc_is_the_new_files() {
    let (_engine, program) = Engine::start("closed-inside");
    program.finish();
}

#[test]
fn a_call_that_wants_no_bytes_does_not_wait_for_any() {
    let (_engine, program) = Engine::start("no-bytes");
    program.finish();
}

#[test]
fn a_timeout_of_the_programs_ends_its_calls() {
    if has_tun() {
        let (engine, program) = Engine::start("timeouts");
        let engine = engine.welcome();
        let channel = engine.channel();
        let _taken = [(); 4].map(|()| engine.take_socket(&channel));
        program.finish();
    }
}
