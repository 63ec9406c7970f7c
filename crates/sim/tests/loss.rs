//! What engines report as lost on the way is what the network has lost.

use std::mem;

use udco_core::{Keepalive, Loss, Mode};
use udco_sim::keys::Secret;
use udco_sim::node::{SERVER, Shape, peer_id};
use udco_sim::rng::Rng;
use udco_sim::weather::Weather;
use udco_sim::world::{MS, World};

const SHAPE: Shape = Shape {
    mode: Mode::Mp,
    queues: 1,
    pairs: false,
    workers: 1,
    merges: false,
    segments: true,
};

const CLIENTS: usize = 2;

/// Ends of tunnels, each with the other end.
fn ends() -> impl Iterator<Item = (usize, usize)> {
    (1..=CLIENTS).flat_map(|client| [(SERVER, client), (client, SERVER)])
}

/// As the engines report it.
fn reported(world: &World) -> Loss {
    let mut sum = Loss::NONE;
    for node in &world.nodes {
        sum += node.path.loss();
    }
    sum
}

/// As the network knows it.
fn known(world: &World) -> Loss {
    Loss {
        expected: world.wire.sent,
        lost: world.wire.lost,
    }
}

/// Packets in both directions of all tunnels, at any time of 200 milliseconds.
fn exchange(world: &mut World) {
    for flow in ends() {
        for _ in 0..world.rng.size(20, 120) {
            let at = world.now() + world.rng.within(0, 200 * MS);
            let len = world.rng.size(40, 1_400);
            world.send(at, flow, len, 0);
        }
    }
    world.run_for(300).unwrap();
}

/// One packet in each direction that arrives: a loss shows once a later packet has come.
fn close(world: &mut World) {
    let weather = mem::replace(&mut world.weather, Weather::fair());
    for flow in ends() {
        world.send(world.now(), flow, 100, 0);
    }
    world.run_for(50).unwrap();
    world.weather = weather;
}

fn rekey(world: &mut World, id: u8) {
    for client in 1..=CLIENTS {
        let secret = Secret::new(id, &mut world.rng);
        for end in [(SERVER, client), (client, SERVER)] {
            world.nodes[end.0].rekey(end, &secret).unwrap();
        }
    }
    let now = world.moment();
    for end in ends() {
        world.nodes[end.0].retire(end, now).unwrap();
    }
}

#[test]
fn losses_are_those_of_the_network_over_rekeys_and_the_end_of_a_peer() {
    for seed in 0..30 {
        let mut world = World::new(Rng::new(seed), &[SHAPE; CLIENTS + 1]).unwrap();
        for client in 1..=CLIENTS {
            world.connect(client, Keepalive::default()).unwrap();
        }
        world.weather = Weather {
            loss: 150,
            duplicates: 100,
            delay: (1, 40),
            ..Weather::default()
        };
        for round in 0..3 {
            exchange(&mut world);
            close(&mut world);
            assert_eq!(reported(&world), known(&world), "seed {seed}, {round}");
            assert!(world.wire.lost > 0, "seed {seed}");
            rekey(&mut world, round);
            assert_eq!(reported(&world), known(&world), "seed {seed}, {round}");
        }
        world.run_for(1_000).unwrap();
        world.check_balance().unwrap();
        let now = world.moment().time();
        let path = &world.nodes[SERVER].path;
        path.remove_peer(peer_id(SERVER, 1), now).unwrap();
        assert_eq!(reported(&world), known(&world), "seed {seed}");
    }
}

#[test]
fn late_packets_and_copies_are_not_lost() {
    let mut world = World::new(Rng::new(7), &[SHAPE; CLIENTS + 1]).unwrap();
    for client in 1..=CLIENTS {
        world.connect(client, Keepalive::default()).unwrap();
    }
    world.weather = Weather {
        duplicates: 300,
        delay: (1, 200),
        ..Weather::default()
    };
    exchange(&mut world);
    assert!(world.nodes[SERVER].dropped("rx_replay") > 0);
    let (expected, lost) = (world.wire.sent, 0);
    assert_eq!(reported(&world), Loss { expected, lost });
}

/// Over TCP a gap is what the sender has dropped.
#[test]
fn nothing_is_lost_over_tcp() {
    let mut world = World::new(Rng::new(7), &[SHAPE; CLIENTS + 1]).unwrap();
    for client in 1..=CLIENTS {
        let room = 1 << 20;
        world
            .connect_stream(client, room, Keepalive::default())
            .unwrap();
    }
    exchange(&mut world);
    assert!(world.ledger.delivered() > 0);
    assert_eq!(reported(&world), Loss::NONE);
}
