//! The entry as a whole: what OpenVPN 2.6 does, and what nobody should.

mod fake;

use proptest::prelude::*;
use udco_netlink::{Answers, Api, FamilyIds, Messages, Mode, Requester, membership, serve};

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
const REQUEST_ACK: u16 = 5;
const DUMP: u16 = 0x305;

fn fake() -> Fake {
    let mut fake = Fake::default();
    fake.add_device(2, Api::DcoV2, "tun0", Mode::Mp);
    fake.add_device(3, Api::DcoV2, "tun1", Mode::P2p);
    fake.add_device(4, Api::Ovpn, "tun2", Mode::Mp);
    fake.fds.insert(9, Fd::Udp(1194, false));
    fake.fds.insert(10, Fd::Tcp(Some(1195)));
    fake
}

fn attribute(kind: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = u16::try_from(4 + payload.len())
        .unwrap()
        .to_ne_bytes()
        .to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(payload);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn number(kind: u16, value: u32) -> Vec<u8> {
    attribute(kind, &value.to_ne_bytes())
}

fn nest(kind: u16, members: &[Vec<u8>]) -> Vec<u8> {
    attribute(kind | 0x8000, &members.concat())
}

fn request(family: u16, flags: u16, command: u8, attributes: &[Vec<u8>]) -> Vec<u8> {
    let body = attributes.concat();
    let mut bytes = u32::try_from(20 + body.len())
        .unwrap()
        .to_ne_bytes()
        .to_vec();
    bytes.extend(family.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend(1_u32.to_ne_bytes());
    bytes.extend([0, 0, 0, 0, command, 0, 0, 0]);
    bytes.extend(body);
    bytes
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
    // A sockaddr_in: the family as the machine has it, port and address as the network has them.
    let mut remote = [0, 0, 4, 0xaa, 192, 0, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0];
    remote[..2].copy_from_slice(&2_u16.to_ne_bytes());
    let members = [
        number(1, id),
        attribute(2, &remote),
        number(3, socket),
        attribute(4, &[10, 8, 0, id as u8]),
    ];
    request(
        FAMILIES.dco_v2,
        REQUEST_ACK,
        1,
        &[number(1, ifindex), nest(2, &members)],
    )
}

fn new_key_v2(ifindex: u32, peer: u32, slot: u8, key_id: u8) -> Vec<u8> {
    let direction = [attribute(1, &[7; 32]), attribute(2, &[8; 8])];
    let members = [
        number(1, peer),
        attribute(2, &[slot]),
        attribute(3, &[key_id]),
        attribute(4, &1_u16.to_ne_bytes()),
        nest(5, &direction),
        nest(6, &direction),
    ];
    request(
        FAMILIES.dco_v2,
        REQUEST_ACK,
        4,
        &[number(1, ifindex), nest(5, &members)],
    )
}

#[test]
fn what_openvpn_2_6_asks_of_a_server() {
    let mut fake = fake();
    assert_eq!(outcome(&mut fake, &new_peer_v2(2, 7, 9)), 0);
    let set = [number(1, 7), number(2, 10), number(3, 60)];
    let set = request(
        FAMILIES.dco_v2,
        REQUEST_ACK,
        2,
        &[number(1, 2), nest(3, &set)],
    );
    assert_eq!(outcome(&mut fake, &set), 0);
    assert_eq!(outcome(&mut fake, &new_key_v2(2, 7, 0, 0)), 0);
    assert_eq!(outcome(&mut fake, &new_key_v2(2, 7, 1, 1)), 0);
    let swap = request(
        FAMILIES.dco_v2,
        REQUEST_ACK,
        5,
        &[number(1, 2), nest(6, &[number(1, 7)])],
    );
    assert_eq!(outcome(&mut fake, &swap), 0);
    let del_key = nest(7, &[number(1, 7), attribute(2, &[1])]);
    let del_key = request(FAMILIES.dco_v2, REQUEST_ACK, 6, &[number(1, 2), del_key]);
    assert_eq!(outcome(&mut fake, &del_key), 0);

    let dump = ask(
        &mut fake,
        &request(FAMILIES.dco_v2, DUMP, 7, &[number(1, 2)]),
    );
    assert_eq!(dump.len(), 2);
    // GET_PEER{PEER_ID, IPV4, INTERVAL, TIMEOUT, SOCKADDR_REMOTE, LOCAL_IP, LOCAL_PORT, 4 x (u64,
    // u32)}
    assert_eq!(dump[0].len(), 20 + 4 + 4 * 8 + 20 + 8 + 8 + 4 * (12 + 8));
    assert_eq!(dump[1][4..6], 3_u16.to_ne_bytes());
    let get = request(
        FAMILIES.dco_v2,
        REQUEST_ACK,
        7,
        &[number(1, 2), nest(8, &[number(1, 7)])],
    );
    assert_eq!(ask(&mut fake, &get).len(), 2);

    let del_peer = request(
        FAMILIES.dco_v2,
        REQUEST_ACK,
        3,
        &[number(1, 2), nest(4, &[number(2, 7)])],
    );
    assert_eq!(outcome(&mut fake, &del_peer), 0);
    assert_eq!(fake.told.len(), 1);
    assert_eq!(outcome(&mut fake, &del_peer), -2);
    assert_eq!(
        ask(
            &mut fake,
            &request(FAMILIES.dco_v2, DUMP, 7, &[number(1, 2)])
        )
        .len(),
        1
    );
}

#[test]
fn what_is_peculiar_to_v2() {
    let mut fake = fake();
    // A P2P dump is empty; a remote with TCP is passed on.
    assert_eq!(outcome(&mut fake, &new_peer_v2(3, 7, 10)), 0);
    assert_eq!(
        ask(
            &mut fake,
            &request(FAMILIES.dco_v2, DUMP, 7, &[number(1, 3)])
        )
        .len(),
        1
    );
    // Ids have 24 bits on the wire.
    assert_eq!(outcome(&mut fake, &new_peer_v2(3, 0x0100_0000, 9)), -22);
    // Half a keepalive, even of nobody, succeeds.
    let half = nest(3, &[number(1, 99), number(2, 10)]);
    let half = request(FAMILIES.dco_v2, REQUEST_ACK, 2, &[number(1, 3), half]);
    assert_eq!(outcome(&mut fake, &half), 0);
    // The other API's device isn't one.
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
        let unknown = request(FAMILIES.ovpn, flags, 99, &[]);
        assert_eq!(outcome(&mut fake, &unknown), errno);
    }
    let mut reserved = request(FAMILIES.ovpn, REQUEST_ACK, 3, &[]);
    reserved[18] = 1;
    assert_eq!(outcome(&mut fake, &reserved), -22);
    assert_eq!(outcome(&mut fake, &request(0x99, REQUEST_ACK, 3, &[])), -2);
    assert_eq!(outcome(&mut fake, &request(FAMILIES.ovpn, 4, 3, &[])), 0);
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
            let request = request(family, flags, command, &[]);
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
    let dump = ask(
        &mut fake,
        &request(FAMILIES.dco_v2, DUMP, 7, &[number(1, 2)]),
    );
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
    let dump = ask(&mut fake, &request(FamilyIds::NLCTRL, DUMP, 3, &[]));
    assert_eq!(
        dump.iter()
            .flat_map(|datagram| Messages::of(datagram))
            .count(),
        4
    );
    for name in ["nlctrl", "ovpn", "ovpn-dco-v2"] {
        let name = [name.as_bytes(), &[0]].concat();
        let get = request(FamilyIds::NLCTRL, REQUEST_ACK, 3, &[attribute(2, &name)]);
        assert_eq!(ask(&mut fake, &get).len(), 2);
        let policy = request(FamilyIds::NLCTRL, DUMP, 10, &[attribute(2, &name)]);
        assert!(ask(&mut fake, &policy).len() > 1);
    }
    assert_eq!(membership(&FAMILIES, 6), Some(Api::DcoV2));
    assert_eq!(membership(&FAMILIES, 5), Some(Api::Ovpn));
    assert_eq!(membership(&FAMILIES, 16), None);
}

/// What Linux 6.18 answers about `nlctrl` itself, for libnl asks for that first.
#[test]
fn nlctrl_tells_of_itself_as_linux_does() {
    let answers = ask(
        &mut fake(),
        &request(
            FamilyIds::NLCTRL,
            REQUEST_ACK,
            3,
            &[attribute(2, b"nlctrl\0")],
        ),
    );
    let operation =
        |index, command, flags| attribute(index, &[number(1, command), number(2, flags)].concat());
    let group = [number(2, 16), attribute(1, b"notify\0")].concat();
    let mut expected = 136_u32.to_ne_bytes().to_vec();
    expected.extend([16_u16.to_ne_bytes(), 0_u16.to_ne_bytes()].concat());
    expected.extend([1_u32.to_ne_bytes(), 4711_u32.to_ne_bytes()].concat());
    expected.extend([1, 2, 0, 0]);
    expected.extend(attribute(2, b"nlctrl\0"));
    expected.extend(attribute(1, &16_u16.to_ne_bytes()));
    expected.extend([number(3, 2), number(4, 0), number(5, 0)].concat());
    expected.extend(attribute(
        6,
        &[operation(1, 3, 14), operation(2, 10, 12)].concat(),
    ));
    expected.extend(attribute(7, &attribute(1, &group)));
    assert_eq!(answers[0], expected);
}

proptest! {
    #[test]
    fn any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        ask(&mut fake(), &bytes);
    }

    /// Valid headers before arbitrary attributes, so that more of the code is reached.
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
        let members: Vec<_> = members.iter().map(|(kind, payload)| attribute(*kind, payload)).collect();
        let mut datagram = request(family, flags, command, &[number(1, ifindex), nest(number_of_nest, &members)]);
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
