//! The requests about a device, typed.

use crate::{KeyNew, PeerNew, PeerSet, Slot};

/// What to ask of a device. Has no `Debug`: it may hold a key.
#[derive(Clone, Copy)]
pub enum Command<'a> {
    /// Add a peer.
    PeerNew(&'a PeerNew),
    /// Change one.
    PeerSet(&'a PeerSet),
    /// Tell of one.
    PeerGet(u32),
    /// Tell of all: a dump.
    Peers,
    /// Delete one.
    PeerDel(u32),
    /// Install a key.
    KeyNew(&'a KeyNew<'a>),
    /// Tell of a key.
    KeyGet(u32, Slot),
    /// Exchange the keys of a peer.
    KeySwap(u32),
    /// Delete a key.
    KeyDel(u32, Slot),
}

/// The API has no such command, or not all of it: what it cannot, as a verb and its object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsupported(pub &'static str);
