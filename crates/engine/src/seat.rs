//! Which worker has a source, and when it changes.
//!
//! Under load each direction of a device has a worker, and so a core, of its own. While little comes, one worker does both:
//! an answer then costs no other thread's waking, which takes longer than all else on the way. So the device's queues are
//! with the worker of its only socket until that is awake more than half of the time, and come back when both workers
//! together are not a quarter of theirs. Packets stay in order: a worker lets go of a queue when it has sent everything
//! that it read.

use std::sync::{Arc, Mutex};

use crate::device::lock;
use crate::load::Look;

/// Percent of its time above which a worker gives the queues that it has on loan back.
const BUSY: u64 = 50;

/// Percent of their time below which two workers have work for one.
const QUIET: u64 = 25;

/// For how many nanoseconds they must have had so little.
const QUIET_FOR: u64 = 100_000_000;

/// A source's seat; the one who has it and the one who gave it share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seat(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// The worker that has the source under load.
    home: usize,
    /// The worker that has it while little comes.
    guest_of: Option<usize>,
    /// The worker that has it now; `None` if nobody has it any more.
    now: Option<usize>,
}

/// What one worker knows when it asks whether to keep a source.
pub(crate) struct View {
    /// The number of this worker.
    pub(crate) worker: usize,
    pub(crate) look: Look,
    /// For how many nanoseconds this worker has had little to do.
    pub(crate) quiet_for: u64,
}

impl Seat {
    /// With this worker, and at home there.
    pub(crate) fn at(worker: usize) -> Self {
        Self(Arc::new(Mutex::new(State {
            home: worker,
            guest_of: None,
            now: Some(worker),
        })))
    }

    /// While little comes the source is to be with this worker, or at home.
    pub(crate) fn lend(&self, to: Option<usize>) {
        lock(&self.0).guest_of = to;
    }

    /// Nobody is to have it any more; returns who had it. `tell` is called before anybody else could get it.
    pub(crate) fn clear(&self, tell: impl FnOnce(usize)) {
        let mut state = lock(&self.0);
        if let Some(worker) = state.now.take() {
            tell(worker);
        }
    }

    /// Whether the worker that has it is to give it to another one: then `give` is called with its number.
    /// `awake` tells the load of a worker.
    pub(crate) fn move_on(
        &self,
        view: &View,
        awake: impl FnOnce(usize) -> u64,
        give: impl FnOnce(usize),
    ) {
        let mut state = lock(&self.0);
        if state.now != Some(view.worker) {
            return;
        }
        let to = if view.worker != state.home {
            let is_over = state.guest_of != Some(view.worker) || view.look.awake > BUSY;
            is_over.then_some(state.home)
        } else if let Some(host) = state.guest_of.filter(|host| *host != view.worker) {
            let is_quiet = view.quiet_for >= QUIET_FOR && view.look.awake + awake(host) < QUIET;
            is_quiet.then_some(host)
        } else {
            None
        };
        if let Some(to) = to {
            state.now = Some(to);
            give(to);
        }
    }
}

impl View {
    /// After another look.
    pub(crate) fn new(worker: usize, look: Look, before: u64) -> Self {
        let quiet_for = if look.awake < QUIET {
            before + look.span
        } else {
            0
        };
        Self {
            worker,
            look,
            quiet_for,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Who has it after a look of `worker`, which was awake so much, beside one that was awake `other`.
    fn after(seat: &Seat, worker: usize, awake: u64, other: u64) -> Option<usize> {
        let look = Look {
            span: QUIET_FOR,
            awake,
        };
        let mut given = None;
        seat.move_on(
            &View::new(worker, look, 0),
            |_| other,
            |to| given = Some(to),
        );
        given
    }

    #[test]
    fn it_stays_at_home_unless_lent() {
        let seat = Seat::at(1);
        assert_eq!(after(&seat, 1, 0, 0), None);
        seat.lend(Some(1));
        assert_eq!(after(&seat, 1, 0, 0), None, "it is there already");
    }

    #[test]
    fn it_goes_where_little_comes_and_returns_with_the_load() {
        let seat = Seat::at(1);
        seat.lend(Some(0));
        assert_eq!(after(&seat, 0, 0, 0), None, "somebody else's");
        assert_eq!(after(&seat, 1, 20, 10), None, "too much for one");
        assert_eq!(after(&seat, 1, 10, 10), Some(0));
        assert_eq!(after(&seat, 1, 10, 10), None, "given away");
        assert_eq!(after(&seat, 0, 50, 0), None);
        assert_eq!(after(&seat, 0, 51, 0), Some(1));
        assert_eq!(after(&seat, 1, 0, 0), Some(0));
        seat.lend(None);
        assert_eq!(after(&seat, 0, 0, 0), Some(1), "lent no more");
    }

    #[test]
    fn a_moment_is_not_enough() {
        let seat = Seat::at(1);
        seat.lend(Some(0));
        let look = Look {
            span: QUIET_FOR / 2,
            awake: 1,
        };
        let first = View::new(1, look, 0);
        seat.move_on(&first, |_| 0, |_| panic!("too early"));
        let second = View::new(1, look, first.quiet_for);
        let mut given = None;
        seat.move_on(&second, |_| 0, |to| given = Some(to));
        assert_eq!(given, Some(0));
    }

    #[test]
    fn who_is_told_has_it() {
        let seat = Seat::at(1);
        seat.lend(Some(0));
        assert_eq!(after(&seat, 1, 0, 0), Some(0));
        let mut told = None;
        seat.clear(|worker| told = Some(worker));
        assert_eq!(told, Some(0));
        seat.clear(|_| panic!("nobody has it"));
        assert_eq!(after(&seat, 0, 100, 0), None);
    }
}
