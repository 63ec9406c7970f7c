//! How busy a worker is, judged by how long it sleeps.

use std::sync::atomic::{AtomicU64, Ordering};

/// The shortest sample, in nanoseconds.
const SPAN: u64 = 10_000_000;

/// A sample older than this many nanoseconds no longer counts: a sleeping worker takes none.
const STALE: u64 = 100_000_000;

/// A worker, or two together, awake for less than this percentage of the time has little to do.
pub(crate) const QUIET: u64 = 25;

/// The load of the calling thread, sampled span by span.
pub(crate) struct Load {
    since: u64,
    asleep: u64,
    quiet_for: u64,
}

/// A worker's activity since the previous sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sample {
    /// Percentage of the time that the worker was awake.
    pub(crate) awake: u64,
    /// For how many nanoseconds it has had little to do.
    pub(crate) quiet_for: u64,
}

/// A worker's last sample, for the other workers to read.
#[derive(Default)]
pub(crate) struct LastSample {
    awake: AtomicU64,
    at: AtomicU64,
}

impl Load {
    /// Starts at `now`, in nanoseconds.
    pub(crate) const fn from(now: u64) -> Self {
        Self {
            since: now,
            asleep: 0,
            quiet_for: 0,
        }
    }

    /// The thread has slept for this many nanoseconds.
    pub(crate) const fn slept(&mut self, nanoseconds: u64) {
        self.asleep += nanoseconds;
    }

    /// The next sample, if a span has passed.
    pub(crate) fn sample(&mut self, now: u64) -> Option<Sample> {
        let span = now.saturating_sub(self.since);
        if span < SPAN {
            return None;
        }
        let awake = span.saturating_sub(self.asleep) * 100 / span;
        let quiet_for = if awake < QUIET {
            self.quiet_for + span
        } else {
            0
        };
        *self = Self {
            quiet_for,
            ..Self::from(now)
        };
        Some(Sample { awake, quiet_for })
    }
}

impl LastSample {
    pub(crate) fn publish(&self, sample: Sample, now: u64) {
        self.awake.store(sample.awake, Ordering::Relaxed);
        self.at.store(now, Ordering::Relaxed);
    }

    /// Percentage of the time that the worker is awake.
    pub(crate) fn awake(&self, now: u64) -> u64 {
        let is_stale = now.saturating_sub(self.at.load(Ordering::Relaxed)) > STALE;
        if is_stale {
            0
        } else {
            self.awake.load(Ordering::Relaxed)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_slept_is_load() {
        let mut load = Load::from(0);
        load.slept(SPAN / 4);
        assert_eq!(load.sample(SPAN - 1), None);
        let sample = |awake, quiet_for| Some(Sample { awake, quiet_for });
        assert_eq!(load.sample(SPAN), sample(75, 0));
        load.slept(7 * SPAN);
        assert_eq!(load.sample(8 * SPAN), sample(0, 7 * SPAN));
        load.slept(SPAN);
        assert_eq!(load.sample(9 * SPAN), sample(0, 8 * SPAN));
        assert_eq!(load.sample(SPAN), None, "a clock that goes back");
    }

    #[test]
    fn a_worker_that_says_nothing_sleeps() {
        let last = LastSample::default();
        let sample = Sample {
            awake: 90,
            quiet_for: 0,
        };
        last.publish(sample, STALE);
        assert_eq!(last.awake(STALE + 1), 90);
        assert_eq!(last.awake(2 * STALE + 1), 0);
    }
}
