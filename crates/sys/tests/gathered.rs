//! Messages whose bytes lie in several ranges of the arena.

use std::net::{SocketAddr, UdpSocket as Std};
use std::ops::Range;
use std::slice;
use std::time::Duration;

use udco_sys::udp::{MAX_SEGMENTS, Message, Outbox, Outcome, UdpSocket};

/// Sender and receiver.
fn sockets() -> (UdpSocket, Std) {
    let receiver = Std::bind("127.0.0.1:0").unwrap();
    receiver
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    let sender = Std::bind("127.0.0.1:0").unwrap();
    (UdpSocket::adopt(sender.into()).unwrap(), receiver)
}

fn arena() -> Vec<u8> {
    (0..60_000_u32).map(|at| (at * 7 / 3) as u8).collect()
}

fn push(
    outbox: &mut Outbox,
    destination: SocketAddr,
    segment: Option<u16>,
    ranges: &[Range<usize>],
) {
    let (first, more) = ranges.split_first().unwrap();
    assert!(outbox.push(Message {
        range: first.clone(),
        destination,
        local: None,
        segment,
        traffic_class: 0,
    }));
    for range in more {
        assert!(outbox.extend(range.clone()));
    }
}

/// Checks that these datagrams arrive, in this order.
fn arrive(receiver: &Std, arena: &[u8], datagrams: &[Range<usize>]) {
    let mut buffer = [0; 65_536];
    for datagram in datagrams {
        let len = receiver.recv(&mut buffer).unwrap();
        assert!(buffer[..len] == arena[datagram.clone()], "{datagram:?}");
    }
}

#[test]
fn messages_are_gathered_from_their_ranges() {
    let ((sender, receiver), arena) = (sockets(), arena());
    let to = receiver.local_addr().unwrap();
    let mut outbox = Outbox::new(8);
    push(
        &mut outbox,
        to,
        Some(1_000),
        &[0..2_000, 5_000..6_000, 9_000..9_100],
    );
    let second = 20_000..20_100;
    push(&mut outbox, to, None, slice::from_ref(&second));
    push(&mut outbox, to, Some(100), &[300..400, 200..300]);
    assert_eq!(outbox.send(&sender, &arena).sent, 3);
    assert_eq!(outbox.outcomes(), [Outcome::Sent; 3]);
    let first = [0..1_000, 1_000..2_000, 5_000..6_000, 9_000..9_100];
    let third = [300..400, 200..300];
    let all = [&first[..], &[second], &third[..]].concat();
    arrive(&receiver, &arena, &all);

    assert_eq!(outbox.pieces(0).count(), 3);
    assert_eq!(outbox.send_singly(&sender, &arena, 0), 4);
    arrive(&receiver, &arena, &first);
    assert_eq!(outbox.send_singly(&sender, &arena, 2), 2);
    arrive(&receiver, &arena, &third);
    // Which leaves the messages as they are.
    assert_eq!(outbox.send(&sender, &arena).sent, 3);
    arrive(&receiver, &arena, &all);

    outbox.clear();
    assert!(!outbox.extend(0..1), "there is no message");
    assert_eq!(outbox.pieces(0).count(), 0);
}

#[test]
fn the_longest_message_has_a_range_for_each_segment() {
    let ((sender, receiver), arena) = (sockets(), arena());
    let to = receiver.local_addr().unwrap();
    let ranges: Vec<_> = (0..MAX_SEGMENTS)
        .rev()
        .map(|at| at * 900..at * 900 + 800)
        .collect();
    let mut outbox = Outbox::new(MAX_SEGMENTS);
    push(&mut outbox, to, Some(800), &ranges);
    assert_eq!(outbox.send(&sender, &arena).sent, 1);
    arrive(&receiver, &arena, &ranges);
}

#[test]
fn a_range_beyond_the_arena_fails_its_message_alone() {
    let ((sender, receiver), arena) = (sockets(), arena());
    let to = receiver.local_addr().unwrap();
    let end = arena.len();
    let backwards = Range { start: 10, end: 0 };
    let mut outbox = Outbox::new(8);
    push(&mut outbox, to, Some(10), &[0..10, 10..20]);
    push(
        &mut outbox,
        to,
        Some(10),
        &[0..10, end - 5..end + 5, 30..40],
    );
    push(&mut outbox, to, Some(10), &[0..10, backwards]);
    push(&mut outbox, to, Some(10), &[40..50, 50..60]);
    let sum = outbox.send(&sender, &arena);
    assert_eq!((sum.sent, sum.failed), (2, 2));
    assert_eq!(outbox.outcomes()[1], Outcome::Failed(libc::EFAULT));
    arrive(&receiver, &arena, &[0..10, 10..20, 40..50, 50..60]);
}
