//! Programs under the library that do with their files what OpenVPN itself does not.
#![allow(unsafe_code)]

#[path = "../program/calls.rs"]
#[allow(dead_code, reason = "the other tests use the rest")]
mod calls;
#[path = "../engine/mod.rs"]
#[allow(dead_code, reason = "the other tests use the rest")]
mod engine;
mod program;

use engine::Engine;

/// The program that tests start under the library.
#[test]
#[ignore = "started by the other tests"]
fn program() {
    let name = std::env::var("UDCO_TEST_PROGRAM").expect("a name");
    program::run(&name);
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
