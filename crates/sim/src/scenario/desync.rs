//! A length comes that is none: that direction of that connection is over, its peer stays, and nobody else notices.

use udco_core::Mode;

use crate::Failure;
use crate::node::SERVER;
use crate::rng::Rng;
use crate::world::World;

use super::{LONGEST, OFF, shapes};

/// Milliseconds after which everything has arrived.
const SETTLED: u64 = 300;

pub(super) fn run(mut rng: Rng) -> Result<World, Failure> {
    let clients = rng.size(1, 4);
    let shapes = shapes(&mut rng, Mode::Mp, clients);
    let mut world = World::new(rng, &shapes)?;
    for client in 1..=clients {
        let room = world.rng.size(20_000, 200_000);
        world.connect_stream(client, room, OFF)?;
    }
    exchange(&mut world, None)?;
    let victim = world.rng.size(1, clients);
    // Between two packets, as all have arrived.
    let length = [0, world.rng.within(0, 1) as u8];
    world.links[victim - 1].ends[0].1.inject(&length);
    world.stir(SERVER);
    world.run_for(1)?;
    let relayed = world.relayed;
    Failure::unless(relayed == 1, || {
        format!("OpenVPN was notified {relayed} times")
    })?;
    for _ in 0..world.rng.size(1, 4) {
        exchange(&mut world, Some(victim))?;
    }
    let notified = &world.nodes[SERVER].notified;
    Failure::unless(notified.is_empty(), || format!("{notified:?}"))?;
    Ok(world)
}

/// Each client and the server send each other some packets. All arrive, but none from `desynced`.
fn exchange(world: &mut World, desynced: Option<usize>) -> Result<(), Failure> {
    let before = world.ledger.delivered();
    let mut wanted = 0;
    for client in 1..world.nodes.len() {
        for flow in [(SERVER, client), (client, SERVER)] {
            let count = world.rng.size(1, 10);
            for _ in 0..count {
                let (now, len) = (world.now(), world.rng.size(40, LONGEST));
                world.send(now, flow, len, client);
            }
            if desynced != Some(flow.0) {
                wanted += count as u64;
            }
        }
    }
    world.run_for(SETTLED)?;
    let delivered = world.ledger.delivered() - before;
    Failure::unless(delivered == wanted, || {
        format!("{delivered} packets arrived, not {wanted}")
    })
}
