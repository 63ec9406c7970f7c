//! Bad network conditions: a relay between client and server that loses, duplicates, delays, reorders and corrupts
//! packets, and checks that the counters stay right under it.
//!
//! The relay is a process in a host of its own, so that it also works in an unprivileged lab, whose namespaces a thread
//! cannot enter. It takes orders as JSON lines on its standard input ([`Order`]) and answers each with its counters
//! ([`Tally`]). The fate of the n-th data packet of a direction depends on the seed and n alone.

mod grid;
mod payload;
pub(crate) mod ports;
pub(crate) mod process;
mod segments;
mod session;
pub(crate) mod streams;
mod tally;
mod torn;
mod udp;

use serde::{Deserialize, Serialize};

pub use grid::{Cell, Outcome, grid, selection};
pub use ports::{Dead, Healthy, lose_nothing};
pub use process::Relay;
pub use session::{Counters, End, Session};
pub use tally::{Direction, Segments, Tally};
pub use torn::{Tear, Torn, reset, tears};

/// Network conditions, the same in both directions. Shares are from 0 to 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Weather {
    /// Share of datagrams that are lost.
    pub loss: f64,
    /// Share of datagrams that are held back for up to [`Self::reorder_us`] and overtaken.
    pub reorder: f64,
    /// The longest hold, microseconds.
    pub reorder_us: u64,
    /// Share of datagrams that are duplicated; the copy is delayed and corrupted independently.
    pub duplicate: f64,
    /// Share of datagrams with one flipped bit, anywhere.
    pub corrupt: f64,
    /// Delay of every datagram, microseconds.
    pub delay_us: u64,
    /// Up to this much additional delay, which reorders, too.
    pub jitter_us: u64,
    /// The link is cut: datagrams are lost, streams stall.
    pub cut: bool,
    /// Affects control packets, too. Otherwise it spares TLS, which retransmits only after whole seconds.
    pub hit_control: bool,
    /// TCP: the longest run of bytes written at once; 0 relays bytes as they arrive.
    pub segment: usize,
    /// TCP: share of runs with a stall before them.
    pub stall: f64,
    /// TCP: length of a stall, milliseconds.
    pub stall_ms: u64,
    /// TCP: share of runs at which to reset the connection.
    pub reset: f64,
}

impl Weather {
    /// Relays everything at once, unharmed.
    pub const CALM: Self = Self {
        loss: 0.0,
        reorder: 0.0,
        reorder_us: 0,
        duplicate: 0.0,
        corrupt: 0.0,
        delay_us: 0,
        jitter_us: 0,
        cut: false,
        hit_control: false,
        segment: 0,
        stall: 0.0,
        stall_ms: 0,
        reset: 0.0,
    };
}

/// An order to the relay, a JSON line.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub enum Order {
    /// Changes the weather from now on.
    Weather(Weather),
    /// Only reports the counters.
    Report,
}

/// Whether a datagram that starts with this byte is a data packet (`DATA_V2`, dco-behaviour 1.1).
pub(crate) fn is_data(datagram: &[u8]) -> bool {
    datagram.first().is_some_and(|first| first >> 3 == 9)
}
