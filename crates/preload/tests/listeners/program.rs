//! Programs that listen for changes of routes and links.

use crate::calls::*;
use libc::*;
use std::process::Command;
use std::sync::atomic::{AtomicI32, Ordering};

/// Runs the program of that name.
pub(crate) fn run(name: &str) {
    let _channel = generic(SOCK_CLOEXEC);
    match name {
        "left" => left(),
        "restarts" => restarts(),
        "overrun" => overrun(),
        "groups" => groups(),
        other => panic!("no program {other}"),
    }
}

/// Runs `ip` beside the library; a `~` stands for a space within a word.
fn ip(words: &str) {
    let mut ip = Command::new("ip");
    let words_of = |word: &str| word.replace('~', " ");
    ip.args(words.split(' ').map(words_of))
        .env_remove("LD_PRELOAD");
    assert!(ip.status().expect("iproute2").success(), "ip {words}");
}

/// Makes a device as a killed run leaves it, and returns its index.
fn leave_a_device() -> u32 {
    ip("tuntap add dev left0 mode tun");
    let alias = udco_ipc::ALIAS.replace(' ', "~");
    ip(&format!("link set dev left0 alias {alias}ovpn"));
    ip("link set dev left0 up");
    interface_index(c"left0").cast_unsigned()
}

/// A socket that gets the kernel's notifications of one kind.
fn listener(group: c_int) -> c_int {
    let fd = route_socket();
    assert_eq!(
        set_int(fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, group),
        Ok(())
    );
    fd
}

fn attribute(kind: u16, value: [u8; 4]) -> Vec<u8> {
    [&8u16.to_ne_bytes()[..], &kind.to_ne_bytes(), &value].concat()
}

/// `RTM_GETROUTE` of all routes of IPv4, or of the one to an address.
fn get_route(seq: u32, to: Option<[u8; 4]>) -> Vec<u8> {
    let mut body = vec![0; 12];
    body[0] = AF_INET as u8;
    let mut flags = NLM_F_REQUEST | NLM_F_DUMP;
    if let Some(to) = to {
        body[1] = 32;
        body.extend(attribute(RTA_DST, to));
        flags = NLM_F_REQUEST;
    }
    netlink(RTM_GETROUTE, seq, flags as u16, &body)
}

/// `RTM_NEWROUTE` of a route to a network of 24 bits.
fn new_route(seq: u32, to: [u8; 4], device: u32) -> Vec<u8> {
    let (table, boot, link, unicast) = (254, 3, 253, 1);
    let mut body = vec![
        AF_INET as u8,
        24,
        0,
        0,
        table,
        boot,
        link,
        unicast,
        0,
        0,
        0,
        0,
    ];
    body.extend(attribute(RTA_DST, to));
    body.extend(attribute(RTA_OIF, device.to_ne_bytes()));
    let flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE;
    netlink(RTM_NEWROUTE, seq, flags as u16, &body)
}

fn kind(message: &[u8]) -> u16 {
    u16::from_ne_bytes(message[4..6].try_into().unwrap())
}

fn next(fd: c_int) -> Vec<u8> {
    await_readable(fd);
    receive_datagram(fd, MSG_DONTWAIT).unwrap().0
}

/// Asserts that the next datagram is a notification of this new route.
fn assert_notified(fd: c_int, to: [u8; 4], device: u32) {
    let message = next(fd);
    assert_eq!(kind(&message), RTM_NEWROUTE, "{message:?}");
    for part in [
        attribute(RTA_DST, to),
        attribute(RTA_OIF, device.to_ne_bytes()),
    ] {
        assert!(message.windows(8).any(|it| *it == part[..]), "{message:?}");
    }
}

/// Asserts that the next datagram says that there is no way there.
fn assert_unreachable(fd: c_int, seq: u32) {
    let (peeked, _) = receive_datagram(fd, MSG_PEEK).unwrap();
    let answer = next(fd);
    assert_eq!(peeked, answer);
    assert_eq!((sequence(&answer), error_of(&answer)), (seq, -ENETUNREACH));
    assert_eq!(kind(&answer[20..]), RTM_GETROUTE, "the request is in it");
}

fn left() {
    let fd = listener(RTNLGRP_IPV4_ROUTE as c_int);
    // A question that has been answered long before, with a number that is used again.
    ip("link set lo up");
    while receive_datagram(fd, MSG_DONTWAIT).is_ok() {}
    send_all(fd, &get_route(2, Some([127, 0, 0, 1])));
    let answer = next(fd);
    assert_eq!((kind(&answer), sequence(&answer)), (RTM_NEWROUTE, 2));
    let device = leave_a_device();
    ip("route add 192.0.2.0/24 dev left0");
    assert_notified(fd, [192, 0, 2, 0], device);
    // The devices that were left are looked for at each dump.
    send_all(fd, &get_route(1, None));
    let oif = attribute(RTA_OIF, device.to_ne_bytes());
    loop {
        let part = next(fd);
        assert!(!part.windows(8).any(|it| *it == oif[..]), "{part:?}");
        if kind(&part) == NLMSG_DONE as u16 {
            break;
        }
    }
    // Another program's route, and its own.
    ip("route add 198.51.100.0/24 dev left0");
    assert_notified(fd, [198, 51, 100, 0], device);
    send_all(fd, &new_route(2, [203, 0, 113, 0], device));
    assert_notified(fd, [203, 0, 113, 0], device);
    let done = next(fd);
    assert_eq!((sequence(&done), error_of(&done)), (2, 0));
    // Its own request among notifications, which may have the same number.
    ip("route add 10.1.0.0/24 dev left0");
    send_all(fd, &get_route(3, Some([192, 0, 2, 1])));
    ip("route add 10.2.0.0/24 dev left0");
    assert_notified(fd, [10, 1, 0, 0], device);
    assert_unreachable(fd, 3);
    assert_notified(fd, [10, 2, 0, 0], device);
    let other = route_socket();
    send_all(fd, &get_route(4, Some([192, 0, 2, 1])));
    send_all(other, &new_route(4, [10, 3, 0, 0], device));
    assert_unreachable(fd, 4);
    assert_notified(fd, [10, 3, 0, 0], device);
    send_all(fd, &new_route(4, [10, 4, 0, 0], device));
    assert_notified(fd, [10, 4, 0, 0], device);
    assert_eq!(error_of(&next(fd)), 0);
    assert_eq!(receive_datagram(fd, MSG_DONTWAIT), Err(EAGAIN));
}

/// The socket on which the signal's handler asks.
static ASKED: AtomicI32 = AtomicI32::new(-1);

extern "C" fn ask(_: c_int) {
    send_all(ASKED.load(Ordering::Relaxed), &get_route(5, None));
}

/// What it waits for comes only after the signal.
fn restarts() {
    ip("link set lo up");
    let fd = route_socket();
    ASKED.store(fd, Ordering::Relaxed);
    // SAFETY: all zeroes is valid.
    let mut action: sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = ask as *const () as usize;
    action.sa_flags = SA_RESTART;
    // SAFETY: the action outlives the call, and the handler makes one system call.
    let result = unsafe { sigaction(SIGALRM, &raw const action, std::ptr::null_mut()) };
    assert_eq!(result, 0);
    // SAFETY: cannot fail.
    let this = unsafe { pthread_self() } as usize;
    let signaller = std::thread::spawn(move || {
        // For most runs it waits by then; if not, the answer is there as it begins.
        std::thread::sleep(std::time::Duration::from_millis(200));
        // SAFETY: that thread waits for this one.
        assert_eq!(unsafe { pthread_kill(this as pthread_t, SIGALRM) }, 0);
    });
    let (answer, _) = receive_datagram(fd, 0).unwrap();
    assert_eq!((kind(&answer), sequence(&answer)), (RTM_NEWROUTE, 5));
    signaller.join().unwrap();
}

/// Its notifications leave no room for the answer to a request.
fn overrun() {
    ip("link set lo up");
    let fd = listener(RTNLGRP_IPV4_ROUTE as c_int);
    set_int(fd, SOL_SOCKET, SO_RCVBUF, 0).unwrap();
    let delete = |seq| {
        let body = [&[0; 4][..], &987_654_i32.to_ne_bytes(), &[0; 8]].concat();
        send_all(fd, &netlink(RTM_DELLINK, seq, 5, &body));
    };
    let other = route_socket();
    for network in 0..32 {
        send_all(other, &new_route(1, [10, 0, network, 0], 1));
        assert_eq!(error_of(&next(other)), 0);
    }
    delete(1);
    let mut is_overrun = false;
    loop {
        match receive_datagram(fd, MSG_DONTWAIT) {
            Ok((message, _)) => assert_eq!(kind(&message), RTM_NEWROUTE),
            Err(ENOBUFS) => is_overrun = true,
            Err(errno) => break assert_eq!(errno, EAGAIN),
        }
    }
    assert!(is_overrun);
    delete(2);
    let answer = next(fd);
    assert_eq!((sequence(&answer), error_of(&answer)), (2, 0));
    assert_eq!(receive_datagram(fd, MSG_DONTWAIT), Err(EAGAIN));
}

/// Each change of the device is shown by the engine.
fn groups() {
    let fd = listener(RTNLGRP_LINK as c_int);
    set_int(fd, SOL_NETLINK, NETLINK_PKTINFO, 1).unwrap();
    leave_a_device();
    for mtu in [1400, 1300, 1280] {
        ip(&format!("link set dev left0 mtu {mtu}"));
    }
    // The signal ends it if it waits for another one.
    // SAFETY: no pointers.
    unsafe { alarm(10) };
    for flags in [MSG_PEEK, 0] {
        let (message, name) = receive_datagram(fd, flags).unwrap();
        assert_eq!(kind(&message), RTM_NEWLINK);
        assert_eq!(name[8..12], (RTMGRP_LINK as u32).to_ne_bytes());
    }
    let (message, control, flags) = receive_with_control(fd, 8192);
    assert_eq!((kind(&message), flags), (RTM_NEWLINK, 0));
    let group = RTNLGRP_LINK.to_ne_bytes().to_vec();
    assert_eq!(control, Some((SOL_NETLINK, NETLINK_PKTINFO, group)));
    let (message, _, flags) = receive_with_control(fd, 20);
    assert_eq!((message.len(), flags), (20, MSG_TRUNC));
}
