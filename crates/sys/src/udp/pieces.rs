//! Where the bytes of a batch's messages lie in its arena: each message has a range of its own, and may have more.

use std::iter;
use std::ops::Range;

/// The ranges of each message after its first.
#[derive(Debug)]
pub(super) struct Pieces {
    /// How many ranges there may be: each has a vector.
    most: usize,
    /// The ranges of all messages, in the messages' order.
    ranges: Vec<Range<usize>>,
    /// Which of them belong to each message, by its index.
    owned: Vec<Range<usize>>,
}

impl Pieces {
    /// Room for this many messages, and for as many ranges after the first ones.
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            most: capacity,
            ranges: Vec::with_capacity(capacity),
            owned: Vec::with_capacity(capacity),
        }
    }

    /// Begins the next message, which has only its first range so far.
    pub(super) fn begin(&mut self) {
        let at = self.ranges.len();
        self.owned.push(at..at);
    }

    /// Adds a range to the last message; `false` if there is no message, or no room.
    pub(super) fn extend(&mut self, range: Range<usize>) -> bool {
        let Some(last) = self.owned.last_mut() else {
            return false;
        };
        if self.ranges.len() >= self.most {
            return false;
        }
        self.ranges.push(range);
        last.end = self.ranges.len();
        true
    }

    /// The ranges of the message at `index` after its first.
    pub(super) fn of(&self, index: usize) -> &[Range<usize>] {
        self.ranges.get(self.span(index)).unwrap_or_default()
    }

    /// The first of the vectors of the message at `index`, where each range has one, in the order of the messages.
    pub(super) fn first_vector(&self, index: usize) -> usize {
        index + self.span(index).start
    }

    /// Takes away the message's further ranges, to be restored by [`Pieces::give_back`].
    pub(super) fn take(&mut self, index: usize) -> Range<usize> {
        let owned = self.owned.get_mut(index);
        owned.map_or(0..0, |span| {
            let taken = span.clone();
            span.end = span.start;
            taken
        })
    }

    /// Restores to the message what [`Pieces::take`] took.
    pub(super) fn give_back(&mut self, index: usize, taken: Range<usize>) {
        if let Some(span) = self.owned.get_mut(index) {
            *span = taken;
        }
    }

    pub(super) fn clear(&mut self) {
        self.ranges.clear();
        self.owned.clear();
    }

    fn span(&self, index: usize) -> Range<usize> {
        self.owned.get(index).cloned().unwrap_or(0..0)
    }
}

/// A message's ranges: its first, then the others.
pub(super) fn all(
    first: Range<usize>,
    more: &[Range<usize>],
) -> impl Iterator<Item = Range<usize>> + Clone + '_ {
    iter::once(first).chain(more.iter().cloned())
}
