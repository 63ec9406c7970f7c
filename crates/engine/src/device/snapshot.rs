//! The packet path's view of a device.

use std::sync::Arc;

use udco_core::mss::MssFix;
use udco_core::{Mode, Peers, Routes, View, ip};
use udco_crypto::DirectionKey;

use crate::device::transport::Transport;
use crate::io::Io;

/// An immutable value: each change publishes another one (design decision 7).
pub(crate) struct Snapshot<I: Io> {
    pub(crate) peers: Peers<DirectionKey, Arc<Transport<I>>>,
    pub(crate) routes: Routes,
    pub(crate) tuning: Tuning,
}

/// Options of a device's client that affect its packets (faults E5).
#[derive(Clone, Copy, Default)]
pub(crate) struct Tuning {
    /// `mssfix`.
    pub(crate) mssfix: MssFix,
    /// `passtos`.
    pub(crate) passes_tos: bool,
}

impl Tuning {
    /// The traffic class of the datagram for an inner packet; 0 is the socket's own. Only the DSCP is copied, not the
    /// congestion bits: the other end would not carry them back inside (RFC 6040, compatibility mode).
    pub(crate) fn outer_class(self, packet: &[u8]) -> u8 {
        if self.passes_tos {
            ip::traffic_class(packet) & 0xfc
        } else {
            0
        }
    }
}

impl<I: Io> Snapshot<I> {
    /// The view for a batch of packets.
    pub(crate) fn view(&self, mode: Mode) -> View<'_, DirectionKey, Arc<Transport<I>>> {
        View::new(mode, &self.peers, &self.routes).with_mssfix(self.tuning.mssfix)
    }
}
