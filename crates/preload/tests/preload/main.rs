//! The library in a separate program, with the engine played by the test.
#![allow(unsafe_code)]

/// Skips a test where the library would rightly refuse to serve.
macro_rules! needs_tun {
    () => {
        if !$crate::skipped::has_tun() {
            return;
        }
    };
}

mod devices;
#[path = "../engine/mod.rs"]
mod engine;
mod processes;
#[path = "../program/mod.rs"]
mod program;
mod requests;
#[path = "../skipped/mod.rs"]
mod skipped;
mod transports;
mod without_engine;

/// The program that tests start under the library.
#[test]
#[ignore = "started by the other tests"]
fn program() {
    let name = std::env::var("UDCO_TEST_PROGRAM").expect("a name");
    program::run(&name);
}
