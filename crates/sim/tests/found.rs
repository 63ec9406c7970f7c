//! What the simulation has found.

use udco_core::{Keepalive, Mode};
use udco_sim::inner::Fate;
use udco_sim::node::{SERVER, Shape, inner};
use udco_sim::rng::Rng;
use udco_sim::world::World;

const SHAPE: Shape = Shape {
    mode: Mode::P2p,
    queues: 1,
    pairs: false,
    workers: 1,
    merges: false,
    segments: false,
};

/// Where each record is a message of its own, more of them than a batch has room for.
#[test]
fn a_full_batch_of_messages_loses_none() {
    let mut world = World::new(Rng::new(1), &[SHAPE, SHAPE]).unwrap();
    world.connect(1, Keepalive::default()).unwrap();
    for _ in 0..12 {
        let flow = (inner(1), inner(SERVER));
        let bytes = world
            .ledger
            .super_packet(flow, (500, 40), Fate::For(SERVER));
        let now = world.now();
        world.inject(now, 1, 0, bytes);
    }
    world.run_for(20).unwrap();
    world.check_balance().unwrap();
    assert_eq!((world.nodes[1].drops().0, world.ledger.missing()), (0, 0));
}
