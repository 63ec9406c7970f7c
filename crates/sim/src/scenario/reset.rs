//! A TCP connection is reset: its peer ends, with its reason, and the others go on.

use udco_core::Mode;
use udco_engine::embed::{DeleteReason, Notification};

use crate::Failure;
use crate::node::{SERVER, peer_id};
use crate::rng::Rng;
use crate::world::{MS, World};

use super::{OFF, ordered_shapes};

/// Milliseconds in which hosts send.
const SPAN: u64 = 400;

pub(super) fn run(mut rng: Rng) -> Result<World, Failure> {
    let clients = rng.size(2, 4);
    let shapes = ordered_shapes(&mut rng, Mode::Mp, clients);
    let mut world = World::new(rng, &shapes)?;
    world.ledger.is_ordered = true;
    for client in 1..=clients {
        let room = world.rng.size(20_000, 200_000);
        world.connect_stream(client, room, OFF)?;
    }
    let victim = world.rng.size(1, clients);
    let begin = world.now();
    let mut to_others = Vec::new();
    let count = world.rng.within(20, 150);
    for number in 0..count {
        let at = begin + number * SPAN * MS / count;
        let client = world.rng.size(1, clients);
        let flow = match world.rng.chance(500) {
            true => (SERVER, client),
            false => (client, SERVER),
        };
        let len = world.rng.size(40, 1_000);
        if client != victim {
            to_others.push(world.ledger.sent());
        }
        world.send(at, flow, len, 0);
    }
    let until = begin + world.rng.within(0, SPAN) * MS;
    world.run_until(until)?;
    let [near, far] = &world.links[victim - 1].ends;
    near.1.reset(&far.1);
    world.stir(SERVER);
    world.stir(victim);
    // Whoever writes finds out.
    let now = world.now();
    for flow in [(SERVER, victim), (victim, SERVER)] {
        world.send(now, flow, 60, 0);
    }
    world.run_until(begin + (SPAN + 500) * MS)?;
    for (own, other) in [(SERVER, victim), (victim, SERVER)] {
        let gone = peer_id(own, other).value();
        let ended = world.nodes[own].notified.iter().any(|(_, event)| {
            matches!(event, Notification::PeerDeleted { peer, reason: DeleteReason::TransportError, .. } if *peer == gone)
        });
        Failure::unless(ended, || {
            format!("peer {gone} of node {own} outlives its connection")
        })?;
    }
    let lost = to_others
        .iter()
        .filter(|id| !world.ledger.has_arrived(**id));
    let lost = lost.count();
    Failure::unless(lost == 0, || {
        format!("{lost} packets of other clients are lost")
    })?;
    let ended = world.nodes[SERVER].notified.len();
    Failure::unless(ended == 1, || {
        format!("{ended} notifications for one reset")
    })?;
    Ok(world)
}
