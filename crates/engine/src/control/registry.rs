//! The devices of an engine, whichever program made them, and the transport sockets that serve their peers.
//!
//! A client acts on every device of its network namespace that it or its user made; root acts on all of them
//! (promises G5).
//!
//! Every request needs the lock of the tables, so it is never held while waiting for a worker: sources leave the tables
//! first. Those that take sources back from workers go one at a time (`placing`): else one could find that another has
//! taken its source, and return while the other still waits for the worker that has it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use udco_core::Mode;
use udco_netlink::{Api, DeleteReason, LinkTarget};

use crate::client::{Client, ClientId, may_be_same_netns};
use crate::control::account::Charge;
use crate::control::notifications::Listeners;
use crate::datapath::worker::{Placed, Source, Workers};
use crate::device::Device;
use crate::device::transport::Transport;
use crate::sync::lock;

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
    /// Held by those that take sources back from workers, until no worker has them. Taken before `held`.
    placing: Mutex<()>,
    held: Mutex<Held>,
    /// Counts devices, to spread them over the workers.
    numbers: AtomicUsize,
    listeners: Arc<Listeners>,
}

#[derive(Default)]
struct Held {
    devices: Vec<Entry>,
    sockets: Vec<Attached>,
    /// Network namespace and index of devices that were removed last.
    gone: VecDeque<(u64, u32)>,
}

/// A device.
struct Entry {
    device: Arc<Device>,
    number: usize,
    placed: Vec<Placed>,
    /// Counts its sockets, to spread them over the workers.
    sockets: usize,
    /// User whose program made it.
    uid: u32,
    /// The client that uses it: the device ends with that client, unless it stays.
    owner: Option<ClientId>,
    /// It was made to outlive the client that made it: `udco link add`, `ip link add`.
    stays: bool,
    /// Its program wanted to delete it, and may not: it goes when the program ends.
    ends: bool,
    /// It counts as its user's.
    _charge: Charge,
}

/// A transport socket in the care of a worker.
struct Attached {
    transport: Arc<Transport>,
    device: Arc<Device>,
    placed: Placed,
}

impl Registry {
    pub(crate) fn new(listeners: Arc<Listeners>) -> Self {
        Self {
            placing: Mutex::default(),
            held: Mutex::default(),
            numbers: AtomicUsize::new(0),
            listeners,
        }
    }

    /// All of them.
    pub(crate) fn all(&self) -> Vec<Arc<Device>> {
        let held = lock(&self.held);
        held.devices
            .iter()
            .map(|entry| Arc::clone(&entry.device))
            .collect()
    }

    /// All of them, with the user whose program made each, and whether the client may use it.
    pub(crate) fn all_for(&self, client: &Client) -> Vec<(Arc<Device>, u32, bool)> {
        let held = lock(&self.held);
        let devices = held.devices.iter();
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
        let held = lock(&self.held);
        let entry = held.entry(client, |device| device.interface.ifindex == ifindex);
        match entry {
            Some(entry) if entry.permits(client) => Found::Device(Arc::clone(&entry.device)),
            Some(_) => Found::Forbidden,
            None if held.gone.contains(&(client.netns, ifindex)) => Found::Gone,
            None => Found::Nothing,
        }
    }

    /// The device that a link request names, if the client may use it: with those of others the kernel deals, as with
    /// all other links.
    pub(crate) fn find_link(&self, client: &Client, target: LinkTarget<'_>) -> Option<Arc<Device>> {
        let held = lock(&self.held);
        let entry = held.entry(client, |device| match target.ifindex {
            _ if device.interface.is_away() => false,
            Some(ifindex) => device.interface.ifindex == ifindex && device.interface.current_name().is_ok(),
            None => matches!((target.name, device.interface.current_name()), (Some(one), Ok(other)) if one == other),
        });
        let entry = entry.filter(|entry| entry.permits(client));
        entry.map(|entry| Arc::clone(&entry.device))
    }

    /// How many peers all devices of a user have.
    pub(crate) fn peers_of(&self, uid: u32) -> usize {
        let held = lock(&self.held);
        let own = held.devices.iter().filter(|entry| entry.uid == uid);
        own.map(|entry| entry.device.snapshot().peers.len()).sum()
    }

    /// The device with this index in the client's namespace, whoever made it: only to be shown as what it is.
    pub(crate) fn shown(&self, client: &Client, ifindex: u32) -> Option<Arc<Device>> {
        let held = lock(&self.held);
        let is_it =
            |device: &Device| device.interface.ifindex == ifindex && !device.interface.is_away();
        let entry = held.entry(client, is_it);
        entry.map(|entry| Arc::clone(&entry.device))
    }

    /// The device that a client has under this index, as `udco show` lists it: whoever made it. And whether that is
    /// certain: where namespaces have no number, the same index and name may occur in several.
    pub(crate) fn called(
        &self,
        netns: u64,
        ifindex: u32,
        name: &[u8],
    ) -> Option<(Arc<Device>, bool)> {
        let held = lock(&self.held);
        held.devices.iter().find_map(|Entry { device, .. }| {
            let is_numbered = device.interface.netns != 0 && netns != 0;
            let is_here = match is_numbered {
                true => device.interface.netns == netns,
                false => device.interface.name.as_bytes() == name,
            };
            let is_it = device.interface.ifindex == ifindex && is_here;
            is_it.then(|| (Arc::clone(device), is_numbered))
        })
    }

    /// A device that is registered for this place already.
    pub(crate) fn at(&self, netns: u64, ifindex: u32) -> Option<Arc<Device>> {
        let held = lock(&self.held);
        held.at(netns, ifindex).map(Arc::clone)
    }

    /// Adds a device that a program has made, and has the workers move its packets; `false` if another one has its place.
    pub(crate) fn add(
        &self,
        workers: &Workers,
        device: &Arc<Device>,
        (client, charge): (&Client, Charge),
    ) -> bool {
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let mut held = lock(&self.held);
        if held
            .at(device.interface.netns, device.interface.ifindex)
            .is_some()
        {
            return false;
        }
        let placed = place(workers, device, number);
        held.gone
            .retain(|place| *place != (device.interface.netns, device.interface.ifindex));
        held.devices.push(Entry {
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
        let mut held = lock(&self.held);
        let entry = held.of_mut(device)?;
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
        drop(held);
        workers.remove_all(placed);
        if let Some(entry) = lock(&self.held).of_mut(&device) {
            entry.placed = place(workers, &device, number);
        }
        Some(device)
    }

    /// Whether the device was made beforehand and is only used by this program.
    pub(crate) fn is_lent_to(&self, device: &Arc<Device>, client: ClientId) -> bool {
        let mut held = lock(&self.held);
        let entry = held.of_mut(device);
        entry.is_some_and(|entry| entry.stays && entry.owner == Some(client))
    }

    /// A program has wanted to delete a device.
    pub(crate) fn wants_end(&self, device: &Arc<Device>, client: ClientId) {
        if let Some(entry) = lock(&self.held).of_mut(device)
            && entry.owner == Some(client)
        {
            entry.ends = true;
        }
    }

    /// Whether the device's program has wanted to delete it.
    pub(crate) fn is_to_end(&self, device: &Arc<Device>) -> bool {
        lock(&self.held)
            .of_mut(device)
            .is_some_and(|entry| entry.ends)
    }

    /// The devices that a program uses and whose interfaces were moved to another network namespace.
    pub(crate) fn away(&self, client: ClientId) -> Vec<Arc<Device>> {
        let mut own = self.owned_by(client);
        own.retain(|device| device.interface.is_away());
        own
    }

    /// Whether another program uses the device.
    pub(crate) fn is_owned_by_another(&self, device: &Arc<Device>, client: ClientId) -> bool {
        let mut held = lock(&self.held);
        let owner = held.of_mut(device).and_then(|entry| entry.owner);
        owner.is_some_and(|owner| owner != client)
    }

    /// A program does not use a device any more, which stays.
    pub(crate) fn release(&self, device: &Arc<Device>) {
        device.remove_peers(DeleteReason::Teardown, crate::linux::now().time(), |_| true);
        if let Some(entry) = lock(&self.held).of_mut(device) {
            entry.owner = None;
            entry.stays = true;
        }
        device.set_owner(0);
    }

    /// The devices that a program uses.
    pub(crate) fn owned_by(&self, client: ClientId) -> Vec<Arc<Device>> {
        let held = lock(&self.held);
        let own = held
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
        let mut held = lock(&self.held);
        let Some(at) = held.position(device) else {
            return;
        };
        if held.gone.len() == REMEMBERED {
            held.gone.pop_front();
        }
        held.gone
            .push_back((device.interface.netns, device.interface.ifindex));
        let mut placed = held.devices.swap_remove(at).placed;
        // Its sockets stay with their clients, which may use them for another device.
        let rest = Arc::new(device.without_queues());
        let mut sockets = Vec::new();
        for socket in &mut held.sockets {
            if Arc::ptr_eq(&socket.device, device) {
                socket.device = Arc::clone(&rest);
                placed.push(std::mem::take(&mut socket.placed));
                sockets.push(Arc::clone(&socket.transport));
            }
        }
        drop(held);
        workers.remove_all(placed);
        let mut held = lock(&self.held);
        for transport in sockets {
            if let Some(socket) = held.of_transport(&transport) {
                socket.placed = workers.add(0, socket.source());
            }
        }
    }

    /// Gives the workers a socket, for the peers of a device; of another device from now on, if it
    /// was attached to one.
    pub(crate) fn attach(
        &self,
        workers: &Workers,
        transport: &Arc<Transport>,
        device: &Arc<Device>,
    ) {
        let _placing = lock(&self.placing);
        self.take_back(workers, transport);
        let mut held = lock(&self.held);
        let is_only = !held.serves(device);
        let entry = held.of_mut(device);
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
        held.sockets.push(attached);
    }

    /// The device whose peers a socket serves.
    pub(crate) fn served_by(&self, transport: &Arc<Transport>) -> Option<Arc<Device>> {
        let held = lock(&self.held);
        let mut sockets = held.sockets.iter();
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
        let detached = lock(&self.held).detach(transport);
        workers.remove_all(detached);
    }
}

impl Held {
    /// The device of the client's namespace that `is` meant.
    fn entry(&self, client: &Client, is: impl Fn(&Device) -> bool) -> Option<&Entry> {
        self.devices.iter().find(|entry| {
            let own = entry.owner == Some(client.id);
            // One that was moved away is for its program only: what it was called here, another one may be.
            let is_known = !entry.device.interface.is_away();
            let here =
                is_known && entry.device.interface.netns == client.netns && client.netns != 0;
            (own && may_be_same_netns(entry.device.interface.netns, client.netns) || here)
                && is(&entry.device)
        })
    }

    /// The device that is registered for a place. Where the kernel does not number namespaces, none is.
    fn at(&self, netns: u64, ifindex: u32) -> Option<&Arc<Device>> {
        let mut devices = self.devices.iter().map(|entry| &entry.device);
        devices.find(|other| {
            netns != 0
                && other.interface.netns == netns
                && other.interface.ifindex == ifindex
                && !other.interface.is_away()
        })
    }

    fn position(&self, device: &Arc<Device>) -> Option<usize> {
        let mut devices = self.devices.iter();
        devices.position(|entry| Arc::ptr_eq(&entry.device, device))
    }

    /// Whether a socket is attached to the device.
    fn serves(&self, device: &Arc<Device>) -> bool {
        let mut sockets = self.sockets.iter();
        sockets.any(|socket| Arc::ptr_eq(&socket.device, device))
    }

    fn of_mut(&mut self, device: &Arc<Device>) -> Option<&mut Entry> {
        let at = self.position(device)?;
        self.devices.get_mut(at)
    }

    fn of_transport(&mut self, transport: &Arc<Transport>) -> Option<&mut Attached> {
        let mut sockets = self.sockets.iter_mut();
        sockets.find(|socket| Arc::ptr_eq(&socket.transport, transport))
    }

    /// Takes a socket out; the worker that has it is to let go of it.
    fn detach(&mut self, transport: &Arc<Transport>) -> Option<Placed> {
        let is_it = |socket: &Attached| Arc::ptr_eq(&socket.transport, transport);
        let at = self.sockets.iter().position(is_it)?;
        Some(self.sockets.swap_remove(at).placed)
    }
}

impl Entry {
    /// The kernel asks for `CAP_NET_ADMIN` alone; here many users may have it, each in its own user namespace.
    fn permits(&self, client: &Client) -> bool {
        client.uid == 0 || client.uid == self.uid || self.owner == Some(client.id)
    }
}

impl Attached {
    fn source(&self) -> Source {
        Source::Network(Arc::clone(&self.device), Arc::clone(&self.transport))
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
