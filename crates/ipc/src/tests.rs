use core::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use super::*;

#[test]
fn messages_to_the_engine_survive_encoding() {
    let messages = [
        ToEngine::Hello {
            version: VERSION,
            pid: 7,
            program: b"openvpn",
        },
        ToEngine::OpenChannel,
        ToEngine::SetOption {
            channel: 1,
            name: 11,
            value: -1,
        },
        ToEngine::Request {
            channel: 9,
            port: 77,
            room: 4096,
            admin: true,
            datagram: b"netlink",
        },
        ToEngine::LinkRequest {
            port: 3,
            admin: true,
            ext_ack: false,
            cap_ack: true,
            datagram: b"",
        },
        ToEngine::Tun {
            errno: -17,
            ifindex: 5,
            netns: 1 << 40,
            name: b"tun0",
        },
        ToEngine::Socket {
            errno: 0,
            partial: Partial::Nothing,
        },
        ToEngine::Socket {
            errno: 0,
            partial: Partial::Length(5),
        },
        ToEngine::Socket {
            errno: 9,
            partial: Partial::Packet(0xffff),
        },
        ToEngine::SocketClosed { fd: 6 },
        ToEngine::OwnTun,
        ToEngine::Namespace { inode: 0xF000_0000 },
        ToEngine::CompressionRefused,
        ToEngine::FindDevice {
            netns: 1 << 50,
            ifindex: 7,
            name: b"tun3",
        },
        ToEngine::Capture {
            ifindex: 7,
            peer: None,
            wanted: capture::Wanted::default(),
            snap: 0,
        },
        ToEngine::Capture {
            ifindex: 7,
            peer: Some(0xff_ffff),
            wanted: capture::Wanted {
                inner: true,
                outer: false,
                drops: true,
            },
            snap: 65_535,
        },
        ToEngine::Show,
        ToEngine::Return {
            channel: 2,
            datagram: b"ntf",
        },
        ToEngine::Connect,
        ToEngine::Output {
            pid: 7,
            facility: 24,
            ident: b"openvpn",
        },
        ToEngine::Shown {
            netns: 9,
            message: b"link",
        },
        ToEngine::Link { exists: true },
        ToEngine::Options {
            mssfix: MssFix::Outer(1400),
            passtos: true,
        },
    ];
    let mut buffer = [0; 64];
    for (seq, message) in (100..).zip(messages) {
        let len = message.encode(seq, &mut buffer).unwrap();
        assert_eq!(ToEngine::decode(&buffer[..len]), Ok((seq, message)));
    }
}

#[test]
fn messages_to_the_client_survive_encoding() {
    let messages = [
        ToClient::Welcome { version: VERSION },
        ToClient::Channel { channel: 4 },
        ToClient::Done {
            errno: 0,
            replace_fd: true,
            more: false,
        },
        ToClient::Done {
            errno: 22,
            replace_fd: false,
            more: true,
        },
        ToClient::Pass,
        ToClient::NeedTun(Wanted {
            queues: 2,
            mtu: 1416,
            multicast: false,
            up: true,
            nonce: u64::MAX - 1,
            name: b"tun1",
        }),
        ToClient::NeedLink { ifindex: 1 },
        ToClient::Answer { datagram: b"ack" },
        ToClient::Device {
            is_dco_v2: true,
            is_certain: false,
            engine: 0xF000_0000,
        },
        ToClient::NeedSocket { fd: 12 },
    ];
    let mut buffer = [0; 64];
    for (seq, message) in (7..).zip(messages) {
        let len = message.encode(seq, &mut buffer).unwrap();
        assert_eq!(ToClient::decode(&buffer[..len]), Ok((seq, message)));
    }
}

#[test]
fn every_cut_of_a_message_is_malformed_or_shorter() {
    let mut buffer = [0; 64];
    let len = ToEngine::SetOption {
        channel: 1,
        name: 2,
        value: 3,
    }
    .encode(1, &mut buffer)
    .unwrap();
    for cut in 0..len {
        assert_eq!(
            ToEngine::decode(&buffer[..cut]),
            Err(Malformed),
            "cut at {cut}"
        );
    }
    assert_eq!(
        ToEngine::decode(&buffer[..len + 1]),
        Err(Malformed),
        "one byte too many"
    );
    buffer[0] = 0xff;
    assert_eq!(
        ToEngine::decode(&buffer[..len]),
        Err(Malformed),
        "unknown kind"
    );
}

#[test]
fn a_message_that_does_not_fit_is_refused() {
    let message = ToEngine::LinkRequest {
        port: 3,
        admin: true,
        ext_ack: true,
        cap_ack: false,
        datagram: &[0; 60],
    };
    assert_eq!(message.encode(1, &mut [0; 64]), Err(TooLong));
}

#[test]
fn relay_headers_keep_family_scope_and_local_address() {
    let v6 = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
    let headers = [
        RelayHeader {
            source: SocketAddr::from((Ipv4Addr::new(192, 0, 2, 1), 1194)),
            local: Ipv4Addr::new(192, 0, 2, 2).into(),
            ifindex: 3,
        },
        RelayHeader {
            source: SocketAddrV6::new(v6, 53, 0, 9).into(),
            local: Ipv6Addr::UNSPECIFIED.into(),
            ifindex: 0,
        },
        RelayHeader {
            source: SocketAddr::from((Ipv4Addr::new(192, 0, 2, 1).to_ipv6_mapped(), 1)),
            local: Ipv4Addr::LOCALHOST.to_ipv6_mapped().into(),
            ifindex: 1,
        },
    ];
    for header in headers {
        let mut datagram = header.encode().to_vec();
        datagram.extend_from_slice(b"control");
        assert_eq!(
            RelayHeader::decode(&datagram),
            Some((header, &b"control"[..]))
        );
    }
    assert_eq!(RelayHeader::decode(&[0; RelayHeader::LEN - 1]), None);
}
