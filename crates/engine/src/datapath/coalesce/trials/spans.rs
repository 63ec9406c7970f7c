//! What a worker has done in the spans of a trial.

use super::SPAN;
use crate::datapath::coalesce::{LULL, Moved};

/// Below this many packets a second nothing is to be gained: a wake-up for each costs some 3 % of a processor.
const FROM: u64 = 4_000;

/// While a turn brings this many bytes on average, they come in runs already: six full packets.
const RUN: u64 = 8 << 10;

/// While a worker is busy for this percentage of the time, packets accumulate by themselves. Much less is no sign of that: a
/// worker that only yields is busy with single packets for two thirds of the time, at 70,000 packets a second.
const BUSY: u64 = 90;

/// How many spans of a trial each way has.
const SPANS: usize = 4;

/// What a worker has done in a span.
#[derive(Clone, Copy, Debug)]
pub(super) struct Work {
    pub(super) time: u64,
    pub(super) moved: Moved,
    pub(super) spent: u64,
    pub(super) turns: u64,
}

impl Work {
    /// Whether a trial is worth its while.
    pub(super) const fn is_brisk(&self) -> bool {
        self.moved.packets.saturating_mul(1_000_000_000 / FROM) >= self.time
    }

    /// Whether nothing came for a while: a span ends with the first turn after it, however late that is.
    pub(super) const fn had_a_lull(&self) -> bool {
        self.time >= SPAN + LULL.as_nanos() as u64
    }

    /// Whether turns bring so much, or the worker is so busy, that a pause would gather little more.
    pub(super) const fn gathers_by_itself(&self) -> bool {
        self.moved.bytes >= self.turns.saturating_mul(RUN) || self.is_busy()
    }

    /// Whether packets are runs already. It goes by packets, since turns after a pause bring a run of them.
    pub(super) const fn comes_in_runs(&self) -> bool {
        self.moved.bytes >= self.moved.packets.saturating_mul(RUN)
    }

    const fn is_busy(&self) -> bool {
        self.spent.saturating_mul(100) >= self.time.saturating_mul(BUSY)
    }

    /// Whether hardly a turn brings more than one packet.
    pub(super) const fn comes_singly(&self) -> bool {
        self.moved.packets * 10 < self.turns * 11
    }

    /// Processor time (nanoseconds) for a MiB.
    const fn cost(&self) -> u64 {
        match self
            .spent
            .saturating_mul(1 << 20)
            .checked_div(self.moved.bytes)
        {
            Some(cost) => cost,
            None => u64::MAX,
        }
    }

    /// Bytes a millisecond.
    const fn rate(&self) -> u64 {
        match self
            .moved
            .bytes
            .saturating_mul(1_000_000)
            .checked_div(self.time)
        {
            Some(rate) => rate,
            None => 0,
        }
    }
}

/// The costs and rates of a way, in as many spans of a trial as it has had.
///
/// Compared by their medians: the host of a virtual machine, an interrupt or a stall makes a single span cost many times as
/// much.
#[derive(Clone, Copy, Default)]
pub(super) struct Spans {
    costs: [u64; SPANS],
    rates: [u64; SPANS],
    pub(super) count: usize,
}

impl Spans {
    pub(super) fn add(&mut self, work: Work) {
        if let (Some(cost), Some(rate)) = (
            self.costs.get_mut(self.count),
            self.rates.get_mut(self.count),
        ) {
            (*cost, *rate) = (work.cost(), work.rate());
            self.count += 1;
        }
    }

    /// The median; of two in the middle, the better one.
    pub(super) fn cost(&self) -> u64 {
        let mut costs = self.costs;
        let costs = &mut costs[..self.count];
        costs.sort_unstable();
        costs
            .get(costs.len().saturating_sub(1) / 2)
            .copied()
            .unwrap_or(u64::MAX)
    }

    /// Likewise.
    fn rate(&self) -> u64 {
        let mut rates = self.rates;
        let rates = &mut rates[..self.count];
        rates.sort_unstable();
        rates.get(rates.len() / 2).copied().unwrap_or(0)
    }

    /// Whether it costs at most this many percent of another way.
    pub(super) fn is_at_most(&self, percent: u64, other: Self) -> bool {
        self.cost().saturating_mul(100) <= other.cost().saturating_mul(percent)
    }

    /// Whether it has moved at least this many percent of what another way has.
    pub(super) fn is_as_fast(&self, other: Self, percent: u64) -> bool {
        self.rate().saturating_mul(100) >= other.rate().saturating_mul(percent)
    }
}
