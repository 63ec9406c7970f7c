//! Records arrive in any order, and again: each is taken once, and only while the replay window reaches it.

use std::collections::BTreeSet;

use udco_core::{Loss, Mode};

use crate::Failure;
use crate::fault::Fault;
use crate::node::SERVER;
use crate::rng::Rng;
use crate::udp::Arrival;
use crate::weather::STEP;
use crate::world::{MS, World};

use super::{OFF, any_mode, shapes};

/// How far the window reaches (dco-behaviour 5.7).
const WINDOW: u64 = 2_048;

/// Milliseconds without a packet after which only newer ones are taken.
const IDLE: u64 = 30_000;

/// The window as its rule says, without any cleverness.
#[derive(Default)]
struct Model {
    seen: BTreeSet<u64>,
    highest: u64,
    /// Nothing up to this id is taken any more.
    floor: u64,
    /// In milliseconds: when it is idle.
    expiry: u64,
    replays: u64,
    too_old: u64,
}

impl Model {
    fn accept(&mut self, id: u64, now: u64) {
        if now >= self.expiry {
            self.floor = self.highest;
        }
        if id <= self.floor || id <= self.highest && self.highest - id >= WINDOW {
            self.too_old += 1;
        } else if !self.seen.insert(id) {
            self.replays += 1;
        } else {
            self.highest = self.highest.max(id);
            self.expiry = now + IDLE;
        }
    }
}

pub(super) fn run(mut rng: Rng, fault: Fault) -> Result<World, Failure> {
    let mode = any_mode(&mut rng);
    let mut shapes = shapes(&mut rng, mode, 1);
    shapes[SERVER].mode = Mode::P2p;
    let mut world = World::new(rng, &shapes)?;
    world.fault = fault;
    let secret = world.connect(1, OFF)?;
    let count = match world.rng.chance(200) {
        true => world.rng.size(2_100, 3_500),
        false => world.rng.size(2, 400),
    };
    world.captured = Some(Vec::new());
    for number in 0..count {
        let at = world.now() + number as u64 / 40 * STEP;
        world.send(at, (1, SERVER), 60, 0);
    }
    world.run_for(200)?;
    let captured = world.captured.take().unwrap_or_default();
    Failure::unless(captured.len() == count, || {
        format!("{} records of {count} packets", captured.len())
    })?;
    // Each a little, or a lot, later than it should be.
    let spread = match world.rng.within(0, 3) {
        0 => 0,
        1 => 10,
        2 => 100,
        _ => 3_000,
    };
    let mut order: Vec<(u64, usize)> = Vec::new();
    for number in 0..count {
        for _ in 0..world.rng.within(1, 3) / 2 + u64::from(world.rng.chance(800)) {
            order.push((number as u64 + world.rng.within(0, spread), number));
        }
    }
    order.sort_unstable();
    let mut model = Model::default();
    let half = order.len() / 2;
    let (mut at, mut is_first) = (world.now(), true);
    let pause = match world.rng.chance(200) {
        true => world.rng.size(1, order.len()),
        false => usize::MAX,
    };
    for (place, (_, number)) in order.iter().enumerate() {
        let (source, departure) = &captured[*number];
        let id = departure.bytes.get(4..8).and_then(|id| id.try_into().ok());
        if world.rng.chance(50) {
            at += STEP;
        }
        if place == pause {
            at += world.rng.within(IDLE - 100, IDLE + 100) * MS;
        }
        let id = u32::from_be_bytes(id.unwrap_or_default());
        model.accept(id.into(), at / MS);
        let arrival = Arrival {
            bytes: departure.bytes.clone(),
            source: *source,
        };
        world.deliver(at, departure.destination, arrival);
        if place % 400 == 399 {
            at += STEP;
        }
        if place >= half && is_first && fault == Fault::ForgetsReplays {
            is_first = false;
            world.run_until(at)?;
            world.nodes[SERVER].install((SERVER, 1), &secret)?;
        }
    }
    world.run_until(at + STEP)?;
    let server = &world.nodes[SERVER];
    let seen = (
        world.ledger.delivered(),
        server.dropped("rx_replay"),
        server.dropped("rx_too_old"),
    );
    let wanted = (model.seen.len() as u64, model.replays, model.too_old);
    Failure::unless(seen == wanted, || {
        format!("(delivered, replays, too old) are {seen:?}, not {wanted:?}")
    })?;
    let wanted = Loss {
        expected: model.highest,
        lost: model.highest - model.seen.len() as u64,
    };
    let loss = server.path.loss();
    Failure::unless(loss == wanted || fault != Fault::None, || {
        format!("{loss:?} is reported, not {wanted:?}")
    })?;
    Ok(world)
}
