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
    let mut message = Batch { now: 9, lost: 3 }.encode().to_vec();
    for packet in packets {
        message.extend_from_slice(&packet.header(packet.bytes.len() as u32));
        message.extend_from_slice(packet.bytes);
    }
    message
}

#[test]
fn packets_are_read_as_they_were_written() {
    let message = encoded(&[outer(), inner(), outer()]);
    let (batch, packets) = Batch::decode(&message).unwrap();
    assert_eq!(batch, Batch { now: 9, lost: 3 });
    assert_eq!(
        message.len(),
        Batch::LEN + 3 * HEADER + 2 * outer().bytes.len()
    );
    let (first, rest) = Captured::decode(packets).unwrap();
    let (second, rest) = Captured::decode(rest).unwrap();
    let len = HEADER + outer().bytes.len();
    assert_eq!(Captured::peek(rest), Ok((len, outer().at)));
    let (third, rest) = Captured::decode(rest).unwrap();
    assert_eq!((first, second, third), (outer(), inner(), outer()));
    assert_eq!(Captured::decode(rest), Err(Malformed));
    for way in [Way::InnerOut, Way::InnerIn, Way::OuterOut, Way::OuterIn] {
        let packet = Captured { way, ..inner() };
        let message = encoded(&[packet]);
        assert_eq!(Captured::decode(&message[Batch::LEN..]).unwrap().0, packet);
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
    let message = encoded(&[outer()]);
    for cut in 0..message.len() {
        let packets = Batch::decode(&message[..cut]).map(|(_, packets)| packets);
        assert!(packets.is_err() || Captured::decode(packets.unwrap()).is_err());
        assert!(packets.is_err() || Captured::peek(packets.unwrap()).is_err());
    }
}

#[test]
fn wanted_packets_are_encoded_as_bits() {
    for bits in 0..8 {
        assert_eq!(Wanted::of_wire(bits).to_wire(), bits);
    }
}
