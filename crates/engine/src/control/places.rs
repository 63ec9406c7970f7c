//! Connection places: how many connections an engine serves at a time.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::Sender;

use crate::control::account::is_privileged;

/// The most connections at a time (promises G6): one per client, none per peer. Root and the engine's own user have
/// places of their own, which no other user can take (faults D3).
const MAX_OF_USERS: usize = 96;
const MAX_PRIVILEGED: usize = 64;

/// Held by each session of a client that got its connection from a dispenser: once the last lease is dropped, no such
/// session is left.
pub(crate) type Lease = Sender<Infallible>;

/// The places in use.
#[derive(Default)]
pub(crate) struct Places {
    privileged: Arc<AtomicUsize>,
    of_users: Arc<AtomicUsize>,
}

/// A connection's place; given back when dropped.
pub(crate) struct Place(Arc<AtomicUsize>);

impl Places {
    /// A place for a connection of this user; `None` if all are taken.
    pub(crate) fn take(&self, uid: u32) -> Option<Place> {
        let (places, most) = match is_privileged(uid) {
            true => (&self.privileged, MAX_PRIVILEGED),
            false => (&self.of_users, MAX_OF_USERS),
        };
        Place::take(places, most)
    }
}

impl Place {
    fn take(places: &Arc<AtomicUsize>, most: usize) -> Option<Self> {
        let place = Self(Arc::clone(places));
        (places.fetch_add(1, Ordering::Relaxed) < most).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
