//! Batches over the loopback interface.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr, UdpSocket as Std};
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use super::*;
use crate::namespace::{enter, ip};

fn socket(bind: &str) -> UdpSocket {
    UdpSocket::adopt(Std::bind(bind).unwrap().into()).unwrap()
}

fn address(socket: &UdpSocket) -> SocketAddr {
    socket.local_addr().unwrap()
}

/// The loopback address of a wildcard socket, in the requested family.
fn at(ip: &str, socket: &UdpSocket) -> SocketAddr {
    SocketAddr::new(ip.parse().unwrap(), address(socket).port())
}

fn message(range: std::ops::Range<usize>, destination: SocketAddr) -> Message {
    Message {
        range,
        destination,
        local: None,
        segment: None,
        traffic_class: 0,
    }
}

/// Waits until something has arrived, with everything sent along with it: on a busy machine even loopback takes time.
fn await_arrival(socket: &UdpSocket) {
    let mut fds = [PollFd::new(socket, PollFlags::IN)];
    // On a busy machine it has taken more than a second.
    let at_most = Timespec {
        tv_sec: 30,
        tv_nsec: 0,
    };
    assert_eq!(poll(&mut fds, Some(&at_most)), Ok(1), "nothing arrived");
    sleep(Duration::from_millis(1));
}

/// Receives until there are `count` datagrams (segments), or until none has come for a long time.
fn collect(socket: &UdpSocket, inbox: &mut Inbox, count: usize) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for _ in 0..10_000 {
        let filled = inbox.receive(socket).unwrap();
        for index in 0..filled {
            let datagram = inbox.datagram(index).unwrap();
            assert!(!datagram.truncated);
            all.extend(datagram.into_segments().map(|bytes| bytes.to_vec()));
        }
        if all.len() >= count {
            break;
        }
        sleep(Duration::from_millis(1));
    }
    all
}

fn arena(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 7 / 3) as u8).collect()
}

#[test]
fn a_segmented_send_arrives_as_one_super_packet_with_gro_and_as_singles_without() {
    for (bind, ip) in [
        ("127.0.0.1:0", "127.0.0.1"),
        ("[::1]:0", "::1"),
        ("[::]:0", "127.0.0.1"),
        ("[::]:0", "::1"),
    ] {
        let (sender, receiver) = (socket(bind), socket(bind));
        assert!(sender.supports_gso() && receiver.supports_gro());
        let bytes = arena(10 * 1_200 + 500);
        let mut outbox = Outbox::new(4);
        let mut inbox = Inbox::new(16, 65_535);
        let segmented = Message {
            segment: Some(1_200),
            traffic_class: 0,
            ..message(0..bytes.len(), at(ip, &receiver))
        };

        assert!(outbox.push(segmented.clone()));
        assert_eq!(outbox.send(&sender, &bytes).sent, 1);
        let singles = collect(&receiver, &mut inbox, 11);
        let lengths: Vec<_> = singles.iter().map(Vec::len).collect();
        assert_eq!(lengths, [&[1_200; 10][..], &[500]].concat());
        assert_eq!(singles.concat(), bytes);

        receiver.enable_gro().unwrap();
        outbox.clear();
        assert!(outbox.push(segmented));
        assert_eq!(outbox.send(&sender, &bytes).sent, 1);
        await_arrival(&receiver);
        assert_eq!(inbox.receive(&receiver).unwrap(), 1);
        let datagram = inbox.datagram(0).unwrap();
        assert_eq!(datagram.segment, Some(1_200));
        assert_eq!(datagram.bytes, bytes);
        assert_eq!(datagram.source.ip(), ip.parse::<IpAddr>().unwrap());
        assert_eq!(datagram.mapped, bind == "[::]:0" && ip == "127.0.0.1");
        assert_eq!(datagram.into_segments().count(), 11);
        assert!(inbox.datagram(1).is_none());
    }
}

#[test]
fn the_local_address_is_reported_and_replied_from_in_every_family() {
    if !enter("udp::tests::the_local_address_is_reported_and_replied_from_in_every_family") {
        return;
    }
    ip("addr add fd00::5/128 dev lo nodad");
    for (server_bind, client_bind, ours) in [
        ("0.0.0.0:0", "127.0.0.1:0", "127.0.0.5"),
        ("[::]:0", "127.0.0.1:0", "127.0.0.5"),
        ("[::]:0", "[::1]:0", "fd00::5"),
        ("[::]:0", "[::]:0", "127.0.0.5"),
    ] {
        let (server, client) = (socket(server_bind), socket(client_bind));
        server.enable_packet_info().unwrap();
        let (mut outbox, mut inbox) = (Outbox::new(2), Inbox::new(2, 100));
        assert!(outbox.push(message(0..3, at(ours, &server))));
        assert_eq!(outbox.send(&client, b"abc").sent, 1);
        await_arrival(&server);
        assert_eq!(inbox.receive(&server).unwrap(), 1);
        let datagram = inbox.datagram(0).unwrap();
        let (local, source) = (datagram.local, datagram.source);
        assert_eq!(local, Some(ours.parse().unwrap()));
        assert_eq!(datagram.ifindex, 1);
        assert_eq!(datagram.mapped, server_bind == "[::]:0" && source.is_ipv4());

        outbox.clear();
        let answer = message(0..3, source);
        assert!(outbox.push(Message { local, ..answer }));
        assert_eq!(outbox.send(&server, b"def").sent, 1);
        await_arrival(&client);
        assert_eq!(inbox.receive(&client).unwrap(), 1);
        assert_eq!(inbox.datagram(0).unwrap().source, at(ours, &server));
    }
}

#[test]
fn a_local_address_that_is_gone_is_left_out() {
    for (bind, ip, gone) in [
        ("127.0.0.1:0", "127.0.0.1", "192.0.2.77"),
        ("[::]:0", "127.0.0.1", "192.0.2.77"),
        ("[::1]:0", "::1", "2001:db8::77"),
    ] {
        let (sender, receiver) = (socket(bind), socket(bind));
        let mut outbox = Outbox::new(3);
        let to = at(ip, &receiver);
        let gone = Some(gone.parse().unwrap());
        for (at, local) in [(0, None), (1, gone), (2, None)] {
            assert!(outbox.push(Message {
                local,
                ..message(at..at + 1, to)
            }));
        }
        assert_eq!(outbox.send(&sender, b"abc").sent, 3);
        let expected = [Outcome::Sent, Outcome::SentWithoutLocal, Outcome::Sent];
        assert_eq!(outbox.outcomes(), expected);
        let all = collect(&receiver, &mut Inbox::new(8, 10), 3);
        assert_eq!(all.concat(), b"abc");
    }
}

/// promises A9: half of the peers are unreachable, the others lose nothing.
#[test]
fn a_refusing_peer_costs_the_others_nothing() {
    let sender = socket("127.0.0.1:0");
    let on = socket_option::set_int(sender.as_fd(), libc::IPPROTO_IP, libc::IP_RECVERR, 1);
    on.unwrap();
    let healthy = socket("127.0.0.1:0");
    healthy.raise_receive_buffer(1 << 20).unwrap();
    let refusing = address(&socket("127.0.0.1:0"));
    let bytes = arena(32);
    let (mut outbox, mut inbox) = (Outbox::new(32), Inbox::new(64, 100));
    let mut arrived = 0;
    for _ in 0..100 {
        outbox.clear();
        for at in 0..32 {
            let to = if at % 2 == 0 {
                refusing
            } else {
                address(&healthy)
            };
            assert!(outbox.push(message(at..at + 1, to)));
        }
        assert!(outbox.is_full());
        assert!(!outbox.push(message(0..1, refusing)));
        assert_eq!(outbox.send(&sender, &bytes).not_sent, 0);
        let odd = outbox.outcomes().iter().skip(1).step_by(2);
        assert!(odd.into_iter().all(|outcome| outcome.is_sent()));
        arrived += collect(&healthy, &mut inbox, 16).len();
    }
    assert_eq!(arrived, 1_600);

    // Nor does a pending error hide datagrams in the receive queue.
    outbox.clear();
    assert!(outbox.push(message(0..4, address(&sender))));
    assert_eq!(outbox.send(&healthy, &bytes).sent, 1);
    outbox.clear();
    assert!(outbox.push(message(0..1, refusing)));
    outbox.send(&sender, &bytes);
    await_arrival(&sender);
    assert_eq!(inbox.receive(&sender).unwrap(), 1);
    assert!(sender.drain_errors() > 0);
    assert_eq!(sender.drain_errors(), 0);
    assert!(sender.take_error().is_none());
}

/// promises J4: a full send buffer stops the batch at the right message, and nothing is sent twice.
#[test]
fn a_batch_stops_when_the_send_buffer_is_full() {
    if !enter("udp::tests::a_batch_stops_when_the_send_buffer_is_full") {
        return;
    }
    let Ok(made) = crate::tun::create("full%d", 1) else {
        crate::namespace::skip("no TUN");
        return;
    };
    ip(&format!("addr add 10.9.0.1/24 dev {}", made.name));
    ip(&format!("link set {} up", made.name));
    let queue = crate::tun::Queue::adopt(made.queues.into_iter().next().unwrap()).unwrap();
    // Packets wait in a slow queue, where they count against the sender's buffer.
    let shape = |rate: &str| {
        let words = format!("qdisc replace dev {} root tbf {rate} limit 1m", made.name);
        let status = Command::new("tc").args(words.split_whitespace()).status();
        status.is_ok_and(|status| status.success())
    };
    if !shape("rate 8kbit burst 2k") {
        crate::namespace::skip("no tc with tbf");
        return;
    }
    let sender = socket("10.9.0.1:0");
    sockopt::set_socket_send_buffer_size(&sender, 10_000).unwrap();
    let mut outbox = Outbox::new(256);
    let bytes = arena(256);
    for at in 0..256 {
        assert!(outbox.push(message(at..at + 1, "10.9.0.2:9".parse().unwrap())));
    }
    let sum = outbox.send(&sender, &bytes);
    assert!(
        sum.sent > 1 && sum.not_sent > 1 && sum.failed == 0,
        "{sum:?}"
    );
    assert_eq!(sum.sent + sum.not_sent, 256);
    let expected: Vec<_> = (0..256).map(|at| at < sum.sent).collect();
    let got: Vec<_> = outbox.outcomes().iter().map(|o| o.is_sent()).collect();
    assert_eq!(got, expected);

    assert!(shape("rate 1gbit burst 100k"));
    let mut packet = [0; 2_000];
    let mut read = Vec::new();
    for _ in 0..500 {
        while let Ok(len) = queue.read(&mut packet) {
            // IPv4, UDP and one byte of ours, after the virtio header.
            if len == crate::tun::VNET_HEADER_LEN + 29 {
                read.push(packet[len - 1]);
            }
        }
        if read.len() >= sum.sent {
            break;
        }
        sleep(Duration::from_millis(2));
    }
    assert_eq!(read, bytes[..sum.sent]);
    assert!(outbox.send(&sender, &bytes).sent > 0);
}

#[test]
fn segments_larger_than_the_mtu_are_refused_and_go_singly() {
    if !enter("udp::tests::segments_larger_than_the_mtu_are_refused_and_go_singly") {
        return;
    }
    ip("link set lo mtu 1500");
    let (sender, receiver) = (socket("[::]:0"), socket("[::]:0"));
    for ip in ["127.0.0.1", "::1"] {
        let bytes = arena(4_500);
        let mut outbox = Outbox::new(3);
        let to = at(ip, &receiver);
        let gone = if ip == "::1" {
            "2001:db8::1"
        } else {
            "192.0.2.9"
        };
        assert!(outbox.push(message(0..1, to)));
        assert!(outbox.push(Message {
            segment: Some(2_000),
            traffic_class: 0,
            local: Some(gone.parse().unwrap()),
            ..message(0..4_500, to)
        }));
        assert!(outbox.push(message(1..2, to)));
        let sum = outbox.send(&sender, &bytes);
        assert_eq!((sum.sent, sum.failed), (2, 1));
        assert!(outbox.outcomes()[1].refuses_segments());
        assert_eq!(outbox.send_singly(&sender, &bytes, 1), 3);
        assert_eq!(outbox.outcomes()[1], Outcome::SentWithoutLocal);
        let all = collect(&receiver, &mut Inbox::new(8, 9_000), 5);
        let lengths: Vec<_> = all.iter().map(Vec::len).collect();
        assert_eq!(lengths, [1, 1, 2_000, 2_000, 500]);
        assert_eq!(all[2..].concat(), bytes);
    }
}

#[test]
fn only_the_bad_message_fails() {
    let (sender, receiver) = (socket("127.0.0.1:0"), socket("127.0.0.1:0"));
    let mut outbox = Outbox::new(8);
    let to = address(&receiver);
    let v6 = "[::1]:9".parse().unwrap();
    for bad in [
        message(0..70_000, to),
        message(70_000..70_001, to),
        message(0..66_000, to),
        message(0..1, v6),
    ] {
        assert!(outbox.push(message(0..1, to)));
        assert!(outbox.push(bad));
    }
    let bytes = arena(66_000);
    let sum = outbox.send(&sender, &bytes);
    assert_eq!((sum.sent, sum.failed, sum.not_sent), (4, 4, 0));
    let failed: Vec<_> = outbox.outcomes().iter().skip(1).step_by(2).collect();
    assert_eq!(
        failed,
        [
            libc::EFAULT,
            libc::EFAULT,
            libc::EMSGSIZE,
            libc::EAFNOSUPPORT
        ]
        .map(Outcome::Failed)
        .iter()
        .collect::<Vec<_>>()
    );
    assert_eq!(collect(&receiver, &mut Inbox::new(8, 10), 4).len(), 4);
}

/// promises A4: a datagram longer than its slot is truncated, flagged, and touches no other slot.
#[test]
fn long_and_empty_datagrams_stay_in_their_slots() {
    let (sender, receiver) = (socket("127.0.0.1:0"), socket("127.0.0.1:0"));
    let mut outbox = Outbox::new(4);
    let bytes = arena(65_507);
    let lengths = [5, 65_507, 0, 100];
    for length in lengths {
        assert!(outbox.push(message(0..length, address(&receiver))));
    }
    assert_eq!(outbox.send(&sender, &bytes).sent, 4);
    let mut inbox = Inbox::new(4, 100);
    await_arrival(&receiver);
    assert_eq!(inbox.receive(&receiver).unwrap(), 4);
    for (index, length) in lengths.into_iter().enumerate() {
        let datagram = inbox.datagram(index).unwrap();
        assert_eq!(datagram.bytes, &bytes[..length.min(100)]);
        assert_eq!(datagram.truncated, length > 100);
        assert_eq!(datagram.segment, None);
        assert_eq!(datagram.local, None);
        assert_eq!(datagram.into_segments().count(), usize::from(length > 0));
    }
    assert_eq!(inbox.receive(&receiver).unwrap(), 0);
    assert!(inbox.datagram(0).is_none());
}

#[test]
fn several_peers_in_one_batch_keep_their_order() {
    let sender = socket("[::]:0");
    let receivers = [socket("127.0.0.1:0"), socket("[::1]:0"), socket("[::]:0")];
    let targets = [
        at("127.0.0.1", &receivers[0]),
        at("::1", &receivers[1]),
        at("127.0.0.1", &receivers[2]),
    ];
    let bytes = arena(300);
    let mut outbox = Outbox::new(300);
    let mut expected: HashMap<usize, Vec<u8>> = HashMap::new();
    for at in 0..300 {
        assert!(outbox.push(message(at..at + 1, targets[at % 3])));
        expected.entry(at % 3).or_default().push(bytes[at]);
    }
    assert_eq!(outbox.send(&sender, &bytes).sent, 300);
    for (index, receiver) in receivers.iter().enumerate() {
        let got = collect(receiver, &mut Inbox::new(128, 10), 100);
        assert_eq!(got.concat(), expected[&index]);
    }
}

#[test]
fn buffers_are_raised_and_never_lowered() {
    let socket = socket("127.0.0.1:0");
    let before = socket.raise_receive_buffer(1).unwrap();
    assert!(socket.raise_receive_buffer(before).unwrap() >= before);
    assert!(socket.raise_receive_buffer(1).unwrap() >= before);
    let before = socket.raise_send_buffer(1).unwrap();
    assert!(socket.raise_send_buffer(before).unwrap() >= before);
    assert!(socket.raise_send_buffer(1).unwrap() >= before);
}

/// promises A4: every possible length, whole and truncated, singly and in segments.
#[test]
fn every_length_arrives_or_is_reported_truncated() {
    let (sender, receiver) = (socket("127.0.0.1:0"), socket("127.0.0.1:0"));
    receiver.raise_receive_buffer(1 << 22).unwrap();
    receiver.enable_gro().unwrap();
    let bytes = arena(65_507);
    let (mut whole, mut short) = (Inbox::new(2, 65_535), Inbox::new(2, 1_500));
    let mut outbox = Outbox::new(2);
    for length in (1..=65_507)
        .step_by(97)
        .chain([1, 2, 1_499, 1_500, 1_501, 65_507])
    {
        // At most MAX_SEGMENTS segments, of all sizes, including an odd last one.
        let size = (length / (1 + length % (MAX_SEGMENTS - 1))).max(1);
        for segment in [None, u16::try_from(size).ok()] {
            for (inbox, slot) in [(&mut whole, 65_535), (&mut short, 1_500)] {
                outbox.clear();
                assert!(outbox.push(Message {
                    segment,
                    ..message(0..length, address(&receiver))
                }));
                assert_eq!(
                    outbox.send(&sender, &bytes).sent,
                    1,
                    "{length} by {segment:?}"
                );
                await_arrival(&receiver);
                let mut at = 0;
                while inbox.receive(&receiver).unwrap() > 0 {
                    let mut index = 0;
                    while let Some(datagram) = inbox.datagram(index) {
                        index += 1;
                        let got = datagram.bytes.len();
                        assert!(got <= slot);
                        assert_eq!(
                            datagram.truncated,
                            slot < length && got == slot && at + got < length
                        );
                        assert!(
                            datagram
                                .segment
                                .is_none_or(|size| (1..=got).contains(&size))
                        );
                        assert_eq!(datagram.bytes, &bytes[at..at + got]);
                        at += got;
                    }
                }
                assert!(at == length || slot < length);
            }
        }
    }
}
