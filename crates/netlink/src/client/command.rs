//! The requests about a device, typed.

use core::error::Error;
use core::fmt;

use crate::{KeyNew, PeerNew, PeerSet, Slot};

/// A request about a device. Has no `Debug`: it may hold a key.
#[derive(Clone, Copy)]
pub enum Command<'a> {
    /// Add a peer.
    PeerNew(&'a PeerNew),
    /// Change a peer.
    PeerSet(&'a PeerSet),
    /// Report the peer with this id.
    PeerGet(u32),
    /// Report all peers: a dump.
    Peers,
    /// Delete the peer with this id.
    PeerDel(u32),
    /// Install a key.
    KeyNew(&'a KeyNew<'a>),
    /// Report the key in a slot of the peer with this id.
    KeyGet(u32, Slot),
    /// Swap the two keys of the peer with this id.
    KeySwap(u32),
    /// Delete the key in a slot of the peer with this id.
    KeyDel(u32, Slot),
}

/// The API lacks the command, or one of its attributes. The text says what it cannot do, as a verb and its object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsupported(pub &'static str);

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the API cannot {}", self.0)
    }
}

impl Error for Unsupported {}
