//! A byte stream that every process can generate, and its hash.

use std::hash::Hasher;

use crate::dice::Dice;

/// A stream of bytes that a seed determines.
pub(crate) struct Payload {
    dice: Dice,
    left: u64,
}

impl Payload {
    /// `length` bytes.
    pub(crate) fn new(seed: u64, length: u64) -> Self {
        Self {
            dice: Dice::new(seed, 3),
            left: length,
        }
    }

    /// The next bytes: a whole buffer unless the stream ends; empty at its end.
    pub(crate) fn fill<'b>(&mut self, buffer: &'b mut [u8]) -> &'b [u8] {
        let wanted = usize::try_from(self.left).map_or(buffer.len(), |left| left.min(buffer.len()));
        let (filled, _) = buffer.split_at_mut(wanted);
        for chunk in filled.chunks_mut(8) {
            chunk.copy_from_slice(&self.dice.next().to_le_bytes()[..chunk.len()]);
        }
        self.left -= wanted as u64;
        filled
    }
}

/// The hash of a stream, however it is cut into pieces.
#[derive(Default)]
pub(crate) struct Digest {
    hasher: std::hash::DefaultHasher,
    /// Bytes seen.
    pub(crate) bytes: u64,
}

impl Digest {
    pub(crate) fn add(&mut self, bytes: &[u8]) {
        self.hasher.write(bytes);
        self.bytes += bytes.len() as u64;
    }

    /// Length and hash, as the receiver reports them to the sender.
    pub(crate) fn summary(&self) -> String {
        format!("{} {:016x}\n", self.bytes, self.hasher.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::{Digest, Payload};

    #[test]
    fn the_hash_does_not_depend_on_the_pieces() {
        let mut buffer = vec![0; 4096];
        let whole = Payload::new(5, 4001).fill(&mut buffer).to_vec();
        assert_eq!(whole.len(), 4001);
        let (mut at_once, mut by_pieces, mut other) =
            (Digest::default(), Digest::default(), Digest::default());
        at_once.add(&whole);
        whole.chunks(7).for_each(|piece| by_pieces.add(piece));
        other.add(&whole[1..]);
        assert_eq!(at_once.summary(), by_pieces.summary());
        assert_ne!(at_once.summary(), other.summary());
    }
}
