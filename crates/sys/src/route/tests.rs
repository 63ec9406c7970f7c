//! The monitor, in a namespace for the test.

use super::*;
use crate::namespace::{enter, ip};

/// The types of all messages that are readable now.
fn types(monitor: &Monitor, buffer: &mut [u8]) -> Vec<u16> {
    let mut types = Vec::new();
    while let Received::Messages(len) = monitor.receive(buffer).unwrap() {
        let mut rest = &buffer[..len];
        while rest.len() >= 16 {
            let length = u32::from_ne_bytes(rest[..4].try_into().unwrap()) as usize;
            types.push(u16::from_ne_bytes(rest[4..6].try_into().unwrap()));
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        }
    }
    types
}

#[test]
fn changes_are_reported_and_dumps_answered() {
    if !enter("route::tests::changes_are_reported_and_dumps_answered") {
        return;
    }
    const NEWADDR: u16 = 20;
    const NEWROUTE: u16 = 24;
    const DONE: u16 = 3;
    let monitor = Monitor::adopt(Monitor::open().unwrap().into_fd()).unwrap();
    let mut buffer = vec![0; 32_768];
    assert_eq!(monitor.receive(&mut buffer).unwrap(), Received::Empty);
    ip("addr add 10.7.0.1/24 dev lo");
    ip("-6 addr add fd00:7::1/64 dev lo");
    let reported = types(&monitor, &mut buffer);
    assert!(
        reported.iter().filter(|kind| **kind == NEWADDR).count() >= 2,
        "{reported:?}"
    );
    assert!(reported.contains(&NEWROUTE), "{reported:?}");

    // RTM_GETROUTE (26), NLM_F_REQUEST | NLM_F_DUMP (0x301), then a `struct rtmsg` of zeroes.
    let mut request = [0_u8; 28];
    request[..4].copy_from_slice(&28_u32.to_ne_bytes());
    request[4..6].copy_from_slice(&26_u16.to_ne_bytes());
    request[6..8].copy_from_slice(&0x301_u16.to_ne_bytes());
    monitor.send(&request).unwrap();
    let dump = types(&monitor, &mut buffer);
    assert!(
        dump.contains(&NEWROUTE) && dump.last() == Some(&DONE),
        "{dump:?}"
    );
}

#[test]
fn lost_messages_are_reported_as_an_overrun() {
    if !enter("route::tests::lost_messages_are_reported_as_an_overrun") {
        return;
    }
    let monitor = Monitor::open().unwrap();
    sockopt::set_socket_recv_buffer_size(&monitor, 1).unwrap();
    for host in 1..30 {
        ip(&format!("addr add 10.7.0.{host}/32 dev lo"));
    }
    let mut buffer = vec![0; 32_768];
    let mut overruns = 0;
    loop {
        match monitor.receive(&mut buffer).unwrap() {
            Received::Messages(_) => {}
            Received::Overrun => overruns += 1,
            Received::Empty => break,
        }
    }
    assert!(overruns > 0);
    // Too small a buffer loses a message just as well.
    ip("addr add 10.7.1.1/32 dev lo");
    assert_eq!(
        monitor.receive(&mut buffer[..20]).unwrap(),
        Received::Overrun
    );
}

#[test]
fn other_sockets_are_refused() {
    let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let error = Monitor::adopt(udp.into()).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EPROTONOSUPPORT));
    let null = std::fs::File::open("/dev/null").unwrap();
    let error = Monitor::adopt(null.into()).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::ENOTSOCK));
}
