//! How a device follows peers that move (dco-behaviour 5.4), and forgets local addresses that are gone (promises D8).

use std::net::SocketAddr;
use std::sync::{Arc, MutexGuard, TryLockError};
use std::time::Duration;

use udco_core::{Endpoint, PeerId, Time};
use udco_netlink::Notification;

use crate::device::Device;
use crate::device::moves::{Move, Nudge};
use crate::device::peer::Peer;
use crate::device::state::State;
use crate::io::Io;
use crate::sync::lock;

impl<I: Io> Device<I> {
    /// A peer's newest packet came from another address. This is called on the packet path, so the move is only noted,
    /// unless it is the first in a while: then the answer to this very packet should already find the peer. The watching
    /// thread notifies listeners.
    pub(crate) fn float(&self, peer: &Peer<I>, endpoint: Endpoint, now: Time) {
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

    /// Makes this thread call [`Self::process_moves`] when a peer has moved.
    pub(crate) fn watch_moves(&self, nudge: &Arc<Nudge>) {
        self.moves.wake(nudge);
    }

    /// Follows the peers that have moved, and notifies the listeners, at most once a second for each peer. Returns when to
    /// call it again.
    pub(crate) fn process_moves(&self, now: Time) -> Option<Duration> {
        let mut state = lock(&self.state);
        if self.moves.is_empty() && state.news.is_empty() {
            return None;
        }
        self.follow_moves(&mut state);
        for (id, last) in state.news.take_due(now) {
            let peer = state.core.peers().by_id(id);
            let peer = peer.filter(|peer| Arc::ptr_eq(&peer.activity, &last.activity));
            if last.is_stale()
                && let Some(endpoint) = peer.and_then(|peer| peer.endpoint())
                && !endpoint.is_at(last.remote)
            {
                state.news.renew(id, last, endpoint.remote, now);
                self.notify_of_move(&mut state, id, endpoint.remote);
            }
        }
        self.publish(&mut state);
        state.news.next(now)
    }

    pub(super) fn follow_moves(&self, state: &mut State<I>) {
        self.moves.take(|moved| {
            let peer = state.core.peers().by_id(moved.peer);
            let is_it = peer.is_some_and(|peer| Arc::ptr_eq(&peer.activity, &moved.activity));
            if is_it && state.core.float(moved.peer, moved.endpoint) {
                state.measure(moved.peer);
                if state.news.add(&moved) {
                    self.notify_of_move(state, moved.peer, moved.endpoint.remote);
                }
            }
        });
    }

    fn notify_of_move(&self, state: &mut State<I>, peer: PeerId, remote: SocketAddr) {
        let event = Notification::PeerFloated {
            ifindex: self.interface.ifindex,
            peer: peer.value(),
            remote,
        };
        let netns = state.netns_of(peer);
        state.notify(netns, event);
    }

    /// Packets to a peer leave only without the local address of this endpoint, which is gone (promises D8). This never
    /// waits: the peer's next batch would report the same.
    pub(crate) fn forget_local(&self, peer: PeerId, gone: Endpoint) {
        let Some(mut state) = self.try_state() else {
            return;
        };
        if state.core.forget_local(peer, gone) {
            self.publish(&mut state);
        }
    }

    /// The master copy, for the packet path: `None` while another thread changes it.
    fn try_state(&self) -> Option<MutexGuard<'_, State<I>>> {
        match self.state.try_lock() {
            Ok(state) => Some(state),
            Err(TryLockError::Poisoned(state)) => Some(state.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}
