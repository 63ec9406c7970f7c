//! Processes: forked children, daemons, and one without memory.

use crate::engine::{Engine, acknowledgement, datagram, put};
use rustix::fs::FileType;
use udco_ipc::{ToClient, ToEngine, VERSION};

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
fn a_program_without_memory_ends_and_that_is_no_bug() {
    needs_tun!();
    let (_engine, program) = Engine::start("without-memory");
    let said = program.fail();
    let line = "udco: this program has no memory left, so it ends: raise its LimitAS=";
    assert!(said.contains(line) && !said.contains("a bug"), "{said}");
}
