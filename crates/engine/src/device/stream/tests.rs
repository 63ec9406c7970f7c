//! The writer over a real connection whose other end reads when a test wants it to.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;

use udco_core::framing::prefix;
use udco_sys::seqpacket::Connection;
use udco_sys::tcp;

use super::writer::CONTROL_ROOM;
use super::*;

/// A stream, the other end of its connection, and OpenVPN's end of its relay.
fn stream() -> (Stream, TcpStream, Connection) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let far = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let near = tcp::Stream::adopt(listener.accept().unwrap().0.into()).unwrap();
    let (ours, openvpns) = Connection::pair().unwrap();
    (Stream::new(near, ours, Partial::Nothing), far, openvpns)
}

/// Packets of these lengths, each filled with its number.
fn packets(lens: impl IntoIterator<Item = usize>) -> Vec<u8> {
    let numbered = lens.into_iter().zip(1_u8..);
    numbered
        .flat_map(|(len, number)| {
            let filled = std::iter::repeat_n(number, len);
            prefix(len).unwrap().into_iter().chain(filled)
        })
        .collect()
}

/// Every packet that arrives is whole, whatever did not find room, and control packets always find it (promises F3, F4).
#[test]
fn a_full_stream_drops_whole_packets_and_never_control() {
    let (stream, mut far, openvpn) = stream();
    let batch = packets([1_400, 90, 700, 1_400, 24]);
    let control = packets([33]);
    let mut scratch = control_scratch();
    let (mut dropped, mut written) = (0, 0);
    for round in 0..20_000 {
        dropped += stream.write(&batch).dropped;
        written += 5;
        if round % 5_000 == 0 {
            openvpn.send(&control, &[]).unwrap();
            stream.take_control(&mut scratch).unwrap();
        }
    }
    assert!(dropped > 0);
    assert!(lock(&stream.writer).waiting_bytes() <= CONTROL_ROOM);
    let reader = std::thread::spawn(move || {
        let mut all = Vec::new();
        far.read_to_end(&mut all).unwrap();
        all
    });
    while !lock(&stream.writer).is_flushed() {
        stream.go_on().unwrap();
        // One that found the room for control taken by others has waited in the relay.
        stream.take_control(&mut scratch).unwrap();
        std::thread::yield_now();
    }
    drop(stream);
    let mut all = reader.join().unwrap();
    let mut frames = udco_core::framing::Frames::of(&mut all);
    let (mut arrived, mut controls) = (0, 0);
    for frame in &mut frames {
        let packet = frame.unwrap().packet();
        assert!(packet.iter().all(|byte| *byte == packet[0]));
        match packet.len() {
            33 => controls += 1,
            _ => arrived += 1,
        }
    }
    assert_eq!(frames.unparsed(), 0);
    assert_eq!((arrived + dropped, controls), (written, 4));
}

/// Whatever OpenVPN has set: what has come together leaves in one call, so nothing is gained by waiting for more.
#[test]
fn a_segment_that_is_not_full_does_not_wait() {
    let (stream, _far, _openvpn) = stream();
    let socket: TcpStream = stream.socket.as_fd().try_clone_to_owned().unwrap().into();
    assert!(socket.nodelay().unwrap());
}

/// promises F3: a reader that never takes everything costs no more than one that takes nothing.
#[test]
fn a_slow_reader_is_waited_for_in_bounded_memory() {
    let (stream, mut far, _openvpn) = stream();
    let batch = packets([1_400; 20]);
    let mut piece = vec![0; 64 << 10];
    let mut taken = 0;
    while taken < 64 << 20 {
        stream.write(&batch);
        if stream.write(&batch).dropped > 0 {
            taken += far.read(&mut piece).unwrap();
        }
    }
    assert!(lock(&stream.writer).pending.capacity() <= CONTROL_ROOM);
}

/// promises F3: the limit is that of all that waits, and a packet that was sent in part is finished.
#[test]
fn what_is_taken_ends_with_a_packet() {
    let batch = packets([10, 20, 30]);
    // 12, 34 and 66 bytes with lengths.
    let table = [
        ((0, 0), 0),
        ((0, 11), 0),
        ((0, 12), 12),
        ((0, 65), 34),
        ((0, 66), 66),
        ((1, 0), 12),
        ((13, 0), 34),
        ((12, 0), 12),
        ((12, 21), 12),
        ((12, 22), 34),
        ((65, 0), 66),
        ((66, 0), 66),
    ];
    for ((sent, room), expected) in table {
        assert_eq!(taken(&batch, sent, room), expected, "{sent} {room}");
    }
}

/// OpenVPN gets the rest of the packet that it has read in part (openvpn-integration 3.13).
#[test]
fn a_partial_packet_is_finished_by_openvpn() {
    let rests: [(Partial, &[u8]); 4] = [
        (Partial::Nothing, b""),
        (Partial::Length(0), b"\x03abc"),
        (Partial::Packet(3), b"abc"),
        (Partial::Packet(1), b"c"),
    ];
    for (partial, rest) in rests {
        let stream = [rest, b"\x00\x02xy"].concat();
        for cut in 0..stream.len() {
            let mut reader = Reader {
                kept: Vec::new(),
                partial,
                is_desynced: false,
            };
            let (first, second) = stream.split_at(cut);
            let remainder = reader.take_remainder(first);
            let remainder = remainder + reader.take_remainder(second);
            assert_eq!(remainder, rest.len(), "{partial:?} cut at {cut}");
        }
    }
}

/// In a desynced stream no packet boundary is known: everything up to its end is discarded.
#[test]
fn a_desynced_stream_is_not_read_any_more() {
    let (stream, mut far, openvpn) = stream();
    let mut buffer = vec![0; 70_000];
    stream.desync();
    let mut scratch = control_scratch();
    let relayed = openvpn.receive(&mut scratch).unwrap().len;
    assert_eq!(scratch[..relayed], [STREAM_ERROR[0], STREAM_ERROR[1], 22]);
    far.write_all(&packets([1_000; 200])).unwrap();
    assert_eq!(stream.receive(&mut buffer), Progress::Nothing);
    drop(far);
    let ends = (0..10_000).any(|_| {
        assert_eq!(stream.receive(&mut buffer), Progress::Nothing);
        std::thread::sleep(std::time::Duration::from_millis(1));
        openvpn.receive(&mut scratch).is_ok()
    });
    assert!(ends, "OpenVPN sees the end");
}
