//! Requests on a generic-netlink socket.

use super::calls::*;
use super::devices::{link_request, new_link_that_exists};
use super::kernel;
use libc::*;
use std::time::{Duration, Instant};

pub(super) fn request() {
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

pub(super) fn engine_dies() {
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
pub(super) fn returns() {
    let fd = generic(SOCK_NONBLOCK);
    assert_eq!(send_all(fd, &netlink(40, 5, 5, &[])), 16);
    let (answer, _) = receive_datagram(fd, 0).unwrap();
    assert_eq!((sequence(&answer), error_of(&answer)), (5, 0));
    await_readable(fd);
    let (event, _) = receive_datagram(fd, 0).unwrap();
    assert_eq!((event.len(), sequence(&event)), (16, 0));
}

pub(super) fn engine_is_silent() {
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

pub(super) fn more() {
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
