//! Grid of weather cells, all within one session.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::chaos::session::Counters;
use crate::chaos::{Direction, Session, Weather};

/// The longest that a cell's stream may take.
const PATIENCE: Duration = Duration::from_secs(90);

/// How long to hold a datagram back: many others of a window overtake it.
const HOLD: u64 = 3_000;

/// One kind of weather, in percent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cell {
    /// Datagrams lost.
    pub loss: u8,
    /// Datagrams held back and overtaken.
    pub reorder: u8,
    /// Datagrams duplicated.
    pub duplicate: u8,
    /// Datagrams with a flipped bit.
    pub corrupt: u8,
}

/// The whole grid: 48 cells.
pub fn grid() -> Vec<Cell> {
    let mut cells = Vec::new();
    for loss in [0, 1, 5, 20] {
        for reorder in [0, 10, 50] {
            for duplicate in [0, 10] {
                for corrupt in [0, 1] {
                    cells.push(Cell {
                        loss,
                        reorder,
                        duplicate,
                        corrupt,
                    });
                }
            }
        }
    }
    cells
}

/// Five cells: each impairment alone, and the worst mix.
pub fn selection() -> Vec<Cell> {
    [
        (5, 0, 0, 0),
        (0, 50, 0, 0),
        (0, 0, 10, 0),
        (0, 10, 0, 1),
        (20, 50, 10, 1),
    ]
    .map(|(loss, reorder, duplicate, corrupt)| Cell {
        loss,
        reorder,
        duplicate,
        corrupt,
    })
    .into()
}

/// What happened to the packets of a cell's stream, both directions together.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Outcome {
    /// The cell.
    pub cell: Cell,
    /// Bytes of the stream.
    pub bytes: u64,
    /// From the stream's start to the receiver's answer.
    pub seconds: f64,
    /// Data packets that reached the relay.
    pub came: u64,
    /// Datagrams lost.
    pub lost: u64,
    /// Datagrams duplicated.
    pub duplicated: u64,
    /// Datagrams held back.
    pub held: u64,
    /// Datagrams with a flipped bit.
    pub corrupted: u64,
    /// Data packets that the receivers wrote to their TUN devices.
    pub delivered: u64,
    /// The receivers' drops, by reason.
    pub drops: BTreeMap<String, u64>,
}

impl Cell {
    /// The weather of this cell.
    pub fn weather(self) -> Weather {
        let share = |percent: u8| f64::from(percent) / 100.0;
        Weather {
            loss: share(self.loss),
            reorder: share(self.reorder),
            reorder_us: HOLD,
            duplicate: share(self.duplicate),
            corrupt: share(self.corrupt),
            ..Weather::CALM
        }
    }

    /// The stream's length, scaled down from `whole` with loss, under which TCP crawls.
    fn length(self, whole: u64) -> u64 {
        match self.loss {
            20.. => whole / 8,
            5.. => whole / 4,
            _ => whole,
        }
    }

    /// Sends a stream of up to `whole` bytes in this weather, in every second cell towards the server, and checks all
    /// counters.
    ///
    /// # Errors
    /// If the stream does not arrive whole, or a packet is unaccounted for.
    pub fn run(self, session: &mut Session, number: u64, whole: u64) -> Result<Outcome> {
        let name = format!("{self:?}, seed {}", session.relay.seed());
        let before = session
            .settled()
            .with_context(|| format!("before {name}"))?;
        session.relay.set(self.weather())?;
        let (seed, length) = (
            session.relay.seed().wrapping_add(number),
            self.length(whole),
        );
        let took = session
            .stream(number.is_multiple_of(2), seed, length, PATIENCE)
            .with_context(|| name.clone())?;
        session.relay.set(Weather::CALM)?;
        let after = session.settled().with_context(|| name.clone())?;
        let (came, took) = (after.since(&before), took.as_secs_f64());
        Ok(self.outcome(length, took, &came))
    }

    fn outcome(self, bytes: u64, seconds: f64, counters: &Counters) -> Outcome {
        let Counters {
            relay,
            server,
            client,
            ..
        } = counters;
        let sum = |count: fn(&Direction) -> u64| count(&relay.up) + count(&relay.down);
        let mut drops = server.drops.clone();
        for (reason, count) in &client.drops {
            *drops.entry(reason.clone()).or_default() += count;
        }
        Outcome {
            cell: self,
            bytes,
            seconds,
            came: sum(|lane| lane.data_in),
            lost: sum(|lane| lane.lost),
            duplicated: sum(|lane| lane.duplicated),
            held: sum(|lane| lane.held),
            corrupted: sum(|lane| lane.corrupted),
            delivered: server.vpn_rx + client.vpn_rx,
            drops,
        }
    }
}
