//! The engine: devices, the workers that move their packets, and conversations with the clients that created them.
//!
//! Four rooms; each uses only those below it:
//! - `control`: `listen`, `dispenser` and `admission` (who is served), `conversation`, `links` and `requests` (what a
//!   client asks for), `registry` and `resources` (whose is what), `notifications`;
//! - `datapath`: `worker` (who moves packets), `transmit` and `receive` (a packet's way out and in), `placement` and
//!   `coalesce` (where, and when);
//! - `device`: what both meet: `interface`, `state` and `snapshot`, `transport` and `stream`, and the threads that look
//!   after it: `watch` (routes and paths) and `keepalive`;
//! - `io`: what device and data path need of the outside, which `linux` implements.
//!
//! [`embed`] is the data path for a program with an I/O of its own.
#![forbid(unsafe_code)]
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod backoff;
mod client;
mod control;
mod datapath;
mod device;
pub mod embed;
mod engine;
pub mod io;
mod linux;
mod started;
mod sync;
mod threads;

pub use control::dispenser::Dispenser;
pub use control::listen::{Access, Listening};
pub use control::output;
pub use device::offload::{Forbidden, Offload};
pub use engine::{Engine, Options};
