//! Every packet arrives unchanged and at most once, or is counted where it is dropped.

use crate::Failure;
use crate::fault::Fault;
use crate::keys::Secret;
use crate::node::{SERVER, outer};
use crate::rng::Rng;
use crate::udp::{Arrival, Mood};
use crate::weather::Weather;
use crate::world::{BEGIN, MS, World};

use super::{OFF, any_mode, shapes, traffic};

/// Milliseconds in which hosts send.
const SPAN: u64 = 400;

/// Milliseconds after which nothing is on its way any more.
const REST: u64 = 1500;

pub(super) fn udp(mut rng: Rng, fault: Fault) -> Result<World, Failure> {
    let mode = any_mode(&mut rng);
    let clients = rng.size(1, 4);
    let shapes = shapes(&mut rng, mode, clients);
    let mut world = World::new(rng, &shapes)?;
    world.fault = fault;
    world.weather = match world.rng.chance(250) {
        true => Weather::fair(),
        false => Weather::any(&mut world.rng, BEGIN..BEGIN + SPAN * MS),
    };
    let mut is_roomy = true;
    for node in &world.nodes {
        let mood = Mood {
            coalesces: world.rng.chance(500),
            refuses_segments: world.rng.chance(200),
            room: match world.rng.chance(100) {
                true => world.rng.size(1, 100),
                false => usize::MAX,
            },
        };
        is_roomy &= mood.room == usize::MAX;
        node.socket.set_mood(mood);
    }
    let secrets = (1..world.nodes.len())
        .map(|client| world.connect(client, OFF))
        .collect::<Result<Vec<_>, _>>()?;
    let bursts = world.rng.size(10, 60);
    traffic(&mut world, mode, SPAN, bursts);
    strangers(&mut world);
    let costs = disturb(&mut world, &secrets)?;
    world.run_for(REST)?;
    world.check_balance()?;
    // With several queues there may be no room to hand packets over.
    let nothing_is_lost = world.weather.is_lossless()
        && is_roomy
        && !costs
        && world.wire.lost == 0
        && world.nodes[SERVER].queues.count() == 1;
    let missing = world.ledger.missing();
    Failure::unless(!nothing_is_lost || missing == 0, || {
        let drops: Vec<_> = world
            .nodes
            .iter()
            .map(|node| node.path.drops().collect::<Vec<_>>())
            .collect();
        format!("{missing} packets are missing although nothing was lost, dropped: {drops:?}")
    })?;
    Ok(world)
}

pub(super) fn tcp(mut rng: Rng, fault: Fault) -> Result<World, Failure> {
    let mode = any_mode(&mut rng);
    let clients = rng.size(1, 4);
    let shapes = shapes(&mut rng, mode, clients);
    let mut world = World::new(rng, &shapes)?;
    world.fault = fault;
    let mut secrets = Vec::new();
    for client in 1..world.nodes.len() {
        let room = world.rng.size(10_000, 300_000);
        secrets.push(world.connect_stream(client, room, OFF)?);
        let most = match world.rng.chance(300) {
            true => 1_500,
            false => 200_000,
        };
        if let Some(link) = world.links.last_mut() {
            link.most = most;
        }
    }
    let bursts = world.rng.size(10, 60);
    traffic(&mut world, mode, SPAN, bursts);
    disturb(&mut world, &secrets)?;
    // Slow connections have much to catch up with.
    world.run_for(REST)?;
    for _ in 0..40 {
        let is_quiet = world.links.iter().all(|link| {
            let [near, far] = &link.ends;
            near.1.unsent() + far.1.unsent() == 0
        });
        if is_quiet {
            break;
        }
        world.run_for(REST)?;
    }
    world.check_balance()?;
    Ok(world)
}

/// Datagrams from nowhere: OpenVPN's, none of anybody's, and forgeries without a key.
fn strangers(world: &mut World) {
    for _ in 0..world.rng.size(0, 30) {
        let at = world.now() + world.rng.within(0, SPAN * MS);
        let mut bytes = vec![0; world.rng.size(0, 120)];
        world.rng.fill(&mut bytes);
        if world.rng.chance(300) && bytes.len() > 4 {
            // For a peer, under some key.
            bytes[0] = 9 << 3 | world.rng.within(0, 7) as u8;
            bytes[1..4].copy_from_slice(&[0, 0, world.rng.within(0, 5) as u8]);
        }
        let node = world.rng.size(0, world.nodes.len() - 1);
        let (to, source) = (world.nodes[node].public, outer(77));
        world.deliver(at, to, Arrival { bytes, source });
    }
}

/// Lets the hosts send, and disturbs them meanwhile. Returns whether that may have cost packets.
fn disturb(world: &mut World, secrets: &[Secret]) -> Result<bool, Failure> {
    let begin = world.now();
    let mut costs = false;
    for quarter in 1..4 {
        world.run_until((begin + SPAN * MS * quarter / 4).max(world.now()))?;
        let node = world.rng.size(0, world.nodes.len() - 1);
        match world.rng.within(0, 19) {
            0..3 => {
                costs = true;
                rekey(world, secrets, quarter)?;
            }
            // What the engine delivers meanwhile is refused, and counted.
            3..5 => {
                costs = true;
                set_down(world, node, true);
                world.run_for(20)?;
                set_down(world, node, false);
            }
            // Packets leave by another address of their own from now on.
            5..7 => world.nodes[node].socket.set_local(outer(50 + node).ip()),
            _ => {}
        }
        if quarter == 2 && world.fault == Fault::ForgetsReplays {
            for (secret, client) in secrets.iter().zip(1..) {
                world.nodes[SERVER].install((SERVER, client), secret)?;
            }
        }
    }
    world.run_until((begin + SPAN * MS).max(world.now()))?;
    Ok(costs)
}

fn set_down(world: &World, node: usize, is_down: bool) {
    world.nodes[node].queues.set_down(is_down);
}

/// Both ends of a tunnel change to another key, one after the other.
fn rekey(world: &mut World, secrets: &[Secret], round: u64) -> Result<(), Failure> {
    let client = world.rng.size(1, world.nodes.len() - 1);
    let id = secrets[client - 1].id + round as u8;
    let secret = Secret::new(id, &mut world.rng);
    let mut ends = [(SERVER, client), (client, SERVER)];
    if world.rng.chance(500) {
        ends.swap(0, 1);
    }
    for (own, other) in ends {
        world.nodes[own].rekey((own, other), &secret)?;
        let gap = world.rng.within(0, 60);
        world.run_for(gap)?;
    }
    Ok(())
}
