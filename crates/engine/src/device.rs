//! A device: a TUN interface with its peers, routes and listeners.
//!
//! Requests change a value behind a lock ([`state`]); the packet path reads the [`snapshot`] that each change publishes.

pub(crate) mod capture;
pub(crate) mod ended;
mod float;
pub(crate) mod handoff;
pub(crate) mod interface;
pub(crate) mod keepalive;
pub(crate) mod moves;
pub(crate) mod notify;
pub(crate) mod offload;
pub(crate) mod paths;
pub(crate) mod peer;
pub(crate) mod queues;
pub(crate) mod registration;
pub(crate) mod route_mirror;
pub(crate) mod snapshot;
pub(crate) mod state;
pub(crate) mod stream;
pub(crate) mod totals;
pub(crate) mod transport;
pub(crate) mod watch;

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use arc_swap::{ArcSwap, Guard};
use udco_core::{Mode, PeerId, Routes, Time};
use udco_ipc::message_id;
use udco_netlink::{Api, DeleteReason, Notification, PeerState};

use crate::client::{Client, ClientId};
use crate::device::ended::EndedPeers;
use crate::device::interface::Interface;
use crate::device::moves::Moves;
use crate::device::notify::{Audience, Notify};
use crate::device::peer::{Peer, loss_of, state_of};
use crate::device::snapshot::{Snapshot, Tuning};
use crate::device::state::State;
use crate::io::Io;
use crate::linux::Linux;
use crate::sync::lock;

/// A device.
pub(crate) struct Device<I: Io = Linux> {
    pub(crate) interface: Arc<Interface<I>>,
    pub(crate) api: Api,
    pub(crate) mode: Mode,
    state: Mutex<State<I>>,
    snapshot: ArcSwap<Snapshot<I>>,
    listeners: Arc<dyn Notify>,
    /// The user whose client made it.
    uid: u32,
    /// The client that uses it; 0 if none does.
    owner: AtomicU64,
    /// Where peers have moved to.
    moves: Moves,
    /// Peers that ended a moment ago.
    ended: Mutex<EndedPeers>,
    /// The kernel knows some path to be narrower than we assume.
    paths_in_doubt: AtomicBool,
}

/// The devices of an engine, for the threads that look after them.
pub(crate) trait Devices: Send + Sync + 'static {
    /// All of them.
    fn all(&self) -> Vec<Arc<Device>>;

    /// Removes one; its interface stays while it is persistent.
    fn remove(&self, device: &Arc<Device>);
}

impl<I: Io> Device<I> {
    /// A device over an interface that a client has handed over, without peers.
    pub(crate) fn new(
        interface: Arc<Interface<I>>,
        kind: (Api, Mode),
        client: &Client,
        listeners: Arc<dyn Notify>,
    ) -> Self {
        Self::seeded(interface, kind, client, listeners, random_seed())
    }

    /// As [`Self::new`], with this seed for its tables.
    pub(crate) fn seeded(
        interface: Arc<Interface<I>>,
        (api, mode): (Api, Mode),
        client: &Client,
        listeners: Arc<dyn Notify>,
        seed: u64,
    ) -> Self {
        let state = State::new(mode, Routes::new(seed), seed);
        let device = Self {
            interface,
            api,
            mode,
            snapshot: ArcSwap::from_pointee(state.snapshot()),
            state: Mutex::new(state),
            listeners,
            uid: client.uid,
            owner: AtomicU64::new(client.id),
            moves: Moves::new(),
            ended: Mutex::default(),
            paths_in_doubt: AtomicBool::new(false),
        };
        device.change(|_| ());
        device
    }

    /// Another device over the same interface: without peers, of this API and mode.
    pub(crate) fn with_kind(&self, api: Api, mode: Mode) -> Self {
        let device = self.over(Arc::clone(&self.interface), api, mode);
        if mode == Mode::Mp {
            // In the other mode it may have had no peer.
            device.interface.set_carrier(true);
        }
        let routes = self.look(|state| state.routes.clone());
        device.change(|state| state.routes = routes);
        device
    }

    /// A device without queues or peers, which accepts none: for the sockets of a device that is gone.
    pub(crate) fn without_queues(&self) -> Self {
        let interface = Arc::new(self.interface.without_queues());
        let device = self.over(interface, self.api, self.mode);
        device.end();
        device
    }

    fn over(&self, interface: Arc<Interface<I>>, api: Api, mode: Mode) -> Self {
        let client = Client {
            id: self.owner.load(Ordering::Relaxed),
            uid: self.uid,
            netns: self.interface.netns,
        };
        Self::new(interface, (api, mode), &client, Arc::clone(&self.listeners))
    }

    /// The interface was moved to another network namespace: its queues keep working, and its client still names it by its
    /// old index. The routes of the old namespace do not lead there. `false` if that was known.
    pub(crate) fn set_away(&self) -> bool {
        let is_new = self.interface.set_away();
        if is_new {
            self.change(|state| state.routes = Routes::new(random_seed()));
        }
        is_new
    }

    /// The present snapshot. Cheap; hold it for a batch, not longer.
    pub(crate) fn snapshot(&self) -> Guard<Arc<Snapshot<I>>> {
        self.snapshot.load()
    }

    /// Changes the device, publishes the result and notifies the listeners, in this order and before anything else can
    /// change: a notification is in its reader's queue before the request that caused it is answered.
    pub(crate) fn change<R>(&self, change: impl FnOnce(&mut State<I>) -> R) -> R {
        let mut state = lock(&self.state);
        // First the moves that the packet path has noted.
        self.follow_moves(&mut state);
        let result = change(&mut state);
        self.publish(&mut state);
        result
    }

    /// Reads the master copy.
    pub(crate) fn look<R>(&self, look: impl FnOnce(&State<I>) -> R) -> R {
        let mut state = lock(&self.state);
        if !self.moves.is_empty() {
            self.follow_moves(&mut state);
            self.publish(&mut state);
        }
        look(&state)
    }

    /// Removes the peers for which `gone` is true, and notifies the listeners of this reason.
    pub(crate) fn remove_peers(
        &self,
        reason: DeleteReason,
        now: Time,
        gone: impl Fn(&Peer<I>) -> bool,
    ) -> usize {
        self.change(|state| self.remove_from(state, reason, now, gone))
    }

    fn remove_from(
        &self,
        state: &mut State<I>,
        reason: DeleteReason,
        now: Time,
        gone: impl Fn(&Peer<I>) -> bool,
    ) -> usize {
        let mut removed = state.core.remove_peers(gone);
        // The kernel's order is that of a hash; sorted is for people.
        removed.sort_by_key(|peer| peer.id);
        for peer in &removed {
            state.notify(peer.transport.netns, self.ended(peer, reason, now));
        }
        removed.len()
    }

    /// Removes peers whose keepalive timeout has expired; returns those that need a keepalive, and whether retired keys are
    /// left.
    pub(crate) fn tick(&self, now: Time) -> (Vec<Arc<Peer<I>>>, bool) {
        lock(&self.ended).forget_old(now);
        let mut state = lock(&self.state);
        let due = state.core.tick(now);
        for peer in &due.expired {
            tracing::info!(
                message_id = message_id::PEER_EXPIRED,
                device = self.interface.name,
                peer = peer.id.value(),
                "{}: peer {} expired",
                self.interface.name,
                peer.id
            );
            let event = self.ended(peer, DeleteReason::Expired, now);
            state.notify(peer.transport.netns, event);
        }
        for (peer, key_id) in &due.rekey_due {
            tracing::info!(
                message_id = message_id::REKEY_DUE,
                device = self.interface.name,
                peer = peer.value(),
                "{}: peer {peer}: key {key_id} is nearly used up: requesting a new one",
                self.interface.name
            );
            let event = Notification::KeySwap {
                ifindex: self.interface.ifindex,
                peer: peer.value(),
                key_id: key_id.value(),
            };
            let netns = state.netns_of(*peer);
            state.notify(netns, event);
        }
        if due.changed || !due.rekey_due.is_empty() {
            self.publish(&mut state);
        }
        (due.pings, due.lingers)
    }

    /// A peer has ended: detaches it from its transport, and returns the notification.
    pub(crate) fn ended(&self, peer: &Peer<I>, reason: DeleteReason, now: Time) -> Notification {
        peer.transport.detach();
        let totals = &self.interface.totals;
        totals.add(reason, &peer.activity, loss_of(peer));
        // An OpenVPN 2.6 server asks for a client's counters once its peer has ended.
        if (self.api, self.mode) == (Api::DcoV2, Mode::Mp) && reason != DeleteReason::Teardown {
            lock(&self.ended).add(state_of(peer), &peer.activity, now);
        }
        Notification::PeerDeleted {
            ifindex: self.interface.ifindex,
            peer: peer.id.value(),
            reason,
        }
    }

    /// The last counters of peers that ended a moment ago, reported once to the client that uses the device (faults E7).
    pub(crate) fn take_ended(&self, client: ClientId, now: Time) -> Vec<PeerState> {
        if self.owner.load(Ordering::Relaxed) != client {
            return Vec::new();
        }
        lock(&self.ended).take(now)
    }

    /// Another peer has this id now.
    pub(crate) fn forget_ended(&self, peer: PeerId) {
        lock(&self.ended).forget(peer);
    }

    /// Peers that have come or moved since the last call.
    pub(crate) fn take_unmeasured(&self) -> Vec<PeerId> {
        std::mem::take(&mut lock(&self.state).unmeasured)
    }

    /// A send has shown that the kernel knows some path to be narrower than we assume.
    pub(crate) fn doubt_paths(&self) {
        self.paths_in_doubt.store(true, Ordering::Relaxed);
    }

    /// Whether a send has shown that since the last call.
    pub(crate) fn take_doubt(&self) -> bool {
        self.paths_in_doubt.swap(false, Ordering::Relaxed)
    }

    /// Whether it has peers.
    pub(crate) fn has_peers(&self) -> bool {
        self.look(|state| !state.core.peers().is_empty())
    }

    /// Ends the device: its peers go, and no others are accepted (dco-behaviour 7).
    pub(crate) fn end(&self) {
        self.change(|state| {
            state.is_ended = true;
            // In one change: a client that finds the device gone finds its peers ended, too. Teardown keeps no counters,
            // so the time does not matter.
            self.remove_from(state, DeleteReason::Teardown, Time::default(), |_| true);
        });
        self.interface.tap.close();
    }

    /// Sets its client's options for packets.
    pub(crate) fn tune(&self, tuning: Tuning) {
        self.change(|state| state.tuning = tuning);
    }

    /// Whether it is ending.
    pub(crate) fn has_ended(&self) -> bool {
        self.look(|state| state.is_ended)
    }

    /// Sets the client that uses it from now on; 0 for none.
    pub(crate) fn set_owner(&self, owner: ClientId) {
        self.owner.store(owner, Ordering::Relaxed);
    }

    /// On a point-to-point device of `ovpn` the carrier follows the peer (dco-behaviour 2.15).
    fn follow_carrier(&self, state: &State<I>) {
        if self.mode == Mode::P2p && self.api == Api::Ovpn {
            self.interface.set_carrier(!state.core.peers().is_empty());
        }
    }

    fn publish_snapshot(&self, state: &State<I>) {
        self.snapshot.store(Arc::new(state.snapshot()));
    }

    fn publish(&self, state: &mut State<I>) {
        self.publish_snapshot(state);
        self.follow_carrier(state);
        if state.notifications.is_empty() {
            return;
        }
        let owner = self.owner.load(Ordering::Relaxed);
        for (netns, notification) in state.notifications.drain(..) {
            let audience = Audience {
                // The older API notifies the device's namespace (dco-behaviour 3.1).
                netns: match self.api {
                    Api::Ovpn => netns,
                    Api::DcoV2 => self.interface.netns,
                },
                owner,
                uid: self.uid,
            };
            self.listeners.notify(audience, self.api, &notification);
        }
    }
}

/// Seeds a table whose keys strangers choose (promises D3).
pub(crate) fn random_seed() -> u64 {
    RandomState::new().hash_one(())
}
