//! The engine as the API sees it: the trait that carries out requests, and its refusals.

use alloc::borrow::Cow;
use alloc::vec::Vec;
use core::error::Error;
use core::fmt;

use crate::{Api, Errno, KeyNew, KeyState, Mode, PeerNew, PeerSet, PeerState, Slot};

/// A refusal by the engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Error number.
    pub errno: Errno,
    /// Text for the extended ACK, without the family's prefix (`ovpn: `).
    pub text: Option<Cow<'static, str>>,
}

/// Why an interface index leads to no device (dco-behaviour 2.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoDevice {
    /// No interface has this index in the requester's network namespace.
    Unknown,
    /// The interface is not a device of this API.
    NotOurs,
    /// The device belongs to another user.
    Forbidden,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.text {
            Some(text) => write!(f, "{text} ({})", self.errno),
            None => self.errno.fmt(f),
        }
    }
}

impl Error for Refused {}

impl fmt::Display for NoDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown => "no interface has this index",
            Self::NotOurs => "the interface is not a device of this API",
            Self::Forbidden => "the device belongs to another user",
        })
    }
}

impl Error for NoDevice {}

/// The engine, as the API sees it. Each call is one validated request; a call that fails changes nothing.
pub trait Service {
    /// Mode of the device with this index in the requester's network namespace.
    ///
    /// # Errors
    /// [`NoDevice`].
    fn mode(&mut self, api: Api, ifindex: u32) -> Result<Mode, NoDevice>;

    /// Adds a peer.
    ///
    /// # Errors
    /// Those of dco-behaviour 2.6, from check 13 on.
    fn peer_new(&mut self, ifindex: u32, peer: &PeerNew) -> Result<(), Refused>;

    /// Changes a peer.
    ///
    /// # Errors
    /// Those of dco-behaviour 2.7.
    fn peer_set(&mut self, ifindex: u32, peer: &PeerSet) -> Result<(), Refused>;

    /// Reports a peer.
    ///
    /// # Errors
    /// `ENOENT` for an unknown id.
    fn peer_get(&mut self, ifindex: u32, id: u32) -> Result<PeerState, Refused>;

    /// Reports all peers, in any order.
    ///
    /// # Errors
    /// If there is no memory for the report.
    fn peers(&mut self, ifindex: u32) -> Result<Vec<PeerState>, Refused>;

    /// Deletes a peer.
    ///
    /// # Errors
    /// `ENOENT` for an unknown id.
    fn peer_del(&mut self, ifindex: u32, id: u32) -> Result<(), Refused>;

    /// Installs a key.
    ///
    /// # Errors
    /// Those of dco-behaviour 2.10.
    fn key_new(&mut self, ifindex: u32, key: &KeyNew<'_>) -> Result<(), Refused>;

    /// Reports a key.
    ///
    /// # Errors
    /// Those of dco-behaviour 2.11.
    fn key_get(&mut self, ifindex: u32, peer: u32, slot: Slot) -> Result<KeyState, Refused>;

    /// Swaps the primary and the secondary key.
    ///
    /// # Errors
    /// Those of dco-behaviour 2.12.
    fn key_swap(&mut self, ifindex: u32, peer: u32) -> Result<(), Refused>;

    /// Deletes a key.
    ///
    /// # Errors
    /// Those of dco-behaviour 2.13.
    fn key_del(&mut self, ifindex: u32, peer: u32, slot: Slot) -> Result<(), Refused>;
}
