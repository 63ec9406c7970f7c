//! Forgeries change nothing: the records that they were made of are still taken, from where their sender is.

use udco_core::Mode;

use crate::Failure;
use crate::node::{SERVER, outer, peer_id};
use crate::rng::Rng;
use crate::udp::Arrival;
use crate::weather::corrupt;
use crate::world::World;

use super::{LONGEST, OFF, any_mode, shapes};

pub(super) fn run(mut rng: Rng) -> Result<World, Failure> {
    let mode = any_mode(&mut rng);
    let clients = rng.size(1, 3);
    let shapes = shapes(&mut rng, mode, clients);
    let mut world = World::new(rng, &shapes)?;
    let clients = world.nodes.len() - 1;
    for client in 1..=clients {
        world.connect(client, OFF)?;
    }
    for _ in 0..world.rng.size(1, 20) {
        let client = world.rng.size(1, clients);
        let peer = peer_id(SERVER, client);
        world.captured = Some(Vec::new());
        let (now, len) = (world.now(), world.rng.size(40, LONGEST));
        world.send(now, (client, SERVER), len, 0);
        world.run_for(1)?;
        let captured = world.captured.take().unwrap_or_default();
        let Some((source, record)) = captured.into_iter().next() else {
            return Err(Failure::new("no record was sent"));
        };
        let state = |world: &World| {
            let path = &world.nodes[SERVER].path;
            let received = path.activity(peer).map(|it| it.last_received());
            (path.endpoint(peer), received, world.ledger.delivered())
        };
        let before = state(&world);
        for _ in 0..world.rng.size(1, 6) {
            let mut bytes = record.bytes.clone();
            corrupt(&mut bytes, &mut world.rng);
            let source = match world.rng.chance(700) {
                true => outer(77),
                false => source,
            };
            let now = world.now();
            world.deliver(now, record.destination, Arrival { bytes, source });
        }
        world.run_for(1)?;
        Failure::unless(state(&world) == before, || {
            format!("forgeries have changed {before:?} to {:?}", state(&world))
        })?;
        let now = world.now();
        let arrival = Arrival {
            bytes: record.bytes,
            source,
        };
        world.deliver(now, record.destination, arrival);
        world.run_for(1)?;
        Failure::unless(state(&world).2 == before.2 + 1, || {
            "the record was not taken after its forgeries".into()
        })?;
        if mode == Mode::Mp && world.rng.chance(300) {
            let now = world.now();
            world.send(now, (SERVER, client), 90, 0);
            world.run_for(5)?;
        }
    }
    // What seemed to be of an unknown key is given up.
    world.run_for(1_000)?;
    let missing = world.ledger.missing();
    Failure::unless(missing == 0, || format!("{missing} packets are missing"))?;
    let server = &world.nodes[SERVER];
    let (_, rx) = server.drops();
    let delivered = world.ledger.delivered();
    let arrived = world.wire.arrived;
    Failure::unless(arrived == delivered + rx + world.relayed, || {
        format!(
            "{arrived} arrived, {delivered} delivered, {rx} dropped, {} relayed",
            world.relayed
        )
    })?;
    Ok(world)
}
