//! Digests of the keys a peer has had. A key that is installed twice would restart at packet id 1 and repeat its nonces
//! (promises B9, faults E2).

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// A digest of the sending key and its nonce tail. It is keyed with a secret, so that it reveals nothing about the key
/// and nobody can construct a collision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyDigest(pub u64);

/// How many keys are remembered per peer: the latest ones. OpenVPN always makes new keys, so this only has to catch
/// people and scripts that rotate a few key files. At most 256 bytes per peer.
pub const REMEMBERED: usize = 32;

/// How many keys are remembered per device, across its peers. At most 2 KiB.
pub const REMEMBERED_OF_DEVICE: usize = 256;

/// The keys of one peer; clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct UsedKeys(Option<Arc<Vec<KeyDigest>>>);

/// The keys installed last on a device.
#[derive(Clone, Debug, Default)]
pub(crate) struct RecentKeys(VecDeque<KeyDigest>);

impl UsedKeys {
    pub(crate) const NONE: Self = Self(None);

    pub(crate) fn contains(&self, key: KeyDigest) -> bool {
        self.all().contains(&key)
    }

    /// Adds a key; at the limit the oldest is forgotten.
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

    /// Adds a key; at the limit the oldest is forgotten.
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
