//! Interrupt coalescing, for a worker: at high packet rates it pauses briefly so that packets accumulate.
//!
//! A worker that has moved everything sleeps, and the next packet wakes it. Where its sender shares a processor with it,
//! that is after a few packets each time: both then spend more on the switch than on packets, records leave in short
//! runs, and everything behind pays for that as well. So above a hundred thousand packets a second, and only there, a
//! worker pauses for a moment before it sleeps, as network cards hold back their interrupts. A super-packet or a run of
//! coalesced datagrams is one here: a TCP stream comes near that only where the link coalesces nothing, and is no slower
//! there.

use std::num::NonZeroU64;
use std::time::Duration;

/// Nanoseconds for each packet at which a worker begins to pause.
const FAST: u64 = 10_000;

/// How long a pause is: at 100,000 packets a second five come meanwhile. A device's queue has room for 500.
const PAUSE: Duration = Duration::from_micros(50);

/// By how many nanoseconds the kernel may prolong a pause; its own measure is 50,000.
const SLACK: u64 = 1_000;

/// Nanoseconds over which the rate is taken, so that a burst alone does not count.
const SPAN: u64 = 1_000_000;

/// The packet rate, taken each time when a worker has nothing left to do.
pub(crate) struct Coalescing {
    moved: u64,
    since: u64,
    is_fast: bool,
}

impl Coalescing {
    /// From `now` on, in nanoseconds.
    pub(crate) const fn from(now: u64) -> Self {
        Self {
            moved: 0,
            since: now,
            is_fast: false,
        }
    }

    /// Nothing is left to do, and `moved` packets have been moved since the beginning: returns whether to pause.
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
