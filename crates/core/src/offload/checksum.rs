//! The Internet checksum (RFC 1071): the ones' complement sum of all 16-bit words.
//!
//! Sums here are plain numbers that can be added to each other before [`fold`] brings them down to 16 bits. A piece of
//! an odd number of bytes counts as if a zero byte followed: only the last piece of a packet may have one.

use super::Transport;
use crate::ip::array;

/// Bytes per iteration of the loop. It adds eight 32-bit words to eight sums, which compilers turn into SIMD code on
/// any target (measured: 55 GB/s in the cache with x86-64's baseline, twice as fast as 64-bit additions with carry).
const STRIDE: usize = 32;

/// The sum of some bytes, at most `0xffff`; 0 only if all of them are 0.
#[must_use]
pub fn sum(bytes: &[u8]) -> u64 {
    let (strides, tail) = bytes.as_chunks::<STRIDE>();
    let mut lanes = Lanes::default();
    for stride in strides {
        lanes.add(stride);
    }
    lanes.finish(tail)
}

/// Copies bytes and sums them up in the same pass, which costs less than two passes. Copies as many bytes as fit, and
/// returns the sum of those.
pub fn copy_and_sum(to: &mut [u8], from: &[u8]) -> u64 {
    let len = to.len().min(from.len());
    let (Some(to), Some(from)) = (to.get_mut(..len), from.get(..len)) else {
        return 0;
    };
    let (to_strides, to_tail) = to.as_chunks_mut::<STRIDE>();
    let (from_strides, from_tail) = from.as_chunks::<STRIDE>();
    let mut lanes = Lanes::default();
    for (to, from) in to_strides.iter_mut().zip(from_strides) {
        *to = *from;
        lanes.add(from);
    }
    to_tail.copy_from_slice(from_tail);
    lanes.finish(from_tail)
}

/// Folds a sum to 16 bits. 0 stays 0, and nothing else becomes 0.
#[must_use]
pub const fn fold(sum: u64) -> u16 {
    let sum = (sum >> 32) + (sum & 0xffff_ffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    sum as u16
}

/// The sum of the pseudo-header that UDP and TCP put before their own headers (RFC 768, RFC 9293 3.1, RFC 8200 8.1).
/// `len` is the length of transport header and payload. `None` if the packet has no whole IP header.
#[must_use]
pub fn pseudo_header(packet: &[u8], transport: Transport, len: usize) -> Option<u64> {
    let addresses = match packet.first()? >> 4 {
        4 => sum(&array::<8>(packet, 12)?),
        6 => sum(&array::<32>(packet, 8)?),
        _ => return None,
    };
    Some(addresses + u64::from(transport.number()) + len as u64)
}

/// Whether the sum of pseudo-header, transport header (checksum included) and payload shows that they are intact.
#[must_use]
pub const fn is_right(sum: u64) -> bool {
    fold(sum) == 0xffff
}

/// Completes a checksum for which the sender has summed only the pseudo-header: that sum is in the field, `field` bytes
/// after `start`, and everything from `start` on remains to be added. `None`, with the packet unchanged, if the field
/// is not in the packet.
pub fn complete(packet: &mut [u8], start: usize, field: usize) -> Option<()> {
    let checksum = match !fold(sum(packet.get(start..)?)) {
        // 0 means "no checksum" in UDP; everywhere else 0xffff is the same number.
        0 => 0xffff,
        checksum => checksum,
    };
    let at = start.checked_add(field)?;
    let bytes = packet.get_mut(at..)?.first_chunk_mut::<2>()?;
    *bytes = checksum.to_be_bytes();
    Some(())
}

/// Sums of words in the machine's own byte order: the sum of swapped words is the swapped sum (RFC 1071).
#[derive(Default)]
struct Lanes([u64; STRIDE / 4]);

impl Lanes {
    #[inline(always)]
    fn add(&mut self, stride: &[u8; STRIDE]) {
        let (words, _) = stride.as_chunks::<4>();
        for (lane, word) in self.0.iter_mut().zip(words) {
            *lane += u64::from(u32::from_ne_bytes(*word));
        }
    }

    #[inline(always)]
    fn finish(self, tail: &[u8]) -> u64 {
        let mut sum: u64 = self.0.iter().sum();
        let (words, tail) = tail.as_chunks::<4>();
        for word in words {
            sum += u64::from(u32::from_ne_bytes(*word));
        }
        if !tail.is_empty() {
            let mut word = [0; 4];
            for (to, from) in word.iter_mut().zip(tail) {
                *to = *from;
            }
            sum += u64::from(u32::from_ne_bytes(word));
        }
        u64::from(u16::from_be(fold(sum)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// RFC 1071, word by word.
    fn naive(bytes: &[u8]) -> u16 {
        let mut sum = 0u32;
        for word in bytes.chunks(2) {
            sum += u32::from(word[0]) << 8 | u32::from(*word.get(1).unwrap_or(&0));
            sum = (sum & 0xffff) + (sum >> 16);
        }
        sum as u16
    }

    proptest! {
        #[test]
        fn it_is_the_sum_of_the_rfc(bytes in proptest::collection::vec(any::<u8>(), 0..3000)) {
            prop_assert_eq!(fold(sum(&bytes)), naive(&bytes));
            let mut copy = vec![0; bytes.len()];
            prop_assert_eq!(fold(copy_and_sum(&mut copy, &bytes)), naive(&bytes));
            prop_assert_eq!(copy, bytes);
        }

        #[test]
        fn pieces_add_up(bytes in proptest::collection::vec(any::<u8>(), 0..300), at in 0usize..150) {
            let (left, right) = bytes.split_at((at * 2).min(bytes.len()));
            prop_assert_eq!(fold(sum(left) + sum(right)), naive(&bytes));
        }

        #[test]
        fn a_completed_checksum_is_right(mut bytes in proptest::collection::vec(any::<u8>(), 0..300), start in 0usize..300, field in 0usize..40) {
            let before = bytes.clone();
            let fits = start + field + 2 <= bytes.len();
            prop_assert_eq!(complete(&mut bytes, start, field).is_some(), fits);
            if fits && field % 2 == 0 {
                // The field's old value counts as the pseudo-header.
                let pseudo = sum(&before[start + field..][..2]);
                prop_assert!(is_right(pseudo + sum(&bytes[start..])));
            }
            if !fits {
                prop_assert_eq!(before, bytes);
            }
        }

        #[test]
        fn the_shorter_side_limits_a_copy(to in 0usize..100, from in 0usize..100) {
            let source: Vec<u8> = (1..=100).take(from).collect();
            let mut target = vec![0; to];
            let len = to.min(from);
            prop_assert_eq!(fold(copy_and_sum(&mut target, &source)), naive(&source[..len]));
            prop_assert_eq!(&target[..len], &source[..len]);
        }
    }

    #[test]
    fn a_completed_checksum_is_never_zero() {
        let mut bytes = [0xff, 0xf0, 0, 0x0f, 0, 0];
        assert_eq!(complete(&mut bytes, 0, 4), Some(()));
        assert_eq!(bytes[4..], [0xff, 0xff]);
    }

    #[test]
    fn the_largest_sums_fold() {
        assert_eq!(fold(u64::MAX), 0xffff);
        assert_eq!(fold(0), 0);
        assert_eq!(fold(0xffff), 0xffff);
        assert_eq!(fold(0x1_0000), 1);
        assert_eq!(fold(sum(&[0xff; 65536])), 0xffff);
        assert_eq!(sum(&[0; 100]), 0);
    }

    #[test]
    fn the_example_of_the_rfc() {
        // RFC 1071, section 3.
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(fold(sum(&bytes)), 0xddf2);
    }
}
