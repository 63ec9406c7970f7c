//! Transport sockets that the engine takes over.

use super::calls::*;
use libc::*;

pub(super) fn udp() {
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

pub(super) fn udp6() {
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

pub(super) fn udp_engine_dies() {
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

pub(super) fn tcp() {
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

pub(super) fn no_socket() {
    let channel = generic(SOCK_CLOEXEC);
    for fd in [2, 9999, channel] {
        send_all(channel, &netlink(40, 9, 5, &fd.to_ne_bytes()));
        let (answer, _) = receive_datagram(channel, 0).unwrap();
        assert_eq!(error_of(&answer), -ENOTSOCK);
    }
}

/// Hands a transport socket over by a request that names it.
pub(super) fn hand_over(channel: c_int, fd: c_int) {
    send_all(channel, &netlink(40, 9, 5, &fd.to_ne_bytes()));
    let (answer, _) = receive_datagram(channel, 0).unwrap();
    assert_eq!(error_of(&answer), 0);
}
