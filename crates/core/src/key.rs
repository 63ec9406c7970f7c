//! A key of a peer: both directions, its packet ids and its replay window.

use core::fmt;
use core::ops::RangeInclusive;

use zeroize::Zeroize;

use crate::aead::{Aead, AeadFailed, Cipher, NONCE};
use crate::drop_reason::DropReason;
use crate::key_usage::KeyUsage;
use crate::loss::Loss;
use crate::packet_id::PacketIds;
use crate::peer_id::PeerId;
use crate::replay::{ReplayWindow, Stale};
use crate::time::Time;
use crate::wire::{Format, KeyId, Parts, data_v2_word};

/// The material of a [`Key`]. `A` holds the secret of one direction.
pub struct KeyMaterial<A> {
    /// Key id on the wire.
    pub id: KeyId,
    /// Cipher, informational: KEY_GET and `udco show` report it.
    pub cipher: Cipher,
    /// Seals sent packets.
    pub encrypt: A,
    /// Opens received packets.
    pub decrypt: A,
    /// Last 8 bytes of the nonces of sent packets.
    pub encrypt_nonce_tail: [u8; 8],
    /// Last 8 bytes of the nonces of received packets.
    pub decrypt_nonce_tail: [u8; 8],
}

/// A key with its packet ids and replay window. It cannot be cloned: two clones would use the same packet ids.
pub struct Key<A> {
    pub(crate) material: KeyMaterial<A>,
    packet_ids: PacketIds,
    window: ReplayWindow,
    usage: KeyUsage,
    /// Higher than that of any key its peer had before; [`KeySlots::put`](crate::KeySlots::put) sets it.
    pub(crate) order: u32,
    /// The order of the latest key that has opened a packet and was replaced by this one, or by one before it.
    pub(crate) replaced: u32,
    installed: Time,
}

/// An opened record: authentic, and not seen before.
#[derive(Debug)]
pub struct Opened<'r> {
    /// The plaintext.
    pub payload: &'r mut [u8],
    /// Whether it is the newest packet of this key so far.
    pub newest: bool,
}

impl<A: Aead> Key<A> {
    /// A fresh key: packet ids start at 1, and the replay window is empty.
    #[must_use]
    pub fn new(material: KeyMaterial<A>) -> Self {
        Self::with_packet_ids(material, PacketIds::new())
    }

    /// A key whose packet ids start elsewhere, for tests of the limits.
    #[must_use]
    pub fn with_packet_ids(material: KeyMaterial<A>, packet_ids: PacketIds) -> Self {
        Self {
            material,
            packet_ids,
            window: ReplayWindow::new(),
            usage: KeyUsage::new(),
            order: 0,
            replaced: 0,
            installed: Time::default(),
        }
    }

    /// Records when it was installed; informational, like the cipher.
    #[must_use]
    pub const fn installed_at(mut self, now: Time) -> Self {
        self.installed = now;
        self
    }

    /// When it was installed.
    #[must_use]
    pub const fn installed(&self) -> Time {
        self.installed
    }

    /// Key id on the wire.
    #[must_use]
    pub const fn id(&self) -> KeyId {
        self.material.id
    }

    /// Cipher.
    #[must_use]
    pub const fn cipher(&self) -> Cipher {
        self.material.cipher
    }

    /// Reserves `count` packet ids, or as many as are left; `None` if the key is used up. Ids that are dropped unused
    /// are lost.
    #[must_use]
    pub fn reserve(&self, count: u32) -> Option<Reserved<'_, A>> {
        let ids = self.packet_ids.reserve(count)?;
        Some(Reserved { key: self, ids })
    }

    /// Reserves one packet id; `None` if the key is used up.
    pub fn next_packet_id(&self) -> Option<PacketId<'_, A>> {
        self.reserve(1)?.next()
    }

    /// Whether all packet ids have been reserved, so that the key can seal nothing more.
    #[must_use]
    pub fn is_used_up(&self) -> bool {
        self.packet_ids.is_used_up()
    }

    /// Whether it has opened a packet, i.e. the other end uses it.
    #[must_use]
    pub fn has_opened(&self) -> bool {
        !self.window.is_empty()
    }

    /// Whether a rekey is due and has not been reported yet: true once in a key's life, see [`KeyUsage`].
    pub fn take_rekey_due(&self) -> bool {
        self.usage
            .take_rekey_due(self.material.cipher, &self.packet_ids)
    }

    /// Only for [`PacketId::seal`], which guarantees that the packet id is unused.
    fn seal(&self, tx_id: PeerId, packet_id: u32, record: &mut [u8]) -> Result<(), DropReason> {
        let failed = DropReason::TxSealFailed;
        let Parts { aad, tag, payload } = self.format().split(record).ok_or(failed)?;
        let (word, id) = aad.split_first_chunk_mut().ok_or(failed)?;
        *word = data_v2_word(self.material.id, tx_id);
        *id.first_chunk_mut().ok_or(failed)? = packet_id.to_be_bytes();
        let nonce = nonce(packet_id.to_be_bytes(), self.material.encrypt_nonce_tail);
        self.material
            .encrypt
            .seal(nonce, aad, payload, tag)
            .map_err(|AeadFailed| failed)?;
        self.usage.count_sealed(payload.len());
        Ok(())
    }

    /// Opens a received record in place. Unless the tag is right, at most the key's count of forgeries changes, and the
    /// record's contents are unspecified.
    ///
    /// # Errors
    /// [`DropReason::RxNoTag`], [`DropReason::RxIntegrityLimit`], [`DropReason::RxBadTag`], [`DropReason::RxReplay`],
    /// [`DropReason::RxTooOld`].
    pub fn open<'r>(&self, record: &'r mut [u8], now: Time) -> Result<Opened<'r>, DropReason> {
        let parts = self.format().split(record).ok_or(DropReason::RxNoTag)?;
        if !self.usage.may_open() {
            return Err(DropReason::RxIntegrityLimit);
        }
        let Parts { aad, tag, payload } = parts;
        let id = *aad.last_chunk().ok_or(DropReason::RxNoTag)?;
        let nonce = nonce(id, self.material.decrypt_nonce_tail);
        self.material
            .decrypt
            .open(nonce, aad, payload, tag)
            .map_err(|AeadFailed| {
                self.usage.count_forgery();
                DropReason::RxBadTag
            })?;
        match self.window.accept(u32::from_be_bytes(id), now) {
            Ok(fresh) => Ok(Opened {
                payload,
                newest: fresh.newest,
            }),
            Err(Stale::Replay) => Err(DropReason::RxReplay),
            Err(Stale::TooOld) => Err(DropReason::RxTooOld),
        }
    }
}

impl<A> Key<A> {
    /// The wire format of its records. All keys have one format so far, so this costs nothing.
    #[must_use]
    pub const fn format(&self) -> Format {
        Format::DATA_V2
    }

    /// How many packets the other end has sent with it, and how many of those were lost.
    #[must_use]
    pub fn loss(&self) -> Loss {
        self.window.loss()
    }

    /// Whether it has opened a packet in the last second.
    pub(crate) fn has_opened_lately(&self, now: Time) -> bool {
        self.window.accepted_lately(now)
    }

    /// The order of the latest key that has opened a packet, be it this one or one that it has replaced.
    pub(crate) fn latest_in_use(&self) -> u32 {
        if self.window.is_empty() {
            self.replaced
        } else {
            self.order
        }
    }
}

/// A packet id of one key: the right to seal one packet under a nonce of its own (promises B4).
///
/// Only [`Key::reserve`] and [`Key::next_packet_id`] make one, from the key's counter, and [`PacketId::seal`] consumes
/// it. It is bound to its key. So no code that compiles uses a nonce twice:
///
/// ```
/// fn once<A: udco_core::Aead>(id: udco_core::PacketId<'_, A>, to: udco_core::PeerId, record: &mut [u8]) {
///     let _ = id.seal(to, record);
/// }
/// ```
/// ```compile_fail,E0382
/// fn twice<A: udco_core::Aead>(id: udco_core::PacketId<'_, A>, to: udco_core::PeerId, record: &mut [u8]) {
///     let _ = id.seal(to, record);
///     let _ = id.seal(to, record);
/// }
/// ```
/// ```compile_fail,E0599
/// fn copied<A: udco_core::Aead>(id: udco_core::PacketId<'_, A>, to: udco_core::PeerId, record: &mut [u8]) {
///     let _ = id.clone().seal(to, record);
/// }
/// ```
/// ```compile_fail,E0451
/// fn made_up<A>(key: &udco_core::Key<A>) -> udco_core::PacketId<'_, A> {
///     udco_core::PacketId { key, value: 7 }
/// }
/// ```
#[must_use = "a packet id that is dropped is lost"]
pub struct PacketId<'k, A> {
    key: &'k Key<A>,
    value: u32,
}

impl<A: Aead> PacketId<'_, A> {
    /// Makes a record in place, with `tx_id` as its peer id: `record` is the inner packet, surrounded by the room that
    /// the key's [`Format`] requires.
    ///
    /// # Errors
    /// [`DropReason::TxSealFailed`] if there is no room for the overhead or the cipher fails. The packet id is lost.
    pub fn seal(self, tx_id: PeerId, record: &mut [u8]) -> Result<(), DropReason> {
        self.key.seal(tx_id, self.value, record)
    }
}

impl<A> PacketId<'_, A> {
    /// The number on the wire.
    #[must_use]
    pub const fn value(&self) -> u32 {
        self.value
    }
}

/// Any packet id of a key, for tests of what the other end may send.
#[cfg(test)]
pub(crate) const fn any_packet_id<A>(key: &Key<A>, value: u32) -> PacketId<'_, A> {
    PacketId { key, value }
}

/// Packet ids of one key that were reserved together, in ascending order.
pub struct Reserved<'k, A> {
    key: &'k Key<A>,
    ids: RangeInclusive<u32>,
}

impl<'k, A> Iterator for Reserved<'k, A> {
    type Item = PacketId<'k, A>;

    fn next(&mut self) -> Option<Self::Item> {
        let value = self.ids.next()?;
        let key = self.key;
        Some(PacketId { key, value })
    }
}

impl<A> fmt::Debug for PacketId<'_, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PacketId").field(&self.value).finish()
    }
}

impl<A> fmt::Debug for Reserved<'_, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Reserved").field(&self.ids).finish()
    }
}

impl<A> Drop for Key<A> {
    fn drop(&mut self) {
        // `A` wipes the secrets; the nonce tails are key material too.
        self.material.encrypt_nonce_tail.zeroize();
        self.material.decrypt_nonce_tail.zeroize();
    }
}

fn nonce(packet_id: [u8; 4], tail: [u8; 8]) -> [u8; NONCE] {
    let mut nonce = [0; NONCE];
    let (front, back) = nonce.split_at_mut(4);
    front.copy_from_slice(&packet_id);
    back.copy_from_slice(&tail);
    nonce
}

#[cfg(test)]
mod tests;
