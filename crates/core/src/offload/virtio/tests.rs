use super::*;
use crate::offload::tests::Build;

fn header_for(build: &Build, gso_type: u8) -> Header {
    Header {
        flags: NEEDS_CSUM,
        gso_type,
        hdr_len: build.headers() as u16,
        gso_size: 100,
        csum_start: build.transport_at() as u16,
        csum_offset: build.transport.checksum_field() as u16,
    }
}

#[test]
fn a_header_survives_its_bytes() {
    let header = Header {
        flags: 1,
        gso_type: 0x84,
        hdr_len: 0x1234,
        gso_size: 0x5678,
        csum_start: 0x9abc,
        csum_offset: 0xdef0,
    };
    let bytes = header.to_bytes();
    assert_eq!(Header::from_bytes(&bytes), header);
    assert_eq!(bytes[..2], [1, 0x84]);
    assert_eq!(bytes[2..4], 0x1234u16.to_ne_bytes());
    assert_eq!(bytes[8..], 0xdef0u16.to_ne_bytes());
    assert_eq!(Header::default().to_bytes(), [0; LEN]);
}

#[test]
fn every_kind_is_understood() {
    let tcp4 = Build::tcp(false, 1, &[1; 300]);
    let tcp6 = Build::tcp(true, 1, &[1; 300]);
    let udp4 = Build::udp(false, &[1; 300]);
    let udp6 = Build::udp(true, &[1; 300]);
    for (build, kind, payload_at) in [
        (&tcp4, GSO_TCPV4, 52),
        (&tcp4, GSO_TCPV4 | GSO_ECN, 52),
        (&tcp6, GSO_TCPV6, 72),
        (&tcp6, GSO_TCPV6 | GSO_ECN, 72),
        (&udp4, GSO_UDP_L4, 28),
        (&udp6, GSO_UDP_L4, 48),
    ] {
        let expected = Segmentation {
            transport: build.transport,
            transport_at: build.transport_at(),
            payload_at,
            size: 100,
        };
        let packet = build.bytes();
        // Linux lets the header length reach into the payload, or leaves it out.
        for hdr_len in [payload_at, 0, packet.len()] {
            let header = Header {
                hdr_len: hdr_len as u16,
                ..header_for(build, kind)
            };
            assert_eq!(header.check(&packet), Ok(Offload::Segments(expected)));
        }
    }
}

#[test]
fn the_transport_is_found_behind_other_headers() {
    let v4 = Build {
        extra: vec![1; 8],
        ..Build::tcp(false, 1, &[1; 300])
    };
    let v6 = Build {
        // Destination options, hop-by-hop options, then a routing header of 16 bytes.
        extra: [
            &[0, 0, 1, 4, 0, 0, 0, 0, 43, 0, 1, 4, 0, 0, 0, 0, 6, 1][..],
            &[0; 14],
        ]
        .concat(),
        ..Build::tcp(true, 1, &[1; 300])
    };
    for (build, kind, at) in [(&v4, GSO_TCPV4, 28), (&v6, GSO_TCPV6, 72)] {
        let Ok(Offload::Segments(found)) = header_for(build, kind).check(&build.bytes()) else {
            panic!("not understood");
        };
        assert_eq!((found.transport_at, found.payload_at), (at, at + 32));
    }
}

#[test]
fn without_gso_only_the_checksum_counts() {
    let packet = Build::tcp(false, 1, &[1; 100]).bytes();
    assert_eq!(Header::default().check(&packet), Ok(Offload::Nothing));
    // Even without a packet: the packet path decides.
    assert_eq!(Header::default().check(&[]), Ok(Offload::Nothing));
    assert_eq!(Header::default().check(&[0xff; 9]), Ok(Offload::Nothing));
    let valid = Header {
        flags: 2,
        ..Header::default()
    };
    assert_eq!(valid.check(&packet), Ok(Offload::Nothing));
    let header = Header {
        flags: NEEDS_CSUM,
        csum_start: 20,
        csum_offset: 16,
        ..Header::default()
    };
    let expected = Offload::Checksum {
        start: 20,
        field: 16,
    };
    assert_eq!(header.check(&packet), Ok(expected));
}

/// promises E3: headers that Linux refuses with EINVAL when written, and that would harm us when read.
#[test]
fn lies_are_refused() {
    use HeaderError::*;

    let build = Build::tcp(false, 1, &[1; 300]);
    let good = header_for(&build, GSO_TCPV4);
    let single = Header {
        gso_type: GSO_NONE,
        gso_size: 0,
        ..good
    };
    let len = build.bytes().len() as u16;
    let end = len - build.transport_at() as u16;
    let mut options_past_end = build.bytes();
    options_past_end.truncate(51);
    options_past_end[2..4].copy_from_slice(&[0, 51]);
    let mut short_ip = build.bytes();
    short_ip[0] = 0x44;
    let mut short_tcp = build.bytes();
    short_tcp[32] = 0x40;
    let later_fragment = Build {
        fragment: 1,
        ..build.clone()
    }
    .bytes();
    let of = |build: &Build| build.bytes();
    let plain = of(&build);
    let v6 = of(&Build {
        v6: true,
        ..build.clone()
    });
    let udp = of(&Build {
        transport: Transport::Udp,
        ..build.clone()
    });
    let fragment = of(&Build {
        fragment: 0x2000,
        ..build.clone()
    });
    let mut fragment_v6 = of(&Build {
        v6: true,
        extra: vec![6, 0, 0, 1, 0, 0, 0, 0],
        ..build
    });
    fragment_v6[6] = 44;
    let longer = [&plain[..], &[0]].concat();
    let longer_v6 = [&v6[..], &[0]].concat();
    let mut not_ip = plain.clone();
    not_ip[0] = 0x55;
    let with = |change: fn(&mut Header, u16), value, of: Header| {
        let mut header = of;
        change(&mut header, value);
        header
    };
    let hdr_len = |header: &mut Header, value| header.hdr_len = value;
    let size = |header: &mut Header, value| header.gso_size = value;
    let kind = |header: &mut Header, value| header.gso_type = value as u8;
    let flags = |header: &mut Header, value| header.flags = value as u8;
    let start = |header: &mut Header, value| header.csum_start = value;
    let field = |header: &mut Header, value| header.csum_offset = value;
    let tcp6 = Header {
        gso_type: GSO_TCPV6,
        csum_start: 40,
        ..good
    };
    let uso = with(kind, 5, with(field, 6, good));

    for (what, header, packet, error) in [
        (
            "headers longer than the packet",
            with(hdr_len, len + 1, good),
            &plain,
            HeaderTooLong,
        ),
        (
            "the same without GSO",
            with(hdr_len, u16::MAX, single),
            &plain,
            HeaderTooLong,
        ),
        (
            "no segment size",
            with(size, 0, good),
            &plain,
            NoSegmentSize,
        ),
        ("no such kind", with(kind, 7, good), &plain, UnknownKind),
        ("kind 2", with(kind, 2, good), &plain, UnknownKind),
        ("UDP fragmentation", with(kind, 3, good), &udp, UnknownKind),
        ("a tunnel", with(kind, 0x21, good), &plain, UnknownKind),
        (
            "ECN without TCP",
            with(kind, 0x80, good),
            &plain,
            UnknownKind,
        ),
        ("ECN with UDP", with(kind, 0x85, uso), &udp, UnknownKind),
        ("TCP over IPv4, but IPv6", good, &v6, WrongFamily),
        ("TCP over IPv6, but IPv4", tcp6, &plain, WrongFamily),
        ("version 5", good, &not_ip, WrongFamily),
        ("version 5 without GSO", single, &not_ip, WrongFamily),
        ("TCP, but UDP", good, &udp, WrongTransport),
        ("UDP, but TCP", uso, &plain, WrongTransport),
        (
            "a finished checksum",
            with(flags, 0, good),
            &plain,
            NoChecksumNeeded,
        ),
        (
            "coverage from elsewhere",
            with(start, 24, good),
            &plain,
            ChecksumMisplaced,
        ),
        (
            "a field elsewhere",
            with(field, 6, good),
            &plain,
            ChecksumMisplaced,
        ),
        (
            "a field past the end",
            with(field, end - 1, single),
            &plain,
            ChecksumMisplaced,
        ),
        (
            "coverage past the end",
            with(start, u16::MAX, single),
            &plain,
            ChecksumMisplaced,
        ),
        (
            "the largest of both",
            with(field, u16::MAX, with(start, u16::MAX, single)),
            &plain,
            ChecksumMisplaced,
        ),
        (
            "coverage of the IP header",
            with(start, 10, single),
            &plain,
            ChecksumMisplaced,
        ),
        ("a fragment", good, &fragment, Fragment),
        ("a fragment over IPv6", tcp6, &fragment_v6, Fragment),
        ("a later fragment", good, &later_fragment, Fragment),
        (
            "an IPv4 header of 16 bytes",
            good,
            &short_ip,
            HeaderTooShort,
        ),
        ("a TCP header of 16 bytes", good, &short_tcp, HeaderTooShort),
        ("longer than it says", good, &longer, LengthsDisagree),
        (
            "longer than it says, IPv6",
            tcp6,
            &longer_v6,
            LengthsDisagree,
        ),
        (
            "TCP options past the end",
            with(hdr_len, 0, good),
            &options_past_end,
            HeaderTooLong,
        ),
        ("nothing", with(hdr_len, 0, good), &Vec::new(), WrongFamily),
    ] {
        assert_eq!(header.check(packet), Err(error), "{what}");
    }
    // The last place where a checksum fits.
    assert!(with(field, end - 2, single).check(&plain).is_ok());
}
