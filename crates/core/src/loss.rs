//! Packets lost on the way here, as gaps in packet ids show them.

use core::ops::AddAssign;

/// Packets that were sent here, and those of them that have not arrived.
///
/// The packet ids of a key count from 1, so the highest one accepted is how many packets were sent with it so far, and
/// each lower one that was not accepted is a packet lost (RFC 3550 A.3). A late packet that the replay window takes
/// closes its gap; copies change nothing. A loss shows once a later packet of the same key has arrived. An id that the
/// sender has used up without sending a packet counts as lost, too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Loss {
    /// Sent, as far as is known. Does not fall, but may miss what is in flight when a key or the peer goes.
    pub expected: u64,
    /// Of these, not accepted. Falls by one with each late packet.
    pub lost: u64,
}

impl Loss {
    /// Nothing was sent yet.
    pub const NONE: Self = Self {
        expected: 0,
        lost: 0,
    };
}

impl AddAssign for Loss {
    fn add_assign(&mut self, other: Self) {
        self.expected = self.expected.saturating_add(other.expected);
        self.lost = self.lost.saturating_add(other.lost);
    }
}
