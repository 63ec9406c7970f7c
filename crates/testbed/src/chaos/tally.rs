//! The relay's counters.

use serde::{Deserialize, Serialize};

/// A relay's counters since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// From clients to the server.
    pub up: Direction,
    /// From the server to clients.
    pub down: Direction,
    /// Datagrams that wait to be relayed.
    pub waiting: u64,
    /// TCP streams, both directions.
    pub segments: Segments,
}

/// Datagrams of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Direction {
    /// Data packets received, by their original first byte.
    pub data_in: u64,
    /// Other datagrams received.
    pub other_in: u64,
    /// Keepalives received, recognised by their size; part of [`Self::data_in`].
    pub keepalives_in: u64,
    /// Copies made.
    pub duplicated: u64,
    /// Lost on purpose.
    pub lost: u64,
    /// Lost because the link was cut.
    pub cut: u64,
    /// Of those relayed: with a flipped bit.
    pub corrupted: u64,
    /// Held back to be overtaken.
    pub held: u64,
    /// Relayed, and still data packets by their first byte.
    pub data_out: u64,
    /// Relayed, and turned into `DATA_V1` by their first byte.
    pub data_v1_out: u64,
    /// Relayed, and anything else by their first byte, originally or by corruption.
    pub other_out: u64,
    /// Distinct keepalives of which at least one copy was relayed unharmed; part of [`Self::data_out`].
    pub keepalives_out: u64,
    /// Failed to send.
    pub refused: u64,
}

impl Direction {
    /// Checks that each received packet was relayed or lost, apart from those in `waiting`.
    pub fn is_balanced(&self) -> bool {
        let came = self.data_in + self.other_in + self.duplicated;
        let went = self.data_out + self.data_v1_out + self.other_out;
        came == went + self.lost + self.cut + self.refused
    }

    /// The increase since `before`.
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

/// Relayed streams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segments {
    /// Connections accepted.
    pub connections: u64,
    /// Bytes relayed, both directions.
    pub bytes: u64,
    /// Writes that relayed them.
    pub writes: u64,
    /// Stalls.
    pub stalls: u64,
    /// Connections reset on purpose.
    pub resets: u64,
}
