//! A TCP connection stalls: what waits for it is bounded, OpenVPN's packets find room, and nobody else waits.

use udco_core::Mode;

use crate::Failure;
use crate::node::{SERVER, peer_id};
use crate::rng::Rng;
use crate::world::{MS, World};

use super::{OFF, any_mode, ordered_shapes};

/// What may wait in a stream beside its socket (promises F3).
const BOUND: u64 = 224 << 10;

/// A control packet of OpenVPN's, with its length in front.
const CONTROL: [u8; 16] = [0, 14, 0x20, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13];

/// Bytes of inner packets, and how many.
const LEN: usize = 1_300;
const PACKETS: usize = 600;

/// Packets of a millisecond.
const BURST: u64 = 4;

/// Milliseconds of the stall.
const STALL: u64 = 500;

pub(super) fn run(mut rng: Rng) -> Result<World, Failure> {
    let mode = any_mode(&mut rng);
    let clients = rng.size(1, 3);
    let shapes = ordered_shapes(&mut rng, mode, clients);
    let mut world = World::new(rng, &shapes)?;
    world.ledger.is_ordered = true;
    let clients = world.nodes.len() - 1;
    for client in 1..=clients {
        let room = world.rng.size(5_000, 200_000);
        world.connect_stream(client, room, OFF)?;
        if let Some(link) = world.links.last_mut() {
            link.most = 100_000;
        }
    }
    let stalled = world.rng.size(1, clients);
    let from_server = world.rng.chance(500);
    let (from, to) = match from_server {
        true => (SERVER, stalled),
        false => (stalled, SERVER),
    };
    let begin = world.now();
    world.links[stalled - 1].stalled_until = begin + STALL * MS;
    for number in 0..PACKETS {
        let at = begin + number as u64 / BURST * MS;
        world.send(at, (from, to), LEN, 0);
    }
    let controls = world.rng.within(0, 20);
    for _ in 0..controls {
        let at = begin + world.rng.within(0, STALL) * MS;
        world.run_until(at.max(world.now()))?;
        // The relay of the stream is behind that of the UDP socket.
        let relay = if from_server { stalled } else { 1 };
        world.nodes[from].relays[relay].push(CONTROL.to_vec());
        world.stir(from);
    }
    let others = if mode == Mode::Mp { clients - 1 } else { 0 };
    let before = world.ledger.delivered();
    let half = world.now().max(begin + STALL / 2 * MS);
    world.run_until(half)?;
    let mut sent_to_others = 0;
    for client in (1..=clients).filter(|client| *client != stalled) {
        let now = world.now();
        world.send(now, (SERVER, client), 200, 0);
        sent_to_others += 1;
    }
    let waits = |world: &World| {
        let path = &world.nodes[from].path;
        let sealed = path.activity(peer_id(from, to)).map_or(0, |activity| {
            activity.link_tx.bytes() + 2 * activity.link_tx.packets()
        });
        let end = usize::from(!from_server);
        let stream = &world.links[stalled - 1].ends[end].1;
        sealed.saturating_sub(stream.moved() + stream.unsent() as u64)
    };
    let has_one_peer = from != SERVER || others == 0;
    if has_one_peer {
        let waiting = waits(&world);
        Failure::unless(waiting <= BOUND, || {
            format!("{waiting} bytes wait for a stalled stream")
        })?;
    }
    world.run_for(100)?;
    if world.now() < begin + STALL * MS {
        Failure::unless(world.ledger.delivered() == before + sent_to_others, || {
            "others wait for a stalled stream".into()
        })?;
    }
    world.run_for(4_000)?;
    world.check_balance()?;
    let (tx, _) = world.nodes[from].drops();
    Failure::unless(!has_one_peer || tx == 0, || {
        format!("{tx} packets were dropped although nobody else waited")
    })?;
    Failure::unless(world.relayed == controls, || {
        format!("{} control packets of {controls} arrived", world.relayed)
    })?;
    Ok(world)
}
