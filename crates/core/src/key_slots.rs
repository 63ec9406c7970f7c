//! The two slots that hold a peer's keys (dco-behaviour 5.5), and a deleted key that still opens packets.

use alloc::boxed::Box;
use alloc::sync::Arc;

use crate::key::Key;
use crate::loss::Loss;
use crate::time::Time;
use crate::wire::{Format, KeyId};

/// A key slot, by its role: a swap exchanges the roles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    /// Encrypts; decryption tries it first.
    Primary,
    /// Decrypts only.
    Secondary,
}

/// The two slots of a peer. Clones share the keys.
pub struct KeySlots<A> {
    primary: Option<Arc<Key<A>>>,
    secondary: Option<Arc<Key<A>>>,
    /// A deleted key that still opens packets. Boxed: a peer has one only for a second after a rekey, and there are
    /// many peers.
    retired: Option<Box<Retired<A>>>,
    /// The loss under keys that are gone.
    past: Loss,
}

/// A deleted key that opens packets until its time is up.
struct Retired<A> {
    key: Arc<Key<A>>,
    until: Time,
}

impl<A> KeySlots<A> {
    /// Both slots empty.
    #[must_use]
    pub const fn empty() -> Self {
        Self {
            primary: None,
            secondary: None,
            retired: None,
            past: Loss::NONE,
        }
    }

    /// The key in a slot.
    #[must_use]
    pub const fn at(&self, slot: Slot) -> Option<&Arc<Key<A>>> {
        match slot {
            Slot::Primary => self.primary.as_ref(),
            Slot::Secondary => self.secondary.as_ref(),
        }
    }

    /// The wire format of sent records: the primary key's, or `DATA_V2` before there is one.
    #[must_use]
    pub fn format(&self) -> Format {
        let primary = self.primary.as_ref();
        primary.map_or(Format::DATA_V2, |key| key.format())
    }

    /// The key for a received key id. Both slots may hold the same id; the primary wins.
    #[must_use]
    pub fn by_key_id(&self, id: KeyId, now: Time) -> Option<&Arc<Key<A>>> {
        let retired = self
            .retired
            .as_ref()
            .filter(|retired| now < retired.until)
            .map(|retired| &retired.key);
        let slots = [self.primary.as_ref(), self.secondary.as_ref(), retired];
        slots
            .into_iter()
            .flatten()
            .find(|key| key.material.id == id)
    }

    /// Whether a packet that this key has just opened may move the peer (design decision 10, faults E1).
    ///
    /// Not if a later key has opened one: this packet may have been withheld. Nor while another key is primary and in
    /// use, since only the order of installation tells which key is later. A client switches to its new key long before
    /// the server makes that key primary; if the client moves in between, the server follows it within a second.
    #[must_use]
    pub fn may_move(&self, key: &Key<A>, now: Time) -> bool {
        let is_outdated = [&self.primary, &self.secondary]
            .into_iter()
            .flatten()
            .any(|other| other.latest_in_use() > key.order);
        let is_beside = self.primary.as_ref().is_some_and(|primary| {
            !core::ptr::eq(&raw const **primary, key) && primary.has_opened_lately(now)
        });
        !(is_outdated || is_beside)
    }

    /// Empties a slot, but its key still opens packets in flight until `until`.
    pub fn retire(&mut self, slot: Slot, until: Time) {
        let key = match slot {
            Slot::Primary => self.primary.take(),
            Slot::Secondary => self.secondary.take(),
        };
        self.forget_retired();
        self.retired = key.map(|key| Box::new(Retired { key, until }));
    }

    /// Whether there is a retired key whose time is up.
    #[must_use]
    pub fn is_overdue(&self, now: Time) -> bool {
        self.retired
            .as_ref()
            .is_some_and(|retired| now >= retired.until)
    }

    /// Whether there is a retired key.
    #[must_use]
    pub const fn has_retired(&self) -> bool {
        self.retired.is_some()
    }

    /// Drops the retired key, which wipes it.
    pub fn forget_retired(&mut self) {
        let gone = self.retired.take();
        self.remember(gone.map(|retired| retired.key));
    }

    /// Puts a key into a slot, replacing what was there, or empties the slot. The secondary is never promoted to an
    /// empty primary slot.
    pub fn put(&mut self, slot: Slot, mut key: Option<Key<A>>) {
        if let Some(key) = &mut key {
            let latest = self.present().map(|key| key.order).max();
            key.order = latest.unwrap_or_default().saturating_add(1);
            let replaced = self.at(slot).map(|replaced| replaced.latest_in_use());
            key.replaced = replaced.unwrap_or_default();
        }
        let place = match slot {
            Slot::Primary => &mut self.primary,
            Slot::Secondary => &mut self.secondary,
        };
        let gone = core::mem::replace(place, key.map(Arc::new));
        self.remember(gone);
    }

    /// How many packets the other end has sent with all keys so far, and how many of those were lost.
    ///
    /// A key that is gone counts as it stood then: packets that another thread still opens with it, from an earlier
    /// snapshot, are in neither figure.
    #[must_use]
    pub fn loss(&self) -> Loss {
        let mut sum = self.past;
        for key in self.present() {
            sum += key.loss();
        }
        sum
    }

    /// The keys in the slots, and the retired one.
    fn present(&self) -> impl Iterator<Item = &Arc<Key<A>>> {
        let retired = self.retired.as_ref().map(|retired| &retired.key);
        let all = [self.primary.as_ref(), self.secondary.as_ref(), retired];
        all.into_iter().flatten()
    }

    /// Keeps the loss of a key that is gone.
    fn remember(&mut self, gone: Option<Arc<Key<A>>>) {
        if let Some(gone) = gone {
            self.past += gone.loss();
        }
    }

    /// Swaps the slots, empty or not.
    pub const fn swap(&mut self) {
        core::mem::swap(&mut self.primary, &mut self.secondary);
    }
}

impl<A> Clone for Retired<A> {
    fn clone(&self) -> Self {
        Self {
            key: Arc::clone(&self.key),
            until: self.until,
        }
    }
}

impl<A> Clone for KeySlots<A> {
    fn clone(&self) -> Self {
        Self {
            primary: self.primary.clone(),
            secondary: self.secondary.clone(),
            retired: self.retired.clone(),
            past: self.past,
        }
    }
}

#[cfg(test)]
mod tests;
