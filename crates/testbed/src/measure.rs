//! Traffic through the tunnel, its outcome and its cost: ping, iperf3, UDP datagrams as a flood or as questions, `/proc`.

mod cost;
mod ends;
pub mod flood;
pub mod order;
mod ping;
pub mod questions;
mod stream;
mod work;

pub(crate) use ends::is_readable;

pub use cost::{Cost, Ledger, busy_processors, peak_memory};
pub use flood::{Delivery, Flood};
pub use order::{Order, Sequence};
pub use ping::{Echo, Ping};
pub use questions::RoundTrips;
pub use stream::{Stream, Throughput, begin_with, begin_without_pacing};
pub use work::Work;
