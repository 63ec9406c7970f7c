//! What a ping counts.

use std::collections::HashSet;
use std::time::Duration;

use serde::Serialize;

/// Requests, answers and their round trips.
#[derive(Debug, Default)]
pub(super) struct Tally {
    sent: u64,
    /// Numbers of the requests that were answered.
    answered: HashSet<u64>,
    duplicates: u64,
    least: Option<f64>,
    most: f64,
    /// Of round trips in milliseconds, and of their squares.
    sum: f64,
    squares: f64,
}

/// Round trips, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct RoundTrips {
    pub(super) min: f64,
    pub(super) avg: f64,
    pub(super) max: f64,
    /// Standard deviation.
    pub(super) mdev: f64,
}

impl Tally {
    /// A request was sent.
    pub(super) const fn sent_one(&mut self) {
        self.sent += 1;
    }

    /// An answer has come to the request with this number; `false` if another came before.
    pub(super) fn answered(&mut self, number: u64, after: Duration) -> bool {
        if !self.answered.insert(number) {
            self.duplicates += 1;
            return false;
        }
        let milliseconds = after.as_secs_f64() * 1e3;
        self.least = Some(self.least.map_or(milliseconds, |it| it.min(milliseconds)));
        self.most = self.most.max(milliseconds);
        self.sum += milliseconds;
        self.squares += milliseconds * milliseconds;
        true
    }

    pub(super) const fn sent(&self) -> u64 {
        self.sent
    }

    /// Requests that were answered.
    pub(super) fn received(&self) -> u64 {
        self.answered.len() as u64
    }

    /// Answers beyond the first to a request.
    pub(super) const fn duplicates(&self) -> u64 {
        self.duplicates
    }

    /// Share of requests without an answer, in percent.
    pub(super) fn loss(&self) -> f64 {
        let lost = self.sent.saturating_sub(self.received());
        lost as f64 * 100.0 / self.sent.max(1) as f64
    }

    /// `None` without an answer.
    pub(super) fn round_trips(&self) -> Option<RoundTrips> {
        let count = self.received() as f64;
        let min = self.least?;
        let avg = self.sum / count;
        // Rounding may make it negative where all are alike.
        let variance = (self.squares / count - avg * avg).max(0.0);
        Some(RoundTrips {
            min,
            avg,
            max: self.most,
            mdev: variance.sqrt(),
        })
    }

    /// How long to wait for an answer: several round trips if there were any, at most `limit`.
    pub(super) fn wait(&self, limit: Duration) -> Duration {
        match self.least {
            Some(_) => Duration::from_secs_f64(self.most * 4.0 / 1e3).min(limit),
            None => limit,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(sent: u64, milliseconds: &[u64]) -> Tally {
        let mut tally = Tally::default();
        (0..sent).for_each(|_| tally.sent_one());
        for (number, time) in (1..).zip(milliseconds) {
            assert!(tally.answered(number, Duration::from_millis(*time)));
        }
        tally
    }

    #[test]
    fn round_trips_are_those_of_ping() {
        let trips = tally(4, &[10, 20, 30, 20]).round_trips().unwrap();
        assert_eq!((trips.min, trips.avg, trips.max), (10.0, 20.0, 30.0));
        assert!((trips.mdev - 50_f64.sqrt()).abs() < 1e-9, "{trips:?}");
        assert!(tally(1, &[7]).round_trips().unwrap().mdev.abs() < 1e-9);
        assert_eq!(tally(3, &[]).round_trips(), None);
    }

    #[test]
    fn losses_are_counted_and_duplicates_are_not_answers() {
        let mut tally = tally(4, &[1, 1, 1]);
        assert!((tally.loss() - 25.0).abs() < 1e-9);
        assert!(!tally.answered(2, Duration::from_secs(1)));
        assert_eq!((tally.received(), tally.duplicates()), (3, 1));
        assert!((tally.round_trips().unwrap().max - 1.0).abs() < 1e-9);
        assert!(Tally::default().loss().abs() < 1e-9);
    }

    #[test]
    fn the_wait_follows_the_round_trips() {
        let limit = Duration::from_secs(1);
        assert_eq!(tally(1, &[]).wait(limit), limit);
        assert_eq!(tally(1, &[50]).wait(limit), Duration::from_millis(200));
        assert_eq!(tally(1, &[900]).wait(limit), limit);
    }
}
