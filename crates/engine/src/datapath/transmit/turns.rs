//! From which of a pair of queues the next packet is read.
//!
//! Sparse flows go first. But each turn is bounded, so a sparse queue that never ends (its flows are not known to be bulk
//! yet, or have no other direction by which to steer them) keeps the bulk queue waiting for 64 KiB at most.

use udco_core::sparse::{Class, Precedence};

/// Bytes of a turn: a super-packet.
const TURN: usize = 64 << 10;

/// A packet counts for at least this many bytes: 256 short ones cost as much as a super-packet.
const SHORT: usize = 256;

/// Whose turn it is, while a worker reads a queue, or a pair.
#[derive(Debug)]
pub(super) struct Turns {
    is_pair: bool,
    of: Class,
    /// Bytes of this turn.
    taken: usize,
    /// Queues in which nothing was found in this turn.
    is_empty: [bool; 2],
}

impl Turns {
    /// A queue of this class is known to have packets. The sparse one is looked at beside the bulk one: a look is cheap
    /// beside a super-packet. The bulk one has an event of its own.
    pub(super) const fn beginning_with(woken: Class, is_pair: bool) -> Self {
        Self {
            is_pair,
            of: match is_pair {
                true => Class::Sparse,
                false => Class::Bulk,
            },
            taken: 0,
            is_empty: match (is_pair, woken) {
                (false, _) => [true, false],
                (true, Class::Bulk) => [false, false],
                (true, Class::Sparse) => [false, true],
            },
        }
    }

    /// The queue to read next; `None` when both are empty. One that has to be read empty first goes first.
    pub(super) fn next(&mut self, order: Precedence) -> Option<Class> {
        if let Some(first) = order.first() {
            return Some(first);
        }
        let other = self.of.other();
        if self.is_pair && self.taken >= TURN {
            // Something may have come meanwhile.
            self.is_empty[other as usize] = false;
            self.turn_to(other);
        } else if !self.has(self.of) && self.has(other) {
            self.turn_to(other);
        }
        self.has(self.of).then_some(self.of)
    }

    /// A packet was read from this queue.
    pub(super) fn took(&mut self, from: Class, len: usize) {
        if from == self.of {
            self.taken += len.max(SHORT);
        }
    }

    /// A read from this queue found nothing.
    pub(super) const fn emptied(&mut self, queue: Class) {
        self.is_empty[queue as usize] = true;
    }

    const fn turn_to(&mut self, queue: Class) {
        self.of = queue;
        self.taken = 0;
    }

    const fn has(&self, queue: Class) -> bool {
        !self.is_empty[queue as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEITHER: Precedence = Precedence::NEITHER;

    #[test]
    fn both_queues_get_turns_of_a_super_packet() {
        let mut turns = Turns::beginning_with(Class::Sparse, true);
        for _ in 0..3 {
            for class in [Class::Sparse, Class::Bulk] {
                assert_eq!(turns.next(NEITHER), Some(class));
                turns.took(class, TURN - SHORT);
                assert_eq!(turns.next(NEITHER), Some(class));
                turns.took(class, 1);
            }
        }
    }

    #[test]
    fn the_sparse_queue_is_looked_at_again_after_each_turn() {
        let mut turns = Turns::beginning_with(Class::Bulk, true);
        for _ in 0..3 {
            assert_eq!(turns.next(NEITHER), Some(Class::Sparse));
            turns.emptied(Class::Sparse);
            assert_eq!(turns.next(NEITHER), Some(Class::Bulk));
            turns.took(Class::Bulk, TURN);
        }
        assert_eq!(turns.next(NEITHER), Some(Class::Sparse));
        turns.emptied(Class::Sparse);
        assert_eq!(turns.next(NEITHER), Some(Class::Bulk));
        turns.emptied(Class::Bulk);
        assert_eq!(turns.next(NEITHER), None);
    }

    #[test]
    fn a_single_queue_has_all_turns() {
        let mut turns = Turns::beginning_with(Class::Bulk, false);
        for _ in 0..3 {
            assert_eq!(turns.next(NEITHER), Some(Class::Bulk));
            turns.took(Class::Bulk, TURN);
        }
        turns.emptied(Class::Bulk);
        assert_eq!(turns.next(NEITHER), None);
    }
}
