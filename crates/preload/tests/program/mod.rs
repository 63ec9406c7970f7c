//! The programs that the tests start under the library: what OpenVPN does, call by call.

mod calls;
mod devices;
mod processes;
mod requests;
mod transports;

use calls::*;
use libc::*;

/// Runs the program of that name.
pub(crate) fn run(name: &str) {
    match name {
        "kernel" => kernel(),
        "request" => requests::request(),
        "returns" => requests::returns(),
        "engine-dies" => requests::engine_dies(),
        "engine-is-silent" => requests::engine_is_silent(),
        "more" => requests::more(),
        "udp" => transports::udp(),
        "udp6" => transports::udp6(),
        "udp-engine-dies" => transports::udp_engine_dies(),
        "tcp" => transports::tcp(),
        "no-socket" => transports::no_socket(),
        "route" => devices::route(),
        "device" => devices::device(),
        "device-without-unix-sockets" => {
            refuse_unix(SYS_socket);
            devices::device();
        }
        "kernel-without-pairs" => {
            refuse_unix(SYS_socketpair);
            kernel();
        }
        "device-undone" => devices::device_undone(),
        "fork" => processes::forks(),
        "fork-asks" => processes::fork_asks(),
        "daemonizes" => processes::daemonizes(),
        "own-tun" => devices::own_tun(),
        "without-memory" => processes::without_memory(),
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
