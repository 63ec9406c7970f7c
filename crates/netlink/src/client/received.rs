//! The content of messages from the driver, typed.

use crate::{Errno, KeyState, Notification, PeerState};

/// The content of a message from the driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received {
    /// The end of an answer: the request succeeded or was refused.
    Ended(Result<(), Failure>),
    /// A peer.
    Peer(PeerState),
    /// A key.
    Key(KeyState),
    /// A notification, which answers no request.
    Notification(Notification),
    /// A message of another kind, or one that cannot be read.
    Other,
}

/// Why a request was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The kernel's error number.
    pub errno: Errno,
    /// The kernel's text, with the family's prefix (`ovpn: `).
    pub text: Option<String>,
    /// Number of the missing attribute.
    pub missing: Option<u16>,
}
