use std::collections::BTreeMap;
use std::time::Duration;

use udco_state::{Keepalive, Key, Keys, Loss, Mode, Mss, Traffic};

use super::*;

/// A sample without anything.
pub(in crate::top) fn nothing(at: Instant) -> Sample {
    Sample {
        at,
        engines: 0,
        devices: Vec::new(),
        remarks: Vec::new(),
        nothing: Some(
            "no engine is running: start OpenVPN with `udco run -- openvpn …`".to_owned(),
        ),
    }
}

/// A sample of one engine, with these devices.
pub(in crate::top) fn sample(at: Instant, devices: Vec<DeviceSample>) -> Sample {
    Sample {
        engines: 1,
        devices,
        nothing: None,
        ..nothing(at)
    }
}

/// A device with these peers, of an engine with two workers that have done nothing.
pub(in crate::top) fn device(name: &str, ifindex: u32, peers: Vec<Peer>) -> DeviceSample {
    let mut totals = Sides::default();
    for peer in &peers {
        totals.vpn += peer.vpn;
        totals.link += peer.link;
    }
    DeviceSample {
        whose: whose(ifindex, None),
        name: name.to_owned(),
        mode: Mode::Mp,
        kind: "mp, ovpn-dco-v2".to_owned(),
        engine: Some(EngineSample {
            socket: "/run/udco/engine.sock".to_owned(),
            cpu_seconds: 0.0,
            worker_cpu_seconds: vec![0.0, 0.0],
        }),
        totals: Some(totals),
        drops: BTreeMap::new(),
        common_names: BTreeMap::new(),
        peers: Some(peers),
    }
}

pub(in crate::top) fn whose(ifindex: u32, peer: Option<u32>) -> Whose {
    Whose {
        engine: Some("/run/udco/engine.sock".to_owned()),
        ifindex,
        netns: 9,
        peer,
    }
}

/// A peer that has received and sent this many bytes, in packets of a thousand. With each million received one was lost.
pub(in crate::top) fn peer(id: u32, received: u64, sent: u64) -> Peer {
    let last = u8::try_from(id).unwrap();
    let traffic = |overhead: u64| Traffic {
        rx_bytes: received + received / 1000 * overhead,
        rx_packets: received / 1000,
        tx_bytes: sent + sent / 1000 * overhead,
        tx_packets: sent / 1000,
    };
    Peer {
        id,
        tx_id: id,
        remote: Some(([192, 0, 2, last], 40_000 + u16::from(last)).into()),
        local: None,
        path_mtu: Some(1500),
        mss: Some(Mss {
            ipv4: 1400,
            ipv6: 1380,
        }),
        vpn4: Some([10, 8, 0, last].into()),
        vpn6: None,
        keepalive: Keepalive {
            interval: 10,
            timeout: 60,
        },
        keys: Keys {
            primary: Some(Key {
                key_id: 3,
                cipher: "AES-256-GCM".into(),
                age: Some(754),
            }),
            secondary: None,
        },
        link: traffic(24),
        vpn: traffic(0),
        loss: Some(Loss {
            expected: received / 1000 + received / 1_000_000,
            lost: received / 1_000_000,
        }),
    }
}

/// Samples at these seconds.
pub(in crate::top) fn at(begin: Instant, seconds: u64) -> Instant {
    begin + Duration::from_secs(seconds)
}

#[test]
fn two_samples_make_rates() {
    let begin = Instant::now();
    let mut model = Model::default();
    model.take(sample(begin, vec![device("tun0", 3, vec![peer(1, 0, 0)])]));
    assert!(model.devices[0].rate.is_none() && model.peers[0].rate.is_none());
    assert_eq!(model.peers[0].loss, None);
    let mut later = device("tun0", 3, vec![peer(1, 4000, 2000), peer(2, 8000, 0)]);
    let engine = later.engine.as_mut().unwrap();
    (engine.cpu_seconds, engine.worker_cpu_seconds) = (0.5, vec![0.25, 0.125]);
    model.take(sample(at(begin, 2), vec![later]));
    let [inside, link] = model.peers[0].rate.unwrap();
    assert_eq!((inside.rx_bytes, inside.tx_bytes), (2000.0, 1000.0));
    assert_eq!(link.rx_bytes, 2.0 * 1024.0);
    assert_eq!(model.peers[0].loss, Some(0.0));
    assert!(model.peers[1].rate.is_none(), "it is new");
    let device = &model.devices[0];
    assert_eq!(device.rate.unwrap().rx_bytes, 6000.0, "of the totals");
    let engine = device.engine.as_ref().unwrap();
    assert_eq!((device.peers, engine.load), (Some(2), Some(0.25)));
    assert_eq!(engine.workers, [Some(0.125), Some(0.0625)]);
    let received: Vec<_> = model.history(&whose(3, None)).unwrap().received().collect();
    assert_eq!(received, [48_000]);
    let together: Vec<_> = model.together().received().collect();
    assert_eq!(together, [48_000, 0]);
    assert!(model.history(&whose(3, Some(2))).is_none(), "not yet busy");
}

#[test]
fn peers_and_engines_come_and_go() {
    let begin = Instant::now();
    let mut model = Model::default();
    for second in 0..3 {
        let peers = vec![peer(1, second * 1000, 0)];
        model.take(sample(at(begin, second), vec![device("tun0", 3, peers)]));
    }
    assert!(model.history(&whose(3, Some(1))).is_some());
    let mut gone = nothing(at(begin, 3));
    gone.remarks.push("tun0: its engine was killed".to_owned());
    model.take(gone);
    assert!(model.devices.is_empty() && model.peers.is_empty());
    assert!(model.history(&whose(3, Some(1))).is_none());
    assert!(model.nothing.is_some() && model.remarks.len() == 1);
    // The next engine counts from zero.
    model.take(sample(
        at(begin, 4),
        vec![device("tun0", 3, vec![peer(1, 0, 0)])],
    ));
    assert!(model.devices[0].rate.is_none() && model.nothing.is_none());
    model.take(sample(
        at(begin, 5),
        vec![device("tun0", 3, vec![peer(1, 1000, 0)])],
    ));
    assert_eq!(model.devices[0].rate.unwrap().rx_bytes, 1000.0);
    let together: Vec<_> = model.together().received().collect();
    assert_eq!(together, [8000, 0, 0, 8000, 8000, 0]);
}

/// The id is used again, and its next client has counted more than the one before.
#[test]
fn the_counters_of_another_client_make_no_rate() {
    let begin = Instant::now();
    for (name, next) in [(None, 2), (Some("bob"), 1), (Some("alice"), 2)] {
        let mut model = Model::default();
        let looks = [
            ("alice", peer(1, 5000, 0)),
            (
                name.unwrap_or_default(),
                Peer {
                    id: 1,
                    ..peer(next, 9000, 0)
                },
            ),
            (
                name.unwrap_or_default(),
                Peer {
                    id: 1,
                    ..peer(next, 9500, 0)
                },
            ),
        ];
        let mut rates = Vec::new();
        for (second, (name, peer)) in (0..).zip(looks) {
            let mut device = device("tun0", 3, vec![peer]);
            (device.totals, device.engine) = (None, None);
            let names = Some(name.to_owned()).filter(|it| !it.is_empty());
            device.common_names = names.into_iter().map(|name| (1, name)).collect();
            model.take(sample(at(begin, second), vec![device]));
            let received = |rate: Option<Rate>| rate.map(|it| it.rx_bytes);
            let row = &model.peers[0];
            let inside = row.rate.map(|[inside, _]| inside);
            assert_eq!(received(model.devices[0].rate), received(inside), "{name}");
            rates.push((received(inside), row.loss));
        }
        assert_eq!(rates[..2], [(None, None), (None, None)], "{name:?}");
        assert_eq!(rates[2].0, Some(500.0), "{name:?}");
    }
}

/// A client of OpenVPN that goes to its other server is at the same end of the same tunnel.
#[test]
fn the_peer_of_a_p2p_device_is_never_another() {
    let begin = Instant::now();
    let mut model = Model::default();
    let elsewhere = Peer {
        id: 1,
        ..peer(2, 0, 0)
    };
    let mut turns = Vec::new();
    for (second, peer) in [(0, peer(1, 5000, 0)), (1, elsewhere)] {
        let mut device = device("tun0", 3, vec![peer]);
        device.mode = Mode::P2p;
        model.take(sample(at(begin, second), vec![device]));
        turns.push(model.peers[0].turn);
    }
    assert_eq!(turns, [1, 1]);
    assert!(model.peers[0].rate.is_none());
}

#[test]
fn the_kernels_devices_have_the_rates_of_their_peers() {
    let begin = Instant::now();
    let mut model = Model::default();
    for second in 0..2 {
        let mut device = device(
            "tun0",
            3,
            vec![peer(1, 1000 * second, 0), peer(2, 0, second)],
        );
        (device.totals, device.engine) = (None, None);
        model.take(sample(at(begin, second), vec![device]));
    }
    let device = &model.devices[0];
    let rate = device.rate.unwrap();
    assert_eq!((rate.rx_bytes, rate.tx_bytes), (1000.0, 1.0));
    assert!(device.engine.is_none());
}

#[test]
fn drops_have_rates_by_reason() {
    let begin = Instant::now();
    let mut model = Model::default();
    for (second, count) in [(0, 5), (2, 11)] {
        let mut device = device("tun0", 3, Vec::new());
        device.drops.insert("rx_bad_tag".to_owned(), count);
        if second > 0 {
            device.drops.insert("tx_no_peer".to_owned(), 1);
        }
        model.take(sample(at(begin, second), vec![device]));
    }
    let device = &model.devices[0];
    let drops = |reason: &str, count, rate| Drops {
        reason: reason.to_owned(),
        count,
        rate,
    };
    let expected = [
        drops("rx_bad_tag", 11, Some(3.0)),
        drops("tx_no_peer", 1, None),
    ];
    assert_eq!(device.drops, expected);
    assert_eq!(device.drop_rate(), Some(3.0));
}

#[test]
fn devices_of_one_engine_share_its_load() {
    let begin = Instant::now();
    let mut model = Model::default();
    for second in 0..2 {
        let devices = [3, 4].map(|ifindex| {
            let mut device = device("tun", ifindex, Vec::new());
            device.engine.as_mut().unwrap().cpu_seconds = 1.5 * second as f64;
            device
        });
        model.take(sample(at(begin, second), devices.into()));
    }
    let mut engines = model.devices.iter().filter_map(|it| it.engine.as_ref());
    assert!(engines.all(|engine| engine.load == Some(1.5)));
}
