//! Bad weather: a relay between client and server that loses, doubles, delays, reorders and corrupts what it hands on,
//! and the means to check that nothing is miscounted under it.
//!
//! The relay is a process in a host of its own, so that it also works in an unprivileged lab, whose namespaces a thread
//! cannot enter. It takes orders as JSON lines on its standard input ([`Order`]) and answers each with its counters
//! ([`Tally`]). What it does to the n-th data packet of a direction is decided by the seed and n alone.

pub(crate) mod dice;
mod grid;
mod payload;
mod ports;
mod process;
mod segments;
mod session;
mod tally;
mod torn;
mod udp;

use serde::{Deserialize, Serialize};

pub use grid::{Cell, Outcome, grid, selection};
pub use ports::{Dead, Healthy, lose_nothing};
pub use process::{Relay, main};
pub use session::{Counters, End, Session};
pub use tally::{Direction, Segments, Tally};
pub use torn::{Tear, Torn, reset, tears};

/// What happens to packets, the same in both directions. Shares are from 0 to 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Weather {
    /// Share of datagrams that vanish.
    pub loss: f64,
    /// Share of datagrams that are held back for up to [`Self::reorder_us`], while others overtake them.
    pub reorder: f64,
    /// The longest a datagram is held back, microseconds.
    pub reorder_us: u64,
    /// Share of datagrams that arrive twice; the copy is delayed and corrupted on its own account.
    pub duplicate: f64,
    /// Share of datagrams of which one bit is flipped, anywhere.
    pub corrupt: f64,
    /// Delay of every datagram, microseconds.
    pub delay_us: u64,
    /// Up to this much more delay, which reorders too.
    pub jitter_us: u64,
    /// The line is cut: datagrams vanish, streams stand still.
    pub cut: bool,
    /// Hits control packets too. Otherwise TLS, which sends again after whole seconds, goes untouched.
    pub hit_control: bool,
    /// TCP: the longest run of bytes written at once; 0 hands on what comes as it comes.
    pub segment: usize,
    /// TCP: share of runs before which the stream stalls.
    pub stall: f64,
    /// TCP: how long it stalls, milliseconds.
    pub stall_ms: u64,
    /// TCP: share of runs at which the connection is reset.
    pub reset: f64,
}

impl Weather {
    /// Everything is handed on at once.
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
    /// From now on the weather is this.
    Weather(Weather),
    /// Only say what you did.
    Report,
}

/// Whether a datagram that starts with this byte is a data packet (`DATA_V2`, dco-behaviour 1.1).
pub(crate) fn is_data(datagram: &[u8]) -> bool {
    datagram.first().is_some_and(|first| first >> 3 == 9)
}
