//! Captured packets on their way from the engine to a client, by the socket of a [`crate::ToEngine::Capture`].
//!
//! The packets lie in a file in memory that only the engine writes: [`BLOCKS`] blocks of [`BLOCK`] bytes. Beside the first
//! message is its descriptor. Each message has the engine's clock and its losses ([`Batch`]), then which blocks have packets
//! for the client ([`Filled`]). In these, packets lie one after the other, each with a header or several with one
//! ([`Captured`]). The client sends back what followed the [`Batch`] once it has read those blocks, in messages of its own
//! choice: only then may the engine write to them again. Integers are in host order, as in all messages.

mod captured;

use core::net::SocketAddr;

pub use captured::{Captured, HEADER};

use crate::Malformed;

/// Blocks of the file.
pub const BLOCKS: usize = 24;

/// Bytes of each.
pub const BLOCK: usize = 512 << 10;

/// The longest message, either way.
pub const MAX_BATCH: usize = Batch::LEN + BLOCKS * Filled::LEN;

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

    /// Decodes it, and returns what follows.
    ///
    /// # Errors
    /// [`Malformed`] if the message is too short.
    pub fn decode(message: &[u8]) -> Result<(Self, &[u8]), Malformed> {
        let (now, rest) = message.split_first_chunk().ok_or(Malformed)?;
        let (lost, blocks) = rest.split_first_chunk().ok_or(Malformed)?;
        let batch = Self {
            now: u64::from_ne_bytes(*now),
            lost: u64::from_ne_bytes(*lost),
        };
        Ok((batch, blocks))
    }
}

/// A block with packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Filled {
    /// Which one, from 0 on.
    pub block: u32,
    /// Bytes of packets in it, from its beginning.
    pub len: u32,
}

impl Filled {
    /// Encoded length in bytes.
    pub const LEN: usize = 8;

    /// Encodes it.
    #[must_use]
    pub fn encode(self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        let (block, len) = bytes.split_at_mut(4);
        block.copy_from_slice(&self.block.to_ne_bytes());
        len.copy_from_slice(&self.len.to_ne_bytes());
        bytes
    }

    /// Decodes all of what follows a [`Batch`]: each names a block of the file, with no more than fits.
    ///
    /// # Errors
    /// [`Malformed`] at the first that does not, or is incomplete; none follows it.
    pub fn decode_all(blocks: &[u8]) -> impl Iterator<Item = Result<Self, Malformed>> {
        let mut rest = blocks;
        core::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let filled = Self::decode(rest);
            rest = match filled {
                Ok(_) => rest.get(Self::LEN..).unwrap_or_default(),
                Err(Malformed) => &[],
            };
            Some(filled)
        })
    }

    fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let (block, rest) = bytes.split_first_chunk().ok_or(Malformed)?;
        let filled = Self {
            block: u32::from_ne_bytes(*block),
            len: u32::from_ne_bytes(*rest.first_chunk().ok_or(Malformed)?),
        };
        let fits = filled.block < BLOCKS as u32 && filled.len <= BLOCK as u32;
        fits.then_some(filled).ok_or(Malformed)
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
