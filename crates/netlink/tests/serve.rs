//! The driver's side as a whole: the requests of OpenVPN 2.6, and invalid requests.

mod fake;

use proptest::prelude::*;
use udco_netlink::numbers::{
    CTRL_ATTR_FAMILY_NAME, CTRL_CMD_GETFAMILY, CTRL_CMD_GETPOLICY, GENL_ID_CTRL, NLM_F_ACK,
    NLM_F_DUMP, NLM_F_REQUEST,
};
use udco_netlink::tlv::Writer;
use udco_netlink::{Answers, Api, FamilyIds, Header, Messages, Mode, Requester, membership, serve};

use fake::{Fake, Fd};

const FAMILIES: FamilyIds = FamilyIds {
    ovpn: 0x20,
    ovpn_peers: 5,
    dco_v2: 0x21,
    dco_v2_peers: 6,
};
const REQUESTER: Requester = Requester {
    port: 4711,
    ext_ack: false,
    cap_ack: false,
    admin: true,
};
const REQUEST_ACK: u16 = NLM_F_REQUEST | NLM_F_ACK;
const DUMP: u16 = REQUEST_ACK | NLM_F_DUMP;

fn fake() -> Fake {
    let mut fake = Fake::default();
    fake.add_device(2, Api::DcoV2, "tun0", Mode::Mp);
    fake.add_device(3, Api::DcoV2, "tun1", Mode::P2p);
    fake.add_device(4, Api::Ovpn, "tun2", Mode::Mp);
    fake.fds.insert(9, Fd::Udp(1194, false));
    fake.fds.insert(10, Fd::Tcp(Some(1195)));
    fake
}

fn request(family: u16, flags: u16, command: u8, attributes: impl FnOnce(&mut Writer)) -> Vec<u8> {
    let header = Header {
        kind: family,
        flags,
        sequence: 1,
        port: 0,
    };
    header.write_generic(command, 0, attributes)
}

/// A request to `ovpn-dco-v2` about a device, with the members of the command's nest.
fn v2(ifindex: u32, command: u8, nest: u16, members: impl FnOnce(&mut Writer)) -> Vec<u8> {
    request(FAMILIES.dco_v2, REQUEST_ACK, command, |message| {
        message.u32(1, ifindex);
        message.nest(nest, members);
    })
}

/// A dump of the peers of a device of `ovpn-dco-v2`.
fn dump_v2(ifindex: u32) -> Vec<u8> {
    request(FAMILIES.dco_v2, DUMP, 7, |message| message.u32(1, ifindex))
}

fn ask(fake: &mut Fake, datagram: &[u8]) -> Vec<Vec<u8>> {
    let mut answers = Answers::new();
    serve(&FAMILIES, &REQUESTER, datagram, fake, &mut answers);
    answers.into_datagrams()
}

/// The errno of the only answer.
fn outcome(fake: &mut Fake, datagram: &[u8]) -> i32 {
    let answers = ask(fake, datagram);
    let [answer] = answers.as_slice() else {
        panic!("{} answers", answers.len())
    };
    assert_eq!(answer[4..6], 2_u16.to_ne_bytes());
    i32::from_ne_bytes(answer[16..20].try_into().unwrap())
}

fn new_peer_v2(ifindex: u32, id: u32, socket: u32) -> Vec<u8> {
    // A sockaddr_in: the family in host order, port and address in network order.
    let mut remote = [0, 0, 4, 0xaa, 192, 0, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0];
    remote[..2].copy_from_slice(&2_u16.to_ne_bytes());
    v2(ifindex, 1, 2, |peer| {
        peer.u32(1, id);
        peer.put(2, &remote);
        peer.u32(3, socket);
        peer.put(4, &[10, 8, 0, id as u8]);
    })
}

fn new_key_v2(ifindex: u32, peer: u32, slot: u8, key_id: u8) -> Vec<u8> {
    let direction = |nest: &mut Writer| {
        nest.put(1, &[7; 32]);
        nest.put(2, &[8; 8]);
    };
    v2(ifindex, 4, 5, |key| {
        key.u32(1, peer);
        key.u8(2, slot);
        key.u8(3, key_id);
        key.u16(4, 1);
        key.nest(5, direction);
        key.nest(6, direction);
    })
}

#[test]
fn the_requests_of_an_openvpn_2_6_server() {
    let mut fake = fake();
    assert_eq!(outcome(&mut fake, &new_peer_v2(2, 7, 9)), 0);
    let set = v2(2, 2, 3, |peer| {
        peer.u32(1, 7);
        peer.u32(2, 10);
        peer.u32(3, 60);
    });
    assert_eq!(outcome(&mut fake, &set), 0);
    assert_eq!(outcome(&mut fake, &new_key_v2(2, 7, 0, 0)), 0);
    assert_eq!(outcome(&mut fake, &new_key_v2(2, 7, 1, 1)), 0);
    let swap = v2(2, 5, 6, |keys| keys.u32(1, 7));
    assert_eq!(outcome(&mut fake, &swap), 0);
    let del_key = v2(2, 6, 7, |key| {
        key.u32(1, 7);
        key.u8(2, 1);
    });
    assert_eq!(outcome(&mut fake, &del_key), 0);

    let dump = ask(&mut fake, &dump_v2(2));
    assert_eq!(dump.len(), 2);
    // GET_PEER{PEER_ID, IPV4, INTERVAL, TIMEOUT, SOCKADDR_REMOTE, LOCAL_IP, LOCAL_PORT, 4 x (u64,
    // u32)}
    assert_eq!(dump[0].len(), 20 + 4 + 4 * 8 + 20 + 8 + 8 + 4 * (12 + 8));
    assert_eq!(dump[1][4..6], 3_u16.to_ne_bytes());
    let get = v2(2, 7, 8, |peer| peer.u32(1, 7));
    assert_eq!(ask(&mut fake, &get).len(), 2);

    let del_peer = v2(2, 3, 4, |peer| peer.u32(2, 7));
    assert_eq!(outcome(&mut fake, &del_peer), 0);
    assert_eq!(fake.notifications.len(), 1);
    assert_eq!(outcome(&mut fake, &del_peer), -2);
    assert_eq!(ask(&mut fake, &dump_v2(2)).len(), 1);
}

#[test]
fn peculiarities_of_v2() {
    let mut fake = fake();
    // A P2P dump is empty; a remote with TCP is passed on.
    assert_eq!(outcome(&mut fake, &new_peer_v2(3, 7, 10)), 0);
    assert_eq!(ask(&mut fake, &dump_v2(3)).len(), 1);
    // Ids have 24 bits on the wire.
    assert_eq!(outcome(&mut fake, &new_peer_v2(3, 0x0100_0000, 9)), -22);
    // Half a keepalive succeeds, even for an unknown peer.
    let half = v2(3, 2, 3, |peer| {
        peer.u32(1, 99);
        peer.u32(2, 10);
    });
    assert_eq!(outcome(&mut fake, &half), 0);
    // A device of the other API doesn't count.
    assert_eq!(outcome(&mut fake, &new_peer_v2(4, 7, 9)), -22);
    assert_eq!(outcome(&mut fake, &new_peer_v2(5, 7, 9)), -19);
    // Key ids have 3 bits, there are two slots, and no cipher 0.
    assert_eq!(outcome(&mut fake, &new_key_v2(3, 7, 0, 8)), -22);
    assert_eq!(outcome(&mut fake, &new_key_v2(3, 7, 2, 0)), -34);
}

#[test]
fn headers_are_looked_at_before_the_command() {
    let mut fake = fake();
    let outcomes = [
        (REQUEST_ACK, -95),
        (REQUEST_ACK | 0x100, -22),
        (0x8005, -22),
    ];
    for (flags, errno) in outcomes {
        let unknown = request(FAMILIES.ovpn, flags, 99, |_| ());
        assert_eq!(outcome(&mut fake, &unknown), errno);
    }
    let mut reserved = request(FAMILIES.ovpn, REQUEST_ACK, 3, |_| ());
    reserved[18] = 1;
    assert_eq!(outcome(&mut fake, &reserved), -22);
    assert_eq!(
        outcome(&mut fake, &request(0x99, REQUEST_ACK, 3, |_| ())),
        -2
    );
    assert_eq!(outcome(&mut fake, &request(FAMILIES.ovpn, 4, 3, |_| ())), 0);
}

#[test]
fn a_requester_without_the_capability_is_refused() {
    let requester = Requester {
        admin: false,
        ..REQUESTER
    };
    for (family, command) in [(FAMILIES.ovpn, 3), (FAMILIES.dco_v2, 7)] {
        for flags in [REQUEST_ACK, DUMP] {
            let mut answers = Answers::new();
            let request = request(family, flags, command, |_| ());
            serve(&FAMILIES, &requester, &request, &mut fake(), &mut answers);
            assert_eq!(answers.datagrams()[0][16..20], (-1_i32).to_ne_bytes());
        }
    }
}

#[test]
fn a_dump_is_cut_into_datagrams() {
    let mut fake = fake();
    for id in 1..=250 {
        assert_eq!(outcome(&mut fake, &new_peer_v2(2, id, 9)), 0);
    }
    let dump = ask(&mut fake, &dump_v2(2));
    assert!(
        dump.len() > 2
            && dump
                .iter()
                .all(|datagram| datagram.len() <= Answers::DUMP_ROOM)
    );
    let messages: usize = dump
        .iter()
        .map(|datagram| Messages::of(datagram).count())
        .sum();
    assert_eq!(messages, 251);
}

#[test]
fn all_three_families_are_listed() {
    let mut fake = fake();
    let dump = ask(
        &mut fake,
        &request(GENL_ID_CTRL, DUMP, CTRL_CMD_GETFAMILY, |_| ()),
    );
    assert_eq!(
        dump.iter()
            .flat_map(|datagram| Messages::of(datagram))
            .count(),
        4
    );
    for name in ["nlctrl", "ovpn", "ovpn-dco-v2"] {
        let get = request(GENL_ID_CTRL, REQUEST_ACK, CTRL_CMD_GETFAMILY, |message| {
            message.string(CTRL_ATTR_FAMILY_NAME, name);
        });
        assert_eq!(ask(&mut fake, &get).len(), 2);
        let policy = request(GENL_ID_CTRL, DUMP, CTRL_CMD_GETPOLICY, |message| {
            message.string(CTRL_ATTR_FAMILY_NAME, name);
        });
        assert!(ask(&mut fake, &policy).len() > 1);
    }
    assert_eq!(membership(&FAMILIES, 6), Some(Api::DcoV2));
    assert_eq!(membership(&FAMILIES, 5), Some(Api::Ovpn));
    assert_eq!(membership(&FAMILIES, 16), None);
}

/// Linux 6.18's answer about `nlctrl` itself, the first thing that libnl requests.
#[test]
fn nlctrl_reports_itself_as_linux_does() {
    let get = request(GENL_ID_CTRL, REQUEST_ACK, CTRL_CMD_GETFAMILY, |message| {
        message.string(CTRL_ATTR_FAMILY_NAME, "nlctrl");
    });
    let answers = ask(&mut fake(), &get);
    let operation = |list: &mut Writer, index, command, flags| {
        list.plain_nest(index, |entry| {
            entry.u32(1, command);
            entry.u32(2, flags);
        });
    };
    let header = Header {
        kind: 16,
        flags: 0,
        sequence: 1,
        port: 4711,
    };
    let expected = header.write_generic(1, 2, |message| {
        message.string(2, "nlctrl");
        message.u16(1, 16);
        message.u32(3, 2);
        message.u32(4, 0);
        message.u32(5, 0);
        message.plain_nest(6, |list| {
            operation(list, 1, 3, 14);
            operation(list, 2, 10, 12);
        });
        message.plain_nest(7, |list| {
            list.plain_nest(1, |group| {
                group.u32(2, 16);
                group.string(1, "notify");
            });
        });
    });
    assert_eq!(expected.len(), 136);
    assert_eq!(answers[0], expected);
}

proptest! {
    #[test]
    fn any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        ask(&mut fake(), &bytes);
    }

    /// Valid headers before arbitrary attributes, to reach more of the code.
    #[test]
    fn any_attributes_are_answered(
        family in prop::sample::select(vec![0x10_u16, 0x20, 0x21]),
        flags in prop::sample::select(vec![REQUEST_ACK, DUMP]),
        command in 0_u8..13,
        ifindex in 0_u32..5,
        members in prop::collection::vec((0_u16..26, prop::collection::vec(any::<u8>(), 0..20)), 0..8),
        number_of_nest in 2_u16..9,
        cut in 0_usize..3,
    ) {
        let mut datagram = request(family, flags, command, |message| {
            message.u32(1, ifindex);
            message.nest(number_of_nest, |nest| {
                for (kind, payload) in &members {
                    nest.put(*kind, payload);
                }
            });
        });
        datagram.truncate(datagram.len() - cut);
        let length = u32::try_from(datagram.len()).unwrap();
        datagram[..4].copy_from_slice(&length.to_ne_bytes());
        let answers = ask(&mut fake(), &datagram);
        prop_assert!(!answers.is_empty());
        for answer in &answers {
            prop_assert!(Messages::of(answer).count() > 0);
        }
    }
}
