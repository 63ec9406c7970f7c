//! Memory that holds keys for a while: wiped before it is freed (promises H1).

use alloc::vec;
use alloc::vec::Vec;
use core::arch::asm;
use core::ops::{Deref, DerefMut};

/// Bytes of a message that may contain a key. The capacity is fixed at creation, so that growth leaves no copies
/// behind. Neither `Clone` nor `Debug`: nothing leaks by accident.
pub(crate) struct Secret(Vec<u8>);

impl Secret {
    /// `len` zeros.
    pub(crate) fn zeroed(len: usize) -> Self {
        Self(vec![0; len])
    }

    /// The concatenation of the pieces.
    pub(crate) fn concat<'a>(pieces: impl Iterator<Item = &'a [u8]> + Clone) -> Self {
        let mut bytes = Vec::with_capacity(pieces.clone().map(<[u8]>::len).sum());
        pieces.for_each(|piece| bytes.extend_from_slice(piece));
        Self(bytes)
    }

    /// Truncates to `len`; the rest is wiped later with the whole.
    pub(crate) fn truncate(&mut self, len: usize) {
        self.0.truncate(len);
    }
}

impl Deref for Secret {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl DerefMut for Secret {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        // The truncated bytes are still there. A resize within the capacity moves nothing.
        let all = self.0.capacity();
        self.0.resize(all, 0);
        wipe(&mut self.0);
    }
}

/// Zeroes bytes that are not read again, without the compiler optimizing it away.
fn wipe(bytes: &mut [u8]) {
    bytes.fill(0);
    // glibc has `explicit_bzero` only since 2.25.
    // SAFETY: no instruction; the compiler must assume that it reads what the pointer leads to.
    unsafe { asm!("/* {0} */", in(reg) bytes.as_mut_ptr(), options(nostack, preserves_flags)) };
    #[cfg(test)]
    tests::note(bytes);
}

#[cfg(test)]
pub(crate) mod tests {
    use super::{Secret, wipe};
    use std::cell::Cell;

    thread_local! {
        static WIPED: Cell<usize> = const { Cell::new(0) };
    }

    /// Called by [`wipe`] with the bytes it has wiped.
    pub(super) fn note(bytes: &[u8]) {
        assert!(bytes.iter().all(|byte| *byte == 0), "not wiped");
        WIPED.set(WIPED.get() + bytes.len());
    }

    /// How many bytes this thread wipes in the closure.
    pub(crate) fn wiped(run: impl FnOnce()) -> usize {
        let before = WIPED.get();
        run();
        WIPED.get() - before
    }

    #[test]
    fn nothing_is_left() {
        let mut key = *b"thirty-two bytes of a secret key";
        assert_eq!(wiped(|| wipe(&mut key)), 32);
        assert_eq!(key, [0; 32]);
    }

    #[test]
    fn all_of_it_is_wiped_at_its_end_and_also_what_was_cut_off() {
        let mut secret = Secret::zeroed(1000);
        secret.copy_from_slice(&[7; 1000]);
        secret.truncate(10);
        assert_eq!(*secret, [7; 10]);
        assert!(wiped(|| drop(secret)) >= 1000);
    }

    #[test]
    fn pieces_are_joined_without_growing() {
        let pieces: [&[u8]; 3] = [b"one", b"", b"two"];
        let secret = Secret::concat(pieces.into_iter());
        assert_eq!(*secret, *b"onetwo");
        assert!(wiped(|| drop(secret)) >= 6);
    }
}
