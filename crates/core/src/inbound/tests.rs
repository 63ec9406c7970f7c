use super::*;
use crate::Routes;
use crate::key_slots::Slot;
use crate::outbound::{Sealer, select};
use crate::route::Route;
use crate::testing::{Toy, at, device, key, packet, record};
use crate::{Device, Mode};

const NOW: Time = Time::from_millis(5000);

fn routes() -> Routes {
    let mut routes = Routes::new(1);
    for (destination, prefix, gateway) in [
        ([10, 8, 0, 0], 24, None),
        ([192, 168, 7, 0], 24, Some([10, 8, 0, 1])),
        ([192, 168, 7, 128], 25, Some([10, 8, 0, 2])),
    ] {
        routes.add(
            Route {
                destination: IpAddr::from(destination),
                prefix,
                metric: 0,
                gateway: gateway.map(IpAddr::from),
                ifindex: 3,
            },
            false,
        );
    }
    routes
}

fn view<'v>(device: &'v Device<Toy, ()>, routes: &'v Routes) -> View<'v, Toy, ()> {
    View::new(device.mode(), device.peers(), routes)
}

/// What became of a datagram, in a form that tests can compare.
#[derive(Debug, PartialEq)]
enum Became {
    Control,
    Packet(u32),
    Keepalive(u32),
    Dropped(DropReason),
}

fn became(device: &Device<Toy, ()>, datagram: &[u8], port: u16) -> (Became, Option<Endpoint>) {
    let origin = Origin {
        remote: at(port),
        local: None,
    };
    let mut datagram = datagram.to_vec();
    let routes = routes();
    match receive(&view(device, &routes), &mut datagram, origin, NOW) {
        Inbound::Control => (Became::Control, None),
        Inbound::Data {
            peer,
            payload: Payload::Packet(_),
            floated,
        } => (Became::Packet(peer.id.value()), floated),
        Inbound::Data {
            peer,
            payload: Payload::Keepalive,
            floated,
        } => (Became::Keepalive(peer.id.value()), floated),
        Inbound::Dropped { reason, floated } => (
            Became::Dropped(reason),
            floated.map(|(_, endpoint)| endpoint),
        ),
    }
}

#[test]
fn a_datagram_is_dropped_for_the_first_reason_there_is() {
    let device = device(&[1, 2]);
    let sender = key(0, 1);
    let good = packet([10, 8, 0, 1], [10, 8, 0, 9]);
    let drops = [
        (vec![0x48, 0, 0], DropReason::RxShort),
        (vec![0x30, 0, 0, 1], DropReason::RxDataV1),
        (
            record(&sender, PeerId::from(9), 1, &good),
            DropReason::RxNoPeer,
        ),
        (
            record(&key(5, 1), PeerId::from(1), 1, &good),
            DropReason::RxUnknownKeyId,
        ),
        (
            record(&sender, PeerId::from(1), 1, &good)[..23].to_vec(),
            DropReason::RxNoTag,
        ),
        (
            record(&key(0, 2), PeerId::from(1), 1, &good),
            DropReason::RxBadTag,
        ),
        (
            record(&sender, PeerId::from(1), 0, &good),
            DropReason::RxReplay,
        ),
        (
            record(&sender, PeerId::from(1), 1, &[]),
            DropReason::RxEmpty,
        ),
        (
            record(&sender, PeerId::from(1), 2, &[0x45; 19]),
            DropReason::RxNotIp,
        ),
        (
            record(&sender, PeerId::from(1), 3, &KEEPALIVE[..15]),
            DropReason::RxNotIp,
        ),
        (
            record(
                &sender,
                PeerId::from(1),
                4,
                &[KEEPALIVE.as_slice(), &[0]].concat(),
            ),
            DropReason::RxNotIp,
        ),
        (
            record(
                &sender,
                PeerId::from(1),
                5,
                &packet([10, 8, 0, 2], [10, 8, 0, 9]),
            ),
            DropReason::RxSpoofedSource,
        ),
        (
            record(
                &sender,
                PeerId::from(1),
                16,
                &packet([169, 254, 0, 1], [224, 0, 0, 22]),
            ),
            DropReason::RxLinkLocal,
        ),
        (
            record(
                &sender,
                PeerId::from(1),
                17,
                &packet([169, 254, 0, 1], [10, 8, 0, 9]),
            ),
            DropReason::RxSpoofedSource,
        ),
        (
            record(
                &sender,
                PeerId::from(1),
                18,
                &packet([10, 8, 0, 2], [224, 0, 0, 22]),
            ),
            DropReason::RxSpoofedSource,
        ),
    ];
    for (datagram, reason) in drops {
        assert_eq!(became(&device, &datagram, 1).0, Became::Dropped(reason));
    }
    assert_eq!(became(&device, &[0x38, 1, 2, 3], 1).0, Became::Control);
    assert_eq!(
        became(&device, &record(&sender, PeerId::from(1), 6, &good), 1).0,
        Became::Packet(1)
    );
    assert_eq!(
        became(&device, &record(&sender, PeerId::from(1), 7, &KEEPALIVE), 1).0,
        Became::Keepalive(1)
    );
    let rx = &device
        .peers()
        .by_id(PeerId::from(1))
        .unwrap()
        .activity
        .link_rx;
    assert_eq!(
        rx.packets(),
        14,
        "every datagram of this peer counts, dropped or not"
    );
}

#[test]
fn a_source_must_lead_back_to_its_sender() {
    let device = device(&[1, 2, 3]);
    let sources: [([u8; 4], u16); 6] = [
        ([10, 8, 0, 1], 1),
        ([192, 168, 7, 5], 1),
        ([192, 168, 7, 200], 2), // the longer prefix is another peer's
        ([10, 8, 0, 77], 0),
        ([8, 8, 8, 8], 0),
        ([0, 0, 0, 0], 0),
    ];
    for sender in 1..=3u16 {
        let sender_key = key(0, sender as u8);
        for (packet_id, (source, owner)) in (1..).zip(sources) {
            let datagram = record(
                &sender_key,
                sender.into(),
                packet_id,
                &packet(source, [10, 8, 0, 9]),
            );
            let expected = if owner == sender {
                Became::Packet(sender.into())
            } else {
                Became::Dropped(DropReason::RxSpoofedSource)
            };
            assert_eq!(
                became(&device, &datagram, 1).0,
                expected,
                "{source:?} from {sender}"
            );
        }
    }
}

#[test]
fn a_packet_out_goes_to_the_owner_of_its_next_hop() {
    let device = device(&[1, 2]);
    let routes = routes();
    let view = view(&device, &routes);
    let peer = |destination| {
        let packet = packet([1, 1, 1, 1], destination);
        let peer = select(&view, &packet)?;
        let mut record = [vec![0; crate::wire::OVERHEAD], packet].concat();
        Sealer::new(peer, 1, 20, NOW)?.seal(&mut record)?;
        Ok(peer.id.value())
    };
    assert_eq!(peer([10, 8, 0, 2]), Ok(2));
    assert_eq!(peer([192, 168, 7, 5]), Ok(1));
    assert_eq!(peer([192, 168, 7, 200]), Ok(2));
    assert_eq!(peer([10, 8, 0, 255]), Err(DropReason::TxNoPeer));
    for group in [[224, 0, 0, 22], [239, 1, 2, 3], [255, 255, 255, 255]] {
        assert_eq!(peer(group), Err(DropReason::TxMulticast));
    }
    assert_eq!(select(&view, &[0x45]).err(), Some(DropReason::TxNotIp));
    let sent = &device.peers().by_id(PeerId::from(2)).unwrap().activity;
    assert_eq!((sent.vpn_tx.packets(), sent.vpn_tx.bytes()), (2, 40));
    assert_eq!((sent.link_tx.packets(), sent.link_tx.bytes()), (2, 88));
}

#[test]
fn a_point_to_point_peer_sends_and_gets_everything() {
    let mut device = Device::new(Mode::P2p, 1);
    device.add_peer(crate::testing::new_peer(4), NOW).unwrap();
    device
        .install_key(PeerId::from(4), Slot::Primary, key(0, 4))
        .unwrap();
    let any = packet([8, 8, 8, 8], [255, 255, 255, 255]);
    assert_eq!(
        became(&device, &record(&key(0, 4), PeerId::from(4), 1, &any), 4).0,
        Became::Packet(4)
    );
    let routes = routes();
    let peer = select(&view(&device, &routes), &any).unwrap().id;
    assert_eq!(peer, PeerId::from(4));
}

#[test]
fn the_undefined_peer_id_means_the_source_address() {
    let device = device(&[1, 2]);
    let packet = packet([10, 8, 0, 2], [10, 8, 0, 9]);
    let datagram = record(&key(0, 2), PeerId::UNDEFINED, 1, &packet);
    assert_eq!(
        became(&device, &datagram, 9).0,
        Became::Dropped(DropReason::RxNoPeer)
    );
    assert_eq!(
        became(&device, &datagram, 1).0,
        Became::Dropped(DropReason::RxBadTag)
    );
    assert_eq!(became(&device, &datagram, 2).0, Became::Packet(2));
}

#[test]
fn only_the_newest_authentic_packet_moves_a_peer() {
    let device = device(&[1]);
    let sender = key(0, 1);
    let good = packet([10, 8, 0, 1], [10, 8, 0, 9]);
    let float = |packet_id, port, payload: &[u8]| {
        let floated = became(
            &device,
            &record(&sender, PeerId::from(1), packet_id, payload),
            port,
        )
        .1;
        floated.map(|endpoint| endpoint.remote)
    };
    assert_eq!(float(5, 1, &good), None, "it is where it was");
    assert_eq!(float(4, 7, &good), None, "older than the newest");
    assert_eq!(float(5, 7, &good), None, "a replay");
    assert_eq!(float(6, 7, &good), Some(at(7)));
    assert_eq!(float(7, 8, &KEEPALIVE), Some(at(8)), "keepalives float too");
    let spoofed = packet([10, 8, 0, 9], [10, 8, 0, 9]);
    assert_eq!(float(8, 9, &spoofed), Some(at(9)), "dropped, but authentic");
    let forged = record(&key(0, 2), PeerId::from(1), 9, &good);
    assert_eq!(became(&device, &forged, 9).1, None, "not authentic");
}

#[test]
fn a_packet_that_came_before_its_key_is_counted_once() {
    let mut device = device(&[1]);
    let (next, routes) = (key(1, 9), routes());
    let mut early = record(
        &next,
        PeerId::from(1),
        1,
        &packet([10, 8, 0, 1], [10, 8, 0, 9]),
    );
    let origin = Origin {
        remote: at(1),
        local: None,
    };
    let first = receive(&view(&device, &routes), &mut early, origin, NOW);
    assert!(matches!(
        first,
        Inbound::Dropped {
            reason: DropReason::RxUnknownKeyId,
            ..
        }
    ));
    device
        .install_key(PeerId::from(1), Slot::Secondary, key(1, 9))
        .unwrap();
    let again = receive_again(&view(&device, &routes), &mut early, origin, NOW);
    assert!(matches!(
        again,
        Inbound::Data {
            payload: Payload::Packet(_),
            ..
        }
    ));
    assert_eq!(
        device
            .peers()
            .by_id(PeerId::from(1))
            .unwrap()
            .activity
            .link_rx
            .packets(),
        1
    );
}

#[test]
fn a_super_packet_counts_as_the_packets_that_it_becomes() {
    let mut device = device(&[1]);
    let routes = routes();
    let packet = packet([1, 1, 1, 1], [10, 8, 0, 1]);
    {
        let view = view(&device, &routes);
        let peer = select(&view, &packet).unwrap();
        let mut sealer = Sealer::new(peer, 3, 60, NOW).unwrap();
        for packet_id in 1..=3u32 {
            let mut record = [vec![0; crate::wire::OVERHEAD], packet.clone()].concat();
            sealer.seal(&mut record).unwrap();
            assert_eq!(record[4..8], packet_id.to_be_bytes());
        }
        let one_too_many = sealer.seal(&mut [0; 44]);
        assert_eq!(one_too_many, Err(DropReason::TxPacketIdsUsedUp));
        drop(sealer);
        let activity = &peer.activity;
        assert_eq!(
            (activity.vpn_tx.packets(), activity.vpn_tx.bytes()),
            (3, 60)
        );
        assert_eq!(
            (activity.link_tx.packets(), activity.link_tx.bytes()),
            (3, 132)
        );
    }
    device.delete_key(PeerId::from(1), Slot::Primary).unwrap();
    let view = view(&device, &routes);
    let peer = select(&view, &packet).unwrap();
    let no_key = Sealer::new(peer, 1, 20, NOW).err();
    assert_eq!(no_key, Some(DropReason::TxNoKey));
    assert_eq!(
        peer.activity.vpn_tx.packets(),
        4,
        "counted before the key is looked up"
    );
}

#[test]
fn a_view_finds_each_peer_whoever_was_last() {
    let device = device(&[1, 2]);
    let routes = routes();
    let view = view(&device, &routes);
    for address in [[10, 8, 0, 1], [10, 8, 0, 2], [10, 8, 0, 9], [10, 8, 0, 2]] {
        let address = IpAddr::from(address);
        let found = view.peers.by_vpn_address(view.routes.next_hop(address));
        for _ in 0..2 {
            let owner = view.owner(address);
            assert_eq!(owner.map(|peer| peer.id), found.map(|peer| peer.id));
        }
    }
    for id in [1, 1, 2, 7, 2, 1].map(PeerId::from) {
        let known = id < PeerId::from(3);
        assert_eq!(view.by_id(id).map(|peer| peer.id), known.then_some(id));
    }
}
