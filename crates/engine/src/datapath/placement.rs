//! Which worker has a source, and when it changes.
//!
//! Under load each direction of a device has a worker, and so a core, of its own. While little comes, one worker does both:
//! an answer then costs no other thread's waking, which takes longer than all else on the way. So the device's queues are
//! with the worker of its only socket until that is awake more than half of the time, and come back when both workers
//! together are not a quarter of theirs. Packets stay in order: a worker lets go of a queue when it has sent everything
//! that it read.

use std::sync::{Arc, Mutex};

use crate::datapath::load::{Look, QUIET};
use crate::sync::lock;

/// Percent of its time above which a worker gives the queues that it has on loan back.
const BUSY: u64 = 50;

/// For how many nanoseconds a worker must have had little to do before it lends a queue.
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

    /// Whether this worker, if it has the source, is to give it to another one after this look: then `give` is called
    /// with the other's number. `awake` tells how much of the time another worker is awake.
    pub(crate) fn move_on(
        &self,
        worker: usize,
        look: Look,
        awake: impl FnOnce(usize) -> u64,
        give: impl FnOnce(usize),
    ) {
        let mut state = lock(&self.0);
        if state.now != Some(worker) {
            return;
        }
        let to = if worker != state.home {
            let is_over = state.guest_of != Some(worker) || look.awake > BUSY;
            is_over.then_some(state.home)
        } else if let Some(host) = state.guest_of.filter(|host| *host != worker) {
            let is_quiet = look.quiet_for >= QUIET_FOR && look.awake + awake(host) < QUIET;
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Who has it after a look of `worker`, which was awake so much, beside one that was awake `other`.
    fn after(seat: &Seat, worker: usize, awake: u64, other: u64) -> Option<usize> {
        let look = Look {
            awake,
            quiet_for: QUIET_FOR,
        };
        let mut given = None;
        seat.move_on(worker, look, |_| other, |to| given = Some(to));
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
            awake: 1,
            quiet_for: QUIET_FOR - 1,
        };
        seat.move_on(1, look, |_| 0, |_| panic!("too early"));
        assert_eq!(after(&seat, 1, 1, 0), Some(0));
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
