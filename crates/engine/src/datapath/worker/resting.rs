//! Sources whose calls have failed: each rests for a while, and the others are served meanwhile (faults B2).

use std::time::Duration;

use crate::backoff::{Backoff, Pause};
use crate::io::Moment;

/// After this long without a failure, a source starts over. Until then its failures are remembered, even if it has been
/// with another worker meanwhile, so that log lines about it stay rare.
const FORGOTTEN: Duration = Duration::from_secs(60);

/// The sources of a worker that have failed, now or before.
#[derive(Debug, Default)]
pub(super) struct Resting(Vec<Rest>);

#[derive(Debug)]
struct Rest {
    token: u64,
    backoff: Backoff<Moment>,
    /// When to try it again; `None` if it is in use.
    until: Option<Moment>,
}

impl Resting {
    /// A source has failed: it rests from now on.
    pub(super) fn begin(&mut self, token: u64, now: Moment) -> Pause {
        let rest = self.of(token, now);
        let pause = rest.backoff.failed(now);
        rest.until = Some(now.after(pause.length));
        pause
    }

    /// A source rests until then, without having failed.
    pub(super) fn leave_alone(&mut self, token: u64, until: Moment) {
        self.of(token, until).until = Some(until);
    }

    fn of(&mut self, token: u64, now: Moment) -> &mut Rest {
        let is_old = |failed: Moment| now.since(failed) > FORGOTTEN;
        self.0.retain(|rest| {
            rest.until.is_some() || rest.backoff.last().is_some_and(|last| !is_old(last))
        });
        let at = self.0.iter().position(|rest| rest.token == token);
        let at = at.unwrap_or_else(|| {
            self.0.push(Rest {
                token,
                backoff: Backoff::default(),
                until: None,
            });
            self.0.len() - 1
        });
        &mut self.0[at]
    }

    /// How long until the first of them is due again; `None` if none rests.
    pub(super) fn next(&self, now: Moment) -> Option<Duration> {
        let first = self.0.iter().filter_map(|rest| rest.until).min()?;
        Some(first.since(now))
    }

    /// A source that is due again; it no longer rests.
    pub(super) fn take_due(&mut self, now: Moment) -> Option<u64> {
        if self.0.is_empty() {
            return None;
        }
        let is_due = |rest: &&mut Rest| rest.until.is_some_and(|until| until <= now);
        let rest = self.0.iter_mut().find(is_due)?;
        rest.until = None;
        Some(rest.token)
    }

    /// Whether it rests.
    pub(super) fn has(&self, token: u64) -> bool {
        let mut all = self.0.iter();
        all.any(|rest| rest.token == token && rest.until.is_some())
    }

    /// The source is no longer with this worker.
    pub(super) fn forget(&mut self, token: u64) {
        for rest in &mut self.0 {
            if rest.token == token {
                rest.until = None;
            }
        }
    }
}
