//! The keys with which a peer has sealed, by their digests: one that is installed again would start with packet id 1
//! again, and repeat its nonces (promises B9, faults E2).

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// A digest of a key and its nonce tail, in the direction of sending. It is keyed with a secret of the engine's, so that
/// it says nothing about the key, and nobody can make two keys that share one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyDigest(pub u64);

/// How many keys of a peer are remembered, the last ones: OpenVPN makes new ones, so only a person or a script that goes
/// round with a few key files is to be caught. 256 bytes a peer at most.
pub const REMEMBERED: usize = 32;

/// How many keys a device remembers, whichever of its peers they are of: 2 KiB at most.
pub const REMEMBERED_OF_DEVICE: usize = 256;

/// The keys of one peer. A clone shares them.
#[derive(Clone, Debug, Default)]
pub(crate) struct UsedKeys(Option<Arc<Vec<KeyDigest>>>);

/// The keys that were installed last on a device.
#[derive(Clone, Debug, Default)]
pub(crate) struct RecentKeys(VecDeque<KeyDigest>);

impl UsedKeys {
    pub(crate) const NONE: Self = Self(None);

    pub(crate) fn contains(&self, key: KeyDigest) -> bool {
        self.all().contains(&key)
    }

    /// Remembers one more; if there are too many, the oldest is forgotten.
    pub(crate) fn add(&mut self, key: KeyDigest) {
        let oldest = (self.all().len() + 1).saturating_sub(REMEMBERED);
        let kept = self.all().get(oldest..).unwrap_or_default();
        let mut keys = Vec::with_capacity(kept.len() + 1);
        keys.extend_from_slice(kept);
        keys.push(key);
        self.0 = Some(Arc::new(keys));
    }

    fn all(&self) -> &[KeyDigest] {
        self.0.as_ref().map_or(&[], |keys| keys.as_slice())
    }
}

impl RecentKeys {
    pub(crate) fn contains(&self, key: KeyDigest) -> bool {
        self.0.contains(&key)
    }

    /// Remembers one more; if there are too many, the oldest is forgotten.
    pub(crate) fn add(&mut self, key: KeyDigest) {
        if self.0.len() == REMEMBERED_OF_DEVICE {
            self.0.pop_front();
        }
        self.0.push_back(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_keys_are_remembered_and_no_more() {
        let mut used = UsedKeys::NONE;
        let all = 0..100;
        for number in all.clone() {
            assert!(!used.contains(KeyDigest(number)));
            used.add(KeyDigest(number));
        }
        let remembered: Vec<u64> = all.filter(|it| used.contains(KeyDigest(*it))).collect();
        assert_eq!(remembered, (68..100).collect::<Vec<_>>());
        let mut recent = RecentKeys::default();
        for number in 0..1000 {
            recent.add(KeyDigest(number));
        }
        assert!(recent.contains(KeyDigest(744)) && !recent.contains(KeyDigest(743)));
        assert_eq!(recent.0.len(), REMEMBERED_OF_DEVICE);
    }
}
