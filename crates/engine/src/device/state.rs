//! The part of a device that requests can change.

use std::sync::Arc;

use udco_core::{Mode, PeerId, Routes};
use udco_crypto::DirectionKey;
use udco_netlink::Notification;
use udco_sys::Netns;

use crate::device::moves::News;
use crate::device::snapshot::{Snapshot, Tuning};
use crate::device::transport::Transport;
use crate::io::Io;

/// The most peers whose paths are queried individually before a round for all.
pub(crate) const MAX_UNMEASURED: usize = 1 << 11;

/// The master copy.
pub(crate) struct State<I: Io> {
    /// The peers.
    pub(crate) core: udco_core::Device<DirectionKey, Arc<Transport<I>>>,
    /// The routes of the device's network namespace.
    pub(crate) routes: Routes,
    /// Its client's own options.
    pub(super) tuning: Tuning,
    /// The device is ending: it accepts no more peers.
    pub(crate) is_ended: bool,
    /// Peers that have come or moved since paths were last queried.
    pub(super) unmeasured: Vec<PeerId>,
    /// Moves that listeners were notified of recently.
    pub(super) news: News,
    /// Notifications of the change in progress, with the namespace of their listeners.
    pub(super) notifications: Vec<(Netns, Notification)>,
}

impl<I: Io> State<I> {
    pub(super) fn new(mode: Mode, routes: Routes, seed: u64) -> Self {
        Self {
            core: udco_core::Device::new(mode, seed),
            routes,
            tuning: Tuning::default(),
            is_ended: false,
            unmeasured: Vec::new(),
            news: News::default(),
            notifications: Vec::new(),
        }
    }

    /// A peer has come or moved: the path to it is unknown.
    pub(crate) fn measure(&mut self, peer: PeerId) {
        // Beyond that, a round queries all.
        if self.unmeasured.len() < MAX_UNMEASURED && self.unmeasured.last() != Some(&peer) {
            self.unmeasured.push(peer);
        }
    }

    /// Notifies the listeners in a network namespace once this change is published: with `ovpn`, in that of the peer's
    /// transport socket (dco-behaviour 2.14).
    pub(crate) fn notify(&mut self, netns: Netns, notification: Notification) {
        self.notifications.push((netns, notification));
    }

    pub(super) fn netns_of(&self, peer: PeerId) -> Netns {
        let peer = self.core.peers().by_id(peer);
        peer.map_or(Netns::UNKNOWN, |peer| peer.transport.netns)
    }

    /// A snapshot for the packet path.
    pub(super) fn snapshot(&self) -> Snapshot<I> {
        Snapshot {
            peers: self.core.peers().clone(),
            routes: self.routes.clone(),
            tuning: self.tuning,
        }
    }
}
