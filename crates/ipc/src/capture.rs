//! Captured packets on their way from the engine to a client, on the socket of a [`crate::ToEngine::Capture`].
//!
//! Each message is one batch: the engine's clock and its losses ([`Batch`]), then packets, one after the other, each with
//! a header or several with one ([`Captured`]). Integers are in host order, as in all messages.

mod captured;

use core::net::SocketAddr;

pub use captured::{Captured, HEADER};

use crate::Malformed;

/// The longest message: the longest packet, or the longest run of them, fits with its header.
pub const MAX_BATCH: usize = 96 << 10;

/// What a capture shows; bits of [`crate::ToEngine::Capture`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Packets inside the tunnel, in the clear.
    pub inner: bool,
    /// Packets of the transport socket, as the workers receive and send them.
    pub outer: bool,
    /// Packets that are dropped, with the reason.
    pub drops: bool,
}

impl Wanted {
    pub(crate) const fn to_wire(self) -> u16 {
        self.inner as u16 | (self.outer as u16) << 1 | (self.drops as u16) << 2
    }

    pub(crate) const fn of_wire(bits: u16) -> Self {
        Self {
            inner: bits & 1 != 0,
            outer: bits & 2 != 0,
            drops: bits & 4 != 0,
        }
    }
}

/// The beginning of each message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// The engine's clock when it sent the message, in nanoseconds: that of [`Captured::at`].
    pub now: u64,
    /// Packets that the capture has lost so far, because the client did not read in time.
    pub lost: u64,
}

impl Batch {
    /// Encoded length in bytes.
    pub const LEN: usize = 16;

    /// Encodes it.
    #[must_use]
    pub fn encode(self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        let (now, lost) = bytes.split_at_mut(8);
        now.copy_from_slice(&self.now.to_ne_bytes());
        lost.copy_from_slice(&self.lost.to_ne_bytes());
        bytes
    }

    /// Decodes it, and returns the packets that follow.
    ///
    /// # Errors
    /// [`Malformed`] if the message is too short.
    pub fn decode(message: &[u8]) -> Result<(Self, &[u8]), Malformed> {
        let (now, rest) = message.split_first_chunk().ok_or(Malformed)?;
        let (lost, packets) = rest.split_first_chunk().ok_or(Malformed)?;
        let batch = Self {
            now: u64::from_ne_bytes(*now),
            lost: u64::from_ne_bytes(*lost),
        };
        Ok((batch, packets))
    }
}

/// Which side of the tunnel a packet was seen on, and which way it went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the TUN device to a peer, not sealed yet.
    InnerOut,
    /// From a peer to the TUN device, opened.
    InnerIn,
    /// A record on its way to a peer.
    OuterOut,
    /// A packet that the transport socket has received.
    OuterIn,
}

/// The addresses of an outer packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// Our end; its address is unspecified if the socket reports none.
    pub local: SocketAddr,
    /// The other end.
    pub remote: SocketAddr,
    /// Whether it went over TCP; the packet then lacks its length prefix.
    pub is_stream: bool,
}

#[cfg(test)]
mod tests;
