//! The monotonic clock.

use core::ops::Add;
use core::time::Duration;

/// A time on the monotonic clock.
#[derive(Clone, Copy, PartialEq, PartialOrd)]
pub(crate) struct Instant(Duration);

impl Instant {
    /// The present.
    pub(crate) fn now() -> Self {
        let mut time = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // SAFETY: the time outlives the call, which cannot fail for this clock.
        unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
        Self(Duration::new(time.tv_sec as u64, time.tv_nsec as u32))
    }

    /// Whole seconds on that clock.
    pub(crate) const fn seconds(self) -> u32 {
        self.0.as_secs() as u32
    }

    /// The time left until then; zero if it has passed.
    pub(crate) fn left(self) -> Duration {
        self.0.saturating_sub(Self::now().0)
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, time: Duration) -> Self {
        Self(self.0 + time)
    }
}

/// Waits.
pub(crate) fn pause(time: Duration) {
    let end = Instant::now() + time;
    loop {
        let left = end.left();
        if left.is_zero() {
            return;
        }
        let wanted = libc::timespec {
            tv_sec: left.as_secs() as libc::time_t,
            tv_nsec: left.subsec_nanos() as libc::c_long,
        };
        // A signal may end it early.
        // SAFETY: the time outlives the call, and the remainder is not requested.
        unsafe { libc::nanosleep(&raw const wanted, core::ptr::null_mut()) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_lasts_and_then_nothing_is_left() {
        let end = Instant::now() + Duration::from_millis(20);
        assert!(!end.left().is_zero());
        pause(Duration::from_millis(20));
        assert!(end.left().is_zero());
    }
}
