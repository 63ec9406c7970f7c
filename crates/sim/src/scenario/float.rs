//! Clients change their addresses: the server follows the newest packet, and nothing that is late leads it back.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use udco_core::Mode;
use udco_engine::embed::Notification;

use crate::Failure;
use crate::node::{SERVER, peer_id};
use crate::rng::Rng;
use crate::weather::Weather;
use crate::world::{MS, World};

use super::{OFF, shapes};

/// Milliseconds after which everything has arrived.
const SETTLED: u64 = 60;

pub(super) fn run(mut rng: Rng) -> Result<World, Failure> {
    let clients = rng.size(1, 3);
    let shapes = shapes(&mut rng, Mode::Mp, clients);
    let mut world = World::new(rng, &shapes)?;
    let least = world.rng.within(0, 20);
    world.weather = Weather {
        delay: (least, least + world.rng.within(0, 80)),
        in_order: false,
        ..Weather::fair()
    };
    for client in 1..=clients {
        world.connect(client, OFF)?;
    }
    let begin = world.now();
    for round in 0..world.rng.within(1, 8) {
        let client = world.rng.size(1, clients);
        let peer = peer_id(SERVER, client);
        // Some of these are still on their way when the client moves.
        for _ in 0..world.rng.size(0, 5) {
            let now = world.now();
            world.send(now, (client, SERVER), 100, 0);
        }
        let pause = world.rng.within(0, 5);
        world.run_for(pause)?;
        let port = 2_000 + round as u16;
        let host = Ipv4Addr::from(0xc633_6400 + client as u32);
        let public = match world.rng.chance(500) {
            true => SocketAddr::new(IpAddr::V4(host), port),
            false => SocketAddr::new(world.nodes[client].public.ip(), port),
        };
        world.nodes[client].public = public;
        for _ in 0..world.rng.size(1, 5) {
            let now = world.now();
            world.send(now, (client, SERVER), 100, 0);
        }
        world.run_for(SETTLED)?;
        let remote = world.nodes[SERVER].path.endpoint(peer);
        let remote = remote.map(|endpoint| endpoint.remote);
        // One that overtook others may have gone to the watching thread only.
        world.nodes[SERVER].path.follow_moves(world.moment().time());
        let followed = world.nodes[SERVER].path.endpoint(peer);
        let followed = followed.map(|endpoint| endpoint.remote);
        Failure::unless(followed == Some(public), || {
            format!("peer {peer} is at {public}, not at {followed:?} (at first {remote:?})")
        })?;
        let before = world.ledger.delivered();
        let now = world.now();
        world.send(now, (SERVER, client), 100, 0);
        world.run_for(SETTLED)?;
        Failure::unless(world.ledger.delivered() == before + 1, || {
            format!("peer {peer} does not get its packets at {public}")
        })?;
        let pause = world.rng.within(0, 1_500);
        world.run_for(pause)?;
    }
    world.run_for(4_000)?;
    let seconds = (world.now() - begin) / (1_000 * MS);
    for client in 1..=clients {
        let peer = peer_id(SERVER, client);
        let floats: Vec<SocketAddr> = world.nodes[SERVER]
            .notified
            .iter()
            .filter_map(|(_, event)| match event {
                Notification::PeerFloated {
                    peer: moved,
                    remote,
                    ..
                } if *moved == peer.value() => Some(*remote),
                _ => None,
            })
            .collect();
        Failure::unless(floats.len() as u64 <= seconds + 1, || {
            format!("{} notifications in {seconds} s", floats.len())
        })?;
        let public = world.nodes[client].public;
        let has_moved = public != crate::node::outer(client);
        Failure::unless(!has_moved || floats.last() == Some(&public), || {
            format!("peer {peer} is at {public}, but the last of {floats:?} says else")
        })?;
    }
    world.check_balance()?;
    Ok(world)
}
