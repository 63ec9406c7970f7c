//! Flows that need little do not wait behind those that take all they get.

use udco_core::{Keepalive, Mode};
use udco_sim::node::{SERVER, Shape, outer};
use udco_sim::rng::Rng;
use udco_sim::world::World;

/// At once, and in one go more than a worker reads.
const MANY: usize = 1_000;

/// A server fills its device with packets for one client, then sends one to another. Returns how many leave before that one.
fn before_the_sparse_one(pairs: bool, segments: bool) -> usize {
    let shape = Shape {
        mode: Mode::Mp,
        queues: 1,
        pairs,
        workers: 1,
        merges: false,
        segments,
    };
    let mut world = World::new(Rng::new(1), &[shape; 3]).unwrap();
    for client in [1, 2] {
        world.connect(client, Keepalive::default()).unwrap();
    }
    // Both are answered, as streams are by acknowledgements.
    for millisecond in 0..300 {
        let now = world.now();
        for _ in 0..10 {
            world.send(now, (SERVER, 1), 1_400, 0);
        }
        world.send(now, (1, SERVER), 60, 0);
        if millisecond % 20 == 0 {
            world.send(now, (SERVER, 2), 100, 0);
            world.send(now, (2, SERVER), 100, 0);
        }
        world.run_for(1).unwrap();
    }
    world.check_balance().unwrap();
    assert_eq!(world.ledger.missing(), 0);
    world.captured = Some(Vec::new());
    let now = world.now();
    for _ in 0..MANY {
        world.send(now, (SERVER, 1), 1_400, 0);
    }
    world.send(now, (SERVER, 2), 100, 0);
    world.run_for(50).unwrap();
    let captured = world.captured.take().unwrap();
    let is_sparse = |destination| destination == outer(2);
    let found = captured
        .iter()
        .position(|(_, departure)| is_sparse(departure.destination));
    found.unwrap()
}

#[test]
fn a_sparse_flow_does_not_wait_behind_a_bulk_one() {
    for segments in [false, true] {
        let before = before_the_sparse_one(true, segments);
        // What a turn of the bulk queue has.
        assert!(before <= 64, "{before}");
        assert!(before_the_sparse_one(false, segments) > MANY / 2);
    }
}
