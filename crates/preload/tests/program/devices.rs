//! Links that the engine answers for, and devices.

use super::calls::*;
use libc::*;
use std::time::{Duration, Instant};

pub(super) fn route() {
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

pub(super) fn device() {
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

pub(super) fn device_undone() {
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

pub(super) fn own_tun() {
    assert!(open_tun() >= 0);
}

/// `ifinfomsg` of an interface index.
pub(super) fn link_request(kind: u16, seq: u32, index: i32) -> Vec<u8> {
    let body = [&[0; 4][..], &index.to_ne_bytes(), &[0; 8]].concat();
    netlink(kind, seq, 5, &body)
}

/// RTM_NEWLINK, exclusively, of a link of kind `ovpn-dco` named like an existing one.
pub(super) fn new_link_that_exists(seq: u32) -> Vec<u8> {
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
