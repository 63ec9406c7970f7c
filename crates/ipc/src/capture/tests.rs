use super::*;

fn outer() -> Captured<'static> {
    Captured {
        at: 7_000_000_001,
        way: Way::OuterIn,
        peer: Some(0xff_fffe),
        ends: Some(Ends {
            local: "192.0.2.1:1194".parse().unwrap(),
            remote: "[2001:db8::1]:5000".parse().unwrap(),
            is_stream: true,
        }),
        dropped: Some(7),
        length: 1400,
        last_length: 1400,
        each: 15,
        bytes: b"as much as fits",
    }
}

fn inner() -> Captured<'static> {
    Captured {
        way: Way::InnerOut,
        peer: None,
        ends: None,
        dropped: None,
        each: 0,
        bytes: b"",
        ..outer()
    }
}

fn encoded(packets: &[Captured<'_>]) -> Vec<u8> {
    let mut block = Vec::new();
    for packet in packets {
        block.extend_from_slice(&packet.header(packet.bytes.len() as u32));
        block.extend_from_slice(packet.bytes);
    }
    block
}

#[test]
fn packets_are_read_as_they_were_written() {
    let block = encoded(&[outer(), inner(), outer()]);
    assert_eq!(block.len(), 3 * HEADER + 2 * outer().bytes.len());
    let (first, rest) = Captured::decode(&block).unwrap();
    let (second, rest) = Captured::decode(rest).unwrap();
    let len = HEADER + outer().bytes.len();
    assert_eq!(Captured::peek(rest), Ok((len, outer().at)));
    let (third, rest) = Captured::decode(rest).unwrap();
    assert_eq!((first, second, third), (outer(), inner(), outer()));
    assert_eq!(Captured::decode(rest), Err(Malformed));
    for way in [Way::InnerOut, Way::InnerIn, Way::OuterOut, Way::OuterIn] {
        let packet = Captured { way, ..inner() };
        assert_eq!(Captured::decode(&encoded(&[packet])).unwrap().0, packet);
    }
}

#[test]
fn a_run_is_as_many_packets() {
    let run = |captured: &'static [u8], last_length, each| Captured {
        length: 10,
        last_length,
        each,
        bytes: captured,
        ..outer()
    };
    let packets = |run: Captured<'_>| -> Vec<_> {
        assert!(
            run.packets()
                .all(|it| (it.at, it.ends) == (run.at, run.ends))
        );
        let packet = |it: Captured<'_>| (it.length, it.bytes.to_vec());
        run.packets().map(packet).collect()
    };
    let [first, second, short] = [b"abc".to_vec(), b"def".to_vec(), b"g".to_vec()];
    let whole = run(b"abcdefg", 1, 3);
    assert_eq!(
        packets(whole),
        [(10, first.clone()), (10, second.clone()), (1, short)]
    );
    assert_eq!(
        packets(run(b"abcdef", 10, 3)),
        [(10, first.clone()), (10, second)]
    );
    assert_eq!(packets(run(b"abc", 10, 3)), [(10, first)]);
    assert_eq!(packets(run(b"", 10, 0)), [(10, vec![])]);
    for packet in whole.packets() {
        assert_eq!(packet.packets().collect::<Vec<_>>(), [packet]);
    }
    // Whatever the numbers are, there is an end.
    for each in [0, 1, 7, 8, u32::MAX] {
        assert!(packets(run(b"abcdefg", 0, each)).len() <= 7);
    }
}

#[test]
fn a_cut_packet_is_no_packet() {
    let block = encoded(&[outer()]);
    for cut in 0..block.len() {
        assert!(Captured::decode(&block[..cut]).is_err());
        assert!(Captured::peek(&block[..cut]).is_err());
    }
}

#[test]
fn a_message_names_blocks_of_the_file_and_nothing_else() {
    let filled = |block: usize, len: usize| Filled {
        block: block as u32,
        len: len as u32,
    };
    let message = |blocks: &[Filled]| {
        let mut message = Batch { now: 9, lost: 3 }.encode().to_vec();
        message.extend(blocks.iter().flat_map(|filled| filled.encode()));
        message
    };
    let blocks = [filled(0, 1), filled(BLOCKS - 1, BLOCK), filled(3, 0)];
    let bytes = message(&blocks);
    assert!(bytes.len() <= MAX_BATCH);
    let (batch, rest) = Batch::decode(&bytes).unwrap();
    assert_eq!(batch, Batch { now: 9, lost: 3 });
    let decoded = |rest: &[u8]| Filled::decode_all(rest).collect::<Vec<_>>();
    assert_eq!(decoded(rest), blocks.map(Ok));
    assert_eq!(decoded(&[]), []);
    // No block; too much for one; less than an entry.
    for wrong in [filled(BLOCKS, 1), filled(1, BLOCK + 1)] {
        let bytes = message(&[filled(1, 1), wrong, filled(2, 2)]);
        let expected = [Ok(filled(1, 1)), Err(Malformed)];
        assert_eq!(decoded(&bytes[Batch::LEN..]), expected);
    }
    assert_eq!(decoded(&rest[..11]), [Ok(blocks[0]), Err(Malformed)]);
    for cut in 0..Batch::LEN {
        assert_eq!(Batch::decode(&bytes[..cut]), Err(Malformed));
    }
}

#[test]
fn wanted_packets_are_encoded_as_bits() {
    for bits in 0..8 {
        assert_eq!(Wanted::of_wire(bits).to_wire(), bits);
    }
}
