//! Interrupt coalescing, for a worker: at high packet rates it pauses briefly so that packets accumulate; below them it
//! yields, unless that costs too much.
//!
//! A worker that has moved everything sleeps, and the next packet wakes it. If the sender shares a processor with it, that
//! happens every few packets: both then spend more time switching than on packets, records leave in short runs, and
//! everything downstream pays for that, too. So above a hundred thousand packets a second, and only there, a worker pauses
//! for a moment before it sleeps, as network cards hold back their interrupts. A super-packet, or a run of coalesced
//! datagrams, counts as one: a TCP stream reaches such rates only where the link coalesces nothing, and is no slower there.

use std::num::NonZeroU64;
use std::time::Duration;

/// A worker pauses if packets come faster than one in this many nanoseconds.
const FAST: u64 = 10_000;

/// The length of a pause: at 100,000 packets a second, five arrive meanwhile. A device's queue has room for 500.
const PAUSE: Duration = Duration::from_micros(50);

/// By how many nanoseconds the kernel may prolong a pause; its default is 50,000.
const SLACK: u64 = 1_000;

/// The rate is measured over this many nanoseconds, so that a single burst does not count.
const SPAN: u64 = 1_000_000;

/// The packet rate, measured whenever a worker has nothing left to do.
pub(crate) struct Coalescing {
    moved: u64,
    since: u64,
    is_fast: bool,
}

impl Coalescing {
    /// Starts at `now`, in nanoseconds.
    pub(crate) const fn from(now: u64) -> Self {
        Self {
            moved: 0,
            since: now,
            is_fast: false,
        }
    }

    /// Call it when nothing is left to do, with the packets `moved` since the start; returns whether to pause.
    pub(crate) fn is_fast(&mut self, moved: u64, now: u64) -> bool {
        let elapsed = now.saturating_sub(self.since);
        if elapsed >= SPAN {
            let packets = moved.wrapping_sub(self.moved);
            self.is_fast = packets.saturating_mul(FAST) >= elapsed;
            self.moved = moved;
            self.since = now;
        }
        self.is_fast
    }
}

/// A yield this long (nanoseconds) has given the processor to a thread with work of its own, or to one that floods.
const LONG: u64 = 1_000_000;

/// For how many nanoseconds a worker does without yields after a long one.
const WITHOUT: u64 = 1_000_000_000;

/// Whether a worker yields before it sleeps.
///
/// A yield spares wake-ups if senders share the processor with the worker. Beside a thread that always has something to do, it
/// gives that thread a time slice: since Linux 6.6 these are milliseconds, for which packets wait, or find a full queue. A
/// worker that sleeps instead has the processor back as soon as a packet comes.
#[derive(Debug, Default)]
pub(crate) struct Yields {
    not_before: u64,
}

impl Yields {
    /// Whether to yield now.
    pub(crate) const fn are_due(&self, now: u64) -> bool {
        now >= self.not_before
    }

    /// A yield has begun and ended at these times.
    pub(crate) const fn learn(&mut self, began: u64, ended: u64) {
        if ended.saturating_sub(began) >= LONG {
            self.not_before = ended.saturating_add(WITHOUT);
        }
    }
}

/// Keeps the kernel from prolonging the calling thread's pauses.
pub(crate) fn prepare() {
    let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(SLACK));
}

/// Lets packets accumulate.
pub(crate) fn pause() {
    std::thread::sleep(PAUSE);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_pauses_from_a_hundred_thousand_packets_a_second_on() {
        let mut coalescing = Coalescing::from(5 * SPAN);
        assert!(!coalescing.is_fast(99, 6 * SPAN));
        assert!(coalescing.is_fast(199, 7 * SPAN));
        assert!(coalescing.is_fast(499, 9 * SPAN), "150 in each of two");
        assert!(!coalescing.is_fast(699, 12 * SPAN), "200 in three");
    }

    #[test]
    fn a_long_yield_is_the_last_for_a_while() {
        let mut yields = Yields::default();
        assert!(yields.are_due(0));
        yields.learn(5, 5 + LONG - 1);
        assert!(yields.are_due(5 + LONG));
        yields.learn(LONG, 2 * LONG);
        assert!(!yields.are_due(2 * LONG + WITHOUT - 1));
        assert!(yields.are_due(2 * LONG + WITHOUT));
        yields.learn(9, 8);
        assert!(yields.are_due(2 * LONG + WITHOUT), "a clock that goes back");
    }

    #[test]
    fn a_burst_is_no_rate() {
        let mut coalescing = Coalescing::from(0);
        assert!(!coalescing.is_fast(90, SPAN / 100));
        assert!(!coalescing.is_fast(90, SPAN));
        assert!(coalescing.is_fast(290, 2 * SPAN));
        assert!(
            coalescing.is_fast(290, 2 * SPAN + 1),
            "as it was a moment ago"
        );
        assert!(!coalescing.is_fast(291, 50 * SPAN), "nobody sends any more");
        assert!(!coalescing.is_fast(500, 0), "a clock that goes back");
    }
}
