//! Concurrent requests of two clients about the same peer, and about a device that is being removed (dco-behaviour
//! 5.11, 7).

use std::cell::Cell;
use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{TryRecvError, channel};
use std::thread;
use std::time::Duration;

use udco_ipc::ToEngine;

use crate::api::{
    Api, BOTH, EEXIST, ENODEV, ENOENT, Notification, PRIMARY, TEARDOWN, TRANSPORT_DISCONNECT,
    Target, USERSPACE,
};
use crate::client::netlink::{MULTI_PEER, POINT_TO_POINT};
use crate::client::{Client, Owned, engine, namespace::enter};
use crate::eventually::eventually;
use crate::forger::Forger;
use crate::inner::{PORT, udp4};
use crate::site::{
    FakeOpenVpn, HERE4, Plan, Site, TransportSocket, configure, ip, is_interface, no_more_fds_than,
    open_fds, vpn_of,
};

const LOOPS: usize = 1000;

/// Rounds before descriptors are counted: buffers and tables have grown to their size by then.
const WARM: usize = 10;

/// How many devices to delete.
const DEVICES: usize = 200;

/// Runs two actions at the same time, one on this thread, the other on a thread of its own, `LOOPS` times, and checks
/// each pair of results.
fn race<A, B: Send>(
    prepare: impl Fn(),
    one: impl Fn() -> A,
    other: impl Fn() -> B + Send,
    compare: impl Fn(usize, A, B),
) {
    thread::scope(|scope| {
        let (go, gone) = channel();
        let (outcome, came) = channel();
        scope.spawn(move || {
            loop {
                match gone.try_recv() {
                    Ok(()) => outcome.send(other()).unwrap(),
                    // A sleep would always be the later of the two.
                    Err(TryRecvError::Empty) => thread::yield_now(),
                    Err(TryRecvError::Disconnected) => return,
                }
            }
        });
        for round in 0..LOOPS {
            prepare();
            go.send(()).unwrap();
            let one = one();
            compare(round, one, came.recv().unwrap());
        }
    });
}

const fn deleted(peer: u32, reason: u32) -> Notification {
    Notification::Deleted { peer, reason }
}

#[test]
fn a_peer_deleted_while_its_socket_closes_ends_once() {
    if !enter("races::a_peer_deleted_while_its_socket_closes_ends_once") {
        return;
    }
    let site = Site::open(Api::Ovpn);
    let (openvpn, target) = (&site.openvpn, site.openvpn.target);
    let another = FakeOpenVpn::beside(&site);
    let before = Cell::new(0);
    let won = Cell::new([0; 2]);
    race(
        || {
            let new = openvpn.new_peer(1, openvpn.transport.address);
            openvpn.must(&target.peer_new(&new));
            openvpn.must(&target.key_new(1, PRIMARY, 0));
        },
        || {
            openvpn
                .client
                .ask(8, &ToEngine::SocketClosed { fd: 9 }, &[])
        },
        move || another.ask(&target.peer_del(1)),
        |round, closed, removed| {
            assert_eq!(closed, Some(Owned::Done(0)));
            let [closes, removals] = won.get();
            let reason = match removed {
                Ok(_) => {
                    won.set([closes, removals + 1]);
                    USERSPACE
                }
                Err(errno) => {
                    assert_eq!(errno, ENOENT);
                    won.set([closes + 1, removals]);
                    TRANSPORT_DISCONNECT
                }
            };
            assert_eq!(site.notifications(), [deleted(1, reason)]);
            assert_eq!(site.peers(), [0; 0]);
            if round == WARM {
                before.set(open_fds());
            }
        },
    );
    no_more_fds_than(before.get());
    let [closes, removals] = won.get();
    println!("{closes} times the socket was the first, {removals} times the request");
}

#[test]
fn a_peer_deleted_while_its_client_dies_ends_once() {
    if !enter("races::a_peer_deleted_while_its_client_dies_ends_once") {
        return;
    }
    let site = Site::open(Api::Ovpn);
    let target = site.openvpn.target;
    let another = FakeOpenVpn::beside(&site);
    let (before, dying) = (Cell::new(0), Cell::new(None));
    race(
        || {
            let openvpn = FakeOpenVpn::beside(&site);
            let new = openvpn.new_peer(1, openvpn.transport.address);
            openvpn.must(&target.peer_new(&new));
            dying.set(Some(openvpn));
        },
        || dying.take().unwrap().client.end().unwrap(),
        move || another.ask(&target.peer_del(1)),
        |round, (), removed| {
            let reason = match removed {
                Ok(_) => USERSPACE,
                Err(errno) => {
                    assert_eq!(errno, ENOENT);
                    TRANSPORT_DISCONNECT
                }
            };
            assert_eq!(site.notifications(), [deleted(1, reason)]);
            assert_eq!(site.peers(), [0; 0]);
            if round == WARM {
                before.set(open_fds());
            }
        },
    );
    no_more_fds_than(before.get());
}

#[test]
fn a_peer_deleted_while_one_of_its_id_is_added_ends_once() {
    if !enter("races::a_peer_deleted_while_one_of_its_id_is_added_ends_once") {
        return;
    }
    for mode in [MULTI_PEER, POINT_TO_POINT] {
        let site = Site::planned(&Plan {
            mode,
            ..Plan::of(Api::Ovpn)
        });
        let (openvpn, target) = (&site.openvpn, site.openvpn.target);
        let another = FakeOpenVpn::beside(&site);
        let new = || openvpn.ask(&target.peer_new(&openvpn.new_peer(1, openvpn.transport.address)));
        let before = Cell::new(0);
        race(
            || assert_eq!(new(), Ok(Vec::new())),
            new,
            move || another.ask(&target.peer_del(1)),
            |round, added, removed| {
                // At any moment before its deletion the peer exists.
                assert_eq!(removed, Ok(Vec::new()));
                let peers = site.peers();
                let notified = site.notifications();
                let (torn, by_user) = (deleted(1, TEARDOWN), deleted(1, USERSPACE));
                match (added, peers.as_slice()) {
                    (Err(EEXIST), []) if mode == MULTI_PEER => assert_eq!(notified, [by_user]),
                    // Replaced, and then deleted.
                    (Ok(_), []) if mode == POINT_TO_POINT => assert_eq!(notified, [torn, by_user]),
                    (Ok(_), [1]) => {
                        assert_eq!(notified, [by_user]);
                        openvpn.must(&target.peer_del(1));
                        assert_eq!(site.notifications(), [by_user]);
                    }
                    other => panic!("not a legal outcome: {other:?}"),
                }
                if round == WARM {
                    before.set(open_fds());
                }
            },
        );
        no_more_fds_than(before.get());
        assert_eq!(site.peers(), [0; 0]);
    }
}

#[test]
fn a_device_is_deleted_while_packets_flow_and_peers_are_added() {
    if !enter("races::a_device_is_deleted_while_packets_flow_and_peers_are_added") {
        return;
    }
    let engine = engine();
    let owner = Client::welcome(&engine);
    let requests = owner.open_channel();
    let mut before = 0;
    for round in 0..DEVICES {
        if round == WARM {
            before = open_fds();
        }
        let api = BOTH[round % 2];
        let listener = owner.open_channel();
        let (family, group) = owner.family(&requests, api.family());
        owner.join(&listener, group);
        let ifindex = owner.make_device(api.kind(), "gone0");
        configure("gone0");
        let target = Target {
            api,
            family,
            ifindex,
        };
        let client = Client::welcome(&engine);
        let openvpn = FakeOpenVpn::new(client, target, TransportSocket::open());
        let forger = Forger::new(openvpn.transport.address, 1);
        openvpn.must(&target.peer_new(&openvpn.new_peer(1, forger.address())));
        openvpn.must(&target.key_new(1, PRIMARY, 0));
        let over = AtomicBool::new(false);
        let added = thread::scope(|scope| {
            let over = &over;
            scope.spawn(move || traffic(&forger, over));
            // The client ends when it is refused, and its sockets with it: its peers must have ended by then.
            let adding = scope.spawn(move || add_until_refused(&openvpn));
            thread::sleep(Duration::from_micros(150 * (round as u64 % 20)));
            // As a client does it, and behind the engine's back.
            if round % 4 < 2 {
                owner.remove_device(ifindex);
            }
            ip(&["link del gone0"]);
            let added = adding.join().unwrap();
            over.store(true, Ordering::Relaxed);
            added
        });
        let mut notified = Vec::new();
        eventually("each peer's end", || {
            notified.extend(listener.drain().iter().map(|it| target.notification(it)));
            notified.len() > added
        });
        notified.sort_by_key(|it| match it {
            Notification::Deleted { peer, .. } => *peer,
            other => panic!("{other:?}"),
        });
        let all: Vec<Notification> = (1..=added as u32 + 1)
            .map(|id| deleted(id, TEARDOWN))
            .collect();
        assert_eq!(notified, all, "once each");
        let gone = || owner.show()["devices"].as_array().unwrap().is_empty();
        eventually("no device left", gone);
        eventually("no interface left", || !is_interface("gone0"));
    }
    no_more_fds_than(before);
}

/// Sends packets in both directions until it is over, or the device accepts none.
fn traffic(forger: &Forger, over: &AtomicBool) {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    let (vpn4, _) = vpn_of(1);
    while !over.load(Ordering::Relaxed) {
        forger.send_packet(&udp4(vpn4, HERE4, b"in"));
        let _ = socket.send_to(b"out", (vpn4, PORT));
    }
}

/// Adds peers from id 2 on until the device is gone; returns how many were added.
fn add_until_refused(openvpn: &FakeOpenVpn) -> usize {
    for added in 0.. {
        let id = 2 + added as u32;
        let new = openvpn.new_peer(id, openvpn.transport.address);
        match openvpn.ask(&openvpn.target.peer_new(&new)) {
            Ok(_) => {}
            Err(errno) => {
                assert_eq!(errno, ENODEV);
                return added;
            }
        }
    }
    unreachable!()
}
