//! How much a key has been used, and when it must be exchanged (promises A6, B4).
//!
//! With data channel offload OpenVPN does not count: it rekeys by time, and when it is told to. So the engine counts
//! for it. ChaCha20-Poly1305 has no limit that a packet id of 32 bits could reach.

use core::sync::atomic::{AtomicU64, Ordering};

use crate::aead::Cipher;
use crate::packet_id::PacketIds;

/// AES-GCM keys are good for so many packets and 16-byte blocks together.
const GCM_LIMIT: u64 = 1 << 36;

/// At 7/8 of it another key is asked for, so that there is time for a handshake.
const GCM_EARLY: u64 = GCM_LIMIT / 8 * 7;

/// The packet id at which another key is asked for: OpenVPN's own value.
const PACKET_ID_EARLY: u64 = 0xff00_0000;

/// After so many forged packets another key is asked for.
const FORGERIES_EARLY: u64 = 1 << 35;

/// After so many the key opens nothing more.
const FORGERIES_LIMIT: u64 = 1 << 36;

/// Set in the count of forgeries, which never comes near: another key was asked for. A flag of its own would cost each of
/// many keys a word.
const ASKED: u64 = 1 << 63;

/// Counts what a key was used for. Exact to a batch: threads add without waiting for each other.
#[derive(Debug, Default)]
pub struct Wear {
    /// Packets and 16-byte blocks sealed.
    units: AtomicU64,
    /// Packets with a wrong tag, and [`ASKED`].
    forgeries: AtomicU64,
}

impl Wear {
    /// A fresh key's.
    #[must_use]
    pub const fn new() -> Self {
        Self::at(0, 0)
    }

    /// That of a key which was used for so many packets and blocks, and saw so many forgeries, for tests of the limits.
    #[must_use]
    pub const fn at(units: u64, forgeries: u64) -> Self {
        Self {
            units: AtomicU64::new(units),
            forgeries: AtomicU64::new(forgeries),
        }
    }

    /// A packet was sealed.
    pub fn sealed(&self, payload_len: usize) {
        let units = 1 + (payload_len as u64).div_ceil(16);
        self.units.fetch_add(units, Ordering::Relaxed);
    }

    /// A packet had a wrong tag.
    pub fn forged(&self) {
        self.forgeries.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether the key may open packets still.
    #[must_use]
    pub fn may_open(&self) -> bool {
        self.forgeries() < FORGERIES_LIMIT
    }

    /// Whether another key must be asked for now: true once.
    pub fn ask(&self, cipher: Cipher, packet_ids: &PacketIds) -> bool {
        let gcm = cipher != Cipher::ChaCha20Poly1305;
        let worn = packet_ids.next() >= PACKET_ID_EARLY
            || (gcm && self.units.load(Ordering::Relaxed) >= GCM_EARLY)
            || self.forgeries() >= FORGERIES_EARLY;
        worn && self.forgeries.fetch_or(ASKED, Ordering::Relaxed) & ASKED == 0
    }

    fn forgeries(&self) -> u64 {
        self.forgeries.load(Ordering::Relaxed) & !ASKED
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asks(wear: &Wear, cipher: Cipher, next: u32) -> bool {
        wear.ask(cipher, &PacketIds::starting_at(next))
    }

    #[test]
    fn another_key_is_asked_for_once_at_each_limit() {
        let limits = [
            (Wear::at(GCM_EARLY, 0), Wear::at(GCM_EARLY - 1, 0), 1, 1),
            (
                Wear::at(0, FORGERIES_EARLY),
                Wear::at(0, FORGERIES_EARLY - 1),
                1,
                1,
            ),
            (Wear::new(), Wear::new(), 0xff00_0000, 0xfeff_ffff),
        ];
        for (worn, fine, worn_next, fine_next) in limits {
            assert!(!asks(&fine, Cipher::Aes256Gcm, fine_next));
            assert!(asks(&worn, Cipher::Aes256Gcm, worn_next));
            assert!(!asks(&worn, Cipher::Aes256Gcm, worn_next), "once");
        }
    }

    #[test]
    fn chacha_has_no_block_limit() {
        assert!(!asks(&Wear::at(u64::MAX, 0), Cipher::ChaCha20Poly1305, 1));
    }

    #[test]
    fn a_packet_of_1400_bytes_costs_89_units() {
        let wear = Wear::at(GCM_EARLY - 89, 0);
        assert!(!asks(&wear, Cipher::Aes128Gcm, 1));
        wear.sealed(1400);
        assert!(asks(&wear, Cipher::Aes128Gcm, 1));
    }

    #[test]
    fn a_key_opens_nothing_after_too_many_forgeries() {
        let wear = Wear::at(0, FORGERIES_LIMIT - 1);
        assert!(wear.may_open());
        wear.forged();
        assert!(!wear.may_open());
    }
}
