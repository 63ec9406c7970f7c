//! What the relay did.

use serde::{Deserialize, Serialize};

/// Counters of a relay since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// From clients to the server.
    pub up: Direction,
    /// From the server to clients.
    pub down: Direction,
    /// Datagrams that wait to be handed on.
    pub waiting: u64,
    /// TCP, both directions.
    pub segments: Segments,
}

/// Datagrams of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Direction {
    /// Data packets that came, as they came.
    pub data_in: u64,
    /// Other datagrams that came.
    pub other_in: u64,
    /// Keepalives that came, by their size; part of [`Self::data_in`].
    pub keepalives_in: u64,
    /// Copies made.
    pub duplicated: u64,
    /// Lost on purpose.
    pub lost: u64,
    /// Lost because the line was cut.
    pub cut: u64,
    /// Of those handed on: with a flipped bit.
    pub corrupted: u64,
    /// Held back to be overtaken.
    pub held: u64,
    /// Handed on, and still data packets by their first byte.
    pub data_out: u64,
    /// Handed on, and by their first byte `DATA_V1`, which they became.
    pub data_v1_out: u64,
    /// Handed on, and something else by their first byte: what came so, or became so.
    pub other_out: u64,
    /// Different keepalives of which at least one copy was handed on unharmed; part of [`Self::data_out`].
    pub keepalives_out: u64,
    /// Could not be sent.
    pub refused: u64,
}

impl Direction {
    /// Checks that what came in went out or was lost, `waiting` left out.
    pub fn is_balanced(&self) -> bool {
        let came = self.data_in + self.other_in + self.duplicated;
        let went = self.data_out + self.data_v1_out + self.other_out;
        came == went + self.lost + self.cut + self.refused
    }

    /// What was added since `before`.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        Self {
            data_in: self.data_in - before.data_in,
            other_in: self.other_in - before.other_in,
            keepalives_in: self.keepalives_in - before.keepalives_in,
            duplicated: self.duplicated - before.duplicated,
            lost: self.lost - before.lost,
            cut: self.cut - before.cut,
            corrupted: self.corrupted - before.corrupted,
            held: self.held - before.held,
            data_out: self.data_out - before.data_out,
            data_v1_out: self.data_v1_out - before.data_v1_out,
            other_out: self.other_out - before.other_out,
            keepalives_out: self.keepalives_out - before.keepalives_out,
            refused: self.refused - before.refused,
        }
    }
}

/// Streams that were handed on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segments {
    /// Connections taken.
    pub connections: u64,
    /// Bytes handed on, both directions.
    pub bytes: u64,
    /// Writes in which they were handed on.
    pub writes: u64,
    /// Stalls.
    pub stalls: u64,
    /// Connections reset on purpose.
    pub resets: u64,
}
