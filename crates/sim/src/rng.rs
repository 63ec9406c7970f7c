//! Randomness from a seed: SplitMix64, the same on every machine.

/// A generator. Every decision of a run comes from one.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// A generator that gives the same numbers for the same seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// A number of `from..=to`.
    pub const fn within(&mut self, from: u64, to: u64) -> u64 {
        let count = to.saturating_sub(from).saturating_add(1);
        // So small a bias does not matter here.
        from + self.next() % if count == 0 { 1 } else { count }
    }

    /// The same, as a length or an index.
    pub const fn size(&mut self, from: usize, to: usize) -> usize {
        self.within(from as u64, to as u64) as usize
    }

    /// True with this probability, in parts per thousand.
    pub const fn chance(&mut self, per_mille: u64) -> bool {
        self.next() % 1000 < per_mille
    }

    /// Fills a buffer.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let word = self.next().to_le_bytes();
            for (byte, random) in chunk.iter_mut().zip(word) {
                *byte = random;
            }
        }
    }
}
