//! Packets of many peers that come in turns: the records of each leave together, and in their order.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use udco_core::{Keepalive, Mode};
use udco_sim::node::{SERVER, Shape, outer};
use udco_sim::rng::Rng;
use udco_sim::udp::Mood;
use udco_sim::world::World;

/// A server that sends records in segments.
const SHAPE: Shape = Shape {
    mode: Mode::Mp,
    queues: 1,
    pairs: false,
    workers: 1,
    merges: false,
    segments: true,
};

/// A server and this many clients that are not connected yet.
fn unconnected(clients: usize) -> World {
    World::new(Rng::new(1), &vec![SHAPE; clients + 1]).unwrap()
}

/// A server with this many clients over UDP, whose kernel behaves like this.
fn world(clients: usize, mood: Mood) -> World {
    let mut world = unconnected(clients);
    for client in 1..=clients {
        world.connect(client, Keepalive::default()).unwrap();
    }
    world.nodes[SERVER].socket.set_mood(mood);
    world
}

/// The server's host sends each client a packet of each of these lengths, in turns and at once.
fn send_in_turns(world: &mut World, lengths: &[usize]) {
    let now = world.now();
    for &len in lengths {
        for client in 1..world.nodes.len() {
            world.send(now, (SERVER, client), len, 0);
        }
    }
    world.run_for(20).unwrap();
}

/// Checks that all packets sent like this arrive, and that each client's records leave in their order. Returns where the
/// records went, one after the other.
fn sent_in_turns(clients: usize, mood: Mood, lengths: &[usize]) -> Vec<SocketAddr> {
    let mut delivering = world(clients, mood);
    // Twice: by then the device may know more of the path.
    for _ in 0..2 {
        send_in_turns(&mut delivering, lengths);
        delivering.check_balance().unwrap();
        let drops = delivering.nodes[SERVER].drops().0;
        assert_eq!((drops, delivering.ledger.missing()), (0, 0));
    }

    let mut world = world(clients, mood);
    world.captured = Some(Vec::new());
    send_in_turns(&mut world, lengths);
    let captured = world.captured.take().unwrap();
    let mut last = BTreeMap::new();
    let mut destinations = Vec::new();
    for (source, departure) in &captured {
        assert_eq!(*source, outer(SERVER));
        // The packet id, behind opcode, key id and peer id.
        let id = u32::from_be_bytes(*departure.bytes[4..].first_chunk().unwrap());
        let before = last.insert(departure.destination, id);
        assert!(before < Some(id), "out of order");
        destinations.push(departure.destination);
    }
    assert_eq!(destinations.len(), lengths.len() * clients);
    destinations
}

#[test]
fn records_of_peers_in_turns_leave_peer_by_peer() {
    let mut destinations = sent_in_turns(3, Mood::default(), &[1_000; 40]);
    destinations.dedup();
    assert_eq!(destinations, [outer(1), outer(2), outer(3)]);
}

#[test]
fn a_shorter_record_is_the_last_of_its_message_and_none_overtakes_it() {
    let lengths: Vec<_> = (0..40).map(|at| 1_400 - (at * 7919) % 1_300).collect();
    sent_in_turns(3, Mood::default(), &lengths);
}

#[test]
fn a_peer_that_gets_little_does_not_wait_for_one_that_gets_much() {
    let mut world = world(2, Mood::default());
    world.captured = Some(Vec::new());
    let now = world.now();
    for at in 0..100 {
        world.send(now, (SERVER, if at == 20 { 2 } else { 1 }), 1_400, 0);
    }
    world.run_for(20).unwrap();
    let captured = world.captured.take().unwrap();
    assert_eq!(captured.len(), 100);
    assert_eq!(captured[0].1.destination, outer(2));
}

#[test]
fn streams_get_their_records_whole_and_in_order() {
    let mut world = unconnected(3);
    for client in 1..=3 {
        let room = 1 << 20;
        world
            .connect_stream(client, room, Keepalive::default())
            .unwrap();
    }
    let now = world.now();
    for at in 0..120 {
        world.send(now, (SERVER, at % 3 + 1), 100 + at * 10, 0);
    }
    world.run_for(100).unwrap();
    world.check_balance().unwrap();
    assert_eq!(
        (world.nodes[SERVER].drops().0, world.ledger.missing()),
        (0, 0)
    );
}

#[test]
fn more_peers_than_open_runs_lose_none() {
    sent_in_turns(150, Mood::default(), &[500, 500, 400, 500]);
}

#[test]
fn records_that_are_gathered_leave_one_by_one_where_segments_are_refused() {
    let mood = Mood {
        refuses_segments: true,
        ..Mood::default()
    };
    sent_in_turns(3, mood, &[1_000; 40]);
}
