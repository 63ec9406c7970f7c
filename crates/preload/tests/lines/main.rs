//! The library's own lines, where they cannot be written (faults B1).
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

use engine::{Engine, command};
use skipped::{has_tun, skip};
use std::process::Command;

/// The program that tests start under the library.
#[test]
#[ignore = "started by the other tests"]
fn program() {
    let name = std::env::var("UDCO_TEST_PROGRAM").expect("a name");
    program::run(&name);
}

/// Runs a program with an engine that dies at once: from then on each request to delete a link makes a line. Returns the
/// program's output; `None` where that cannot be tested.
fn with_a_dead_engine(name: &str) -> Option<String> {
    if !has_tun() {
        return None;
    }
    let outside = Command::new("unshare").args(["-Urm", "true"]).status();
    if !outside.is_ok_and(|status| status.success()) {
        skip("no mount namespace");
        return None;
    }
    let mut unshare = Command::new("unshare");
    unshare.arg("-Urm").arg(command().get_program());
    let (engine, program) = Engine::start_with(name, unshare);
    let engine = engine.welcome();
    let channel = engine.channel();
    drop((channel, engine));
    Some(program.finish())
}

#[test]
fn lines_that_a_full_disk_refuses_are_counted_and_no_half_line_runs_into_the_next() {
    with_a_dead_engine("full-disk");
}

#[test]
fn the_number_of_lost_lines_goes_to_the_next_file_that_takes_lines() {
    with_a_dead_engine("next-file");
}

#[test]
fn the_number_of_lost_lines_comes_before_the_programs_own_next_line() {
    with_a_dead_engine("own-line");
}

#[test]
fn what_has_the_number_of_a_closed_standard_error_gets_no_number_of_lost_lines() {
    with_a_dead_engine("closed");
    with_a_dead_engine("other-file");
}

#[test]
fn a_pipe_or_socket_that_nobody_reads_delays_nothing_and_costs_lines() {
    with_a_dead_engine("full-pipe");
    with_a_dead_engine("full-socket");
}

#[test]
fn a_closed_pipe_ends_no_program_and_costs_lines() {
    with_a_dead_engine("closed-pipe");
}

#[test]
fn a_process_says_only_how_many_lines_it_has_lost_itself() {
    with_a_dead_engine("fork");
}

#[test]
fn a_daemon_says_how_many_lines_were_lost_before() {
    if let Some(said) = with_a_dead_engine("daemon") {
        assert!(said.contains(program::WELL), "{said}");
    }
}
