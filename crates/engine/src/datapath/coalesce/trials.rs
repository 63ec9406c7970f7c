//! Trials: while packets come one by one, a worker gathers in several ways in turns for a while, and goes on with the cheapest.
//!
//! Judged by the processor time that it has spent for each byte, which is what the choice is to save, and by the rate: traffic
//! that waits for answers, or for acknowledgements, slows down where it is delayed. Neither depends on a model of the traffic
//! or on what a wake-up or a timer costs on this machine. What a choice costs the senders is not seen: a pause spares them
//! wake-ups, as a yield does. To sleep at once without one is not tried for that reason, though a worker alone may find it
//! cheaper.

mod spans;

use self::spans::{Spans, Work};
use super::{Gather, Moved};

/// Each way has this many nanoseconds in a row: many bursts of a sender that paces itself by the millisecond, and six blocks
/// of 128 KiB at 300 Mbit/s.
const SPAN: u64 = 20_000_000;

/// What is tried: first what holds unless another way is better, then short pauses before long ones.
const WAYS: [Gather; 3] = [Gather::Yield, Gather::Delay, Gather::Throttle];

/// The order within half a trial, mirrored, so that a rate that rises or falls favours none.
const ORDER: [usize; 6] = [0, 1, 2, 2, 1, 0];

/// Another way has to cost at most this many percent of yields: less is noise.
const CHEAPER: u64 = 95;

/// And at least this many percent of the bytes have to move in the same time.
const AS_FAST: u64 = 95;

/// Below this many percent of the yields' rate, a way slows the traffic down, and leaves a trial at once.
const CLEARLY: u64 = 85;

/// The same while one of the two has had a single span, which may be slow or fast by chance.
const AT_FIRST: u64 = 60;

/// What was found before is kept if it costs at most this many percent of the cheapest: else two that cost the same would take
/// turns, each of them new.
const AS_CHEAP: u64 = 105;

/// What a trial has found holds for this many nanoseconds if it is new, and twice as long each time that it is confirmed. To
/// yield is not new.
const KEPT: u64 = 1_000_000_000;

/// But never for longer than this.
const MOST: u64 = 8_000_000_000;

/// Whether a trial is on, and what the last one has found. All times are in nanoseconds.
pub(super) struct Trials {
    stage: Stage,
    span: Span,
    /// Whether packets came fast enough for a trial in the last span.
    is_brisk: bool,
    /// What each of [`WAYS`] has done in the current trial.
    results: [Spans; WAYS.len()],
    /// The ways that are out of it.
    is_out: [bool; WAYS.len()],
    found: Gather,
    /// Whether pauses have clearly slowed down the traffic in the last trial.
    slows_down: bool,
    holds_for: u64,
}

/// The beginning of a span.
struct Span {
    since: u64,
    moved: Moved,
    spent: u64,
    turns: u64,
}

#[derive(Clone, Copy)]
enum Stage {
    Off,
    /// With the number of spans before this one.
    On(usize),
    Over {
        until: u64,
    },
}

impl Trials {
    pub(super) fn from(now: u64) -> Self {
        Self {
            stage: Stage::Off,
            span: Span {
                since: now,
                moved: Moved::default(),
                spent: 0,
                turns: 0,
            },
            is_brisk: false,
            results: Default::default(),
            is_out: [false; WAYS.len()],
            found: Gather::Yield,
            slows_down: false,
            holds_for: KEPT,
        }
    }

    /// How to gather now; see [`super::Coalescing::gather`]. Packets that come `fast` are throttled, unless a trial is on, or
    /// has shown that this slows them down.
    pub(super) fn gather(
        &mut self,
        now: u64,
        moved: Moved,
        fast: bool,
        spent: impl FnOnce() -> u64,
    ) -> Gather {
        self.span.turns += 1;
        let elapsed = now.saturating_sub(self.span.since);
        let throttles = fast && !self.slows_down;
        if elapsed >= SPAN {
            let spent = spent();
            let work = Work {
                time: elapsed,
                moved: moved.since(self.span.moved),
                spent: spent.saturating_sub(self.span.spent),
                turns: self.span.turns,
            };
            self.span = Span {
                since: now,
                moved,
                spent,
                turns: 0,
            };
            self.is_brisk = work.is_brisk();
            self.stage = if work.had_a_lull() {
                self.slows_down = false;
                self.after_a_lull(now)
            } else {
                self.next(now, work)
            };
        }
        match self.stage {
            Stage::On(step) => WAYS[ORDER[step % ORDER.len()]],
            _ if throttles => Gather::Throttle,
            Stage::Over { .. } if self.is_brisk => self.found,
            Stage::Off | Stage::Over { .. } => Gather::Yield,
        }
    }

    /// The stage after a span in which nothing came for a while: it says nothing about the ways of a trial.
    const fn after_a_lull(&self, now: u64) -> Stage {
        match self.stage {
            Stage::Over { until } if now < until => self.stage,
            _ => Stage::Off,
        }
    }

    /// The stage after a span with this work.
    fn next(&mut self, now: u64, work: Work) -> Stage {
        match self.stage {
            Stage::On(step) => self.go_on(step, now, work),
            Stage::Off | Stage::Over { .. } if !self.is_brisk => self.stage,
            // Pauses that gather nothing, or what is a run already, only delay: the traffic has changed.
            Stage::Over { .. }
                if self.found != Gather::Yield && (work.comes_singly() || work.comes_in_runs()) =>
            {
                (self.found, self.holds_for) = (Gather::Yield, KEPT);
                Stage::Over {
                    until: now.saturating_add(KEPT),
                }
            }
            Stage::Over { until } if now < until => self.stage,
            Stage::Off | Stage::Over { .. } if work.comes_in_runs() => Stage::Off,
            // A turn after a pause brings much: that is no sign.
            Stage::Off | Stage::Over { .. }
                if self.found == Gather::Yield && work.gathers_by_itself() =>
            {
                Stage::Off
            }
            Stage::Off | Stage::Over { .. } => {
                self.results = Default::default();
                self.is_out = [false; WAYS.len()];
                Stage::On(0)
            }
        }
    }

    /// The stage after this span of a trial.
    fn go_on(&mut self, step: usize, now: u64, work: Work) -> Stage {
        let way = ORDER[step % ORDER.len()];
        if way == 0 && !self.is_brisk {
            return Stage::Off;
        }
        self.results[way].add(work);
        let [yields, result] = [self.results[0], self.results[way]];
        let few = yields.count.min(result.count) < 2;
        let percent = if few { AT_FIRST } else { CLEARLY };
        if !self.is_brisk || !result.is_as_fast(yields, percent) {
            // Where a pause slows the traffic down that much, longer ones do, too.
            let last = if few { WAYS.len() } else { way + 1 };
            self.is_out[way..last].fill(true);
        }
        if step + 1 >= ORDER.len() {
            for (is_out, result) in self.is_out.iter_mut().zip(self.results).skip(1) {
                *is_out |= result.cost() > yields.cost();
            }
        }
        let mut rest = step + 1..2 * ORDER.len();
        let is_left = |step: &usize| !self.is_out[ORDER[step % ORDER.len()]];
        let is_alone = self.is_out[1..].iter().all(|is_out| *is_out);
        if !is_alone && let Some(next) = rest.find(is_left) {
            return Stage::On(next);
        }
        self.conclude();
        Stage::Over {
            until: now.saturating_add(self.holds_for),
        }
    }

    fn conclude(&mut self) {
        let found = self.best();
        self.holds_for = match found == self.found {
            true => (2 * self.holds_for).min(MOST),
            false => KEPT,
        };
        self.found = found;
        self.slows_down =
            found == Gather::Yield && !self.results[1].is_as_fast(self.results[0], CLEARLY);
    }

    /// The cheapest way of those that are cheaper than yields, and do not slow the traffic down.
    fn best(&self) -> Gather {
        let yields = self.results[0];
        let is_good = |way: &usize| {
            !self.is_out[*way]
                && self.results[*way].is_at_most(CHEAPER, yields)
                && self.results[*way].is_as_fast(yields, AS_FAST)
        };
        let good = (1..WAYS.len()).filter(is_good);
        let Some(best) = good.clone().min_by_key(|way| self.results[*way].cost()) else {
            return Gather::Yield;
        };
        let is_kept = |way: &usize| {
            WAYS[*way] == self.found && self.results[*way].is_at_most(AS_CHEAP, self.results[best])
        };
        WAYS[good.clone().find(is_kept).unwrap_or(best)]
    }
}
