//! Which worker has a source, and when it changes.
//!
//! Under load each direction of a device has a worker, and so a core, of its own. At low load one worker does both: an
//! answer then wakes no second thread, which would take longer than everything else on its way. So the device's queues are
//! with the worker of its only socket until that is awake more than half of the time, and come back when both workers
//! together are awake less than a quarter of the time. Packets stay in order: a worker gives up a queue only once it has
//! sent everything that it has read.

use std::sync::{Arc, Mutex};

use crate::datapath::load::{QUIET, Sample};
use crate::sync::lock;

/// A worker awake for more than this percentage of the time returns the queues that are shared with it.
const BUSY: u64 = 50;

/// A worker shares a queue once it has had little to do for this many nanoseconds.
const QUIET_FOR: u64 = 100_000_000;

/// Where a source is, as its worker and the one that placed it see it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Placement(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// The worker that has the source under load.
    preferred: usize,
    /// The worker that has it under light load.
    shared_with: Option<usize>,
    /// The worker that has it now; `None` once it has been taken away.
    now: Option<usize>,
}

impl Placement {
    /// A source with this worker, its preferred one.
    pub(crate) fn at(worker: usize) -> Self {
        Self(Arc::new(Mutex::new(State {
            preferred: worker,
            shared_with: None,
            now: Some(worker),
        })))
    }

    /// Sets the worker that has the source under light load; `None`: its preferred one.
    pub(crate) fn share(&self, to: Option<usize>) {
        lock(&self.0).shared_with = to;
    }

    /// Takes it away. Calls `notify` with the worker that had it, before another one can get it.
    pub(crate) fn clear(&self, notify: impl FnOnce(usize)) {
        let mut state = lock(&self.0);
        if let Some(worker) = state.now.take() {
            notify(worker);
        }
    }

    /// If this worker has the source and has to give it to another one after this sample, calls `give` with the other's
    /// number. `awake` returns for how much of the time another worker is awake.
    pub(crate) fn move_on(
        &self,
        worker: usize,
        sample: Sample,
        awake: impl FnOnce(usize) -> u64,
        give: impl FnOnce(usize),
    ) {
        let mut state = lock(&self.0);
        if state.now != Some(worker) {
            return;
        }
        let to = if worker != state.preferred {
            let is_over = state.shared_with != Some(worker) || sample.awake > BUSY;
            is_over.then_some(state.preferred)
        } else if let Some(other) = state.shared_with.filter(|other| *other != worker) {
            let is_quiet = sample.quiet_for >= QUIET_FOR && sample.awake + awake(other) < QUIET;
            is_quiet.then_some(other)
        } else {
            None
        };
        if let Some(to) = to {
            state.now = Some(to);
            give(to);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The worker that gets it after a sample of `worker`, which is awake for this share of the time, the other for `other`.
    fn after(placement: &Placement, worker: usize, awake: u64, other: u64) -> Option<usize> {
        let sample = Sample {
            awake,
            quiet_for: QUIET_FOR,
        };
        let mut given = None;
        placement.move_on(worker, sample, |_| other, |to| given = Some(to));
        given
    }

    #[test]
    fn it_stays_with_its_preferred_worker_unless_shared() {
        let placement = Placement::at(1);
        assert_eq!(after(&placement, 1, 0, 0), None);
        placement.share(Some(1));
        assert_eq!(after(&placement, 1, 0, 0), None, "it is there already");
    }

    #[test]
    fn it_goes_where_little_comes_and_returns_with_the_load() {
        let placement = Placement::at(1);
        placement.share(Some(0));
        assert_eq!(after(&placement, 0, 0, 0), None, "somebody else's");
        assert_eq!(after(&placement, 1, 20, 10), None, "too much for one");
        assert_eq!(after(&placement, 1, 10, 10), Some(0));
        assert_eq!(after(&placement, 1, 10, 10), None, "given away");
        assert_eq!(after(&placement, 0, 50, 0), None);
        assert_eq!(after(&placement, 0, 51, 0), Some(1));
        assert_eq!(after(&placement, 1, 0, 0), Some(0));
        placement.share(None);
        assert_eq!(after(&placement, 0, 0, 0), Some(1), "shared no more");
    }

    #[test]
    fn a_moment_is_not_enough() {
        let placement = Placement::at(1);
        placement.share(Some(0));
        let sample = Sample {
            awake: 1,
            quiet_for: QUIET_FOR - 1,
        };
        placement.move_on(1, sample, |_| 0, |_| panic!("too early"));
        assert_eq!(after(&placement, 1, 1, 0), Some(0));
    }

    #[test]
    fn who_is_told_has_it() {
        let placement = Placement::at(1);
        placement.share(Some(0));
        assert_eq!(after(&placement, 1, 0, 0), Some(0));
        let mut notified = None;
        placement.clear(|worker| notified = Some(worker));
        assert_eq!(notified, Some(0));
        placement.clear(|_| panic!("nobody has it"));
        assert_eq!(after(&placement, 0, 100, 0), None);
    }
}
