//! Packets lost on their way to us, as gaps in the packet ids show.

use core::ops::AddAssign;

/// How many packets the other end has sent, and how many of those have not arrived.
///
/// The packet ids of a key count from 1, so the highest one accepted is the number of packets sent with it so far, and
/// each lower id that was not accepted is a lost packet (RFC 3550 A.3). A late packet that the replay window accepts
/// closes its gap; duplicates change nothing. A loss shows once a later packet of the same key has arrived. An id that
/// the sender has used up without sending a packet also counts as lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Loss {
    /// Sent, as far as is known. Never falls, but may miss packets that are in flight when a key or the peer is
    /// removed.
    pub expected: u64,
    /// Not accepted, out of these. Falls by one with each late packet.
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
