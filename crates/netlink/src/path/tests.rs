//! Requests byte by byte; the kernel's answers, whole and truncated at each byte.

use super::*;
use crate::numbers::{IFINFOMSG_LEN, RTMSG_LEN};
use crate::route::{Change, changes};

const PORT: u32 = 77;

/// 16-bit numbers in host order, one after the other.
fn shorts(numbers: &[u16]) -> Vec<u8> {
    numbers.iter().copied().flat_map(u16::to_ne_bytes).collect()
}

/// The same for 32-bit numbers.
fn longs(numbers: &[u32]) -> Vec<u8> {
    numbers.iter().copied().flat_map(u32::to_ne_bytes).collect()
}

fn v4(last: u8) -> IpAddr {
    IpAddr::from([192, 0, 2, last])
}

/// A message from the kernel, to a socket with this port.
fn message(kind: u16, (number, port): (u32, u32), rest: &[u8]) -> Vec<u8> {
    let header = Header {
        kind,
        sequence: number,
        port,
        ..Header::default()
    };
    header.write(rest, |_| ())
}

fn route(number: (u32, u32), attributes: &[(u16, &[u8])]) -> Vec<u8> {
    let mut rest = vec![0; RTMSG_LEN];
    rest[0] = AF_INET;
    rest[1] = 32;
    rest[4] = 254;
    rest[7] = 1;
    let mut writer = Writer::after(rest);
    for (number, payload) in attributes {
        writer.put(*number, payload);
    }
    message(RTM_NEWROUTE, number, &writer.into_bytes())
}

fn only(datagram: &[u8]) -> Option<Report> {
    let mut all = reports(datagram, PORT);
    let first = all.next();
    assert_eq!(all.next(), None);
    first
}

#[test]
fn a_question_names_both_ends() {
    let path = Path {
        remote: v4(1),
        local: Some(v4(2)),
        ifindex: 0,
        mark: 0,
    };
    let asked = path_query(&path, 0x105);
    let expected = [
        longs(&[44]),
        shorts(&[26, 1]),
        longs(&[0x105, 0]),
        vec![2, 32, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        shorts(&[8, 1]),
        vec![192, 0, 2, 1],
        shorts(&[8, 2]),
        vec![192, 0, 2, 2],
    ];
    assert_eq!(asked, expected.concat());

    let link_local = Path {
        remote: "fe80::1".parse().unwrap(),
        // Of the other family: not used.
        local: Some(v4(2)),
        ifindex: 3,
        mark: 0x1_0203,
    };
    let asked = path_query(&link_local, 0x100);
    assert_eq!(asked[16..20], [10, 128, 0, 0]);
    assert_eq!(asked[28..32], shorts(&[20, 1]));
    assert_eq!(asked[48..56], [shorts(&[8, 4]), longs(&[3])].concat());
    assert_eq!(asked[56..], [shorts(&[8, 16]), longs(&[0x1_0203])].concat());

    let asked = link_query(3, 0x100);
    assert_eq!(asked.len(), 32);
    assert_eq!(asked[20..24], longs(&[3]));
}

#[test]
fn an_answer_has_device_and_mtu_and_is_no_notification() {
    let metrics = [shorts(&[8, 2]), longs(&[1400])].concat();
    let oif = 4u32.to_ne_bytes();
    let attributes: [(u16, &[u8]); 2] = [(RTA_OIF, &oif), (RTA_METRICS, &metrics)];
    let answer = route((0x105, PORT), &attributes);
    let question = 0x105;
    assert_eq!(
        only(&answer),
        Some(Report::Path {
            question,
            mtu: Some(1400),
            ifindex: 4
        })
    );
    assert_eq!(changes(&answer, PORT).count(), 0);
    let plain = route((0x105, PORT), &attributes[..1]);
    assert_eq!(
        only(&plain),
        Some(Report::Path {
            question,
            mtu: None,
            ifindex: 4
        })
    );
    // The same in a dump (1), and in the notification of a change by another socket.
    for number in [(1, PORT), (0x105, PORT + 1)] {
        let news = route(number, &attributes);
        assert_eq!(only(&news), None);
        assert_eq!(changes(&news, PORT).count(), 1);
    }
    let refused = message(NLMSG_ERROR, (0x105, PORT), &[0; 20]);
    assert_eq!(only(&refused), Some(Report::Nothing { question }));
    assert_eq!(changes(&refused, PORT).count(), 0);
    let dump = message(NLMSG_ERROR, (1, PORT), &[0; 20]);
    assert_eq!(changes(&dump, PORT).next(), Some(Change::DumpFailed));
}

#[test]
fn a_link_has_its_mtu_for_both_families_whoever_requested_it() {
    let mut rest = vec![0; IFINFOMSG_LEN];
    rest[4..8].copy_from_slice(&longs(&[9]));
    let mut writer = Writer::after(rest);
    writer.u32(IFLA_MTU, 1500);
    writer.plain_nest(IFLA_AF_SPEC, |families| {
        families.plain_nest(2, |_| ());
        families.plain_nest(10, |v6| {
            v6.put(IFLA_INET6_CONF, &longs(&[0, 64, 1400, 1]));
        });
    });
    let rest = writer.into_bytes();
    let link = Report::Link {
        ifindex: 9,
        mtu: 1500,
        mtu6: Some(1400),
    };
    for port in [PORT, 0] {
        let message = message(RTM_NEWLINK, (0x100, port), &rest);
        assert_eq!(only(&message), Some(link));
        let news = changes(&message, PORT).count();
        assert_eq!(
            news,
            usize::from(port != PORT),
            "the answer to our own request is not one"
        );
        for cut in 0..message.len() {
            let _ = reports(&message[..cut], PORT).count();
            let mut lying = message[..cut].to_vec();
            if let Some(length) = lying.first_chunk_mut() {
                *length = (cut as u32).to_ne_bytes();
            }
            let _ = reports(&lying, PORT).count();
        }
    }
}
