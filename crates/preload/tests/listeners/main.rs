//! Programs under the library that listen on a real rtnetlink socket.
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

use engine::{Engine, Program, acknowledgement, command, datagram};
use skipped::{has_tun, skip};
use std::os::fd::OwnedFd;
use std::process::Command;
use udco_ipc::{ToClient, ToEngine};

/// The program that tests start under the library.
#[test]
#[ignore = "started by the other tests"]
fn program() {
    let name = std::env::var("UDCO_TEST_PROGRAM").expect("a name");
    program::run(&name);
}

/// Starts a program in a network namespace of its own, with a channel; `None` where that cannot be done.
fn start(name: &str) -> Option<(Engine, OwnedFd, Program)> {
    if !has_tun() {
        return None;
    }
    let outside = Command::new("unshare").args(["-Urn", "true"]).status();
    if !outside.is_ok_and(|status| status.success()) {
        skip("no network namespace");
        return None;
    }
    let mut unshare = Command::new("unshare");
    unshare.arg("-Urn").arg(command().get_program());
    let (engine, program) = Engine::start_with(name, unshare);
    let engine = engine.welcome();
    let channel = engine.channel();
    Some((engine, channel, program))
}

#[test]
fn a_listener_gets_notifications_of_routes_through_a_left_device_and_no_error_for_them() {
    if let Some((_engine, _channel, program)) = start("left") {
        program.finish();
    }
}

#[test]
fn a_signal_whose_handler_restarts_calls_interrupts_no_listener() {
    if let Some((_engine, _channel, program)) = start("restarts") {
        program.finish();
    }
}

#[test]
fn an_answer_for_which_a_listener_had_no_room_takes_no_others_place() {
    if let Some((engine, _channel, program)) = start("overrun") {
        for _ in 0..2 {
            let delete = engine.next();
            let answer = acknowledgement(&datagram(&delete));
            engine.say(delete.seq, &ToClient::Answer { datagram: &answer });
        }
        program.finish();
    }
}

#[test]
fn a_listener_learns_from_which_group_a_notification_of_a_link_of_ours_comes() {
    if let Some((engine, _channel, program)) = start("groups") {
        while let Some(asked) = engine.try_next() {
            if let ToEngine::Shown { message, .. } = asked.message() {
                engine.say(asked.seq, &ToClient::Answer { datagram: message });
            }
        }
        program.finish();
    }
}
