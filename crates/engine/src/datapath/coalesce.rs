//! Interrupt coalescing, for a worker: how it lets packets accumulate between its last one and its sleep.
//!
//! A worker that has moved everything sleeps, and the next packet wakes it. Where packets come one by one, each then costs a
//! wake-up, a call to receive and one to deliver, and everything downstream pays for short runs, too. To yield first gathers
//! what a sender on the same processor has ready, and a pause what comes within it. Which costs less differs by traffic, by
//! machine and by kernel: in a virtual machine, for instance, a timer is dear. So:
//!
//! - Below 4,000 packets a second a worker yields, then sleeps. A packet that comes alone is never delayed.
//! - Above, while turns bring little, [`trials`] finds out whether pauses cost less, alone or after yields, and do not slow the
//!   traffic down: questions that wait for their answers come more rarely if a worker pauses.
//! - Above a hundred thousand it yields, and pauses before it sleeps, as network cards hold back their interrupts.
//!
//! A super-packet, or a run of coalesced datagrams, counts as one: it needs no gathering.

#[cfg(test)]
mod patterns;
mod trials;

use std::num::NonZeroU64;
use std::time::Duration;

use self::trials::Trials;

/// A worker pauses without a trial if packets come faster than one in this many nanoseconds.
const FAST: u64 = 10_000;

/// The length of a pause: at 100,000 packets a second, five arrive meanwhile. A device's queue has room for 500.
const PAUSE: Duration = Duration::from_micros(50);

/// By how many nanoseconds the kernel may prolong a pause; its default is 50,000.
const SLACK: u64 = 1_000;

/// The rate is measured over this many nanoseconds, so that a single burst does not count.
const SPAN: u64 = 1_000_000;

/// What a worker does when nothing is left to do, before it sleeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gather {
    /// It yields a few times, and looks for packets in between.
    Yield,
    /// The same, and then a pause and another look.
    YieldAndPause,
    /// It pauses, and looks for packets once.
    Pause,
    /// It sleeps at once.
    Nothing,
}

impl Gather {
    pub(crate) const fn yields(self) -> bool {
        matches!(self, Self::Yield | Self::YieldAndPause)
    }

    pub(crate) const fn pauses(self) -> bool {
        matches!(self, Self::Pause | Self::YieldAndPause)
    }
}

/// What was read from a device or a socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Moved {
    /// Packets, super-packets, datagrams, or runs of coalesced ones.
    pub(crate) packets: u64,
    /// Their bytes.
    pub(crate) bytes: u64,
}

impl Moved {
    pub(crate) const fn count(&mut self, bytes: usize) {
        self.packets = self.packets.wrapping_add(1);
        self.bytes = self.bytes.wrapping_add(bytes as u64);
    }

    pub(crate) const fn plus(self, other: Self) -> Self {
        Self {
            packets: self.packets.wrapping_add(other.packets),
            bytes: self.bytes.wrapping_add(other.bytes),
        }
    }

    const fn since(self, earlier: Self) -> Self {
        Self {
            packets: self.packets.wrapping_sub(earlier.packets),
            bytes: self.bytes.wrapping_sub(earlier.bytes),
        }
    }
}

/// Chooses how a worker gathers packets. All times are in nanoseconds.
pub(crate) struct Coalescing {
    rate: Rate,
    trials: Trials,
    yields: Yields,
}

impl Coalescing {
    pub(crate) fn from(now: u64) -> Self {
        Self {
            rate: Rate::from(now),
            trials: Trials::from(now),
            yields: Yields { not_before: 0 },
        }
    }

    /// Call it when nothing is left to do, with what has `moved` since the start. `spent` reads the thread's processor time.
    pub(crate) fn gather(&mut self, now: u64, moved: Moved, spent: impl FnOnce() -> u64) -> Gather {
        let gather = if self.rate.is_fast(moved.packets, now) {
            self.trials.disturb();
            Gather::YieldAndPause
        } else {
            self.trials.gather(now, moved, spent)
        };
        match gather {
            gather if self.yields.are_due(now) => gather,
            Gather::Yield => Gather::Nothing,
            Gather::YieldAndPause => Gather::Pause,
            gather => gather,
        }
    }

    /// Whether packets come fast, as of the last [`Self::gather`].
    pub(crate) const fn is_fast(&self) -> bool {
        self.rate.is_fast
    }

    /// A yield has begun and ended at these times. Returns whether to yield again.
    pub(crate) const fn yielded(&mut self, began: u64, ended: u64) -> bool {
        self.yields.learn(began, ended);
        self.yields.are_due(ended)
    }
}

/// The packet rate.
struct Rate {
    moved: u64,
    since: u64,
    is_fast: bool,
}

impl Rate {
    const fn from(now: u64) -> Self {
        Self {
            moved: 0,
            since: now,
            is_fast: false,
        }
    }

    /// Whether packets come that fast, given how many have come since the start.
    const fn is_fast(&mut self, moved: u64, now: u64) -> bool {
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

/// Whether a worker may yield.
///
/// Beside a thread that always has something to do, a yield gives that thread a time slice: since Linux 6.6 these are
/// milliseconds, for which packets wait, or find a full queue. A worker that sleeps instead has the processor back as soon
/// as a packet comes.
#[derive(Debug)]
struct Yields {
    not_before: u64,
}

impl Yields {
    const fn are_due(&self, now: u64) -> bool {
        now >= self.not_before
    }

    const fn learn(&mut self, began: u64, ended: u64) {
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
        let mut rate = Rate::from(5 * SPAN);
        assert!(!rate.is_fast(99, 6 * SPAN));
        assert!(rate.is_fast(199, 7 * SPAN));
        assert!(rate.is_fast(499, 9 * SPAN), "150 in each of two");
        assert!(!rate.is_fast(699, 12 * SPAN), "200 in three");
    }

    #[test]
    fn a_burst_is_no_rate() {
        let mut rate = Rate::from(0);
        assert!(!rate.is_fast(90, SPAN / 100));
        assert!(!rate.is_fast(90, SPAN));
        assert!(rate.is_fast(290, 2 * SPAN));
        assert!(rate.is_fast(290, 2 * SPAN + 1), "as it was a moment ago");
        assert!(!rate.is_fast(291, 50 * SPAN), "nobody sends any more");
        assert!(!rate.is_fast(500, 0), "a clock that goes back");
    }

    #[test]
    fn a_long_yield_is_the_last_for_a_while() {
        let mut coalescing = Coalescing::from(0);
        let gather_at =
            |coalescing: &mut Coalescing, now| coalescing.gather(now, Moved::default(), || 0);
        assert_eq!(gather_at(&mut coalescing, 0), Gather::Yield);
        assert!(coalescing.yielded(5, 5 + LONG - 1));
        assert_eq!(gather_at(&mut coalescing, 5 + LONG), Gather::Yield);
        assert!(!coalescing.yielded(LONG, 2 * LONG));
        assert_eq!(
            gather_at(&mut coalescing, 2 * LONG + WITHOUT - 1),
            Gather::Nothing
        );
        assert_eq!(
            gather_at(&mut coalescing, 2 * LONG + WITHOUT),
            Gather::Yield
        );
        assert!(
            coalescing.yielded(2 * LONG + WITHOUT + 9, 2 * LONG + WITHOUT + 8),
            "a clock that goes back"
        );
    }

    #[test]
    fn a_worker_that_must_not_yield_pauses_at_high_rates() {
        let mut coalescing = Coalescing::from(0);
        assert!(!coalescing.yielded(0, LONG));
        let many = Moved {
            packets: 200,
            bytes: 200,
        };
        assert_eq!(coalescing.gather(LONG + 1, many, || 0), Gather::Pause);
    }
}
