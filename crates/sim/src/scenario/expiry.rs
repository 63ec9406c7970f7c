//! Clients fall silent: their peers expire when their time is over, and no other does.

use std::sync::Arc;
use std::time::Duration;

use udco_core::{Activity, Keepalive};
use udco_engine::embed::{DeleteReason, Notification, TICK};

use crate::Failure;
use crate::node::{SERVER, peer_id};
use crate::rng::Rng;
use crate::weather::STEP;
use crate::world::{MS, World};

use super::{any_mode, shapes};

/// Longer than any run, in nanoseconds.
const FOREVER: u64 = 1_000_000 * MS;

pub(super) fn run(mut rng: Rng) -> Result<World, Failure> {
    let mode = any_mode(&mut rng);
    let clients = rng.size(1, 4);
    let shapes = shapes(&mut rng, mode, clients);
    let over_tcp = rng.chance(300);
    let mut world = World::new(rng, &shapes)?;
    let clients = world.nodes.len() - 1;
    let interval = world.rng.within(1, 4) as u32;
    let keepalive = Keepalive {
        interval,
        // Two may be late by a tick each.
        timeout: 2 * interval + world.rng.within(2, 6) as u32,
    };
    for client in 1..=clients {
        match over_tcp {
            true => world.connect_stream(client, 50_000, keepalive)?,
            false => world.connect(client, keepalive)?,
        };
    }
    let watched: Vec<(usize, usize, Option<Arc<Activity>>)> = (1..=clients)
        .flat_map(|client| [(SERVER, client), (client, SERVER)])
        .map(|(own, other)| {
            let activity = world.nodes[own].path.activity(peer_id(own, other));
            (own, other, activity)
        })
        .collect();
    let alive_for = world.rng.within(0, 20_000);
    for _ in 0..world.rng.size(0, 20) {
        let at = world.now() + world.rng.within(0, alive_for) * MS;
        let client = world.rng.size(1, clients);
        world.send(at, (client, SERVER), 100, 0);
    }
    world.run_for(alive_for)?;
    let silent: Vec<usize> = (1..=clients).filter(|_| world.rng.chance(500)).collect();
    match over_tcp {
        true => {
            for client in &silent {
                world.links[client - 1].stalled_until = world.now() + FOREVER;
            }
        }
        false => world.cut_off.clone_from(&silent),
    }
    world.run_for(u64::from(keepalive.timeout) * 1_000 + 5_000)?;
    for (own, other, activity) in &watched {
        let is_silent = silent.contains(&(*own).max(*other));
        let peer = peer_id(*own, *other).value();
        let expired = world.nodes[*own].notified.iter().find(|(_, event)| {
            matches!(event, Notification::PeerDeleted { peer: gone, reason: DeleteReason::Expired, .. } if *gone == peer)
        });
        let Some((at, _)) = expired else {
            Failure::unless(!is_silent, || {
                format!("peer {peer} of node {own} has fallen silent and stays")
            })?;
            continue;
        };
        Failure::unless(is_silent, || {
            format!("peer {peer} of node {own} has expired, and is alive")
        })?;
        let last = activity
            .as_ref()
            .map_or(0, |it| it.last_received().as_millis());
        let after = Duration::from_millis(at.time().as_millis().saturating_sub(last));
        let timeout = Duration::from_secs(keepalive.timeout.into());
        let latest = timeout + TICK + Duration::from_nanos(STEP) + Duration::from_millis(1);
        Failure::unless((timeout..=latest).contains(&after), || {
            format!(
                "peer {peer} of node {own} expired {after:?} after its last packet, not {timeout:?}"
            )
        })?;
    }
    Ok(world)
}
