//! Clients that share an inherited socket have a connection each, and the engine ends with the last of them.

mod client;

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use udco_engine::{Dispenser, Engine};
use udco_ipc::{MAX_MESSAGE, ToEngine};
use udco_sys::seqpacket::Connection;

use crate::client::{Client, Owned, engine};

/// The clients' end of a dispenser, and the thread that serves it.
struct Run {
    dispenser: Connection,
    thread: JoinHandle<std::io::Result<()>>,
}

impl Run {
    fn of(engine: &Arc<Engine>) -> Self {
        let (ours, engines) = Connection::pair().unwrap();
        let dispenser = Dispenser::adopt(engines.into_fd()).unwrap();
        let engine = Arc::clone(engine);
        let thread = std::thread::spawn(move || dispenser.serve(&engine));
        Self {
            dispenser: ours,
            thread,
        }
    }

    fn send(&self, message: &ToEngine<'_>, fds: &[BorrowedFd<'_>]) {
        let mut buffer = vec![0; MAX_MESSAGE];
        let len = message.encode(0, &mut buffer).unwrap();
        self.send_bytes(&buffer[..len], fds);
    }

    fn send_bytes(&self, message: &[u8], fds: &[BorrowedFd<'_>]) {
        // The engine accepts one after the other.
        while let Err(error) = self.dispenser.send(message, fds) {
            assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
            std::thread::yield_now();
        }
    }

    fn connect(&self) -> Client {
        let (ours, engines) = Connection::pair().unwrap();
        self.send(&ToEngine::Connect, &[engines.as_fd()]);
        Client::over(ours)
    }
}

fn serves(client: &Client) -> bool {
    client.ask(9, &ToEngine::OwnTun, &[]) == Some(Owned::Done(0))
}

/// faults C1.
#[test]
fn each_client_has_a_connection_and_the_engine_ends_with_the_last() {
    let engine = engine();
    let run = Run::of(&engine);
    let clients: Vec<Client> = (0..4).map(|_| run.connect()).collect();
    // Open questions of all of them at a time: each gets its own answers, and in their order.
    let channels: Vec<_> = clients.iter().map(Client::open_channel).collect();
    for seq in 10..60 {
        for client in &clients {
            client.send(seq, &ToEngine::OwnTun, &[]);
        }
        for client in &clients {
            assert_eq!(client.receive(), Some(Owned::Done(0)));
        }
    }
    drop(channels);
    let Run { dispenser, thread } = run;
    drop(dispenser);
    // No other can come, and those that are there go on.
    let mut left = clients;
    while let Some(client) = left.pop() {
        assert!(!thread.is_finished());
        assert!(serves(&client));
    }
    thread.join().unwrap().unwrap();
}

#[test]
fn a_forked_child_asks_on_the_connection_of_its_parent() {
    let engine = engine();
    let run = Run::of(&engine);
    let parent = run.connect();
    let (ours, engines) = Connection::pair().unwrap();
    parent.send(0, &ToEngine::Connect, &[engines.as_fd()]);
    drop(engines);
    let child = Client::over(ours);
    assert!(serves(&parent) && serves(&child));
    drop(parent);
    let Run { dispenser, thread } = run;
    drop(dispenser);
    assert!(serves(&child) && !thread.is_finished());
    drop(child);
    thread.join().unwrap().unwrap();
}

#[test]
fn anything_but_a_request_to_connect_is_harmless_and_closed() {
    let engine = engine();
    let run = Run::of(&engine);
    let healthy = run.connect();
    let null = File::open("/dev/null").unwrap();
    let (stream, _other) = UnixStream::pair().unwrap();
    let name = format!("udco-test-{}", std::process::id());
    let name = SocketAddr::from_abstract_name(name).unwrap();
    let listener = UnixListener::bind_addr(&name).unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    for _ in 0..50 {
        for garbage in [
            &b"x"[..],
            &[0xff; 64],
            &[0; 8],
            &[1; 30_000],
            &[7; MAX_MESSAGE + 9],
        ] {
            run.send_bytes(garbage, &[writer.as_fd()]);
        }
        run.send(&ToEngine::Connect, &[]);
        run.send(&ToEngine::Show, &[writer.as_fd()]);
        run.send(&ToEngine::OpenChannel, &[writer.as_fd()]);
        for wrong in [
            null.as_fd(),
            stream.as_fd(),
            listener.as_fd(),
            writer.as_fd(),
        ] {
            run.send(&ToEngine::Connect, &[wrong]);
        }
        run.send(&ToEngine::Connect, &[writer.as_fd(); 9]);
    }
    // Older than this is the client of another release: it gets no answer, which may be somebody else's.
    let hello = ToEngine::Hello {
        version: 3,
        pid: 1,
        program: b"old",
    };
    run.send(&hello, &[]);
    assert!(serves(&healthy) && serves(&run.connect()));
    // Every copy of the pipe's end is closed.
    drop(writer);
    let mut end = [rustix::event::PollFd::new(
        &reader,
        rustix::event::PollFlags::IN,
    )];
    let soon = rustix::event::Timespec {
        tv_sec: 30,
        tv_nsec: 0,
    };
    assert_eq!(
        rustix::event::poll(&mut end, Some(&soon)),
        Ok(1),
        "a copy is open"
    );
    // The engine never answers on the shared socket.
    let mut nothing = [0; 64];
    let received = run.dispenser.receive_within(&mut nothing, Duration::ZERO);
    assert_eq!(received.unwrap_err().kind(), std::io::ErrorKind::TimedOut);
    drop(healthy);
    let Run { dispenser, thread } = run;
    drop(dispenser);
    thread.join().unwrap().unwrap();
}
