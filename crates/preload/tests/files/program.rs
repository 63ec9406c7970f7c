//! What programs do with their files.

use crate::calls::*;
use libc::*;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixDatagram;

/// Runs the program of that name.
pub(crate) fn run(name: &str) {
    match name {
        "child-redirects" => child_redirects(),
        "child-closes" => child_closes(|work| work()),
        "grandchild-closes" => child_closes(|work| in_child(work)),
        "childs-daemon-closes" => child_closes(|work| {
            // SAFETY: no pointers; this child has one thread.
            assert_eq!(unsafe { daemon(1, 1) }, 0);
            work();
        }),
        "child-keeps" => child_keeps(),
        "no-way" => no_way(),
        "closed-inside" => closed_inside(),
        "no-bytes" => no_bytes(),
        "timeouts" => timeouts(),
        other => panic!("no program {other}"),
    }
}

/// As a plugin does for a command of its own.
fn child_redirects() {
    generic(SOCK_CLOEXEC);
    in_child(|| {
        replace_standard_error(c"/tmp");
        become_daemon();
    });
}

/// What a process says whose checks have passed, as a daemon's exit status is lost.
pub(crate) const WELL: &str = "all is well\n";

/// As a plugin does whose child waits for work, perhaps as a child of its own, or as a daemon; this one then deletes a link
/// that is not there.
fn child_closes(go_on: fn(&dyn Fn())) {
    generic(SOCK_CLOEXEC);
    for files in [pairs, pipes] {
        in_child(|| {
            close_all_but(&[]);
            go_on(&|| deletes_a_link(&files()));
        });
    }
}

fn close_all_but(kept: &[c_int]) {
    for fd in (3..64).filter(|fd| !kept.contains(fd)) {
        close_fd(fd);
    }
}

/// So many that one of them has the number of the connection.
fn pairs() -> Vec<OwnedFd> {
    let pair = || UnixDatagram::pair().unwrap();
    let ends = (0..32).map(|_| pair());
    ends.flat_map(|(one, other)| [one.into(), other.into()])
        .collect()
}

fn pipes() -> Vec<OwnedFd> {
    let pipe = || std::io::pipe().unwrap();
    let ends = (0..32).map(|_| pipe());
    ends.flat_map(|(one, other)| [one.into(), other.into()])
        .collect()
}

fn deletes_a_link(others: &[OwnedFd]) {
    let fd = route_socket();
    let body = [&[0; 4][..], &987_654_i32.to_ne_bytes(), &[0; 8]].concat();
    send_all(fd, &netlink(RTM_DELLINK, 1, 5, &body));
    let (answer, _) = receive_datagram(fd, 0).unwrap();
    assert_eq!((sequence(&answer), error_of(&answer)), (1, -ENODEV));
    assert_untouched(others);
    close_fd(fd);
    // SAFETY: pointer and length describe the text.
    unsafe { write(1, WELL.as_ptr().cast(), WELL.len()) };
}

fn assert_untouched(files: &[OwnedFd]) {
    for file in files {
        assert!(!is_readable(file.as_raw_fd(), 0), "a message of another's");
    }
}

/// A child that keeps only the socket on which it speaks.
fn child_keeps() {
    let channel = generic(SOCK_CLOEXEC);
    let (fd, other) = (udp_socket(AF_INET), udp_socket(AF_INET));
    assert_eq!((bind_inet(fd, 0), bind_inet(other, 0)), (0, 0));
    let (port, to) = (inet_port(fd), inet_port(other));
    send_all(channel, &netlink(40, 9, 5, &fd.to_ne_bytes()));
    let (answer, _) = receive_datagram(channel, 0).unwrap();
    assert_eq!(error_of(&answer), 0);
    in_child(|| {
        close_all_but(&[fd]);
        let others = pairs();
        assert_eq!(send_inet(fd, b"hello", to), 5, "{}", errno());
        assert_untouched(&others);
    });
    let (packet, name) = receive_from(other, 100, 0).unwrap();
    assert_eq!(
        (&packet[..], name),
        (&b"hello"[..], inet_name([127, 0, 0, 1], port))
    );
}

/// Wants the number of the library's connection when there is no other.
fn no_way() {
    let channel = generic(SOCK_CLOEXEC);
    let others = (3..64).filter(|fd| *fd != channel && descriptor_flags(*fd) >= 0);
    let hidden: Vec<_> = others.filter(|fd| close_fd(*fd) < 0).collect();
    let limit = rlimit {
        rlim_cur: 64,
        rlim_max: 64,
    };
    // SAFETY: the limit outlives the call.
    assert_eq!(unsafe { setrlimit(RLIMIT_NOFILE, &raw const limit) }, 0);
    // SAFETY: no pointers.
    let fillers: Vec<_> =
        std::iter::from_fn(|| Some(unsafe { dup(1) }).filter(|fd| *fd >= 0)).collect();
    assert_eq!((hidden.len(), errno()), (1, EMFILE));
    let ask = || {
        send_all(channel, &netlink(40, 10, 5, &[]));
        let (answer, _) = receive_datagram(channel, 0).unwrap();
        assert_eq!((sequence(&answer), error_of(&answer)), (10, 0));
    };
    // SAFETY: no pointers.
    assert_eq!(unsafe { dup2(1, hidden[0]) }, -1);
    assert_eq!(errno(), EMFILE);
    ask();
    close_fd(fillers[0]);
    // SAFETY: no pointers.
    assert_eq!(unsafe { dup2(1, hidden[0]) }, hidden[0]);
    ask();
    assert_eq!(close_fd(hidden[0]), 0);
}

/// A connection over TCP: one end, and what keeps the other open.
fn connected() -> (c_int, [c_int; 2]) {
    let listener = tcp_listener();
    let client = tcp_client(inet_port(listener));
    (client, [listener, accept_one(listener)])
}

fn closed_inside() {
    let (client, _others) = connected();
    // SAFETY: an open number, and a C string.
    let file = unsafe { fdopen(client, c"r".as_ptr()) };
    // SAFETY: it is open.
    assert_eq!(unsafe { fclose(file) }, 0);
    let mut pipe = [0; 2];
    // SAFETY: room for two numbers.
    assert_eq!(unsafe { libc::pipe(pipe.as_mut_ptr()) }, 0);
    assert_eq!(pipe[0], client, "the number is used again");
    let mut byte = [0_u8; 4];
    for _ in 0..2 {
        // SAFETY: pointer and length describe the byte.
        assert_eq!(unsafe { write(pipe[1], b"x".as_ptr().cast(), 1) }, 1);
        // SAFETY: pointer and length describe the room.
        let len = unsafe { read(pipe[0], byte.as_mut_ptr().cast(), byte.len()) };
        assert_eq!((len, byte[0]), (1, b'x'), "{}", errno());
    }
}

fn no_bytes() {
    // The signal ends it if it waits.
    // SAFETY: no pointers.
    unsafe { alarm(10) };
    let (client, _others) = connected();
    let mut byte = [0_u8; 1];
    let part = iovec {
        iov_base: byte.as_mut_ptr().cast(),
        iov_len: 0,
    };
    // SAFETY: nothing is written.
    assert_eq!(unsafe { read(client, byte.as_mut_ptr().cast(), 0) }, 0);
    // SAFETY: as above.
    assert_eq!(unsafe { readv(client, &raw const part, 1) }, 0);
}

fn timeouts() {
    // The signal ends it if it waits for longer.
    // SAFETY: no pointers.
    unsafe { alarm(10) };
    let channel = generic(SOCK_CLOEXEC);
    set_receive_timeout(channel);
    assert_eq!(receive_datagram(channel, 0), Err(EAGAIN));
    let routes = route_socket();
    set_receive_timeout(routes);
    assert_eq!(receive_datagram(routes, 0), Err(EAGAIN));
    // Of transport sockets, before the engine has them and after that.
    for (before, after) in [
        (set_receive_timeout as fn(c_int), (|_| {}) as fn(c_int)),
        (|_| {}, set_receive_timeout),
        // "Do not wait", which the kernel reports as "for ever".
        (
            |_| {},
            |fd| set_timeout(fd, SO_RCVTIMEO, &[-1 as time_t, 0]),
        ),
        // As programs of 32 bits do that have times of 64.
        (|_| {}, |fd| set_timeout(fd, 66, &[0_i64, 50_000])),
    ] {
        let fd = udp_socket(AF_INET);
        before(fd);
        send_all(channel, &netlink(40, 9, 5, &fd.to_ne_bytes()));
        let (answer, _) = receive_datagram(channel, 0).unwrap();
        assert_eq!(error_of(&answer), 0);
        after(fd);
        assert_eq!(receive_datagram(fd, 0), Err(EAGAIN));
    }
}

fn set_receive_timeout(fd: c_int) {
    set_timeout(fd, SO_RCVTIMEO, &[0 as time_t, 50_000]);
}

/// Sets a limit of seconds and microseconds.
fn set_timeout<T>(fd: c_int, name: c_int, time: &[T; 2]) {
    let (at, len) = (time.as_ptr().cast(), size_of_val(time) as socklen_t);
    // SAFETY: pointer and length describe the time.
    let result = unsafe { setsockopt(fd, SOL_SOCKET, name, at, len) };
    assert_eq!(result, 0);
}
