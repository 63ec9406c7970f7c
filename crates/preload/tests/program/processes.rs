//! Forked children, daemons, and a process without memory.

use super::calls::*;
use super::devices::own_tun;
use super::transports::hand_over;
use libc::*;

pub(super) fn forks() {
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

pub(super) fn fork_asks() {
    generic(SOCK_CLOEXEC);
    in_child(|| {
        let channel = generic(SOCK_CLOEXEC);
        assert_eq!(send_all(channel, &netlink(40, 10, 5, &[])), 16);
        let (answer, _) = receive_datagram(channel, 0).unwrap();
        assert_eq!((sequence(&answer), error_of(&answer)), (10, 0));
    });
    own_tun();
}

pub(super) fn daemonizes() {
    generic(SOCK_CLOEXEC);
    replace_standard_error(c"/tmp");
    become_daemon();
}

/// May have no more memory, and has none left when the library needs some.
pub(super) fn without_memory() {
    use_up_memory();
    generic(0);
}
