//! The counter of a key's packet ids: each value once, from 1 to 2^32 - 1 (dco-behaviour 5.6). Each becomes a
//! [`PacketId`](crate::PacketId).

use core::ops::RangeInclusive;
use core::sync::atomic::{AtomicU64, Ordering};

/// The counter of one key. It cannot be set back: a repeated nonce reveals plaintext.
#[derive(Debug)]
pub struct PacketIds {
    /// The next id. 64 bits, so that it cannot wrap however often an exhausted key is tried.
    next: AtomicU64,
}

impl PacketIds {
    /// A fresh counter.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            next: AtomicU64::new(1),
        }
    }

    /// A counter whose next id is `next`, for tests of exhaustion.
    #[must_use]
    pub const fn starting_at(next: u32) -> Self {
        Self {
            next: AtomicU64::new(next as u64),
        }
    }

    /// The next id; above 2^32 - 1 once all are used up.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.next.load(Ordering::Relaxed)
    }

    /// Whether all ids are used up.
    #[must_use]
    pub fn is_used_up(&self) -> bool {
        self.next() > u64::from(u32::MAX)
    }

    /// Reserves `count` ids, or as many as are left; `None` once all are used up.
    pub(crate) fn reserve(&self, count: u32) -> Option<RangeInclusive<u32>> {
        let count = u64::from(count.max(1));
        let first = self.next.fetch_add(count, Ordering::Relaxed);
        let last = first.saturating_add(count - 1).min(u64::from(u32::MAX));
        Some(u32::try_from(first).ok()?..=u32::try_from(last).ok()?)
    }
}

impl Default for PacketIds {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_start_at_one_and_never_repeat() {
        let ids = PacketIds::new();
        assert_eq!(ids.reserve(1), Some(1..=1));
        assert_eq!(ids.reserve(64), Some(2..=65));
        assert_eq!(ids.reserve(0), Some(66..=66));
    }

    #[test]
    fn the_last_block_is_short_and_then_there_is_none() {
        let ids = PacketIds::starting_at(u32::MAX - 2);
        assert_eq!(ids.reserve(2), Some(u32::MAX - 2..=u32::MAX - 1));
        assert_eq!(ids.reserve(64), Some(u32::MAX..=u32::MAX));
        for _ in 0..100 {
            assert_eq!(ids.reserve(u32::MAX), None);
        }
    }

    #[test]
    fn threads_get_different_ids() {
        let ids = PacketIds::new();
        let mut taken: Vec<u32> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        (0..1000)
                            .flat_map(|_| ids.reserve(7).unwrap())
                            .collect::<Vec<_>>()
                    })
                })
                .collect();
            threads
                .into_iter()
                .flat_map(|thread| thread.join().unwrap())
                .collect()
        });
        taken.sort_unstable();
        assert!(taken.into_iter().eq(1..=28_000));
    }
}
