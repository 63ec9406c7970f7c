use super::*;
use crate::{
    Answers, CipherAlg, DeleteReason, Errno, FamilyIds, Keepalive, KeyDirection, KeyNew, KeyState,
    Mode, NoDevice, Notification, PeerNew, PeerSet, PeerState, Refused, Requester, Service, Slot,
    Traffic, serve,
};

const FAMILIES: FamilyIds = FamilyIds {
    ovpn: 0x40,
    ovpn_peers: 7,
    dco_v2: 0x41,
    dco_v2_peers: 8,
};
const REQUESTER: Requester = Requester {
    port: 9,
    ext_ack: true,
    cap_ack: true,
    admin: true,
};

/// A service that remembers the last request.
struct Remembering {
    api: Api,
    mode: Mode,
    decoded: String,
}

fn state(id: u32) -> PeerState {
    let traffic = |bytes| Traffic { bytes, packets: 3 };
    PeerState {
        id,
        tx_id: id,
        vpn4: Some([10, 8, 0, 2].into()),
        vpn6: None,
        keepalive: Keepalive {
            interval: 10,
            timeout: 60,
        },
        remote: Some("[fe80::1%3]:1194".parse().unwrap()),
        local: Some("fe80::2".parse().unwrap()),
        local_port: 1195,
        vpn_rx: traffic(5),
        vpn_tx: traffic(1 << 40),
        link_rx: traffic(6),
        link_tx: traffic(7),
        ..PeerState::default()
    }
}

impl Service for Remembering {
    fn mode(&mut self, api: Api, _: u32) -> Result<Mode, NoDevice> {
        if api == self.api {
            Ok(self.mode)
        } else {
            Err(NoDevice::NotOurs)
        }
    }

    fn peer_new(&mut self, ifindex: u32, peer: &PeerNew) -> Result<(), Refused> {
        self.decoded = format!("{ifindex} {peer:?}");
        Err(Refused {
            errno: Errno::EEXIST,
            text: Some("cannot add".into()),
        })
    }

    fn peer_set(&mut self, ifindex: u32, peer: &PeerSet) -> Result<(), Refused> {
        self.decoded = format!("{ifindex} {peer:?}");
        Ok(())
    }

    fn peer_get(&mut self, _: u32, id: u32) -> Result<PeerState, Refused> {
        Ok(state(id))
    }

    fn peers(&mut self, _: u32) -> Result<Vec<PeerState>, Refused> {
        Ok(vec![state(1), state(2)])
    }

    fn peer_del(&mut self, _: u32, id: u32) -> Result<(), Refused> {
        self.decoded = format!("delete {id}");
        Ok(())
    }

    fn key_new(&mut self, _: u32, key: &KeyNew<'_>) -> Result<(), Refused> {
        let (encrypt, decrypt) = (key.encrypt, key.decrypt);
        self.decoded = format!(
            "{} {:?} {} {:?} {:?} {:?} {:?} {:?}",
            key.peer,
            key.slot,
            key.key_id,
            key.cipher,
            encrypt.key,
            encrypt.nonce_tail,
            decrypt.key,
            decrypt.nonce_tail
        );
        Ok(())
    }

    fn key_get(&mut self, _: u32, peer: u32, slot: Slot) -> Result<KeyState, Refused> {
        Ok(KeyState {
            peer,
            slot,
            key_id: 5,
            cipher: CipherAlg::ChaCha20Poly1305,
        })
    }

    fn key_swap(&mut self, _: u32, peer: u32) -> Result<(), Refused> {
        self.decoded = format!("swap {peer}");
        Ok(())
    }

    fn key_del(&mut self, _: u32, peer: u32, slot: Slot) -> Result<(), Refused> {
        self.decoded = format!("delete {peer} {slot:?}");
        Ok(())
    }
}

/// The request as the driver side decoded it, and its answer as the client side decoded that.
fn round(api: Api, mode: Mode, command: &Command<'_>) -> (String, Vec<Received>) {
    let mut service = Remembering {
        api,
        mode,
        decoded: String::new(),
    };
    let mut ask = |request: &[u8]| {
        let mut answers = Answers::new();
        serve(&FAMILIES, &REQUESTER, request, &mut service, &mut answers);
        answers.into_datagrams()
    };
    let answers = ask(&family_request(api, 1));
    let found = family(api, &answers[0]).unwrap();
    let answers = ask(&request(&found, 4, 77, command).unwrap());
    let received = answers
        .iter()
        .flat_map(|datagram| decode(&[found], datagram))
        .map(|(sequence, received)| {
            assert_eq!(sequence, 77);
            received
        });
    let received = received.collect();
    (service.decoded, received)
}

fn done() -> Vec<Received> {
    vec![Received::Ended(Ok(()))]
}

fn peer_new(api: Api) -> PeerNew {
    PeerNew {
        tx_id: (api == Api::Ovpn).then_some(9),
        remote: Some("[fe80::1%3]:1194".parse().unwrap()),
        local: Some("fe80::2".parse().unwrap()),
        vpn4: Some([10, 8, 0, 2].into()),
        vpn6: Some("fd00::2".parse().unwrap()),
        keepalive: (api == Api::Ovpn).then_some(Keepalive {
            interval: 10,
            timeout: 60,
        }),
        ..PeerNew::new(api, 1, 12)
    }
}

#[test]
fn families_are_found_by_name() {
    let mut answers = Answers::new();
    let mut service = Remembering {
        api: Api::Ovpn,
        mode: Mode::Mp,
        decoded: String::new(),
    };
    for api in [Api::Ovpn, Api::DcoV2] {
        let request = family_request(api, 5);
        serve(&FAMILIES, &REQUESTER, &request, &mut service, &mut answers);
    }
    let ids = [(Api::Ovpn, 0), (Api::DcoV2, 2)]
        .map(|(api, at)| family(api, &answers.datagrams()[at]).map(|it| (it.id, it.peers)));
    assert_eq!(ids, [Some((0x40, 7)), Some((0x41, 8))]);
}

#[test]
fn peers_arrive_as_they_were_sent_and_refusals_come_back() {
    for api in [Api::Ovpn, Api::DcoV2] {
        let new = peer_new(api);
        let (decoded, received) = round(api, Mode::Mp, &Command::PeerNew(&new));
        assert_eq!(decoded, format!("4 {new:?}"));
        let text = (api == Api::Ovpn).then(|| "ovpn: cannot add".to_owned());
        let failure = Failure {
            errno: Errno::EEXIST,
            text,
            missing: None,
        };
        assert_eq!(received, [Received::Ended(Err(failure))]);
    }
}

#[test]
fn changes_of_peers_arrive() {
    let new = peer_new(Api::Ovpn);
    let set = PeerSet {
        id: 1,
        tx_id: new.tx_id,
        remote: Some("192.0.2.1:5".parse().unwrap()),
        local: Some("192.0.2.2".parse().unwrap()),
        vpn4: new.vpn4,
        vpn6: new.vpn6,
        keepalive: new.keepalive,
        ..PeerSet::default()
    };
    let (decoded, received) = round(Api::Ovpn, Mode::Mp, &Command::PeerSet(&set));
    assert_eq!((decoded, received), (format!("4 {set:?}"), done()));
    let (decoded, received) = round(Api::DcoV2, Mode::P2p, &Command::PeerDel(5));
    assert_eq!((decoded.as_str(), received), ("delete 5", done()));
}

#[test]
fn states_are_read_as_they_were_sent() {
    for api in [Api::Ovpn, Api::DcoV2] {
        let end = Received::Ended(Ok(()));
        let (_, received) = round(api, Mode::Mp, &Command::PeerGet(3));
        assert_eq!(received, [Received::Peer(state(3)), end.clone()]);
        let (_, received) = round(api, Mode::Mp, &Command::Peers);
        assert_eq!(
            received,
            [Received::Peer(state(1)), Received::Peer(state(2)), end]
        );
    }
    let (_, received) = round(Api::Ovpn, Mode::P2p, &Command::KeyGet(3, Slot::Secondary));
    let key = KeyState {
        peer: 3,
        slot: Slot::Secondary,
        key_id: 5,
        cipher: CipherAlg::ChaCha20Poly1305,
    };
    assert_eq!(received, [Received::Key(key), Received::Ended(Ok(()))]);
}

#[test]
fn keys_arrive_and_never_move_while_they_are_written() {
    let direction = |key: &'static [u8], byte| KeyDirection {
        key,
        nonce_tail: [byte; 8],
    };
    let key = KeyNew {
        peer: 2,
        slot: Slot::Secondary,
        key_id: 3,
        cipher: CipherAlg::AesGcm,
        encrypt: direction(&[1; 32], 3),
        decrypt: direction(&[2; 32], 4),
    };
    for api in [Api::Ovpn, Api::DcoV2] {
        let (decoded, received) = round(api, Mode::P2p, &Command::KeyNew(&key));
        let expected = format!(
            "2 Secondary 3 AesGcm {:?} {:?} {:?} {:?}",
            [1; 32], [3; 8], [2; 32], [4; 8]
        );
        assert_eq!((decoded, received), (expected, done()));
        for (command, expected) in [
            (Command::KeySwap(2), "swap 2"),
            (Command::KeyDel(2, Slot::Primary), "delete 2 Primary"),
        ] {
            let (decoded, received) = round(api, Mode::P2p, &command);
            assert_eq!((decoded.as_str(), received), (expected, done()));
        }
        let family = Family {
            api,
            id: 1,
            peers: 1,
        };
        let largest = KeyNew {
            encrypt: direction(&[1; 256], 1),
            decrypt: direction(&[1; 256], 1),
            ..key
        };
        let request = request(&family, 1, 1, &Command::KeyNew(&largest)).unwrap();
        assert_eq!(request.capacity(), ROOM, "a copy was left behind");
    }
}

#[test]
fn notifications_are_read_as_they_were_sent() {
    let families = [(Api::Ovpn, FAMILIES.ovpn), (Api::DcoV2, FAMILIES.dco_v2)]
        .map(|(api, id)| Family { api, id, peers: 0 });
    let deleted = Notification::PeerDeleted {
        ifindex: 3,
        peer: 1,
        reason: DeleteReason::Expired,
    };
    let floated = Notification::PeerFloated {
        ifindex: 3,
        peer: 1,
        remote: "[fe80::1%3]:1194".parse().unwrap(),
    };
    let swap = Notification::KeySwap {
        ifindex: 3,
        peer: 1,
        key_id: 7,
    };
    let cases = [
        (Api::Ovpn, &deleted),
        (Api::Ovpn, &floated),
        (Api::Ovpn, &swap),
        (Api::DcoV2, &deleted),
    ];
    for (api, sent) in cases {
        let datagram = crate::notification(api, &FAMILIES, sent).unwrap();
        let read = decode(&families, &datagram);
        assert_eq!(read, [(0, Received::Notification(sent.clone()))]);
    }
}

#[test]
fn a_client_refuses_what_its_api_lacks() {
    let family = Family {
        api: Api::DcoV2,
        id: 1,
        peers: 1,
    };
    let refused = |command: &Command<'_>| request(&family, 1, 1, command).is_err();
    assert!(refused(&Command::KeyGet(1, Slot::Primary)));
    assert!(refused(&Command::PeerNew(&peer_new(Api::Ovpn))));
}

#[test]
fn link_requests_are_read_back_as_written() {
    for (api, mode) in [(Api::Ovpn, Mode::Mp), (Api::DcoV2, Mode::P2p)] {
        let new = link::New {
            api,
            name: "tun7",
            mode,
            mtu: Some(1400),
            up: true,
        };
        let request = link::new(&new, 1);
        let crate::LinkRequest::New(read) = crate::link_request(&REQUESTER, &request) else {
            panic!("not read");
        };
        assert_eq!((read.api, read.mode), (api, mode));
        assert_eq!((read.target.name, read.mtu), (Some("tun7"), Some(1400)));
        assert!(read.create && read.exclusive && read.up && !read.replace);
    }
    let deletion = link::delete(6, 1);
    let crate::LinkRequest::Delete(target) = crate::link_request(&REQUESTER, &deletion) else {
        panic!("not read");
    };
    assert_eq!(target.ifindex, Some(6));
}

#[test]
fn any_bytes_can_be_read() {
    let family = Family {
        api: Api::Ovpn,
        id: 0x40,
        peers: 1,
    };
    let datagram = crate::notification(
        Api::Ovpn,
        &FAMILIES,
        &Notification::KeySwap {
            ifindex: 1,
            peer: 1,
            key_id: 1,
        },
    )
    .unwrap();
    for cut in 0..datagram.len() {
        for flip in [0, 1, 0xff] {
            let mut bytes = datagram.clone();
            bytes[cut] ^= flip;
            decode(&[family], &bytes);
            decode(&[family], &bytes[..cut]);
            super::family(Api::Ovpn, &bytes);
        }
    }
}
