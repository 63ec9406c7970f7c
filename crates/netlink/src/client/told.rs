//! The content of messages from the driver, typed.

use crate::{Errno, KeyState, Notification, PeerState};

/// The content of a message from the driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// The request is done, or refused: nothing follows.
    Ended(Result<(), Failure>),
    /// A peer.
    Peer(PeerState),
    /// A key.
    Key(KeyState),
    /// What happened to a device, unasked.
    Notification(Notification),
    /// Something that nobody here reads.
    Other,
}

/// Why a request was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// As a number.
    pub errno: Errno,
    /// In words, with the family's prefix (`ovpn: `).
    pub text: Option<String>,
    /// Number of an attribute that is missing.
    pub missing: Option<u16>,
}
