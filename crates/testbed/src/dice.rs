//! Reproducible random decisions.

/// A random number generator (SplitMix64): good enough for tests, and three lines.
#[derive(Clone, Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    /// The numbers of stream `stream` of this seed.
    pub(crate) fn new(seed: u64, stream: u64) -> Self {
        let mut dice = Self(seed ^ stream.wrapping_mul(0xd134_2543_de82_ef95));
        dice.next();
        dice
    }

    /// 64 random bits.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// True with this probability. Always draws one number, so that other decisions stay the same when the share
    /// changes.
    pub(crate) fn hits(&mut self, share: f64) -> bool {
        let unit = (self.next() >> 11) as f64 / (1_u64 << 53) as f64;
        unit < share
    }

    /// A number from 0 to `bound` - 1; 0 if the bound is 0.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        // The upper bits, of which even a small bound uses good ones.
        (self.next() >> 16) as usize % bound.max(1)
    }

    /// True once in `many`, on average.
    pub(crate) fn one_in(&mut self, many: usize) -> bool {
        self.below(many) == 0
    }

    /// As many random bytes.
    pub(crate) fn bytes(&mut self, len: usize) -> Vec<u8> {
        let words = (0..len.div_ceil(8)).flat_map(|_| self.next().to_ne_bytes());
        words.take(len).collect()
    }

    /// Fewer random bytes than this.
    pub(crate) fn fewer_bytes(&mut self, most: usize) -> Vec<u8> {
        let len = self.below(most);
        self.bytes(len)
    }

    /// A number from 0 to `limit`, inclusive.
    pub(crate) fn up_to(&mut self, limit: u64) -> u64 {
        let number = self.next();
        limit.checked_add(1).map_or(number, |bound| number % bound)
    }
}

#[cfg(test)]
mod tests {
    use super::Dice;

    #[test]
    fn the_same_seed_gives_the_same_numbers_and_another_stream_others() {
        let numbers = |stream| {
            let mut dice = Dice::new(7, stream);
            [dice.next(), dice.next(), dice.next()]
        };
        assert_eq!(numbers(0), numbers(0));
        assert_ne!(numbers(0), numbers(1));
    }

    #[test]
    fn shares_are_kept() {
        let mut dice = Dice::new(1, 0);
        let hits = (0..100_000).filter(|_| dice.hits(0.05)).count();
        assert!((4_700..5_300).contains(&hits), "{hits}");
        assert!(!(0..1000).any(|_| dice.hits(0.0)));
        assert!((0..1000).all(|_| dice.hits(1.0)));
        assert!((0..1000).all(|_| dice.up_to(3) <= 3));
    }
}
