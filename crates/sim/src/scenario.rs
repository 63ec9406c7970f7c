//! What is tried: each scenario is one run of a world, whose every turn comes from a seed.

mod corruption;
mod desync;
mod exchange;
mod expiry;
mod float;
mod rekey;
mod replay;
mod reset;
mod stall;

use udco_core::{Keepalive, Mode};

use crate::Failure;
use crate::fault::Fault;
use crate::inner::{Fate, SHORTEST};
use crate::node::{SERVER, Shape, inner};
use crate::rng::Rng;
use crate::weather::Wire;
use crate::world::{MS, World};

/// No keepalives: then every packet can be accounted for.
const OFF: Keepalive = Keepalive {
    interval: 0,
    timeout: 0,
};

/// The longest inner packet.
const LONGEST: usize = 1400;

/// A scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scenario {
    /// Packets in all directions over any UDP network.
    ExchangeUdp,
    /// The same over TCP that is cut anywhere.
    ExchangeTcp,
    /// Keys change under traffic, at both ends at different times.
    Rekey,
    /// Clients change their addresses.
    Float,
    /// Clients fall silent.
    Expiry,
    /// Records arrive late, and again.
    Replay,
    /// Forgeries arrive before the records that they were made of.
    Corruption,
    /// A TCP connection stalls.
    Stall,
    /// A TCP connection is reset.
    Reset,
    /// A length comes on a TCP connection that is none.
    Desync,
}

/// What a run came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// Of all that has happened.
    pub hash: u64,
    /// Inner packets that were sent.
    pub sent: u64,
    /// Of these, those that have arrived.
    pub delivered: u64,
    /// Outer packets.
    pub wire: Wire,
}

impl Scenario {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::ExchangeUdp,
        Self::ExchangeTcp,
        Self::Rekey,
        Self::Float,
        Self::Expiry,
        Self::Replay,
        Self::Corruption,
        Self::Stall,
        Self::Reset,
        Self::Desync,
    ];

    /// The scenario of a seed.
    #[must_use]
    pub fn of(seed: u64) -> Self {
        let index = seed % Self::ALL.len() as u64;
        let mut all = Self::ALL.into_iter();
        all.nth(index as usize).unwrap_or(Self::ExchangeUdp)
    }

    /// Runs it.
    ///
    /// # Errors
    /// What has gone wrong.
    pub fn run(self, seed: u64, fault: Fault) -> Result<Report, Failure> {
        let rng = Rng::new(seed);
        let world = match self {
            Self::ExchangeUdp => exchange::udp(rng, fault),
            Self::ExchangeTcp => exchange::tcp(rng, fault),
            Self::Rekey => rekey::run(rng),
            Self::Float => float::run(rng),
            Self::Expiry => expiry::run(rng),
            Self::Replay => replay::run(rng, fault),
            Self::Corruption => corruption::run(rng),
            Self::Stall => stall::run(rng),
            Self::Reset => reset::run(rng),
            Self::Desync => desync::run(rng),
        }?;
        Ok(Report {
            hash: world.trace.hash(),
            sent: world.ledger.sent(),
            delivered: world.ledger.delivered(),
            wire: world.wire,
        })
    }
}

/// Runs the scenario of a seed, and says how to do it again if it fails.
///
/// # Errors
/// What has gone wrong, and the command that reproduces it.
pub fn run(seed: u64, fault: Fault) -> Result<Report, String> {
    let scenario = Scenario::of(seed);
    scenario.run(seed, fault).map_err(|failure| {
        format!(
            "seed {seed} ({scenario:?}): {failure}\nagain: cargo run -p udco-sim --example replay -- {seed}"
        )
    })
}

/// A server in this mode and its clients, one if it is point-to-point.
fn shapes(rng: &mut Rng, mode: Mode, clients: usize) -> Vec<Shape> {
    let clients = match mode {
        Mode::P2p => 1,
        Mode::Mp => clients,
    };
    let mut shape = |mode, most: usize| Shape {
        mode,
        queues: rng.size(1, most),
        pairs: rng.chance(500),
        workers: rng.size(1, most),
        merges: rng.chance(500),
        segments: rng.chance(700),
    };
    let mut shapes = vec![shape(mode, if mode == Mode::Mp { 3 } else { 1 })];
    shapes.extend((0..clients).map(|_| shape(Mode::P2p, 1)));
    shapes
}

/// The same with one queue each: what one host sends to another stays in order.
fn ordered_shapes(rng: &mut Rng, mode: Mode, clients: usize) -> Vec<Shape> {
    let mut shapes = shapes(rng, mode, clients);
    for shape in &mut shapes {
        shape.queues = 1;
    }
    shapes
}

fn any_mode(rng: &mut Rng) -> Mode {
    match rng.chance(300) {
        true => Mode::P2p,
        false => Mode::Mp,
    }
}

/// Traffic in all directions, some of it none that anybody may get, in bursts over a span of so many milliseconds.
fn traffic(world: &mut World, mode: Mode, span: u64, bursts: usize) {
    let clients = world.nodes.len() - 1;
    for _ in 0..bursts {
        let at = world.now() + world.rng.within(0, span * MS);
        let client = world.rng.size(1, clients);
        let (from, to) = match world.rng.chance(500) {
            true => (SERVER, client),
            // Another client's packets go by the server's host.
            false => (
                client,
                if mode == Mode::Mp {
                    world.rng.size(0, clients)
                } else {
                    SERVER
                },
            ),
        };
        let to = if to == from { SERVER } else { to };
        let queue = world.rng.size(0, 7);
        let len = world.rng.size(SHORTEST, LONGEST);
        match world.rng.within(0, 99) {
            0..70 => {
                for _ in 0..world.rng.size(1, 6) {
                    world.send(at, (from, to), len, queue);
                }
            }
            70..73 => {
                for _ in 0..world.rng.size(60, 160) {
                    world.send(at, (from, to), 100, queue);
                }
            }
            73..90 => {
                let count = world.rng.size(2, 40);
                let repeats = if world.rng.chance(100) { 100 } else { 1 };
                let (flow, arrives) = (
                    (inner(from), inner(to)),
                    Fate::For(match from {
                        SERVER => to,
                        _ => SERVER,
                    }),
                );
                for _ in 0..repeats {
                    let count = if repeats > 1 { 2 } else { count };
                    let bytes = world.ledger.super_packet(flow, (len, count), arrives);
                    world.inject(at, from, queue, bytes);
                }
            }
            90..95 => {
                let bytes = world.ledger.garbage(len);
                world.inject(at, from, queue, bytes);
            }
            _ if mode == Mode::Mp => {
                // To a stranger, or from one.
                let flow = match from {
                    SERVER => (inner(SERVER), inner(200)),
                    _ => (inner(200), inner(SERVER)),
                };
                let bytes = world.ledger.packet(flow, len, Fate::Dropped);
                world.inject(at, from, queue, bytes);
            }
            _ => {}
        }
    }
}
