//! A device: a TUN interface with its peers, routes, counters and listeners.

pub(crate) mod cipher;
pub(crate) mod ended;
pub(crate) mod handoff;
pub(crate) mod keepalive;
pub(crate) mod moves;
pub(crate) mod offload;
mod paths;
pub(crate) mod peer;
mod route_mirror;
pub(crate) mod stream;
pub(crate) mod transport;
pub(crate) mod watch;

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, TryLockError};
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use udco_core::ip;
use udco_core::mss::MssFix;
use udco_core::{DropCounters, Endpoint, Mode, Peers, Routes, Time, View};
use udco_netlink::{Api, DeleteReason, Notification, PeerState};
use udco_sys::clock;
use udco_sys::tun;

use crate::client::{Client, ClientId};
use crate::control::channel::Listeners;
use crate::device::cipher::DirectionKey;
use crate::device::ended::EndedPeers;
use crate::device::handoff::Handoffs;
use crate::device::moves::{Move, Moves, News, Nudge};
use crate::device::offload::Merging;
use crate::device::peer::{Peer, state_of};
use crate::device::transport::Transport;
use crate::sync::lock;

/// What requests change about a device: the master copy.
pub(crate) struct State {
    /// The peers.
    pub(crate) core: udco_core::Device<DirectionKey, Arc<Transport>>,
    /// The routes of the device's network namespace.
    pub(crate) routes: Routes,
    /// What the options of its program say.
    tuning: Tuning,
    /// The device goes: no peer is added any more.
    pub(crate) is_ended: bool,
    /// Peers that have come or moved since their paths were last looked at.
    unmeasured: Vec<u32>,
    /// Of which moves the listeners were told a short while ago.
    news: News,
    /// What the listeners are to be told of the present change.
    notifications: Vec<(u64, Notification)>,
}

/// What the packet path sees of a device (design decision 7).
pub(crate) struct Snapshot {
    pub(crate) peers: Peers<DirectionKey, Arc<Transport>>,
    pub(crate) routes: Routes,
    pub(crate) tuning: Tuning,
}

/// What the options of the program that uses a device say of its packets (faults E5).
#[derive(Clone, Copy, Default)]
pub(crate) struct Tuning {
    /// `mssfix`.
    pub(crate) mssfix: MssFix,
    /// `passtos`.
    pub(crate) passes_tos: bool,
}

impl Tuning {
    /// The traffic class of the datagram for an inner packet; 0 is the socket's own. That is its DSCP: the congestion bits
    /// stay out, as nobody carries them back inside at the other end (RFC 6040, compatibility mode).
    pub(crate) fn outer_class(self, packet: &[u8]) -> u8 {
        if self.passes_tos {
            ip::traffic_class(packet) & 0xfc
        } else {
            0
        }
    }
}

/// The most peers that are looked at by themselves between two looks at all.
pub(crate) const MAX_UNMEASURED: usize = 1 << 11;

impl Snapshot {
    /// What a packet sees of it.
    pub(crate) fn view(&self, mode: Mode) -> View<'_, DirectionKey, Arc<Transport>> {
        View::new(mode, &self.peers, &self.routes).with_mssfix(self.tuning.mssfix)
    }
}

/// What its interface does in big pieces.
pub(crate) struct Offloads {
    /// What the kernel leaves undone in the packets that it hands out: flags of [`tun::offload`].
    pub(crate) from_device: u32,
    /// It takes super-packets.
    pub(crate) merge: Merging,
}

/// A device.
pub(crate) struct Device {
    pub(crate) ifindex: u32,
    /// The kernel's number of the network namespace in which it has this index; 0 if unknown.
    pub(crate) netns: u64,
    pub(crate) name: String,
    pub(crate) api: Api,
    pub(crate) mode: Mode,
    pub(crate) queues: Vec<tun::Queue>,
    /// Between the workers that have the queues.
    pub(crate) handoffs: Handoffs,
    pub(crate) offloads: Offloads,
    pub(crate) drops: DropCounters,
    state: Mutex<State>,
    snapshot: ArcSwap<Snapshot>,
    listeners: Arc<Listeners>,
    /// The user whose program made it.
    owner: u32,
    /// Where peers have moved to.
    moves: Moves,
    /// Peers that have ended a moment ago.
    ended: Mutex<EndedPeers>,
    /// The program that uses it; 0 if none does.
    holder: AtomicU64,
    /// Whether the interface has a carrier, which it begins with.
    carrier: AtomicBool,
    /// The interface was moved to another network namespace (faults A7).
    away: AtomicBool,
    /// Datagrams that were sent although they do not fit the path, so that the kernel fragments them.
    pub(crate) fragmented: AtomicU64,
    /// The kernel knows a path to be narrower than we do.
    paths_in_doubt: AtomicBool,
}

impl Device {
    /// A device that a program has made, without peers.
    pub(crate) fn new(
        (netns, ifindex): (u64, u32),
        name: String,
        (api, mode): (Api, Mode),
        (queues, handoffs): (Vec<tun::Queue>, Handoffs),
        offloads: Offloads,
        (maker, listeners): (&Client, &Arc<Listeners>),
    ) -> Self {
        let seed = random_seed();
        let device = Self {
            ifindex,
            netns,
            name,
            api,
            mode,
            queues,
            handoffs,
            offloads,
            drops: DropCounters::new(),
            state: Mutex::new(State::new(mode, Routes::new(seed), seed)),
            snapshot: ArcSwap::from_pointee(Snapshot {
                peers: udco_core::Device::new(mode, seed).peers().clone(),
                routes: Routes::new(seed),
                tuning: Tuning::default(),
            }),
            listeners: Arc::clone(listeners),
            owner: maker.uid,
            holder: AtomicU64::new(maker.id),
            moves: Moves::new(),
            ended: Mutex::default(),
            carrier: AtomicBool::new(true),
            away: AtomicBool::new(false),
            fragmented: AtomicU64::new(0),
            paths_in_doubt: AtomicBool::new(false),
        };
        device.change(|_| ());
        device
    }

    /// The same interface as another device: without peers, of this API and mode. `None` if file descriptors are short.
    pub(crate) fn renewed(&self, api: Api, mode: Mode) -> Option<Self> {
        let queues: Vec<_> = self
            .queues
            .iter()
            .map(tun::Queue::try_clone)
            .collect::<Result<_, _>>()
            .ok()?;
        let handoffs = Handoffs::new(queues.len()).ok()?;
        Some(self.remade(api, mode, (queues, handoffs)))
    }

    /// What is left of it for its sockets when it has gone.
    pub(crate) fn hull(&self) -> Self {
        let hull = self.remade(self.api, self.mode, (Vec::new(), Handoffs::none()));
        hull.end();
        hull
    }

    fn remade(&self, api: Api, mode: Mode, queues: (Vec<tun::Queue>, Handoffs)) -> Self {
        let place = (self.netns, self.ifindex);
        let maker = Client {
            id: self.holder.load(Ordering::Relaxed),
            uid: self.owner,
            netns: self.netns,
        };
        let told = (&maker, &self.listeners);
        let offloads = Offloads {
            from_device: self.offloads.from_device,
            merge: self.offloads.merge.renewed(),
        };
        let name = self.name.clone();
        let remade = Self::new(place, name, (api, mode), queues, offloads, told);
        if mode == Mode::Mp
            && let Some(queue) = remade.queues.first()
        {
            // It may have been without a peer in the other mode.
            let _ = queue.set_carrier(true);
        }
        let routes = self.look(|state| state.routes.clone());
        remade.change(|state| state.routes = routes);
        remade.away.store(self.is_away(), Ordering::Relaxed);
        remade
    }

    /// The name that its interface has now, in the namespace where it is now: the kernel's word.
    ///
    /// # Errors
    /// If the interface is gone.
    pub(crate) fn current_name(&self) -> io::Result<String> {
        let gone = || io::Error::from(io::ErrorKind::NotFound);
        self.queues.first().ok_or_else(gone)?.current_name()
    }

    /// The interface was moved to another network namespace: its queues work on, and its program goes on to name it by the
    /// index that it had. The routes of the old namespace do not lead there. `false` if that is known.
    pub(crate) fn set_away(&self) -> bool {
        if self.away.swap(true, Ordering::Relaxed) {
            return false;
        }
        self.change(|state| state.routes = Routes::new(random_seed()));
        true
    }

    /// Whether it was moved away: then an interface with its name or index may be another one.
    pub(crate) fn is_away(&self) -> bool {
        self.away.load(Ordering::Relaxed)
    }

    /// The queue through which all packets of a peer leave.
    pub(crate) fn queue_of(&self, peer: u32) -> usize {
        match self.queues.len() {
            0 | 1 => 0,
            count => peer as usize % count,
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
        // What the packet path has seen before comes before.
        self.follow_moves(&mut state);
        let result = change(&mut state);
        self.publish(&mut state);
        result
    }

    /// Looks at the master copy.
    pub(crate) fn look<R>(&self, look: impl FnOnce(&State) -> R) -> R {
        let mut state = lock(&self.state);
        if !self.moves.is_empty() {
            self.follow_moves(&mut state);
            self.publish(&mut state);
        }
        look(&state)
    }

    /// A peer's newest packet showed another address. Called on the packet path, so it is only noted, unless it is the
    /// first move in a while: then the answer to this very packet should find the peer already. Programs are told by the
    /// watching thread.
    pub(crate) fn float(&self, peer: &Peer, endpoint: Endpoint, now: Time) {
        self.moves.note(Move {
            peer: peer.id,
            activity: Arc::clone(&peer.activity),
            endpoint,
            at: now,
        });
        if self.moves.may_follow(now)
            && let Some(mut state) = self.try_state()
        {
            self.follow_moves(&mut state);
            self.publish_snapshot(&state);
        }
    }

    /// Has this thread call [`Self::settle_moves`] when a peer has moved.
    pub(crate) fn watch_moves(&self, nudge: &Arc<Nudge>) {
        self.moves.wake(nudge);
    }

    /// Follows the peers that have moved, and tells the listeners: of each peer once a second at most. Returns when to
    /// come again.
    pub(crate) fn settle_moves(&self, now: Time) -> Option<Duration> {
        let mut state = lock(&self.state);
        if self.moves.is_empty() && state.news.is_empty() {
            return None;
        }
        self.follow_moves(&mut state);
        for (id, told) in state.news.take_due(now) {
            let peer = state.core.peers().by_id(id);
            let peer = peer.filter(|peer| Arc::ptr_eq(&peer.activity, &told.activity));
            if told.is_stale()
                && let Some(endpoint) = peer.and_then(|peer| peer.endpoint())
                && !endpoint.is_at(told.remote)
            {
                state.news.renew(id, told, endpoint.remote, now);
                self.tell_of_move(&mut state, id, endpoint.remote);
            }
        }
        self.publish(&mut state);
        state.news.next(now)
    }

    fn follow_moves(&self, state: &mut State) {
        self.moves.take(|moved| {
            let peer = state.core.peers().by_id(moved.peer);
            let is_it = peer.is_some_and(|peer| Arc::ptr_eq(&peer.activity, &moved.activity));
            if is_it && state.core.float(moved.peer, moved.endpoint) {
                state.measure(moved.peer);
                if state.news.add(&moved) {
                    self.tell_of_move(state, moved.peer, moved.endpoint.remote);
                }
            }
        });
    }

    fn tell_of_move(&self, state: &mut State, peer: u32, remote: SocketAddr) {
        let told = Notification::PeerFloated {
            ifindex: self.ifindex,
            peer,
            remote,
        };
        let netns = state.netns_of(peer);
        state.notify(netns, told);
    }

    /// Packets to a peer leave only without the local address of this endpoint: it is gone (promises D8). It never
    /// waits: the peer's next batch says the same again.
    pub(crate) fn forget_local(&self, peer: u32, gone: Endpoint) {
        let Some(mut state) = self.try_state() else {
            return;
        };
        if state.core.forget_local(peer, gone) {
            self.publish(&mut state);
        }
    }

    /// The master copy, for the packet path: `None` while somebody changes it.
    fn try_state(&self) -> Option<MutexGuard<'_, State>> {
        match self.state.try_lock() {
            Ok(state) => Some(state),
            Err(TryLockError::Poisoned(state)) => Some(state.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Removes peers that `gone` names and tells the listeners why.
    pub(crate) fn remove_peers(&self, reason: DeleteReason, gone: impl Fn(&Peer) -> bool) -> usize {
        self.change(|state| self.remove_from(state, reason, gone))
    }

    fn remove_from(
        &self,
        state: &mut State,
        reason: DeleteReason,
        gone: impl Fn(&Peer) -> bool,
    ) -> usize {
        let mut removed = state.core.remove_peers(gone);
        // The kernel's order is that of a hash; this one is for people.
        removed.sort_by_key(|peer| peer.id);
        for peer in &removed {
            state.notify(peer.transport.netns, self.ended(peer, reason));
        }
        removed.len()
    }

    /// Removes the peers whose time is over; returns those that need a keepalive, and whether retired keys are left.
    pub(crate) fn tick(&self, now: Time) -> (Vec<Arc<Peer>>, bool) {
        lock(&self.ended).forget_old(now);
        let mut state = lock(&self.state);
        let due = state.core.tick(now);
        for peer in &due.expired {
            tracing::info!("{}: peer {} expired", self.name, peer.id);
            let told = self.ended(peer, DeleteReason::Expired);
            state.notify(peer.transport.netns, told);
        }
        for (peer, key_id) in &due.worn {
            tracing::info!(
                "{}: peer {peer}: key {key_id} is worn: asking for another",
                self.name
            );
            let (ifindex, peer, key_id) = (self.ifindex, *peer, *key_id);
            let told = Notification::KeySwap {
                ifindex,
                peer,
                key_id,
            };
            let netns = state.netns_of(peer);
            state.notify(netns, told);
        }
        if due.changed || !due.worn.is_empty() {
            self.publish(&mut state);
        }
        (due.pings, due.lingers)
    }

    /// A peer has come to its end: its transport has one less, and this is the notification.
    pub(crate) fn ended(&self, peer: &Peer, reason: DeleteReason) -> Notification {
        peer.transport.detach();
        // OpenVPN 2.6 asks for the counters of a client of a server when its peer has ended.
        if (self.api, self.mode) == (Api::DcoV2, Mode::Mp) && reason != DeleteReason::Teardown {
            let now = Time::from_millis(clock::milliseconds());
            lock(&self.ended).add(state_of(peer), &peer.activity, now);
        }
        Notification::PeerDeleted {
            ifindex: self.ifindex,
            peer: peer.id,
            reason,
        }
    }

    /// The last counters of peers that have ended a moment ago, told this once to the program that uses the device
    /// (faults E7).
    pub(crate) fn take_ended(&self, client: ClientId) -> Vec<PeerState> {
        if self.holder.load(Ordering::Relaxed) != client {
            return Vec::new();
        }
        lock(&self.ended).take(Time::from_millis(clock::milliseconds()))
    }

    /// Another peer has this id now.
    pub(crate) fn forget_ended(&self, peer: u32) {
        lock(&self.ended).forget(peer);
    }

    /// Peers that have come or moved since the last call.
    pub(crate) fn take_unmeasured(&self) -> Vec<u32> {
        std::mem::take(&mut lock(&self.state).unmeasured)
    }

    /// A send has shown that the kernel knows a path to be narrower than we do.
    pub(crate) fn doubt_paths(&self) {
        self.paths_in_doubt.store(true, Ordering::Relaxed);
    }

    /// Whether it has shown so since the last call.
    pub(crate) fn take_doubt(&self) -> bool {
        self.paths_in_doubt.swap(false, Ordering::Relaxed)
    }

    /// Whether it has peers.
    pub(crate) fn has_peers(&self) -> bool {
        self.look(|state| !state.core.peers().is_empty())
    }

    /// The end: its peers go, and none is added any more (dco-behaviour 7, PEER_NEW against the end of a device).
    pub(crate) fn end(&self) {
        self.change(|state| {
            state.is_ended = true;
            // At once: whoever is told that there is no device finds that its peers have ended with it.
            self.remove_from(state, DeleteReason::Teardown, |_| true);
        });
    }

    /// The interface goes with its last queue.
    pub(crate) fn let_go(&self) {
        for queue in &self.queues {
            // Fails only if it has gone already.
            let _ = queue.set_persist(false);
        }
    }

    /// Its packets are treated as the options of its program say.
    pub(crate) fn tune(&self, tuning: Tuning) {
        self.change(|state| state.tuning = tuning);
    }

    /// Whether its end has begun.
    pub(crate) fn has_ended(&self) -> bool {
        self.look(|state| state.is_ended)
    }

    /// Another program uses it from now on; 0 for none.
    pub(crate) fn set_holder(&self, holder: ClientId) {
        self.holder.store(holder, Ordering::Relaxed);
    }

    /// On a point-to-point device of `ovpn` the carrier follows the peer (dco-behaviour 2.15).
    fn follow_carrier(&self, state: &State) {
        if self.mode != Mode::P2p || self.api != Api::Ovpn {
            return;
        }
        let carrier = !state.core.peers().is_empty();
        if self.carrier.swap(carrier, Ordering::Relaxed) != carrier
            && let Some(queue) = self.queues.first()
        {
            // Fails only if the interface is gone, or with a kernel that cannot.
            let _ = queue.set_carrier(carrier);
        }
    }

    /// What the packet path reads from now on.
    fn publish_snapshot(&self, state: &State) {
        let snapshot = Snapshot {
            peers: state.core.peers().clone(),
            routes: state.routes.clone(),
            tuning: state.tuning,
        };
        self.snapshot.store(Arc::new(snapshot));
    }

    fn publish(&self, state: &mut State) {
        self.publish_snapshot(state);
        self.follow_carrier(state);
        if state.notifications.is_empty() {
            return;
        }
        let holder = self.holder.load(Ordering::Relaxed);
        for (netns, notification) in state.notifications.drain(..) {
            // The older API tells the device's namespace (dco-behaviour 3.1).
            let netns = match self.api {
                Api::Ovpn => netns,
                Api::DcoV2 => self.netns,
            };
            self.listeners
                .tell((netns, holder, self.owner), self.api, &notification);
        }
    }
}

impl State {
    fn new(mode: Mode, routes: Routes, seed: u64) -> Self {
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

    /// A peer has come or moved: the path to it is not known.
    pub(crate) fn measure(&mut self, peer: u32) {
        // Beyond that there is a round for all.
        if self.unmeasured.len() < MAX_UNMEASURED && self.unmeasured.last() != Some(&peer) {
            self.unmeasured.push(peer);
        }
    }

    /// Tells the listeners of a network namespace, when the present change is published: with `ovpn` it is that of the
    /// peer's transport socket (dco-behaviour 2.14).
    pub(crate) fn notify(&mut self, netns: u64, notification: Notification) {
        self.notifications.push((netns, notification));
    }

    fn netns_of(&self, peer: u32) -> u64 {
        let peer = self.core.peers().by_id(peer);
        peer.map_or(0, |peer| peer.transport.netns)
    }
}

/// Seeds a table whose keys strangers choose (promises D3).
pub(crate) fn random_seed() -> u64 {
    RandomState::new().hash_one(())
}
