//! The programs that the tests start under the library: what OpenVPN does, call by call.

mod calls;

use calls::*;
use libc::*;
use std::time::{Duration, Instant};

/// Runs the program of that name.
pub(crate) fn run(name: &str) {
    match name {
        "kernel" => kernel(),
        "request" => request(),
        "returns" => returns(),
        "engine-dies" => engine_dies(),
        "engine-is-silent" => engine_is_silent(),
        "more" => more(),
        "udp" => udp(),
        "udp6" => udp6(),
        "udp-engine-dies" => udp_engine_dies(),
        "tcp" => tcp(),
        "no-socket" => no_socket(),
        "route" => route(),
        "device" => device(),
        "device-without-unix-sockets" => {
            refuse_unix(SYS_socket);
            device();
        }
        "kernel-without-pairs" => {
            refuse_unix(SYS_socketpair);
            kernel();
        }
        "device-undone" => device_undone(),
        "fork" => forks(),
        "fork-asks" => fork_asks(),
        "daemonizes" => daemonizes(),
        "own-tun" => own_tun(),
        "without-memory" => without_memory(),
        other => panic!("no program {other}"),
    }
}

/// Generic netlink stays the kernel's.
fn kernel() {
    let fd = generic(0);
    assert_eq!(bind_netlink(fd, 0), 0);
    // CTRL_CMD_GETFAMILY "nlctrl"
    let body = [&[3, 1, 0, 0][..], &[11, 0, 2, 0], b"nlctrl\0\0"].concat();
    assert_eq!(send_all(fd, &netlink(16, 1, 5, &body)), 32);
    let (answer, _) = receive_datagram(fd, 0).unwrap();
    assert!(answer.len() > 40, "{answer:?}");
    assert_eq!(std::env::var_os("UDCO_FD"), None);
}

/// May have no more memory, and has none left when the library needs some.
fn without_memory() {
    use_up_memory();
    generic(0);
}

fn request() {
    let fd = generic(SOCK_CLOEXEC);
    assert_eq!(std::env::var_os("UDCO_FD"), None);
    assert_eq!(descriptor_flags(fd) & FD_CLOEXEC, FD_CLOEXEC);
    assert_eq!(bind_netlink(fd, 0), 0);
    let (family, port) = netlink_name(fd);
    assert_eq!(family, AF_NETLINK);
    assert_ne!(port, 0);
    assert_eq!(bind_netlink(fd, 4242), 0);
    assert_eq!(netlink_name(fd), (AF_NETLINK, 4242));
    assert_eq!(set_int(fd, SOL_SOCKET, SO_RCVBUF, 32768), Ok(()));
    assert_eq!(int_option(fd, SOL_SOCKET, SO_PROTOCOL), NETLINK_GENERIC);
    assert_eq!(set_int(fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, 5), Ok(()));
    assert_eq!(set_int(fd, SOL_NETLINK, NETLINK_EXT_ACK, 1), Err(EPERM));
    set_nonblocking(fd);
    set_errno(1234);
    assert_eq!(send_all(fd, &netlink(40, 77, 5, &[1, 2, 3, 4])), 20);
    assert_eq!(errno(), 1234);
    // As libnl does: the length first, into nothing. The answer to another request has been discarded.
    let len = receive_into(fd, &mut [], MSG_PEEK | MSG_TRUNC).unwrap();
    assert_eq!(len, 16);
    let (event, name) = receive_datagram(fd, 0).unwrap();
    assert_eq!(sequence(&event), 0);
    assert_eq!((name.len(), i32::from(name[0])), (12, AF_NETLINK));
    assert_eq!(name[4..8], [0; 4]);
    let (answer, _) = receive_datagram(fd, 0).unwrap();
    assert_eq!((sequence(&answer), error_of(&answer)), (77, 0));
    assert_eq!(receive_datagram(fd, 0), Err(EAGAIN));
    assert_eq!(close_fd(fd), 0);
    // The number may be reused now.
    let other = generic(0);
    assert_eq!(descriptor_flags(other) & FD_CLOEXEC, 0);
    assert_eq!(netlink_name(other), (AF_NETLINK, 0));
    assert_eq!(close_fd(other), 0);
    assert_eq!(close_fd(other), -1);
}

fn engine_dies() {
    let fd = generic(SOCK_NONBLOCK);
    bind_netlink(fd, 4242);
    for seq in [5, 6] {
        assert_eq!(send_all(fd, &netlink(40, seq, 5, &[])), 16);
        let len = receive_into(fd, &mut [], MSG_PEEK | MSG_TRUNC).unwrap();
        assert_eq!(len, 36);
        let (answer, _) = receive_datagram(fd, 0).unwrap();
        assert_eq!((sequence(&answer), error_of(&answer)), (seq, -ENODEV));
        assert_eq!(answer[12..16], 4242u32.to_ne_bytes());
    }
    // What an event loop would see: readable, and an error each time.
    assert!(is_readable(fd, 0));
    let (answer, _) = receive_datagram(fd, 0).unwrap();
    assert_eq!(error_of(&answer), -ENODEV);
    // There is no engine for a new one.
    kernel();
    // For the name of a device left behind the kernel would return "File exists", and OpenVPN would use that device,
    // and delete it at its end (faults A1, A5).
    let fd = route_socket();
    send_all(fd, &new_link_that_exists(1));
    let (answer, _) = receive_datagram(fd, 0).unwrap();
    assert_eq!((sequence(&answer), error_of(&answer)), (1, -ENODEV));
    const NONE: i32 = 987_654;
    for (seq, kind) in [(2, RTM_DELLINK), (3, RTM_DELADDR), (4, RTM_DELROUTE)] {
        send_all(fd, &link_request(kind, seq, NONE));
        let (answer, _) = receive_datagram(fd, 0).unwrap();
        assert_eq!((sequence(&answer), error_of(&answer)), (seq, 0), "{kind}");
    }
    // Nor do they get past in one datagram; between them the kernel's own answer has its place.
    let requests = [
        link_request(RTM_DELLINK, 5, NONE),
        link_request(RTM_GETLINK, 6, NONE),
        link_request(RTM_DELADDR, 7, NONE),
    ];
    let len: usize = requests.iter().map(Vec::len).sum();
    assert_eq!(send_all(fd, &requests.concat()), len as isize);
    for (seq, errno) in [(5, 0), (6, ENODEV), (7, 0)] {
        let (answer, _) = receive_datagram(fd, 0).unwrap();
        assert_eq!((sequence(&answer), error_of(&answer)), (seq, -errno));
    }
}

/// A notification that came before the request is read after its answer.
fn returns() {
    let fd = generic(SOCK_NONBLOCK);
    assert_eq!(send_all(fd, &netlink(40, 5, 5, &[])), 16);
    let (answer, _) = receive_datagram(fd, 0).unwrap();
    assert_eq!((sequence(&answer), error_of(&answer)), (5, 0));
    await_readable(fd);
    let (event, _) = receive_datagram(fd, 0).unwrap();
    assert_eq!((event.len(), sequence(&event)), (16, 0));
}

fn engine_is_silent() {
    let fd = generic(SOCK_NONBLOCK);
    let start = Instant::now();
    assert_eq!(send_all(fd, &netlink(40, 5, 5, &[])), 16);
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(900) && took < Duration::from_millis(1900));
    let (answer, _) = receive_datagram(fd, 0).unwrap();
    assert_eq!((sequence(&answer), error_of(&answer)), (5, -EBUSY));
    // The request's mark is still unread; the real answer arrives late, once the engine has been told to go on.
    await_readable(fd);
    assert_eq!(receive_datagram(fd, 0), Err(EAGAIN));
    assert_eq!(set_int(fd, SOL_NETLINK, NETLINK_EXT_ACK, 1), Ok(()));
    await_readable(fd);
    assert_eq!(receive_datagram(fd, 0), Err(EAGAIN));
    assert_eq!(send_all(fd, &netlink(40, 6, 5, &[])), 16);
    let (answer, _) = receive_datagram(fd, 0).unwrap();
    assert_eq!((sequence(&answer), error_of(&answer)), (6, 0));
}

fn more() {
    let fd = generic(SOCK_NONBLOCK);
    assert_eq!(send_all(fd, &netlink(40, 5, 0x305, &[])), 16);
    let (part, _) = receive_datagram(fd, 0).unwrap();
    assert_eq!(part.len(), 16);
    let (end, _) = receive_datagram(fd, 0).unwrap();
    assert_eq!((sequence(&end), error_of(&end)), (5, 0));
    let start = Instant::now();
    assert_eq!(receive_datagram(fd, 0), Err(EAGAIN));
    assert!(start.elapsed() < Duration::from_millis(500));
}

/// Hands a transport socket over by a request that names it.
fn hand_over(channel: c_int, fd: c_int) {
    send_all(channel, &netlink(40, 9, 5, &fd.to_ne_bytes()));
    let (answer, _) = receive_datagram(channel, 0).unwrap();
    assert_eq!(error_of(&answer), 0);
}

fn udp() {
    let channel = generic(SOCK_CLOEXEC);
    let fd = udp_socket(AF_INET);
    assert_eq!(bind_inet(fd, 0), 0);
    let port = inet_port(fd);
    set_int(fd, IPPROTO_IP, IP_PKTINFO, 1).unwrap();
    set_nonblocking(fd);
    set_close_on_exec(fd);
    let epoll = epoll_with(fd, 0xfeed);
    hand_over(channel, fd);
    assert_eq!(inet_port(fd), port);
    assert_eq!(int_option(fd, IPPROTO_IP, IP_PKTINFO), 1);
    assert_eq!(int_option(fd, SOL_SOCKET, SO_DOMAIN), AF_INET);
    assert_eq!(descriptor_flags(fd) & FD_CLOEXEC, FD_CLOEXEC);
    // The engine relays three packets from 192.0.2.1:1194.
    assert_eq!(epoll_wait_one(epoll, 10_000), Some(0xfeed));
    let (packet, name) = receive_from(fd, 100, 0).unwrap();
    assert_eq!(packet, b"one");
    assert_eq!(name, inet_name([192, 0, 2, 1], 1194));
    await_readable(fd);
    let (packet, control, flags) = receive_with_control(fd, 100);
    assert_eq!((&packet[..], flags), (&b"two"[..], 0));
    let info = [&3u32.to_ne_bytes()[..], &[127, 0, 0, 1], &[127, 0, 0, 1]].concat();
    assert_eq!(control, Some((IPPROTO_IP, IP_PKTINFO, info)));
    await_readable(fd);
    let (packet, _, flags) = receive_with_control(fd, 2);
    assert_eq!((&packet[..], flags), (&b"th"[..], MSG_TRUNC));
    assert_eq!(receive_from(fd, 100, 0), Err(EAGAIN));
    assert_eq!(receive_from(fd, 100, MSG_ERRQUEUE), Err(EAGAIN));
    assert_eq!(epoll_wait_one(epoll, 0), None);
    // It sends from its own port.
    let other = udp_socket(AF_INET);
    assert_eq!(bind_inet(other, 0), 0);
    assert_eq!(send_inet(fd, b"hello", inet_port(other)), 5);
    let (packet, name) = receive_from(other, 100, 0).unwrap();
    assert_eq!(packet, b"hello");
    assert_eq!(name, inet_name([127, 0, 0, 1], port));
    // The port is free when close returns.
    assert_eq!(close_fd(fd), 0);
    let again = udp_socket(AF_INET);
    assert_eq!(again, fd);
    assert_eq!(bind_inet(again, port), 0);
    assert_eq!(send_inet(other, b"direct", port), 6);
    assert_eq!(receive_from(again, 100, 0).unwrap().0, b"direct");
}

fn udp6() {
    let channel = generic(SOCK_CLOEXEC);
    let fd = udp_socket(AF_INET6);
    set_int(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1).unwrap();
    hand_over(channel, fd);
    let (packet, control, _) = receive_with_control(fd, 100);
    assert_eq!(packet, b"mapped");
    let local = [&[0; 10][..], &[0xff, 0xff, 127, 0, 0, 1]].concat();
    let info = [&local[..], &3u32.to_ne_bytes()].concat();
    assert_eq!(control, Some((IPPROTO_IPV6, IPV6_PKTINFO, info)));
    let (packet, name) = receive_from(fd, 100, 0).unwrap();
    assert_eq!(packet, b"again");
    assert_eq!((name.len(), i32::from(name[0])), (28, AF_INET6));
    assert_eq!(
        name[8..24],
        [&[0; 10][..], &[0xff, 0xff, 192, 0, 2, 1]].concat()
    );
}

fn udp_engine_dies() {
    let channel = generic(SOCK_CLOEXEC);
    let fd = udp_socket(AF_INET);
    assert_eq!(bind_inet(fd, 0), 0);
    let epoll = epoll_with(fd, 1);
    hand_over(channel, fd);
    assert_eq!(epoll_wait_one(epoll, 10_000), Some(1));
    // The socket is the program's own again.
    set_nonblocking(fd);
    assert_eq!(receive_from(fd, 100, 0), Err(EAGAIN));
    assert_eq!(send_inet(fd, b"self", inet_port(fd)), 4);
    assert_eq!(epoll_wait_one(epoll, 10_000), Some(1));
    assert_eq!(receive_from(fd, 100, 0).unwrap().0, b"self");
    assert_eq!(close_fd(fd), 0);
}

fn tcp() {
    let channel = generic(SOCK_CLOEXEC);
    let listener = tcp_listener();
    let client = tcp_client(inet_port(listener));
    let accepted = accept_one(listener);
    // A packet, and 1 of the 9 bytes of another.
    send_all(accepted, b"\0\x02hi\0\x09begun");
    let read = receive_from(client, 7, 0).unwrap().0;
    assert_eq!(read, b"\0\x02hi\0\x09b");
    hand_over(channel, client);
    assert_eq!(set_int(client, IPPROTO_TCP, TCP_NODELAY, 1), Ok(()));
    assert_eq!(int_option(client, IPPROTO_TCP, TCP_NODELAY), 1);
    assert_eq!(inet_peer_port(client), inet_port(listener));
    assert_eq!(send_all(client, b"\0\x02up"), 4);
    // One packet a call, the rest of it is lost; then an error.
    assert_eq!(receive_from(client, 100, 0).unwrap().0, b"\0\x04down");
    assert_eq!(receive_from(client, 4, 0).unwrap().0, b"\0\x04cu");
    assert_eq!(receive_from(client, 100, 0), Err(ECONNRESET));
    assert_eq!(close_fd(client), 0);
}

fn no_socket() {
    let channel = generic(SOCK_CLOEXEC);
    for fd in [2, 9999, channel] {
        send_all(channel, &netlink(40, 9, 5, &fd.to_ne_bytes()));
        let (answer, _) = receive_datagram(channel, 0).unwrap();
        assert_eq!(error_of(&answer), -ENOTSOCK);
    }
}

/// `ifinfomsg` of an interface index.
fn link_request(kind: u16, seq: u32, index: i32) -> Vec<u8> {
    let body = [&[0; 4][..], &index.to_ne_bytes(), &[0; 8]].concat();
    netlink(kind, seq, 5, &body)
}

/// RTM_NEWLINK, exclusively, of a link of kind `ovpn-dco` named like an existing one.
fn new_link_that_exists(seq: u32) -> Vec<u8> {
    let attributes = [
        &[7, 0, 3, 0][..], // IFLA_IFNAME
        b"lo\0\0",
        &[20, 0, 18, 0], // IFLA_LINKINFO
        &[13, 0, 1, 0],  // IFLA_INFO_KIND
        b"ovpn-dco\0\0\0\0",
    ];
    let body = [&[0; 16][..], &attributes.concat()].concat();
    netlink(RTM_NEWLINK, seq, 0x605, &body)
}

fn route() {
    generic(SOCK_CLOEXEC);
    let fd = route_socket();
    // The engine passes it on: the kernel shows lo.
    send_all(fd, &link_request(RTM_GETLINK, 1, 1));
    assert_eq!(
        receive_into(fd, &mut [0; 8192], 0).map(|len| len > 36),
        Ok(true)
    );
    let fd = route_socket();
    send_all(fd, &link_request(RTM_DELLINK, 2, 99));
    let (peeked, _) = receive_datagram(fd, MSG_PEEK).unwrap();
    let (answer, name) = receive_datagram(fd, 0).unwrap();
    assert_eq!(peeked, answer);
    assert_eq!(
        (sequence(&answer), error_of(&answer), name.len()),
        (2, 0, 12)
    );
    // The kernel alone handles others: ENODEV for an address on no device.
    let fd = route_socket();
    let body = [
        &[AF_INET as u8, 24, 0, 0][..],
        &9999i32.to_ne_bytes(),
        &[8, 0, 2, 0, 10, 0, 0, 1],
    ]
    .concat();
    send_all(fd, &netlink(RTM_NEWADDR, 3, 5, &body));
    let (answer, _) = receive_datagram(fd, 0).unwrap();
    assert!(error_of(&answer) < 0);
}

fn device() {
    generic(SOCK_CLOEXEC);
    let fd = route_socket();
    send_all(fd, &link_request(RTM_NEWLINK, 1, 0));
    let (answer, _) = receive_datagram(fd, 0).unwrap();
    assert_eq!(error_of(&answer), 0);
    let index = interface_index(c"udcotest0");
    assert_ne!(index, 0);
    // Once more: the name is taken.
    send_all(fd, &link_request(RTM_NEWLINK, 2, 0));
    let (answer, _) = receive_datagram(fd, 0).unwrap();
    assert_eq!(error_of(&answer), -EEXIST);
    send_all(fd, &link_request(RTM_DELLINK, 3, index));
    let (answer, _) = receive_datagram(fd, 0).unwrap();
    assert_eq!(error_of(&answer), 0);
    assert_eq!(interface_index(c"udcotest0"), 0);
}

fn device_undone() {
    generic(SOCK_CLOEXEC);
    let fd = route_socket();
    send_all(fd, &link_request(RTM_NEWLINK, 1, 0));
    let (answer, _) = receive_datagram(fd, 0).unwrap();
    assert_eq!(error_of(&answer), -ENODEV);
    let deadline = Instant::now() + Duration::from_secs(2);
    while interface_index(c"udcotest0") != 0 {
        assert!(Instant::now() < deadline, "the device is still there");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn forks() {
    let channel = generic(SOCK_CLOEXEC);
    let fd = udp_socket(AF_INET);
    hand_over(channel, fd);
    in_child(|| {
        close_fd(fd);
        close_fd(channel);
        for other in 3..64 {
            close_fd(other);
        }
    });
    for other in 3..64 {
        if other != fd && other != channel {
            close_fd(other);
        }
    }
    assert_eq!(send_all(channel, &netlink(40, 10, 5, &[])), 16);
    let (answer, _) = receive_datagram(channel, 0).unwrap();
    assert_eq!((sequence(&answer), error_of(&answer)), (10, 0));
    close_fd(fd);
}

fn own_tun() {
    assert!(open_tun() >= 0);
}

fn fork_asks() {
    generic(SOCK_CLOEXEC);
    in_child(|| {
        let channel = generic(SOCK_CLOEXEC);
        assert_eq!(send_all(channel, &netlink(40, 10, 5, &[])), 16);
        let (answer, _) = receive_datagram(channel, 0).unwrap();
        assert_eq!((sequence(&answer), error_of(&answer)), (10, 0));
    });
    own_tun();
}

fn daemonizes() {
    generic(SOCK_CLOEXEC);
    replace_standard_error(c"/tmp");
    become_daemon();
}
