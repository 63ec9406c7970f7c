use super::*;

const EVERYTHING: Wanted = Wanted {
    inner: true,
    outer: true,
    drops: true,
};

fn capture(wanted: Wanted, peer: Option<u16>, snap: usize) -> Arc<Capture> {
    let peer = peer.map(PeerId::from);
    Arc::new(Capture::new(Filter { wanted, peer, snap }))
}

fn inner(peer: u16, bytes: &[u8]) -> Seen<'_> {
    Seen::inner(Way::InnerOut, Some(PeerId::from(peer)), bytes)
}

/// What lies in the buffers: peers, reasons, lengths and bytes.
fn taken(capture: &Capture) -> Vec<(Option<u32>, Option<u16>, u32, usize)> {
    let (mut lane, mut packets) = (0, Vec::new());
    let mut buffer = Vec::with_capacity(LANE);
    while capture.swap(&mut lane, &mut buffer) {
        let mut rest = &buffer[..];
        while let Ok((run, next)) = Captured::decode(rest) {
            let packet = |it: Captured<'_>| (it.peer, it.dropped, it.length, it.bytes.len());
            packets.extend(run.packets().map(packet));
            rest = next;
        }
        assert!(rest.is_empty());
        buffer = Vec::with_capacity(LANE);
    }
    packets
}

#[test]
fn a_tap_has_one_capture_at_a_time_and_none_costs_nothing() {
    let tap = Tap::new();
    let mut recorder = Recorder::new(0);
    recorder.begin(&tap, Moment::default());
    assert!(!recorder.is_on());
    recorder.passed(|| unreachable!("nobody looks"));
    let capture = capture(EVERYTHING, None, 100);
    assert!(tap.attach(&capture));
    assert!(!tap.attach(&capture));
    recorder.begin(&tap, Moment::from_nanos(5));
    recorder.passed(|| inner(1, b"packet"));
    recorder.end();
    tap.close();
    assert!(capture.is_over());
    tap.detach();
    recorder.begin(&tap, Moment::default());
    assert!(!recorder.is_on());
    assert!(tap.attach(&capture), "again");
    assert_eq!(taken(&capture), [(Some(1), None, 6, 6)]);
    assert_eq!(taken(&capture), []);
}

#[test]
fn only_what_is_wanted_is_taken_and_no_more_of_it() {
    let drops = Wanted {
        drops: true,
        ..Wanted::default()
    };
    let (all, drops) = (capture(EVERYTHING, Some(2), 4), capture(drops, None, 4));
    let reason = DropReason::TxNoKey;
    for capture in [&all, &drops] {
        let recorder = Recorder {
            capture: Some(Arc::clone(capture)),
            ..Recorder::new(3)
        };
        recorder.passed(|| inner(1, b"of another"));
        recorder.passed(|| inner(2, b"of this"));
        recorder.dropped(reason, || inner(2, b"a drop"));
        recorder.dropped(reason, || Seen::inner(Way::InnerOut, None, b"nobody's"));
    }
    let dropped = Some(reason as u16);
    assert_eq!(
        taken(&all),
        [(Some(2), None, 7, 4), (Some(2), dropped, 6, 4)]
    );
    assert_eq!(
        taken(&drops),
        [(Some(2), dropped, 6, 4), (None, dropped, 8, 4)]
    );
    assert_eq!(
        DropReason::ALL[usize::from(reason as u16)],
        reason,
        "its number is its place"
    );
}

#[test]
fn what_finds_no_room_is_counted_and_nothing_grows() {
    let capture = capture(EVERYTHING, None, usize::MAX);
    let recorder = Recorder {
        capture: Some(Arc::clone(&capture)),
        ..Recorder::new(5)
    };
    let packet = vec![7; 60_000];
    let fit = LANES * (LANE / (60_000 + HEADER));
    for _ in 0..fit + 10 {
        recorder.passed(|| inner(1, &packet));
    }
    assert_eq!(capture.lost(), 10);
    for lane in &capture.lanes {
        assert_eq!(lane.lock().unwrap().capacity(), LANE);
    }
    assert_eq!(taken(&capture).len(), fit);
    recorder.passed(|| inner(1, &packet));
    assert_eq!((capture.lost(), taken(&capture).len()), (10, 1));
}

#[test]
fn a_run_is_as_many_packets_each_cut_by_itself() {
    let bytes: Vec<u8> = (0..=u8::MAX).cycle().take(2 * 12 + 7).collect();
    let seen = Seen::outer(Way::OuterOut, Some(PeerId::from(1u16)), None, &bytes);
    let lengths = |snap: usize, before: usize| {
        let capture = capture(EVERYTHING, None, snap);
        let recorder = Recorder {
            capture: Some(Arc::clone(&capture)),
            ..Recorder::new(0)
        };
        recorder.run(&seen.run(12 - before, before), None);
        recorder.run(&seen.run(12 - before, before), Some(DropReason::TxNoKey));
        let (mut buffer, mut packets) = (Vec::new(), Vec::new());
        assert!(capture.swap(&mut 0, &mut buffer));
        let (run, rest) = Captured::decode(&buffer).unwrap();
        let (dropped, _) = Captured::decode(rest).unwrap();
        assert_eq!(dropped.dropped, Some(DropReason::TxNoKey as u16));
        assert_eq!((run.dropped, run.bytes), (None, dropped.bytes));
        for (packet, whole) in run.packets().zip(bytes.chunks(12)) {
            assert!(whole[before..].starts_with(packet.bytes));
            packets.push((packet.length, packet.bytes.len()));
        }
        packets
    };
    assert_eq!(lengths(99, 0), [(12, 12), (12, 12), (7, 7)]);
    assert_eq!(lengths(12, 0), [(12, 12), (12, 12), (7, 7)]);
    assert_eq!(lengths(10, 0), [(12, 10), (12, 10), (7, 7)]);
    assert_eq!(lengths(3, 0), [(12, 3), (12, 3), (7, 3)]);
    assert_eq!(lengths(99, 2), [(10, 10), (10, 10), (5, 5)]);
    assert_eq!(lengths(4, 2), [(10, 4), (10, 4), (5, 4)]);
}

#[test]
fn a_run_longer_than_a_message_is_several_and_what_is_lost_of_it_is_counted() {
    let bytes = vec![7; 200_000];
    let capture = capture(EVERYTHING, None, 65_535);
    let recorder = Recorder {
        capture: Some(Arc::clone(&capture)),
        ..Recorder::new(0)
    };
    let seen = Seen::outer(Way::OuterIn, None, None, &bytes);
    recorder.run(&seen.run(1400, 0), None);
    let taken = taken(&capture);
    assert_eq!(taken.len(), 200_000_usize.div_ceil(1400));
    assert_eq!(taken.iter().map(|packet| packet.3).sum::<usize>(), 200_000);
    let held: Vec<_> = capture.lanes.iter().map(|it| it.lock().unwrap()).collect();
    recorder.run(&seen.run(1400, 0), None);
    assert_eq!(capture.lost(), taken.len() as u64);
    drop(held);
}

#[test]
fn what_is_seen_at_one_time_stays_in_order() {
    let tap = Tap::new();
    let capture = capture(EVERYTHING, None, 65_535);
    assert!(tap.attach(&capture));
    let mut recorder = Recorder::new(2);
    let long = vec![7; 60_000];
    let lens: Vec<_> = (0..40)
        .map(|nth| if nth % 3 == 0 { 60_000 } else { 10 })
        .collect();
    // A batch of the same time goes on where the last one was; a later one need not.
    for batch in lens.chunks(7) {
        recorder.begin(&tap, Moment::from_nanos(5));
        for len in batch {
            recorder.passed(|| inner(1, &long[..*len]));
        }
        recorder.end();
    }
    let seen: Vec<_> = taken(&capture).iter().map(|packet| packet.3).collect();
    assert_eq!(seen, lens);
    recorder.begin(&tap, Moment::from_nanos(6));
    recorder.passed(|| inner(1, b"later"));
    assert_eq!(capture.lanes[2].lock().unwrap().len(), HEADER + 5);
}

#[test]
fn a_capture_of_no_bytes_is_one_of_a_byte_each() {
    let capture = capture(EVERYTHING, None, 0);
    let recorder = Recorder {
        capture: Some(Arc::clone(&capture)),
        ..Recorder::new(0)
    };
    let seen = Seen::outer(Way::OuterIn, None, None, b"aabbc");
    recorder.run(&seen.run(2, 0), None);
    let packets = [(None, None, 2, 1), (None, None, 2, 1), (None, None, 1, 1)];
    assert_eq!(taken(&capture), packets);
}

#[test]
fn a_packet_in_pieces_is_one() {
    let all = capture(EVERYTHING, None, 65_535);
    let headers = capture(EVERYTHING, None, 4);
    for capture in [&all, &headers] {
        let recorder = Recorder {
            capture: Some(Arc::clone(capture)),
            ..Recorder::new(0)
        };
        let seen = Seen {
            length: 10,
            ..inner(1, b"")
        };
        let pieces = [&b"abc"[..], b"", b"def", b"ghij"];
        recorder.passed_in_pieces(&seen, pieces.into_iter());
    }
    assert_eq!(taken(&headers), [(Some(1), None, 10, 4)]);
    let mut buffer = Vec::new();
    assert!(all.swap(&mut 0, &mut buffer));
    let (packet, _) = Captured::decode(&buffer).unwrap();
    assert_eq!((packet.length, packet.bytes), (10, &b"abcdefghij"[..]));
}

#[test]
fn a_buffer_that_another_has_is_passed_over() {
    let capture = capture(EVERYTHING, None, 100);
    let recorder = Recorder {
        capture: Some(Arc::clone(&capture)),
        ..Recorder::new(1)
    };
    let held = capture.lanes[1].lock().unwrap();
    recorder.passed(|| inner(1, b"packet"));
    assert_eq!((taken(&capture).len(), capture.lost()), (1, 0));
    drop(held);
    let held: Vec<_> = capture.lanes.iter().map(|it| it.lock().unwrap()).collect();
    recorder.passed(|| inner(1, b"packet"));
    assert_eq!(capture.lost(), 1);
    drop(held);
}
