//! Backoff after failing calls: how long to pause, and when to log (faults B2).
//!
//! A kernel error that concerns neither a packet nor the end of its source says nothing about the next call. So the
//! engine gives nothing up: it pauses, then retries.

use std::fmt;
use std::time::{Duration, Instant};

use crate::io::Moment;

/// The first pause. Each is twice as long as the one before, up to the longest.
const FIRST: Duration = Duration::from_millis(1);

/// How soon packets flow again after the cause is gone (promises J3: within a second).
const LONGEST: Duration = Duration::from_millis(100);

/// After this long without a failure, the backoff starts over.
const OVER: Duration = Duration::from_secs(1);

/// The shortest time between two log lines.
const LINE: Duration = Duration::from_secs(10);

/// A clock's reading.
pub(crate) trait Reading: Copy {
    /// How long after `earlier` it was taken; zero if before.
    fn since(self, earlier: Self) -> Duration;
}

impl Reading for Instant {
    fn since(self, earlier: Self) -> Duration {
        self.saturating_duration_since(earlier)
    }
}

impl Reading for Moment {
    fn since(self, earlier: Self) -> Duration {
        Self::since(self, earlier)
    }
}

/// The failures of one thing.
#[derive(Debug)]
pub(crate) struct Backoff<T = Instant> {
    longest: Duration,
    pause: Duration,
    failed: Option<T>,
    /// When a line was logged.
    logged: Option<T>,
    /// Failures since.
    unlogged: u32,
}

/// What to do about a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pause {
    /// How long to wait before the next try.
    pub(crate) length: Duration,
    /// Log the failures since the last line.
    pub(crate) line: Option<Times>,
}

/// A number of failures; a single one prints as nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Times(u32);

impl fmt::Display for Times {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            1 => Ok(()),
            times => write!(to, " ({times} times)"),
        }
    }
}

impl<T: Reading> Default for Backoff<T> {
    fn default() -> Self {
        Self::up_to(LONGEST)
    }
}

impl<T: Reading> Backoff<T> {
    /// With pauses of at most this length.
    pub(crate) const fn up_to(longest: Duration) -> Self {
        Self {
            longest,
            pause: Duration::ZERO,
            failed: None,
            logged: None,
            unlogged: 0,
        }
    }

    /// When it failed last.
    pub(crate) const fn last(&self) -> Option<T> {
        self.failed
    }

    /// It has failed.
    pub(crate) fn failed(&mut self, now: T) -> Pause {
        let since = |time: Option<T>| time.map(|time| now.since(time));
        let is_over = since(self.failed).is_none_or(|since| since > OVER + self.pause);
        self.pause = if is_over {
            FIRST
        } else {
            (self.pause * 2).min(self.longest)
        };
        self.failed = Some(now);
        self.unlogged = self.unlogged.saturating_add(1);
        let is_due = since(self.logged).is_none_or(|since| since >= LINE);
        let line = is_due.then(|| {
            self.logged = Some(now);
            Times(std::mem::take(&mut self.unlogged))
        });
        Pause {
            length: self.pause,
            line,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_lines_are_rare() {
        let (mut backoff, begin) = (Backoff::default(), Instant::now());
        let mut now = begin;
        let mut lines = Vec::new();
        let mut pauses = Vec::new();
        while now < begin + Duration::from_secs(15) {
            let pause = backoff.failed(now);
            pauses.push(pause.length);
            lines.extend(pause.line);
            now += pause.length;
        }
        assert_eq!(pauses[..3], [FIRST, FIRST * 2, FIRST * 4]);
        assert_eq!(pauses.last(), Some(&LONGEST));
        assert!(matches!(lines[..], [Times(1), Times(2..)]), "{lines:?}");
        let later = backoff.failed(now + OVER + LONGEST);
        assert_eq!((later.length, later.line), (FIRST, None));
    }
}
