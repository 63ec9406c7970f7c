//! Waiting for other threads.

use std::thread;
use std::time::{Duration, Instant};

/// Far more than anything here takes on an idle machine.
const PATIENCE: Duration = Duration::from_secs(10);

/// Waits until the condition is true.
#[track_caller]
pub(crate) fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// Waits until two values are equal.
#[track_caller]
pub(crate) fn eventually_equal<T: PartialEq + std::fmt::Debug>(
    wanted: &T,
    mut value: impl FnMut() -> T,
) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let value = value();
        if value == *wanted {
            return;
        }
        if Instant::now() > deadline {
            assert_eq!(value, *wanted, "not in time");
        }
        thread::sleep(Duration::from_millis(2));
    }
}
