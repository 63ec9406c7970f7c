//! A persistent map: clones are cheap and do not see later changes. Snapshots of peers and routes are built on it.
//!
//! Two levels of 64 shared nodes above sorted leaves. A change copies one node of each level and one leaf of `len`/4096
//! entries, and only if a clone still holds them; a look-up follows three pointers and searches the leaf. There are so
//! many leaves that those of 100,000 peers stay as small as a peer's other allocations, which can then fill the holes
//! that freed copies leave in the heap.

use alloc::sync::Arc;
use alloc::vec::Vec;

/// A key, and the bits that choose its leaf.
pub trait CowKey: Ord + Clone {
    /// The key as 64 bits; equal keys have equal bits.
    fn bits(&self) -> u64;
}

const FAN: usize = 64;

type Leaf<K, V> = Vec<(K, V)>;
type Node<K, V> = [Arc<Leaf<K, V>>; FAN];

/// A persistent map.
#[derive(Debug)]
pub struct CowMap<K, V> {
    root: Arc<[Arc<Node<K, V>>; FAN]>,
    len: usize,
    /// Keeps outsiders from predicting which keys share a leaf.
    seed: u64,
}

impl<K: CowKey, V: Clone> CowMap<K, V> {
    /// An empty map. `seed` should be random where strangers choose the keys.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let leaf = Arc::new(Leaf::new());
        let node = Arc::new([(); FAN].map(|()| Arc::clone(&leaf)));
        let root = Arc::new([(); FAN].map(|()| Arc::clone(&node)));
        Self { root, len: 0, seed }
    }

    /// The number of entries.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether the map is empty.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The value of a key.
    #[must_use]
    pub fn find(&self, key: &K) -> Option<&V> {
        let (high, low) = self.place(key);
        let leaf = self.root.get(high)?.get(low)?;
        let at = leaf.binary_search_by(|(other, _)| other.cmp(key)).ok()?;
        leaf.get(at).map(|(_, value)| value)
    }

    /// Sets the value of a key; returns the old one.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        let (high, low) = self.place(&key);
        let leaf = leaf(&mut self.root, high, low)?;
        match leaf.binary_search_by(|(other, _)| other.cmp(&key)) {
            Ok(at) => Arc::make_mut(leaf)
                .get_mut(at)
                .map(|(_, old)| core::mem::replace(old, value)),
            Err(at) => {
                match Arc::get_mut(leaf) {
                    Some(leaf) => {
                        // Doubling would leave a quarter of the capacity unused on average. A very long leaf grows by
                        // several entries, so that it is not copied for each one.
                        leaf.reserve_exact(1 + leaf.len() / 64);
                        leaf.insert(at, (key, value));
                    }
                    None => *leaf = Arc::new(with_entry(leaf, at, (key, value))),
                }
                self.len += 1;
                None
            }
        }
    }

    /// Removes a key; returns its value.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        // Look first: a miss must not copy anything.
        self.find(key)?;
        let (high, low) = self.place(key);
        let leaf = leaf(&mut self.root, high, low)?;
        let at = leaf.binary_search_by(|(other, _)| other.cmp(key)).ok()?;
        self.len -= 1;
        Some(Arc::make_mut(leaf).remove(at).1)
    }

    /// All entries, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.root
            .iter()
            .flat_map(|node| node.iter())
            .flat_map(|leaf| leaf.iter())
            .map(|(key, value)| (key, value))
    }

    fn place(&self, key: &K) -> (usize, usize) {
        // The finaliser of splitmix64: every bit of the key affects every bit of the place.
        let mut bits = key.bits() ^ self.seed;
        bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^= bits >> 31;
        ((bits >> 6) as usize % FAN, bits as usize % FAN)
    }
}

/// The leaf at a place; the nodes above it are copied if clones still hold them.
fn leaf<K, V>(
    root: &mut Arc<[Arc<Node<K, V>>; FAN]>,
    high: usize,
    low: usize,
) -> Option<&mut Arc<Leaf<K, V>>> {
    let node = Arc::make_mut(root).get_mut(high)?;
    Arc::make_mut(node).get_mut(low)
}

/// A copy of a leaf with one more entry. Cloning and then inserting would copy twice and double the capacity, which
/// most leaves never fill.
fn with_entry<K: Clone, V: Clone>(leaf: &Leaf<K, V>, at: usize, entry: (K, V)) -> Leaf<K, V> {
    let (before, after) = leaf.split_at_checked(at).unwrap_or((leaf, &[]));
    let mut copy = Leaf::with_capacity(leaf.len() + 1);
    copy.extend_from_slice(before);
    copy.push(entry);
    copy.extend_from_slice(after);
    copy
}

impl<K, V> Clone for CowMap<K, V> {
    fn clone(&self) -> Self {
        Self {
            root: Arc::clone(&self.root),
            len: self.len,
            seed: self.seed,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    impl CowKey for u32 {
        fn bits(&self) -> u64 {
            u64::from(*self)
        }
    }

    proptest! {
        #[test]
        fn behaves_like_a_tree_map(
            seed: u64,
            changes in proptest::collection::vec((0u32..200, proptest::option::of(0u8..5)), 0..600),
        ) {
            let mut map = CowMap::new(seed);
            let mut model = BTreeMap::new();
            for (key, value) in changes {
                let (before, before_model) = (map.clone(), model.clone());
                match value {
                    Some(value) => prop_assert_eq!(map.insert(key, value), model.insert(key, value)),
                    None => prop_assert_eq!(map.remove(&key), model.remove(&key)),
                }
                prop_assert_eq!(map.len(), model.len());
                prop_assert_eq!(map.find(&key), model.get(&key));
                let entries: BTreeMap<_, _> = before.iter().map(|(k, v)| (*k, *v)).collect();
                prop_assert_eq!(entries, before_model, "a clone saw a later change");
            }
        }
    }

    #[test]
    fn leaves_stay_short() {
        let mut map = CowMap::new(7);
        for key in 0..100_000u32 {
            map.insert(key << 8, ());
        }
        let longest = map
            .root
            .iter()
            .flat_map(|node| node.iter())
            .map(|leaf| leaf.len())
            .max();
        assert!(longest.unwrap() < 60, "{longest:?} of 24 on average");
    }
}
