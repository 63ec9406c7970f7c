//! When an engine started, in the wall clock's time of now.
//!
//! A machine without a battery starts its engines in 1970 and is told the time later: the wall clock of the start is wrong
//! for ever, and so is each age that is taken from it. So only the engine's own clock is kept (promises J6).

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use udco_sys::clock;

/// The start of an engine.
#[derive(Debug)]
pub(crate) struct Started {
    /// On the clock that never steps, in milliseconds.
    at: u64,
    /// As it was last reported.
    reported: AtomicU64,
}

impl Started {
    /// The engine starts now.
    pub(crate) fn now() -> Self {
        Self::begin(clock::milliseconds(), wall_clock())
    }

    /// In seconds since 1970; 0 if unknown.
    pub(crate) fn seconds(&self) -> u64 {
        self.seconds_at(clock::milliseconds(), wall_clock())
    }

    const fn begin(now: u64, wall: u64) -> Self {
        Self {
            at: now,
            reported: AtomicU64::new(wall),
        }
    }

    fn seconds_at(&self, now: u64, wall: u64) -> u64 {
        let age = now.saturating_sub(self.at) / 1000;
        let (seconds, last) = (
            wall.saturating_sub(age),
            self.reported.load(Ordering::Relaxed),
        );
        // Both clocks are cut to seconds, in different places: to Prometheus, a start that moves is another engine.
        if seconds.abs_diff(last) <= 1 {
            return last;
        }
        self.reported.store(seconds, Ordering::Relaxed);
        seconds
    }
}

/// Seconds since 1970; 0 before.
fn wall_clock() -> u64 {
    let time = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    time.map_or(0, |time| time.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    const YEAR: u64 = 365 * 86_400;

    #[test]
    fn a_start_is_where_it_was_until_the_clock_is_set() {
        let started = Started::begin(5_900, 1_000_000);
        for now in (5_900..90_000).step_by(100) {
            // The wall clock's seconds begin 0.3 s before those of the other.
            assert_eq!(
                started.seconds_at(now, 1_000_000 + (now - 5_600) / 1000),
                1_000_000
            );
        }
    }

    #[test]
    fn a_clock_that_is_set_moves_the_start_and_not_the_age() {
        let started = Started::begin(5_000, 1_000_000_000);
        for step in [YEAR, 3600, 0] {
            for wall in [1_000_000_000 + step, 1_000_000_000 - step] {
                assert_eq!(started.seconds_at(65_000, wall + 60), wall);
            }
        }
    }

    #[test]
    fn a_machine_that_learns_the_time_late_gets_it_right() {
        let started = Started::begin(5_000, 7);
        assert_eq!(started.seconds_at(6_000, 8), 7);
        assert_eq!(started.seconds_at(605_000, 1_800_000_600), 1_800_000_000);
        // A clock before 1970.
        assert_eq!(started.seconds_at(605_000, 0), 0);
    }
}
