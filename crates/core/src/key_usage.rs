//! How much a key has been used, and when the peers must rekey (promises A6, B4).
//!
//! With data channel offload OpenVPN does not count packets: it rekeys by time, and when the driver asks for it. So the
//! core counts. ChaCha20-Poly1305 has no limit that 32-bit packet ids could reach.

use core::sync::atomic::{AtomicU64, Ordering};

use crate::aead::Cipher;
use crate::packet_id::PacketIds;

/// The confidentiality limit of AES-GCM: packets and 16-byte blocks together.
const GCM_LIMIT: u64 = 1 << 36;

/// A rekey is due at 7/8 of it, which leaves time for a handshake.
const GCM_REKEY: u64 = GCM_LIMIT / 8 * 7;

/// The packet id at which a rekey is due: OpenVPN's own value.
const PACKET_ID_REKEY: u64 = 0xff00_0000;

/// The number of forged packets at which a rekey is due.
const FORGERY_REKEY: u64 = 1 << 35;

/// The integrity limit: after this many forged packets the key opens nothing more.
const FORGERY_LIMIT: u64 = 1 << 36;

/// Set in the count of forgeries once a rekey has been reported; the count never gets near it. A separate flag would
/// cost a word in each key, and there are many.
const REPORTED: u64 = 1 << 63;

/// Counts how much a key is used. Threads count without waiting for each other.
#[derive(Debug, Default)]
pub struct KeyUsage {
    /// Packets and 16-byte blocks sealed.
    sealed: AtomicU64,
    /// Packets with a wrong tag, and [`REPORTED`].
    forgeries: AtomicU64,
}

impl KeyUsage {
    /// The usage of a fresh key: none.
    #[must_use]
    pub const fn new() -> Self {
        Self::at(0, 0)
    }

    /// The usage of a key that has sealed `sealed` packets and blocks and seen `forgeries`, for tests of the limits.
    #[must_use]
    pub const fn at(sealed: u64, forgeries: u64) -> Self {
        Self {
            sealed: AtomicU64::new(sealed),
            forgeries: AtomicU64::new(forgeries),
        }
    }

    /// Counts a sealed packet of `payload_len` bytes.
    pub fn count_sealed(&self, payload_len: usize) {
        let count = 1 + (payload_len as u64).div_ceil(16);
        self.sealed.fetch_add(count, Ordering::Relaxed);
    }

    /// Counts a packet with a wrong tag.
    pub fn count_forgery(&self) {
        self.forgeries.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether the key may still open packets.
    #[must_use]
    pub fn may_open(&self) -> bool {
        self.forgeries() < FORGERY_LIMIT
    }

    /// Whether a rekey is due and has not been reported yet: true once.
    pub fn take_rekey_due(&self, cipher: Cipher, packet_ids: &PacketIds) -> bool {
        let gcm = cipher != Cipher::ChaCha20Poly1305;
        let due = packet_ids.next() >= PACKET_ID_REKEY
            || (gcm && self.sealed.load(Ordering::Relaxed) >= GCM_REKEY)
            || self.forgeries() >= FORGERY_REKEY;
        due && self.forgeries.fetch_or(REPORTED, Ordering::Relaxed) & REPORTED == 0
    }

    fn forgeries(&self) -> u64 {
        self.forgeries.load(Ordering::Relaxed) & !REPORTED
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_due(usage: &KeyUsage, cipher: Cipher, next: u32) -> bool {
        usage.take_rekey_due(cipher, &PacketIds::starting_at(next))
    }

    #[test]
    fn a_rekey_is_due_once_at_each_limit() {
        let limits = [
            (
                KeyUsage::at(GCM_REKEY, 0),
                KeyUsage::at(GCM_REKEY - 1, 0),
                1,
                1,
            ),
            (
                KeyUsage::at(0, FORGERY_REKEY),
                KeyUsage::at(0, FORGERY_REKEY - 1),
                1,
                1,
            ),
            (KeyUsage::new(), KeyUsage::new(), 0xff00_0000, 0xfeff_ffff),
        ];
        for (due, fine, due_next, fine_next) in limits {
            assert!(!is_due(&fine, Cipher::Aes256Gcm, fine_next));
            assert!(is_due(&due, Cipher::Aes256Gcm, due_next));
            assert!(!is_due(&due, Cipher::Aes256Gcm, due_next), "once");
        }
    }

    #[test]
    fn chacha_has_no_block_limit() {
        assert!(!is_due(
            &KeyUsage::at(u64::MAX, 0),
            Cipher::ChaCha20Poly1305,
            1
        ));
    }

    #[test]
    fn a_packet_of_1400_bytes_costs_89_units() {
        let usage = KeyUsage::at(GCM_REKEY - 89, 0);
        assert!(!is_due(&usage, Cipher::Aes128Gcm, 1));
        usage.count_sealed(1400);
        assert!(is_due(&usage, Cipher::Aes128Gcm, 1));
    }

    #[test]
    fn a_key_opens_nothing_after_too_many_forgeries() {
        let usage = KeyUsage::at(0, FORGERY_LIMIT - 1);
        assert!(usage.may_open());
        usage.count_forgery();
        assert!(!usage.may_open());
    }
}
