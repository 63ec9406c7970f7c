//! A device: a TUN interface with its peers, routes, counters and listeners.

use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError, Weak};

use arc_swap::{ArcSwap, Guard};
use udco_core::{DropCounters, Endpoint, Mode, Peers, Routes, Time, View};
use udco_netlink::{Api, DeleteReason, Notification};
use udco_sys::tun;

use crate::channel::Channel;
use crate::cipher::DirectionKey;
use crate::transport::Transport;

/// A peer, with the cipher and the transport that the engine uses.
pub(crate) type Peer = udco_core::Peer<DirectionKey, Arc<Transport>>;

/// What requests change about a device: the master copy.
pub(crate) struct State {
    /// The peers.
    pub(crate) core: udco_core::Device<DirectionKey, Arc<Transport>>,
    /// The routes of the device's network namespace.
    pub(crate) routes: Routes,
    /// What the listeners are to be told of the present change.
    notifications: Vec<Notification>,
}

/// What the packet path sees of a device (design decision 7).
pub(crate) struct Snapshot {
    pub(crate) peers: Peers<DirectionKey, Arc<Transport>>,
    pub(crate) routes: Routes,
}

/// The outer path's MTU, until paths are measured one by one.
const PATH_MTU: usize = 1500;

impl Snapshot {
    /// What a packet sees of it.
    pub(crate) const fn view(&self, mode: Mode) -> View<'_, DirectionKey, Arc<Transport>> {
        View {
            mode,
            peers: &self.peers,
            routes: &self.routes,
            path_mtu: PATH_MTU,
        }
    }
}

/// A device.
pub(crate) struct Device {
    pub(crate) ifindex: u32,
    pub(crate) name: String,
    pub(crate) api: Api,
    pub(crate) mode: Mode,
    pub(crate) queues: Vec<tun::Queue>,
    pub(crate) drops: DropCounters,
    state: Mutex<State>,
    snapshot: ArcSwap<Snapshot>,
    listeners: Mutex<Vec<Weak<Channel>>>,
}

impl Device {
    pub(crate) fn new(
        ifindex: u32,
        name: String,
        api: Api,
        mode: Mode,
        queues: Vec<tun::Queue>,
    ) -> Self {
        let seed = random_seed();
        let core = udco_core::Device::new(mode, seed);
        let routes = Routes::new(seed);
        let snapshot = Snapshot {
            peers: core.peers().clone(),
            routes: routes.clone(),
        };
        Self {
            ifindex,
            name,
            api,
            mode,
            queues,
            drops: DropCounters::new(),
            state: Mutex::new(State {
                core,
                routes,
                notifications: Vec::new(),
            }),
            snapshot: ArcSwap::from_pointee(snapshot),
            listeners: Mutex::default(),
        }
    }

    /// The present snapshot. Cheap; hold it for a batch, not longer.
    pub(crate) fn snapshot(&self) -> Guard<Arc<Snapshot>> {
        self.snapshot.load()
    }

    /// Changes the device, publishes what came of it and tells the listeners, in this order and before anybody else
    /// changes anything: a notification lies in its reader's queue before the request that caused it is answered.
    pub(crate) fn change<R>(&self, change: impl FnOnce(&mut State) -> R) -> R {
        let mut state = lock(&self.state);
        let result = change(&mut state);
        self.publish(&mut state);
        result
    }

    /// Looks at the master copy.
    pub(crate) fn look<R>(&self, look: impl FnOnce(&State) -> R) -> R {
        look(&lock(&self.state))
    }

    /// A peer's newest packet showed another address. Called on the packet path, so it never waits: if somebody is
    /// changing the device just now, the peer's next packet says the same again.
    pub(crate) fn float(&self, peer: u32, endpoint: Endpoint) {
        let mut state = match self.state.try_lock() {
            Ok(state) => state,
            Err(TryLockError::Poisoned(state)) => state.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        if state.core.float(peer, endpoint) {
            let remote = endpoint.remote;
            state.notify(Notification::PeerFloated {
                ifindex: self.ifindex,
                peer,
                remote,
            });
        }
        self.publish(&mut state);
    }

    /// Removes peers that `gone` names and tells the listeners why.
    pub(crate) fn remove_peers(&self, reason: DeleteReason, gone: impl Fn(&Peer) -> bool) -> usize {
        self.change(|state| {
            let removed = state.core.remove_peers(gone);
            for peer in &removed {
                state.notify(self.deleted(peer.id, reason));
            }
            removed.len()
        })
    }

    /// Removes the peers whose time is over; returns those that need a keepalive.
    pub(crate) fn tick(&self, now: Time) -> Vec<Arc<Peer>> {
        let mut state = lock(&self.state);
        let due = state.core.tick(now);
        for peer in &due.expired {
            tracing::info!("{}: peer {} expired", self.name, peer.id);
            state.notify(self.deleted(peer.id, DeleteReason::Expired));
        }
        for (peer, key_id) in &due.worn {
            tracing::info!(
                "{}: peer {peer}: key {key_id} is worn: asking for another",
                self.name
            );
            let (ifindex, peer, key_id) = (self.ifindex, *peer, *key_id);
            state.notify(Notification::KeySwap {
                ifindex,
                peer,
                key_id,
            });
        }
        if due.changed || !due.worn.is_empty() {
            self.publish(&mut state);
        }
        due.pings
    }

    /// The notification of a peer's end.
    pub(crate) const fn deleted(&self, peer: u32, reason: DeleteReason) -> Notification {
        Notification::PeerDeleted {
            ifindex: self.ifindex,
            peer,
            reason,
        }
    }

    /// Adds a listener.
    pub(crate) fn add_listener(&self, channel: &Arc<Channel>) {
        lock(&self.listeners).push(Arc::downgrade(channel));
    }

    fn publish(&self, state: &mut State) {
        let snapshot = Snapshot {
            peers: state.core.peers().clone(),
            routes: state.routes.clone(),
        };
        self.snapshot.store(Arc::new(snapshot));
        if state.notifications.is_empty() {
            return;
        }
        let mut listeners = lock(&self.listeners);
        listeners.retain(|listener| listener.strong_count() > 0);
        for notification in state.notifications.drain(..) {
            for listener in listeners.iter().filter_map(Weak::upgrade) {
                listener.notify(self.api, &notification);
            }
        }
    }
}

impl State {
    /// Tells the listeners, when the present change is published.
    pub(crate) fn notify(&mut self, notification: Notification) {
        self.notifications.push(notification);
    }
}

/// Seeds a table whose keys strangers choose (promises D3).
pub(crate) fn random_seed() -> u64 {
    RandomState::new().hash_one(())
}

/// A panic in another thread ends the process (see [`crate::Engine::start`]), so a poisoned lock is never seen for long.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
