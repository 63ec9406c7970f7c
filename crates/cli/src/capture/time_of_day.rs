//! The time of day of captured packets, which the engine's clock does not know.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use udco_sys::clock;

/// A change of the time of day that counts as a step. A clock that is only slewed takes the engine's along.
const STEP: i128 = Duration::from_millis(50).as_nanos() as i128;

/// How far apart two readings of a clock may be that belong to one moment.
const MOMENT: u64 = Duration::from_millis(5).as_nanos() as u64;

/// How much the time of day is ahead of the engine's clock. All times are in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct TimeOfDay {
    ahead_of_engine: i128,
    /// How much it is ahead of this process's own clock that never steps: in another container than the engine's, that clock
    /// may show another time.
    ahead: i128,
}

impl TimeOfDay {
    /// When the engine's clock shows `engine`.
    pub(super) fn begin(engine: u64) -> Self {
        let (own, wall) = (clock::nanoseconds(), wall());
        Self::of(engine, own, wall)
    }

    fn of(engine: u64, own: u64, wall: i128) -> Self {
        Self {
            ahead_of_engine: wall - i128::from(engine),
            ahead: wall - i128::from(own),
        }
    }

    /// Follows the time of day if it has been set.
    pub(super) fn follow(&mut self) {
        let (before, wall) = (clock::nanoseconds(), wall());
        self.follow_to(before, wall, clock::nanoseconds());
    }

    fn follow_to(&mut self, before: u64, wall: i128, after: u64) {
        let step = wall - i128::from(before) - self.ahead;
        // A process that did not run between its readings has seen no step.
        if step.abs() >= STEP && after.saturating_sub(before) <= MOMENT {
            self.ahead += step;
            self.ahead_of_engine += step;
        }
    }

    /// The time of day when the engine's clock showed `at`.
    pub(super) fn at(self, at: u64) -> u64 {
        let time = self.ahead_of_engine + i128::from(at);
        u64::try_from(time.max(0)).unwrap_or(u64::MAX)
    }
}

/// Nanoseconds since 1970; 0 before.
fn wall() -> i128 {
    let time = SystemTime::now().duration_since(UNIX_EPOCH);
    i128::try_from(time.unwrap_or_default().as_nanos()).unwrap_or(i128::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;
    const HOUR: i128 = 3600 * SECOND as i128;
    const WALL: i128 = 1_800_000_000 * SECOND as i128;

    /// The engine's clock shows 900 s, the own one 1,000 s.
    fn begin() -> TimeOfDay {
        TimeOfDay::of(900 * SECOND, 1_000 * SECOND, WALL)
    }

    fn seconds_after_the_begin(time: TimeOfDay, engine: u64) -> i128 {
        (i128::from(time.at(engine * SECOND)) - WALL) / i128::from(SECOND)
    }

    #[test]
    fn a_step_of_the_clock_moves_the_packets_that_follow() {
        for step in [HOUR, -HOUR, 365 * 24 * HOUR] {
            let mut time = begin();
            assert_eq!(seconds_after_the_begin(time, 960), 60);
            let own = 1_070 * SECOND;
            time.follow_to(own, WALL + i128::from(70 * SECOND) + step, own);
            let seconds = step / i128::from(SECOND);
            assert_eq!(seconds_after_the_begin(time, 970), 70 + seconds);
        }
    }

    #[test]
    fn neither_jitter_nor_a_pause_between_readings_is_a_step() {
        let mut time = begin();
        let (own, wall) = (1_070 * SECOND, WALL + i128::from(70 * SECOND));
        for jitter in [STEP - 1, 1 - STEP] {
            time.follow_to(own, wall + jitter, own);
        }
        time.follow_to(own, wall + HOUR, own + 3600 * SECOND);
        assert_eq!(time.at(970 * SECOND), u64::try_from(wall).unwrap());
    }

    #[test]
    fn a_clock_before_1970_gives_no_wrong_century() {
        let time = TimeOfDay::of(900 * SECOND, 900 * SECOND, 0);
        assert_eq!(time.at(0), 0);
    }
}
