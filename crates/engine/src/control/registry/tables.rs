//! What an engine's registry holds: devices and the sockets of their peers.

use std::collections::VecDeque;
use std::sync::Arc;

use udco_sys::Netns;

use crate::client::{Client, ClientId};
use crate::control::account::Charge;
use crate::datapath::worker::{Placed, Source};
use crate::device::Device;
use crate::device::transport::Transport;

#[derive(Default)]
pub(super) struct Tables {
    pub(super) devices: Vec<Entry>,
    pub(super) sockets: Vec<Attached>,
    /// Network namespace and index of devices that were removed last.
    pub(super) gone: VecDeque<(Netns, u32)>,
}

/// A device.
pub(super) struct Entry {
    pub(super) device: Arc<Device>,
    pub(super) number: usize,
    pub(super) placed: Vec<Placed>,
    /// Counts its sockets, to spread them over the workers.
    pub(super) sockets: usize,
    /// User whose client made it.
    pub(super) uid: u32,
    /// The client that uses it: the device ends with that client, unless it stays.
    pub(super) owner: Option<ClientId>,
    /// It was made to outlive the client that made it: `udco link add`, `ip link add`.
    pub(super) stays: bool,
    /// Its client wanted to delete it, and may not: it goes when the client ends.
    pub(super) ends: bool,
    /// It counts as its user's.
    pub(super) _charge: Charge,
}

/// A transport socket in the care of a worker.
pub(super) struct Attached {
    pub(super) transport: Arc<Transport>,
    pub(super) device: Arc<Device>,
    pub(super) placed: Placed,
}

impl Tables {
    /// The device of the client's namespace that `is` meant.
    pub(super) fn entry(&self, client: &Client, is: impl Fn(&Device) -> bool) -> Option<&Entry> {
        self.devices.iter().find(|entry| {
            let own = entry.owner == Some(client.id);
            // One that was moved away is for its client only: another one may have its name here by now.
            let is_known = !entry.device.interface.is_away();
            let netns = entry.device.interface.netns;
            let here = is_known && netns.is(client.netns);
            (own && netns.may_be(client.netns) || here) && is(&entry.device)
        })
    }

    /// The device that is registered for a place. Where the kernel does not number namespaces, none is.
    pub(super) fn at(&self, netns: Netns, ifindex: u32) -> Option<&Arc<Device>> {
        let mut devices = self.devices.iter().map(|entry| &entry.device);
        devices.find(|other| {
            other.interface.netns.is(netns)
                && other.interface.ifindex == ifindex
                && !other.interface.is_away()
        })
    }

    /// Whether the device of this place was removed a short while ago.
    pub(super) fn has_gone(&self, netns: Netns, ifindex: u32) -> bool {
        let mut gone = self.gone.iter();
        gone.any(|(there, index)| there.is(netns) && *index == ifindex)
    }

    pub(super) fn position(&self, device: &Arc<Device>) -> Option<usize> {
        let mut devices = self.devices.iter();
        devices.position(|entry| Arc::ptr_eq(&entry.device, device))
    }

    /// Whether a socket is attached to the device.
    pub(super) fn serves(&self, device: &Arc<Device>) -> bool {
        let mut sockets = self.sockets.iter();
        sockets.any(|socket| Arc::ptr_eq(&socket.device, device))
    }

    pub(super) fn of_mut(&mut self, device: &Arc<Device>) -> Option<&mut Entry> {
        let at = self.position(device)?;
        self.devices.get_mut(at)
    }

    pub(super) fn of_transport(&mut self, transport: &Arc<Transport>) -> Option<&mut Attached> {
        let mut sockets = self.sockets.iter_mut();
        sockets.find(|socket| Arc::ptr_eq(&socket.transport, transport))
    }

    /// Takes a socket out; the worker that has it is to let go of it.
    pub(super) fn detach(&mut self, transport: &Arc<Transport>) -> Option<Placed> {
        let is_it = |socket: &Attached| Arc::ptr_eq(&socket.transport, transport);
        let at = self.sockets.iter().position(is_it)?;
        Some(self.sockets.swap_remove(at).placed)
    }
}

impl Entry {
    /// The kernel asks for `CAP_NET_ADMIN` alone; here many users may have it, each in its own user namespace.
    pub(super) fn permits(&self, client: &Client) -> bool {
        client.uid == 0 || client.uid == self.uid || self.owner == Some(client.id)
    }
}

impl Attached {
    pub(super) fn source(&self) -> Source {
        Source::Network(Arc::clone(&self.device), Arc::clone(&self.transport))
    }
}
