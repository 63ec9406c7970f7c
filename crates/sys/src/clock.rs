//! Time for keepalives and expiry: it never steps and goes on while the machine sleeps.
//!
//! `CLOCK_BOOTTIME`, so that after a suspend the peers that expired meanwhile are reported at once
//! (promises J6); wall-clock changes do not exist here.

use rustix::time::{ClockId, Timespec, clock_gettime};

/// Nanoseconds since boot, suspend included.  Wraps after 584 years.
#[must_use]
pub fn nanoseconds() -> u64 {
    let now = now();
    unsigned(now.tv_sec)
        .saturating_mul(1_000_000_000)
        .saturating_add(unsigned(now.tv_nsec))
}

/// Milliseconds since boot, suspend included.
#[must_use]
pub fn milliseconds() -> u64 {
    let now = now();
    unsigned(now.tv_sec)
        .saturating_mul(1_000)
        .saturating_add(unsigned(now.tv_nsec) / 1_000_000)
}

fn now() -> Timespec {
    clock_gettime(ClockId::Boottime)
}

/// The kernel's boot clock is never negative; zero is the harmless answer if a sandbox lies.
fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_units_tell_the_same_time_and_go_forward() {
        let before = nanoseconds();
        let middle = milliseconds();
        let after = nanoseconds();
        assert!(before <= after);
        assert!(before / 1_000_000 <= middle && middle <= after / 1_000_000);
        assert!(before > 0);
    }
}
