//! The replay window (dco-behaviour 5.7): each packet id of a key is accepted once, and not too late.
//!
//! The window is a ring of words. Each has a bit for every id of a block, and the number of the round in which the ring
//! reached that block. A word only ever moves on to a later round, by compare-and-swap together with its bits, so that
//! an id is accepted at most once whatever the number of threads, without a lock.

use core::fmt;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::loss::Loss;
use crate::time::Time;

/// After this many seconds without an accepted packet, only newer ones are accepted.
const IDLE_SECONDS: u32 = 30;

/// The half of the front that counts accepted ids.
const ACCEPTED: u64 = u32::MAX as u64;

/// The window of the kernel driver: 2,048 ids. With 43 ids in a word, 21 bits are left to count the rounds.
pub type ReplayWindow = Window<2048, 49, 43>;

/// A window of `SIZE` ids in `WORDS` words of `BLOCK` ids; needs `WORDS * BLOCK >= SIZE + BLOCK - 1`, and enough bits
/// beside a block to count the rounds that 2^32 ids take.
#[derive(Debug)]
pub struct Window<const SIZE: u64, const WORDS: usize, const BLOCK: u64> {
    /// The highest id accepted (upper half), and how many were (lower half). One word, so that they always match.
    front: AtomicU64,
    /// Ids up to this one came before an idle period and are not accepted.
    floor: AtomicU32,
    /// When the floor rises to the highest id, in milliseconds.
    expiry: AtomicU64,
    /// The round (upper bits), and which ids of the block were seen (lower `BLOCK` bits).
    ring: [AtomicU64; WORDS],
}

/// An id that has not been seen before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fresh {
    /// Whether it is higher than every id before.
    pub newest: bool,
}

/// Why an id is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stale {
    /// Seen before, or 0, which is never sent.
    Replay,
    /// Older than the window reaches, or from before an idle period.
    TooOld,
}

impl fmt::Display for Stale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Replay => "the packet id was seen before, or is 0",
            Self::TooOld => "the packet id is older than the replay window",
        })
    }
}

impl core::error::Error for Stale {}

impl<const SIZE: u64, const WORDS: usize, const BLOCK: u64> Window<SIZE, WORDS, BLOCK> {
    /// An empty window.
    #[must_use]
    pub const fn new() -> Self {
        const {
            let round = WORDS as u64 * BLOCK;
            assert!(BLOCK < 64 && round >= SIZE + BLOCK - 1);
            assert!((u32::MAX as u64 / round) >> (64 - BLOCK) == 0);
        }
        Self {
            front: AtomicU64::new(0),
            floor: AtomicU32::new(0),
            expiry: AtomicU64::new(0),
            ring: [const { AtomicU64::new(0) }; WORDS],
        }
    }

    /// Whether no id has been accepted yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.highest(Ordering::Relaxed) == 0
    }

    /// How many ids are missing up to the highest one.
    #[must_use]
    pub fn loss(&self) -> Loss {
        let front = self.front.load(Ordering::Relaxed);
        let (expected, accepted) = (front >> 32, front & ACCEPTED);
        // Each id is accepted once, and none is above the highest, so this never saturates.
        Loss {
            expected,
            lost: expected.saturating_sub(accepted),
        }
    }

    /// Whether an id was accepted in the last second.
    #[must_use]
    pub fn accepted_lately(&self, now: Time) -> bool {
        let expiry = self.expiry.load(Ordering::Relaxed);
        expiry > now.plus_seconds(IDLE_SECONDS - 1).as_millis()
    }

    /// Accepts the id of an *authenticated* packet. A refusal changes nothing but the floor.
    ///
    /// # Errors
    /// [`Stale`].
    pub fn accept(&self, id: u32, now: Time) -> Result<Fresh, Stale> {
        let highest = self.highest(Ordering::Acquire);
        if id == 0 {
            return Err(Stale::Replay);
        }
        if now.as_millis() >= self.expiry.load(Ordering::Relaxed) {
            self.floor.fetch_max(highest, Ordering::Relaxed);
        }
        let beyond_window = id <= highest && u64::from(highest - id) >= SIZE;
        if beyond_window || (id <= highest && id <= self.floor.load(Ordering::Relaxed)) {
            return Err(Stale::TooOld);
        }
        self.mark(u64::from(id))?;
        let before = self.advance(id);
        self.expiry.store(
            now.plus_seconds(IDLE_SECONDS).as_millis(),
            Ordering::Relaxed,
        );
        Ok(Fresh {
            newest: id > before,
        })
    }

    fn highest(&self, ordering: Ordering) -> u32 {
        (self.front.load(ordering) >> 32) as u32
    }

    /// Counts a marked id, and returns the highest id before it.
    fn advance(&self, id: u32) -> u32 {
        let advanced = |front: u64| Some(front.max(u64::from(id) << 32 | front & ACCEPTED) + 1);
        let before = self
            .front
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, advanced);
        let (Ok(before) | Err(before)) = before;
        (before >> 32) as u32
    }

    /// Sets the id's bit, unless it is set already.
    fn mark(&self, id: u64) -> Result<(), Stale> {
        let block = id / BLOCK;
        let bit = 1 << (id % BLOCK);
        let (round, place) = (block / WORDS as u64, block % WORDS as u64);
        let word = self.ring.get(place as usize).ok_or(Stale::TooOld)?;
        let mut seen = word.load(Ordering::Relaxed);
        loop {
            let marked = match (seen >> BLOCK).cmp(&round) {
                core::cmp::Ordering::Less => round << BLOCK | bit,
                core::cmp::Ordering::Equal if seen & bit != 0 => return Err(Stale::Replay),
                core::cmp::Ordering::Equal => seen | bit,
                // Another thread has moved the window past this id since we looked.
                core::cmp::Ordering::Greater => return Err(Stale::TooOld),
            };
            match word.compare_exchange_weak(seen, marked, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return Ok(()),
                Err(changed) => seen = changed,
            }
        }
    }
}

impl<const SIZE: u64, const WORDS: usize, const BLOCK: u64> Default for Window<SIZE, WORDS, BLOCK> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests;
