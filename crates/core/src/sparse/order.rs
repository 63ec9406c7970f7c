//! Which of two queues has to be read empty before the other is read.

use core::sync::atomic::{AtomicU32, Ordering, fence};

use super::{Class, table};

/// How many packets of the sparse queue are read at most because it goes first: as many as a device of ours holds, unless
/// its user has changed that.
const HELD: u32 = 1000;

/// How many units of the bulk queue: 1 MiB. It has been empty of late, and sparse flows wait meanwhile.
const BRIEF: u32 = (1 << 20) / table::UNIT as u32;

/// Which queue goes first.
const KIND: u32 = 3;
const NEITHER: u32 = 0;
const BULK_FIRST: u32 = 1;
const SPARSE_FIRST: u32 = 2;

/// One queue went first for too long: no order is taken until either queue is empty, or was read for as long again.
const OVERDUE: u32 = 1 << 2;

/// Changes that are not confirmed yet.
const PENDING: u32 = 0xff << 3;
const ONE_PENDING: u32 = 1 << 3;

/// Counts changes, so that an order is not taken for an earlier one.
const ONE_CHANGE: u32 = 1 << 11;

/// The order of a pair of queues, for those who deliver, and the one who reads.
#[derive(Debug, Default)]
pub(super) struct Orders {
    now: AtomicU32,
    /// What was read since one of the queues goes first, or since it did for too long. The reader's alone.
    passed: AtomicU32,
}

/// Which queue goes first, as of one moment.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Precedence(u32);

impl Precedence {
    /// Neither does.
    pub const NEITHER: Self = Self(NEITHER);

    /// The queue to read empty; `None` if neither has to be.
    #[must_use]
    pub const fn first(self) -> Option<Class> {
        match self.0 & KIND {
            BULK_FIRST => Some(Class::Bulk),
            SPARSE_FIRST => Some(Class::Sparse),
            _ => None,
        }
    }

    /// Whether a change is under way: the queue that goes first may get another packet, although it was empty.
    #[must_use]
    pub const fn is_pending(self) -> bool {
        self.0 & PENDING != 0
    }

    const fn with(self, kind: u32) -> u32 {
        self.0 & !KIND | kind
    }
}

impl Orders {
    pub(super) fn now(&self) -> Precedence {
        Precedence(self.now.load(Ordering::Acquire))
    }

    /// Has this queue read empty before the other is read, until the change is confirmed, and what waits then has been read;
    /// `false` if that is not possible now.
    pub(super) fn ask(&self, first: Class) -> bool {
        let kind = match first {
            Class::Bulk => BULK_FIRST,
            Class::Sparse => SPARSE_FIRST,
        };
        let ask = |now| {
            let order = Precedence(now);
            let is_possible = order.first().is_none_or(|other| other == first)
                && now & OVERDUE == 0
                && now & PENDING < PENDING;
            is_possible.then(|| {
                let pending = order.with(kind) + ONE_PENDING;
                pending.wrapping_add(ONE_CHANGE)
            })
        };
        let asked = self
            .now
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, ask);
        // With the one in `Steering::next`; and what follows is not seen before the order is.
        fence(Ordering::SeqCst);
        asked.is_ok()
    }

    /// A change that was asked for has come into effect, or did not take place.
    pub(super) fn confirm(&self) {
        let confirmed = ONE_CHANGE.wrapping_sub(ONE_PENDING);
        self.now.fetch_add(confirmed, Ordering::AcqRel);
    }

    /// A queue was found empty in this order.
    pub(super) fn was_empty(&self, queue: Class, order: Precedence) {
        let is_first = order.first() == Some(queue);
        if order.is_pending() {
            // Whoever asks forever keeps nobody waiting, either: a thousand looks are enough.
            self.pass(is_first, order, most(order).div_ceil(HELD));
        } else if is_first || order.0 & OVERDUE != 0 {
            let settled = order.with(NEITHER) & !OVERDUE;
            let settled =
                self.now
                    .compare_exchange(order.0, settled, Ordering::AcqRel, Ordering::Relaxed);
            if settled.is_ok() {
                self.passed.store(0, Ordering::Relaxed);
            }
        }
    }

    /// Counts a packet of this many units that was read in this order.
    pub(super) fn was_read(&self, from: Class, order: Precedence, units: u64) {
        let amount = match order.first() {
            Some(Class::Bulk) => u32::try_from(units).unwrap_or(BRIEF),
            _ => 1,
        };
        self.pass(order.first() == Some(from), order, amount);
    }

    /// Counts what the queue that goes first had. Whoever sends forever keeps neither queue from being read.
    fn pass(&self, is_first: bool, order: Precedence, amount: u32) {
        let is_overdue = order.0 & OVERDUE != 0;
        let passed = self.passed.load(Ordering::Relaxed);
        if !is_overdue && !is_first {
            if passed != 0 {
                self.passed.store(0, Ordering::Relaxed);
            }
            return;
        }
        let passed = passed.saturating_add(amount);
        let is_over = passed >= most(order);
        self.passed
            .store(if is_over { 0 } else { passed }, Ordering::Relaxed);
        if is_over && is_overdue {
            self.now.fetch_and(!OVERDUE, Ordering::AcqRel);
        } else if is_over {
            let end = |now| Some(Precedence(now).with(NEITHER) | OVERDUE);
            let _ = self
                .now
                .fetch_update(Ordering::AcqRel, Ordering::Relaxed, end);
        }
    }
}

/// The most that counts for one order: of the bulk queue in units, of the sparse queue in packets.
const fn most(order: Precedence) -> u32 {
    match order.first() {
        Some(Class::Bulk) => BRIEF,
        _ => HELD,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many reads it takes until the reader may turn to the other queue.
    fn reads_until_free(
        orders: &Orders,
        mut meanwhile: impl FnMut(),
        mut read: impl FnMut(Class, Precedence),
    ) -> u32 {
        (0..100_000)
            .find(|_| {
                meanwhile();
                let order = orders.now();
                let Some(first) = order.first() else {
                    return true;
                };
                read(first, order);
                false
            })
            .unwrap()
    }

    #[test]
    fn a_queue_that_never_runs_empty_goes_first_for_a_while_only() {
        let orders = Orders::default();
        let ask = || {
            if orders.ask(Class::Bulk) {
                orders.confirm();
            }
        };
        let read = |first, order| orders.was_read(first, order, 1024);
        assert_eq!(reads_until_free(&orders, ask, read), 16);
        assert!(!orders.ask(Class::Bulk) && !orders.ask(Class::Sparse));
        orders.was_empty(Class::Sparse, orders.now());
        assert!(orders.ask(Class::Sparse));
        orders.confirm();
        let ask = || {
            if orders.ask(Class::Sparse) {
                orders.confirm();
            }
        };
        assert_eq!(reads_until_free(&orders, ask, read), HELD);
        for _ in 0..HELD {
            assert!(!orders.ask(Class::Sparse));
            orders.was_read(Class::Bulk, orders.now(), 1024);
        }
        assert!(orders.ask(Class::Sparse));
    }

    #[test]
    fn changes_that_never_end_keep_no_queue_waiting() {
        for class in [Class::Sparse, Class::Bulk] {
            let orders = Orders::default();
            assert!(orders.ask(class));
            let empty = |first, order| orders.was_empty(first, order);
            assert!(reads_until_free(&orders, || (), empty) <= HELD);
            orders.confirm();
            orders.was_empty(class, orders.now());
            assert_eq!(orders.now().first(), None);
            assert!(orders.ask(class.other()));
        }
    }

    #[test]
    fn an_order_counts_from_its_own_beginning() {
        let orders = Orders::default();
        assert!(orders.ask(Class::Sparse));
        orders.confirm();
        for _ in 0..HELD - 1 {
            orders.was_read(Class::Sparse, orders.now(), 1);
        }
        orders.was_empty(Class::Sparse, orders.now());
        assert!(orders.ask(Class::Sparse));
        orders.confirm();
        orders.was_read(Class::Sparse, orders.now(), 1);
        assert_eq!(orders.now().first(), Some(Class::Sparse));
    }
}
