//! The content of messages from the driver, typed.

use alloc::string::String;
use core::error::Error;
use core::fmt;

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

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.text, self.missing) {
            (Some(text), _) => write!(f, "{text} ({})", self.errno),
            (None, Some(number)) => write!(f, "attribute {number} is missing ({})", self.errno),
            (None, None) => self.errno.fmt(f),
        }
    }
}

impl Error for Failure {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_errors_with_a_message() {
        let failure = |text: Option<&str>, missing| Failure {
            errno: Errno::EINVAL,
            text: text.map(str::to_owned),
            missing,
        };
        let message = |error: &dyn Error| error.to_string();
        assert_eq!(
            message(&failure(Some("ovpn: no"), None)),
            "ovpn: no (error 22)"
        );
        assert_eq!(
            message(&failure(None, Some(6))),
            "attribute 6 is missing (error 22)"
        );
        assert_eq!(message(&failure(None, None)), "error 22");
    }
}
