//! The devices of an engine, whichever client made them, and the transport sockets that serve their peers.
//!
//! A client acts on every device of its network namespace that it or its user made; root acts on all of them
//! (promises G5).
//!
//! Every request needs the lock of the tables, so it is never held while waiting for a worker: sources leave the tables
//! first. Those that take sources back from workers go one at a time (`placing`): else one could find that another has
//! taken its source, and return while the other still waits for the worker that has it.

mod tables;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use udco_core::Mode;
use udco_netlink::{Api, DeleteReason, LinkTarget};
use udco_sys::Netns;

use crate::client::{Client, ClientId};
use crate::control::account::Charge;
use crate::control::notifications::Listeners;
use crate::datapath::worker::{Placed, Source, Workers};
use crate::device::Device;
use crate::device::transport::Transport;
use crate::sync::lock;

use tables::{Attached, Entry, Tables};

/// The result of a look-up.
pub(crate) enum Found {
    Device(Arc<Device>),
    /// A device of another user.
    Forbidden,
    /// A device that was removed a moment ago; its interface may still be there.
    Gone,
    Nothing,
}

/// How many removed devices are remembered: as many as may be on their way out at a time.
const REMEMBERED: usize = 16;

/// All devices of an engine.
pub(crate) struct Registry {
    /// Held by those that take sources back from workers, until no worker has them. Taken before `tables`.
    placing: Mutex<()>,
    tables: Mutex<Tables>,
    /// Counts devices, to spread them over the workers.
    numbers: AtomicUsize,
    listeners: Arc<Listeners>,
}

impl Registry {
    pub(crate) fn new(listeners: Arc<Listeners>) -> Self {
        Self {
            placing: Mutex::default(),
            tables: Mutex::default(),
            numbers: AtomicUsize::new(0),
            listeners,
        }
    }

    /// All of them.
    pub(crate) fn all(&self) -> Vec<Arc<Device>> {
        let tables = lock(&self.tables);
        tables
            .devices
            .iter()
            .map(|entry| Arc::clone(&entry.device))
            .collect()
    }

    /// All of them, with the user whose client made each, and whether the client may use it.
    pub(crate) fn all_for(&self, client: &Client) -> Vec<(Arc<Device>, u32, bool)> {
        let tables = lock(&self.tables);
        let devices = tables.devices.iter();
        let devices = devices.map(|entry| {
            let device = Arc::clone(&entry.device);
            (device, entry.uid, entry.permits(client))
        });
        devices.collect()
    }

    /// The listeners for what happens to devices.
    pub(crate) const fn listeners(&self) -> &Arc<Listeners> {
        &self.listeners
    }

    /// The device with this index in the client's namespace.
    pub(crate) fn find(&self, client: &Client, ifindex: u32) -> Found {
        let tables = lock(&self.tables);
        let entry = tables.entry(client, |device| device.interface.ifindex == ifindex);
        match entry {
            Some(entry) if entry.permits(client) => Found::Device(Arc::clone(&entry.device)),
            Some(_) => Found::Forbidden,
            None if tables.has_gone(client.netns, ifindex) => Found::Gone,
            None => Found::Nothing,
        }
    }

    /// The device that a link request names, if the client may use it. Requests about devices of others go to the kernel,
    /// like those about all other links.
    pub(crate) fn find_link(&self, client: &Client, target: LinkTarget<'_>) -> Option<Arc<Device>> {
        let tables = lock(&self.tables);
        let entry = tables.entry(client, |device| match target.ifindex {
            _ if device.interface.is_away() => false,
            Some(ifindex) => device.interface.ifindex == ifindex && device.interface.current_name().is_ok(),
            None => matches!((target.name, device.interface.current_name()), (Some(one), Ok(other)) if one == other),
        });
        let entry = entry.filter(|entry| entry.permits(client));
        entry.map(|entry| Arc::clone(&entry.device))
    }

    /// How many peers all devices of a user have.
    pub(crate) fn peers_of(&self, uid: u32) -> usize {
        let tables = lock(&self.tables);
        let own = tables.devices.iter().filter(|entry| entry.uid == uid);
        own.map(|entry| entry.device.snapshot().peers.len()).sum()
    }

    /// The device with this index in the client's namespace, whoever made it: only to be shown as what it is.
    pub(crate) fn shown(&self, client: &Client, ifindex: u32) -> Option<Arc<Device>> {
        let tables = lock(&self.tables);
        let is_it =
            |device: &Device| device.interface.ifindex == ifindex && !device.interface.is_away();
        let entry = tables.entry(client, is_it);
        entry.map(|entry| Arc::clone(&entry.device))
    }

    /// The device that a client has under this index, as `udco show` lists it, whoever made it; and whether that is
    /// certain: where namespaces have no number, the same index and name may occur in several.
    pub(crate) fn called(
        &self,
        netns: Netns,
        ifindex: u32,
        name: &[u8],
    ) -> Option<(Arc<Device>, bool)> {
        let tables = lock(&self.tables);
        tables.devices.iter().find_map(|Entry { device, .. }| {
            let is_numbered = device.interface.netns.is_known() && netns.is_known();
            let is_here = match is_numbered {
                true => device.interface.netns.is(netns),
                false => device.interface.name.as_bytes() == name,
            };
            let is_it = device.interface.ifindex == ifindex && is_here;
            is_it.then(|| (Arc::clone(device), is_numbered))
        })
    }

    /// A device that is registered for this place already.
    pub(crate) fn at(&self, netns: Netns, ifindex: u32) -> Option<Arc<Device>> {
        let tables = lock(&self.tables);
        tables.at(netns, ifindex).map(Arc::clone)
    }

    /// Adds a device that a client has made, and has the workers move its packets; `false` if another one has its place.
    pub(crate) fn add(
        &self,
        workers: &Workers,
        device: &Arc<Device>,
        (client, charge): (&Client, Charge),
    ) -> bool {
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let mut tables = lock(&self.tables);
        if tables
            .at(device.interface.netns, device.interface.ifindex)
            .is_some()
        {
            return false;
        }
        let placed = place(workers, device, number);
        let (here, index) = (device.interface.netns, device.interface.ifindex);
        tables
            .gone
            .retain(|(netns, ifindex)| !(netns.is(here) && *ifindex == index));
        tables.devices.push(Entry {
            device: Arc::clone(device),
            number,
            placed,
            sockets: 0,
            uid: client.uid,
            owner: Some(client.id),
            stays: false,
            ends: false,
            _charge: charge,
        });
        true
    }

    /// Gives a client a device that was created beforehand and is not in use, with the API and the mode that the client
    /// wants. `None` if it is not such a device.
    pub(crate) fn take_over(
        &self,
        workers: &Workers,
        device: &Arc<Device>,
        client: &Client,
        (api, mode): (Api, Mode),
    ) -> Option<Arc<Device>> {
        let _placing = lock(&self.placing);
        let mut tables = lock(&self.tables);
        let entry = tables.of_mut(device)?;
        let is_free = entry.stays && entry.owner.is_none() && !device.has_peers();
        // Its creator may still have a queue of it: no other user's packets may come to it (faults D1).
        if !is_free || entry.uid != client.uid {
            return None;
        }
        let device = Arc::new(device.with_kind(api, mode));
        let number = entry.number;
        let placed = std::mem::take(&mut entry.placed);
        entry.owner = Some(client.id);
        entry.device = Arc::clone(&device);
        device.set_owner(client.id);
        drop(tables);
        workers.remove_all(placed);
        if let Some(entry) = lock(&self.tables).of_mut(&device) {
            entry.placed = place(workers, &device, number);
        }
        Some(device)
    }

    /// Whether the device was made beforehand and is only used by this client.
    pub(crate) fn is_lent_to(&self, device: &Arc<Device>, client: ClientId) -> bool {
        let mut tables = lock(&self.tables);
        let entry = tables.of_mut(device);
        entry.is_some_and(|entry| entry.stays && entry.owner == Some(client))
    }

    /// A client wants to delete a device.
    pub(crate) fn wants_end(&self, device: &Arc<Device>, client: ClientId) {
        if let Some(entry) = lock(&self.tables).of_mut(device)
            && entry.owner == Some(client)
        {
            entry.ends = true;
        }
    }

    /// Whether the device's client wants to delete it.
    pub(crate) fn is_to_end(&self, device: &Arc<Device>) -> bool {
        lock(&self.tables)
            .of_mut(device)
            .is_some_and(|entry| entry.ends)
    }

    /// The devices that a client uses and whose interfaces were moved to another network namespace.
    pub(crate) fn away(&self, client: ClientId) -> Vec<Arc<Device>> {
        let mut own = self.owned_by(client);
        own.retain(|device| device.interface.is_away());
        own
    }

    /// Whether another client uses the device.
    pub(crate) fn is_owned_by_another(&self, device: &Arc<Device>, client: ClientId) -> bool {
        let mut tables = lock(&self.tables);
        let owner = tables.of_mut(device).and_then(|entry| entry.owner);
        owner.is_some_and(|owner| owner != client)
    }

    /// A client no longer uses a device, which stays.
    pub(crate) fn release(&self, device: &Arc<Device>) {
        device.remove_peers(DeleteReason::Teardown, crate::linux::now().time(), |_| true);
        if let Some(entry) = lock(&self.tables).of_mut(device) {
            entry.owner = None;
            entry.stays = true;
        }
        device.set_owner(0);
    }

    /// The devices that a client uses.
    pub(crate) fn owned_by(&self, client: ClientId) -> Vec<Arc<Device>> {
        let tables = lock(&self.tables);
        let own = tables
            .devices
            .iter()
            .filter(|entry| entry.owner == Some(client));
        own.map(|entry| Arc::clone(&entry.device)).collect()
    }

    /// Lets go of a device: its peers end, its queues are closed. The interface stays as long as it is persistent.
    pub(crate) fn remove(&self, workers: &Workers, device: &Arc<Device>) {
        // First, so that no peer is added while it goes.
        device.end();
        let _placing = lock(&self.placing);
        let mut tables = lock(&self.tables);
        let Some(at) = tables.position(device) else {
            return;
        };
        if tables.gone.len() == REMEMBERED {
            tables.gone.pop_front();
        }
        tables
            .gone
            .push_back((device.interface.netns, device.interface.ifindex));
        let mut placed = tables.devices.swap_remove(at).placed;
        // Its sockets stay with their clients, which may use them for another device.
        let rest = Arc::new(device.without_queues());
        let mut sockets = Vec::new();
        for socket in &mut tables.sockets {
            if Arc::ptr_eq(&socket.device, device) {
                socket.device = Arc::clone(&rest);
                placed.push(std::mem::take(&mut socket.placed));
                sockets.push(Arc::clone(&socket.transport));
            }
        }
        drop(tables);
        workers.remove_all(placed);
        let mut tables = lock(&self.tables);
        for transport in sockets {
            if let Some(socket) = tables.of_transport(&transport) {
                socket.placed = workers.add(0, socket.source());
            }
        }
    }

    /// Gives the workers a socket, for the peers of a device; if it was attached to another, it leaves that.
    pub(crate) fn attach(
        &self,
        workers: &Workers,
        transport: &Arc<Transport>,
        device: &Arc<Device>,
    ) {
        let _placing = lock(&self.placing);
        self.take_back(workers, transport);
        let mut tables = lock(&self.tables);
        let is_only = !tables.serves(device);
        let entry = tables.of_mut(device);
        // The worker beside those that have the device's queues: each direction has a core under load. More sockets,
        // each of a peer over TCP, are spread.
        let (device, worker) = match entry {
            Some(entry) => {
                entry.sockets = if is_only { 1 } else { entry.sockets + 1 };
                let before = entry.placed.len() + entry.sockets - 1;
                let worker = entry.number + before;
                for placed in &entry.placed {
                    workers.lend(placed, is_only.then_some(worker));
                }
                (Arc::clone(device), worker)
            }
            // It has just been removed.
            None => (Arc::new(device.without_queues()), 0),
        };
        let mut attached = Attached {
            transport: Arc::clone(transport),
            device,
            placed: Placed::default(),
        };
        attached.placed = workers.add(worker, attached.source());
        tables.sockets.push(attached);
    }

    /// The device whose peers a socket serves.
    pub(crate) fn served_by(&self, transport: &Arc<Transport>) -> Option<Arc<Device>> {
        let tables = lock(&self.tables);
        let mut sockets = tables.sockets.iter();
        let attached = sockets.find(|socket| Arc::ptr_eq(&socket.transport, transport));
        attached.map(|attached| Arc::clone(&attached.device))
    }

    /// Takes a socket from the workers. When this returns, they do not touch it any more.
    pub(crate) fn detach(&self, workers: &Workers, transport: &Arc<Transport>) {
        let _placing = lock(&self.placing);
        self.take_back(workers, transport);
    }

    /// [`Registry::detach`], for one that holds `placing`.
    fn take_back(&self, workers: &Workers, transport: &Arc<Transport>) {
        let detached = lock(&self.tables).detach(transport);
        workers.remove_all(detached);
    }
}

fn place(workers: &Workers, device: &Arc<Device>, number: usize) -> Vec<Placed> {
    let queues = 0..device.interface.queues.len();
    queues
        .map(|queue| workers.add(number + queue, Source::Tun(Arc::clone(device), queue)))
        .collect()
}

#[cfg(test)]
mod tests;
