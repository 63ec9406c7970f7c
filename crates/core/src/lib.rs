//! OpenVPN's data channel without I/O, clock, threads or randomness: bytes and time go in, bytes and events come out.
//!
//! Reading order: [`wire`] (what is on the wire), [`key`] (one key, both directions), [`replay`], [`packet_id`],
//! [`key_usage`], [`loss`] and [`key_slots`], [`peer_id`], [`peer`], [`device`] (what requests change), [`peers`] and
//! [`route`] (how a peer is found), [`inbound`] and [`outbound`] (a packet's way through them), [`framing`] (packets in a
//! TCP stream), [`offload`] (many packets at once, to and from the device), [`sparse`] (which flows may overtake others).
//!
//! What requests change lives in values that are cheap to clone ([`Peers`], [`Routes`]): the engine changes its own
//! copy and publishes a clone as an immutable snapshot for the packet path. What packets change (counters, packet
//! ids, the replay window, times of activity) is atomic and shared by all snapshots. So nothing here blocks.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]
#![warn(clippy::std_instead_of_core, clippy::alloc_instead_of_core)]
#![cfg_attr(
    not(test),
    warn(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )
)]

extern crate alloc;

pub mod aead;
pub mod cow_map;
pub mod device;
pub mod drop_reason;
pub mod endpoint;
pub mod framing;
pub mod inbound;
pub mod ip;
pub mod key;
pub mod key_slots;
pub mod key_usage;
pub mod loss;
pub mod mss;
pub mod offload;
pub mod outbound;
pub mod packet_id;
pub mod path_mtu;
pub mod peer;
pub mod peer_id;
pub mod peers;
pub mod recursion;
pub mod replay;
pub mod route;
pub mod sparse;
pub mod time;
pub mod used_keys;
pub mod view;
pub mod wire;

#[cfg(test)]
mod testing;

pub use aead::{Aead, AeadFailed, Cipher};
pub use device::{Device, Mode, NewPeer, Novelty, PeerChange, PeerError};
pub use drop_reason::{DropCounters, DropReason};
pub use endpoint::Endpoint;
pub use key::{Key, KeyMaterial, PacketId, Reserved};
pub use key_slots::{KeySlots, Slot};
pub use loss::Loss;
pub use peer::{Activity, Keepalive, Peer, Traffic};
pub use peer_id::PeerId;
pub use peers::Peers;
pub use route::Routes;
pub use time::Time;
pub use used_keys::KeyDigest;
pub use view::View;
pub use wire::KeyId;

/// Compiles and runs the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

#[cfg(test)]
mod tests {
    /// Compiles only for a type that implements `Error`, and thus has a message.
    fn is_error<T: core::error::Error>() {}

    #[test]
    fn errors_are_errors() {
        is_error::<crate::AeadFailed>();
        is_error::<crate::DropReason>();
        is_error::<crate::PeerError>();
        is_error::<crate::framing::BadLength>();
        is_error::<crate::offload::HeaderError>();
        is_error::<crate::offload::MergeError>();
        is_error::<crate::replay::Stale>();
    }
}
