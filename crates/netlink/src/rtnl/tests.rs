use proptest::prelude::*;

use super::*;
use crate::tlv::Writer;

const REQUESTER: Requester = Requester {
    port: 7,
    ext_ack: true,
    cap_ack: false,
    admin: true,
};

fn message(kind: u16, flags: u16, index: u32, fill: impl FnOnce(&mut Writer)) -> Vec<u8> {
    let header = Header {
        kind,
        flags,
        ..Header::default()
    };
    let link = LinkHeader {
        ifindex: index,
        ..LinkHeader::default()
    };
    header.write(&link.bytes(), fill)
}

/// NEWLINK as sitnl writes it, with this in INFO_DATA.
fn new_link(kind: &[u8], data: impl FnOnce(&mut Writer)) -> Vec<u8> {
    message(RTM_NEWLINK, 0x605, 0, |message| {
        message.string(IFLA_IFNAME, "tun0");
        message.plain_nest(IFLA_LINKINFO, |info| {
            info.put(IFLA_INFO_KIND, kind);
            info.plain_nest(IFLA_INFO_DATA, data);
        });
    })
}

fn mode_of(request: &[u8]) -> Option<(Api, Mode)> {
    match link_request(&REQUESTER, request) {
        LinkRequest::New(new) => Some((new.api, new.mode)),
        _ => None,
    }
}

#[test]
fn a_link_is_made() {
    let request = new_link(b"ovpn-dco\0", |data| data.u8(IFLA_OVPN_MODE, 1));
    let LinkRequest::New(new) = link_request(&REQUESTER, &request) else {
        panic!("not read")
    };
    assert_eq!((new.api, new.mode), (Api::DcoV2, Mode::Mp));
    assert_eq!(
        new.target,
        LinkTarget {
            ifindex: None,
            name: Some("tun0")
        }
    );
    assert!(new.create && new.exclusive && !new.replace && !new.up && new.has_data);
    // iproute2 sends the kind without its NUL.
    let request = new_link(b"ovpn", |_| {});
    assert_eq!(mode_of(&request), Some((Api::Ovpn, Mode::P2p)));
}

#[test]
fn the_mode_is_read_laxly() {
    let wide = new_link(b"ovpn\0", |data| data.u32(IFLA_OVPN_MODE, u32::from_le(1)));
    let unknown = new_link(b"ovpn\0", |data| {
        data.u8(IFLA_OVPN_MODE, 1);
        data.u32(9, 9);
    });
    for request in [wide, unknown] {
        assert_eq!(mode_of(&request), Some((Api::Ovpn, Mode::Mp)));
    }
}

#[test]
fn a_mode_that_is_none_is_refused() {
    let text = |answer: &[u8]| String::from_utf8_lossy(answer).into_owned();
    let request = new_link(b"ovpn\0", |data| data.u8(IFLA_OVPN_MODE, 2));
    let LinkRequest::Refused(answer) = link_request(&REQUESTER, &request) else {
        panic!("taken")
    };
    assert_eq!(answer[16..20], (-34_i32).to_ne_bytes());
    assert!(text(&answer).contains("integer out of range"));
    let request = new_link(b"ovpn\0", |data| data.put(IFLA_OVPN_MODE, &[]));
    let LinkRequest::Refused(answer) = link_request(&REQUESTER, &request) else {
        panic!("taken")
    };
    assert_eq!(answer[16..20], (-34_i32).to_ne_bytes());
    assert!(text(&answer).contains("Attribute failed policy validation"));
}

#[test]
fn requests_that_are_not_ours_are_left_to_the_kernel() {
    let up = message(RTM_NEWLINK, 5, 2, |_| {});
    let all = message(RTM_GETLINK, 0x301, 0, |_| {});
    for request in [new_link(b"dummy\0", |_| {}), up, all, Vec::new()] {
        assert_eq!(link_request(&REQUESTER, &request), LinkRequest::NotOurs);
    }
}

#[test]
fn the_mtu_of_any_link_may_concern_us() {
    let target = LinkTarget {
        ifindex: Some(2),
        name: None,
    };
    for kind in [RTM_NEWLINK, RTM_SETLINK] {
        let request = message(kind, 5, 2, |message| message.u32(IFLA_MTU, 65_452));
        let expected = LinkRequest::SetMtu(target, 65_452);
        assert_eq!(link_request(&REQUESTER, &request), expected);
        let requester = Requester {
            admin: false,
            ..REQUESTER
        };
        assert_eq!(link_request(&requester, &request), LinkRequest::NotOurs);
    }
}

#[test]
fn a_target_is_an_index_or_a_name() {
    let target = LinkTarget {
        ifindex: Some(5),
        name: None,
    };
    assert_eq!(
        link_request(&REQUESTER, &message(RTM_DELLINK, 5, 5, |_| {})),
        LinkRequest::Delete(target)
    );
    let by_name = message(RTM_GETLINK, 1, 0, |message| {
        message.string(IFLA_IFNAME, "tun0")
    });
    let target = LinkTarget {
        ifindex: None,
        name: Some("tun0"),
    };
    assert_eq!(
        link_request(&REQUESTER, &by_name),
        LinkRequest::Show(target)
    );
}

#[test]
fn link_requests_require_the_capability() {
    let requester = Requester {
        admin: false,
        ..REQUESTER
    };
    let request = new_link(b"ovpn\0", |_| {});
    let LinkRequest::Refused(answer) = link_request(&requester, &request) else {
        panic!("taken")
    };
    assert_eq!(answer[16..20], (-1_i32).to_ne_bytes());
}

proptest! {
    #[test]
    fn any_bytes_can_be_read(kind in 15_u16..20, tail in prop::collection::vec(any::<u8>(), 0..80)) {
        let mut request = message(kind, 0x605, 0, |_| {});
        request.extend_from_slice(&tail);
        link_request(&REQUESTER, &request);
    }
}
