//! Whole data paths of engines in one process and one thread, over a simulated network, clock and hosts. A run that needs
//! namespaces and minutes elsewhere takes milliseconds here, and a seed reproduces it.
//!
//! The engine's code is the real one ([`udco_engine::embed`]): transmit, receive, streams, early data, keepalives, float
//! and hand-offs. Simulated are the I/O under it ([`ready`], [`tun`], [`udp`], [`tcp`], [`relay`]), the network
//! ([`weather`]), and OpenVPN's part (keys, peers). [`scenario`] has what is tried, [`world`] lets time pass.
//!
//! One seed is one run: `cargo run -p udco-sim --example replay -- SEED`.
#![forbid(unsafe_code)]

pub mod fault;
pub mod inner;
pub mod keys;
pub mod loopback;
pub mod memory;
pub mod node;
pub mod queues;
pub mod ready;
pub mod relay;
pub mod rng;
pub mod scenario;
pub mod tcp;
pub mod trace;
pub mod tun;
pub mod udp;
pub mod weather;
pub mod world;

use std::fmt;
use std::io;

use udco_core::PeerError;

/// What a run has shown to be wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure(String);

impl Failure {
    /// This is wrong.
    pub fn new(what: impl Into<String>) -> Self {
        Self(what.into())
    }

    /// A failure with these words unless `holds`.
    ///
    /// # Errors
    /// That failure.
    pub fn unless(holds: bool, what: impl FnOnce() -> String) -> Result<(), Self> {
        match holds {
            true => Ok(()),
            false => Err(Self(what())),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(&self.0)
    }
}

impl std::error::Error for Failure {}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self(format!("the engine failed: {error}"))
    }
}

impl From<PeerError> for Failure {
    fn from(error: PeerError) -> Self {
        Self(format!("the engine refused: {error:?}"))
    }
}
