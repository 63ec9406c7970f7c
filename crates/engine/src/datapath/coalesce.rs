//! Interrupt coalescing, for a worker: how packets accumulate between two of its turns.
//!
//! A worker that has moved everything sleeps, and the next packet wakes it. Where packets come one by one, each then costs a
//! wake-up, a call to receive and one to deliver, and everything downstream pays for short runs, too. To yield first gathers
//! what a sender on the same processor has ready. To pause between a wake-up and the packets gathers a burst from its first
//! packet on. Which costs less differs by traffic, by machine and by kernel: in a virtual machine, for instance, a timer is
//! dear. So:
//!
//! - Below 4,000 packets a second a worker yields, then sleeps. A packet that comes alone is never delayed.
//! - Above, while turns bring little, [`trials`] finds out whether pauses after wake-ups cost less, and do not slow the traffic
//!   down: questions that wait for their answers come more rarely if a worker pauses.
//! - Above a hundred thousand it pauses for 100 microseconds before each turn, as network cards throttle their interrupts, unless
//!   a trial has shown that this slows the traffic down.
//!
//! A super-packet, or a run of coalesced datagrams, counts as one: it needs no gathering.

#[cfg(test)]
mod patterns;
mod trials;

use std::num::NonZeroU64;
use std::time::Duration;

use self::trials::Trials;

/// A worker throttles without a trial if packets come faster than one in this many nanoseconds.
const FAST: u64 = 10_000;

/// For how long a packet that has woken a worker waits for others, if it does: two to five packets of a stock peer's burst.
const PAUSE: Duration = Duration::from_micros(50);

/// By how many nanoseconds the kernel may prolong a pause; its default is 50,000.
const SLACK: u64 = 1_000;

/// The pause before each turn of a worker that throttles: ten packets at 100,000 a second. A device's queue has room for 500,
/// unless its `txqueuelen` was changed; what another worker hands off is not left alone.
const INTERVAL: Duration = Duration::from_micros(100);

/// A wait this long was a sleep: longer than a call that finds packets takes, and shorter than a wake-up.
const SLEPT: Duration = Duration::from_micros(3);

/// After a sleep this long no other packet is expected soon.
const LULL: Duration = Duration::from_millis(20);

/// After a turn that has brought this many packets, half of a batch, a worker that throttles does not wait for more unless it
/// sleeps: at such rates batches would be full, and packets left over.
const MANY: u64 = 64;

/// The rate is measured over this many nanoseconds, so that a single burst does not count.
const SPAN: u64 = 1_000_000;

/// What a worker does between two turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gather {
    /// It yields a few times, and looks for packets in between.
    Yield,
    /// It sleeps at once.
    Nothing,
    /// The same, and the packet that wakes it waits for those that follow within a pause.
    Delay,
    /// It pauses before each turn, as a card throttles its interrupts, whether it has slept or not.
    Throttle,
}

impl Gather {
    /// How long to leave packets alone that have come after a wait that `took` this long.
    pub(crate) fn delay(self, took: Duration) -> Option<Duration> {
        match self {
            _ if took >= LULL => None,
            Self::Delay if took >= SLEPT => Some(PAUSE),
            Self::Throttle => Some(INTERVAL),
            _ => None,
        }
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
    /// All packets up to the last turn.
    moved: u64,
}

impl Coalescing {
    pub(crate) fn from(now: u64) -> Self {
        Self {
            rate: Rate::from(now),
            trials: Trials::from(now),
            yields: Yields { not_before: 0 },
            moved: 0,
        }
    }

    /// Call it before each wait, with what has `moved` since the start. `spent` reads the thread's processor time.
    pub(crate) fn gather(&mut self, now: u64, moved: Moved, spent: impl FnOnce() -> u64) -> Gather {
        let brought = moved.packets.wrapping_sub(self.moved);
        self.moved = moved.packets;
        let fast = self.rate.is_fast(moved.packets, now);
        let gather = self.trials.gather(now, moved, fast, spent);
        match gather {
            Gather::Yield if !self.yields.are_due(now) => Gather::Nothing,
            Gather::Throttle if brought >= MANY => Gather::Delay,
            gather => gather,
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_throttles_from_a_hundred_thousand_packets_a_second_on() {
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
    fn a_worker_that_must_not_yield_throttles_at_high_rates() {
        let mut coalescing = Coalescing::from(0);
        assert!(!coalescing.yielded(0, LONG));
        let many = Moved {
            packets: 200,
            bytes: 200,
        };
        coalescing.gather(LONG + 1, many, || 0);
        assert_eq!(coalescing.gather(LONG + 2, many, || 0), Gather::Throttle);
    }

    #[test]
    fn what_follows_a_lull_is_not_delayed() {
        let delays = |gather: Gather| [Duration::ZERO, SLEPT, LULL].map(|took| gather.delay(took));
        let (pause, interval) = (Some(PAUSE), Some(INTERVAL));
        assert_eq!(delays(Gather::Yield), [None, None, None]);
        assert_eq!(delays(Gather::Nothing), [None, None, None]);
        assert_eq!(delays(Gather::Delay), [None, pause, None]);
        assert_eq!(delays(Gather::Throttle), [interval, interval, None]);
    }

    #[test]
    fn a_batch_that_may_have_left_packets_is_followed_at_once() {
        let mut coalescing = Coalescing::from(0);
        let mut moved = Moved::default();
        for (packets, gather) in [
            (2 * MANY, Gather::Delay),
            (MANY - 1, Gather::Throttle),
            (MANY, Gather::Delay),
        ] {
            moved.packets += packets;
            assert_eq!(coalescing.gather(SPAN, moved, || 0), gather);
        }
    }
}
