//! What a client hands over is closed when it is refused, and when the client ends (promises G2).
//!
//! The engine runs in this process, so its descriptors are those of the process: nothing else may open any meanwhile.

mod client;

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use udco_ipc::ToEngine;
use udco_sys::seqpacket::Connection;

use crate::client::netlink::new_link;
use crate::client::{Client, Owned, engine};

/// One test at a time.
static ALONE: Mutex<()> = Mutex::new(());

/// Long enough for a busy machine.
const SOON: Duration = Duration::from_secs(20);

/// Open descriptors, as `/proc` names them.
fn open() -> Vec<String> {
    let all = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    let names = all.filter_map(|fd| std::fs::read_link(fd.path()).ok());
    names.map(|name| name.display().to_string()).collect()
}

/// Waits for another thread's action.
fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !is_so() {
        assert!(begin.elapsed() < SOON, "not in time: {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

fn name_of(fd: &OwnedFd) -> String {
    let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
    std::fs::read_link(path).unwrap().display().to_string()
}

#[test]
fn descriptors_of_the_wrong_kind_are_refused_and_closed() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let engine = engine();
    let client = Client::welcome(&engine);
    let path = std::env::temp_dir().join(format!("udco-descriptors-{}", std::process::id()));
    let file = File::create(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    // One of each kind, not shared with anything else.
    let wrong: [OwnedFd; 5] = [
        file.into(),
        std::io::pipe().unwrap().0.into(),
        std::net::TcpListener::bind("127.0.0.1:0").unwrap().into(),
        std::net::UdpSocket::bind("127.0.0.1:0").unwrap().into(),
        Connection::pair().unwrap().0.into_fd(),
    ];
    let names: Vec<String> = wrong.iter().map(name_of).collect();
    let link = new_link("ovpn-dco", "nope0");
    for (seq, fd) in (10..).zip(&wrong) {
        // As a TUN queue and as the route monitor, one after the other and alone.
        for fds in [&[fd.as_fd(), fd.as_fd()][..], &[fd.as_fd()], &[]] {
            let route = ToEngine::LinkRequest {
                port: 7,
                admin: true,
                ext_ack: false,
                cap_ack: false,
                datagram: &link,
            };
            let asked = client.ask(seq, &route, &[]);
            assert!(matches!(asked, Some(Owned::NeedTun(_))));
            let tun = ToEngine::Tun {
                errno: 0,
                ifindex: 1,
                netns: 0,
                name: b"nope0",
            };
            let answer = client.ask(seq, &tun, fds);
            let Some(Owned::Answer(answer)) = answer else {
                panic!("{answer:?}")
            };
            let errno = i32::from_ne_bytes(answer[16..20].try_into().unwrap());
            assert!(errno < 0, "refused with {errno}");
        }
    }
    drop(wrong);
    eventually("each is closed", || {
        let open = open();
        !names.iter().any(|name| open.contains(name))
    });
    client.end().unwrap();
}

#[test]
fn a_thousand_clients_leave_no_descriptor_behind() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let engine = engine();
    Client::welcome(&engine).end().unwrap();
    let before = open().len();
    for _ in 0..1000 {
        let client = Client::welcome(&engine);
        let (_ours, theirs) = Connection::pair().unwrap();
        let opened = client.ask(2, &ToEngine::OpenChannel, &[theirs.as_fd()]);
        assert!(matches!(opened, Some(Owned::Channel(_))));
        client.end().unwrap();
    }
    eventually("no descriptor more than before", || open().len() <= before);
}
