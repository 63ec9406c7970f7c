//! Keys change under traffic, at one end up to 350 ms before the other: early data waits for its key, late data still
//! has one, and nothing is lost.

use crate::Failure;
use crate::keys::Secret;
use crate::node::SERVER;
use crate::rng::Rng;
use crate::udp::Arrival;
use crate::weather::Weather;
use crate::world::{MS, World};

use super::{LONGEST, OFF, any_mode, ordered_shapes};

/// Milliseconds between two handshakes.
const BETWEEN: u64 = 1_500;

/// The most by which one end is behind the other.
const GAP: u64 = 350;

/// Milliseconds for which a deleted key opens packets.
const LATE: u64 = 750;

/// Milliseconds between two packets of one direction, at least: more than 64 wait for no key.
const INTERVAL: u64 = 12;

pub(super) fn run(mut rng: Rng) -> Result<World, Failure> {
    let mode = any_mode(&mut rng);
    let clients = rng.size(1, 3);
    let shapes = ordered_shapes(&mut rng, mode, clients);
    let mut world = World::new(rng, &shapes)?;
    let delay = world.rng.within(0, 80);
    world.weather = Weather {
        delay: (delay / 2, delay),
        ..Weather::fair()
    };
    world.ledger.is_ordered = true;
    let over_tcp = world.rng.chance(300);
    let clients = world.nodes.len() - 1;
    let mut ids = Vec::new();
    for client in 1..=clients {
        let secret = match over_tcp {
            true => world.connect_stream(client, 100_000, OFF)?,
            false => world.connect(client, OFF)?,
        };
        ids.push(secret.id);
    }
    let rounds = world.rng.within(1, 3);
    for client in 1..=clients {
        for flow in [(SERVER, client), (client, SERVER)] {
            let mut at = world.now();
            while at < world.now() + rounds * BETWEEN * MS {
                at += world.rng.within(INTERVAL, 3 * INTERVAL) * MS;
                let len = world.rng.size(40, LONGEST);
                world.send(at, flow, len, 0);
            }
        }
    }
    for _ in 0..rounds {
        let begin = world.now();
        let client = world.rng.size(1, clients);
        ids[client - 1] += 1;
        let secret = Secret::new(ids[client - 1], &mut world.rng);
        let mut ends = [(SERVER, client), (client, SERVER)];
        if world.rng.chance(500) {
            ends.swap(0, 1);
        }
        let gap = world.rng.within(0, GAP);
        let [first, second] = ends;
        world.nodes[first.0].rekey(first, &secret)?;
        let keeps = world.rng.within(0, GAP + 100);
        if keeps < gap {
            world.run_for(keeps)?;
            let now = world.moment();
            world.nodes[first.0].retire(first, now)?;
        }
        world.run_until(begin + gap * MS)?;
        world.nodes[second.0].rekey(second, &secret)?;
        world.run_for(100)?;
        let now = world.moment();
        for end in ends {
            world.nodes[end.0].retire(end, now)?;
        }
        world.run_until(begin + BETWEEN * MS)?;
    }
    world.run_for(1_000)?;
    let drops: Vec<_> = world.nodes.iter().map(|node| node.drops()).collect();
    let missing = world.ledger.missing();
    Failure::unless(missing == 0, || {
        format!("{missing} packets are missing, dropped: {drops:?}")
    })?;
    world.check_balance()?;
    if !over_tcp {
        late_data(&mut world, ids[0] + 1)?;
    }
    Ok(world)
}

/// A record under a deleted key arrives late: it is taken for 750 ms, while the new key has opened nothing.
fn late_data(world: &mut World, id: u8) -> Result<(), Failure> {
    world.captured = Some(Vec::new());
    let now = world.now();
    world.send(now, (1, SERVER), 100, 0);
    world.run_for(1)?;
    let captured = world.captured.take().unwrap_or_default();
    let Some((source, record)) = captured.into_iter().next() else {
        return Err(Failure::new("no record was sent"));
    };
    let (secret, now) = (Secret::new(id, &mut world.rng), world.moment());
    world.nodes[SERVER].rekey((SERVER, 1), &secret)?;
    world.nodes[SERVER].retire((SERVER, 1), now)?;
    let after = world.rng.within(0, 2 * LATE);
    // The very moment does not matter.
    let after = if after == LATE { 0 } else { after };
    let before = world.ledger.delivered();
    world.run_for(after)?;
    let now = world.now();
    let arrival = Arrival {
        bytes: record.bytes,
        source,
    };
    world.deliver(now, record.destination, arrival);
    world.run_for(1_000)?;
    let is_taken = world.ledger.delivered() > before;
    Failure::unless(is_taken == (after < LATE), || {
        format!("late data was taken: {is_taken}, {after} ms after its key was deleted")
    })
}
