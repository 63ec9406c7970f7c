//! Where no engine serves the program, the kernel does.

use crate::engine::{Engine, command, spawn};
use udco_ipc::{NO_MEMORY, ToClient, ToEngine, VERSION};

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

/// faults B8: OpenVPN does not detect offload.
#[test]
fn where_no_connection_can_be_made_everything_is_the_kernels() {
    needs_tun!();
    let (_engine, program) = Engine::start("kernel-without-pairs");
    let said = program.finish();
    assert_eq!(said.matches("udco: ").count(), 1, "{said}");
    assert!(said.contains("cannot make a pair of sockets"), "{said}");
}
