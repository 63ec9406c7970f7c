//! A text in a buffer of its own, for where no memory may be requested.

use core::fmt::{self, Write};

/// A text of at most `N` bytes; what exceeds them is left out.
pub(crate) struct Text<const N: usize> {
    bytes: [u8; N],
    len: usize,
}

impl<const N: usize> Text<N> {
    /// None yet.
    pub(crate) const fn new() -> Self {
        Self {
            bytes: [0; N],
            len: 0,
        }
    }

    /// What has been written, up to the last whole character.
    pub(crate) fn written(&self) -> &str {
        let bytes = self.bytes.get(..self.len).unwrap_or_default();
        bytes.utf8_chunks().next().map_or("", |chunk| chunk.valid())
    }
}

impl<const N: usize> Write for Text<N> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for (to, from) in self.bytes.iter_mut().skip(self.len).zip(text.bytes()) {
            *to = from;
            self.len += 1;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_ends_with_a_whole_character() {
        let mut text = Text::<5>::new();
        let _ = write!(text, "{}", 12);
        assert_eq!(text.written(), "12");
        let _ = write!(text, "\u{fc}\u{fc}");
        assert_eq!(text.written(), "12\u{fc}");
    }
}
