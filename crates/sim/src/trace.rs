//! A hash over everything that has happened: two runs are the same if theirs are.

/// FNV-1a, by words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trace(u64);

impl Default for Trace {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Trace {
    /// Something of this kind has happened at this time.
    pub fn add(&mut self, kind: u64, at: u64, bytes: &[u8]) {
        self.word(kind);
        self.word(at);
        self.word(bytes.len() as u64);
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            for (to, byte) in word.iter_mut().zip(chunk) {
                *to = *byte;
            }
            self.word(u64::from_le_bytes(word));
        }
    }

    const fn word(&mut self, word: u64) {
        self.0 = (self.0 ^ word).wrapping_mul(0x0000_0100_0000_01b3);
        self.0 ^= self.0 >> 29;
    }

    /// The hash so far.
    #[must_use]
    pub const fn hash(self) -> u64 {
        self.0
    }
}
