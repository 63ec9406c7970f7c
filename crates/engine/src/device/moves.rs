//! Peers that have moved (dco-behaviour 5.4): the packet path only notes where to, and the watching thread does the rest.
//!
//! A peer may change its address with every packet, 25,000 times a second. So the packet path takes no lock and
//! allocates nothing, and listeners are notified at most once a second for each peer, at last of its final address
//! (promises D6, faults E3).

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crossbeam_queue::ArrayQueue;
use udco_core::{Activity, Endpoint, PeerId, Time};
use udco_sys::wake::Waker;

/// The most moves of a device's peers that wait for the watching thread. Others come again with the peer's next packet.
const ROOM: usize = 512;

/// The least time between two moves that the packet path follows itself, in milliseconds: a storm of moves costs it
/// nothing.
const PROMPT: u64 = 10;

/// The least time between two notifications about one peer, in milliseconds.
const SPACING: u64 = 1000;

/// The same for a peer that keeps moving, more than [`OFTEN`] times between two notifications: where it was a second ago is
/// of no use to anybody.
const LONG_SPACING: u64 = 1500;
const OFTEN: u32 = 8;

/// Wakes the watching thread, once for all that comes until it looks.
pub(crate) struct Nudge {
    pub(crate) waker: Waker,
    is_nudged: AtomicBool,
}

/// A peer has moved.
pub(crate) struct Move {
    pub(crate) peer: PeerId,
    /// Distinguishes it from a later one of the same id.
    pub(crate) activity: Arc<Activity>,
    pub(crate) endpoint: Endpoint,
    pub(crate) at: Time,
}

/// Moves that the packet path has noted.
pub(crate) struct Moves {
    queue: ArrayQueue<Move>,
    nudge: OnceLock<Arc<Nudge>>,
    /// When the packet path last followed one itself, in milliseconds.
    followed: AtomicU64,
}

/// Recent notifications, by peer.
#[derive(Default)]
pub(crate) struct News(BTreeMap<PeerId, Notified>);

/// The last notification about a peer.
pub(crate) struct Notified {
    pub(crate) activity: Arc<Activity>,
    pub(crate) remote: SocketAddr,
    at: Time,
    /// How many milliseconds later listeners may be notified again.
    spacing: u64,
    /// How many times the peer has moved since.
    moves: u32,
}

impl Nudge {
    pub(crate) const fn new(waker: Waker) -> Self {
        Self {
            waker,
            is_nudged: AtomicBool::new(false),
        }
    }

    pub(crate) fn nudge(&self) {
        if !self.is_nudged.swap(true, Ordering::AcqRel) {
            self.waker.wake();
        }
    }

    /// Moves from now on wake the thread again.
    pub(crate) fn rearm(&self) {
        self.is_nudged.store(false, Ordering::Release);
    }
}

impl Moves {
    pub(crate) fn new() -> Self {
        Self {
            queue: ArrayQueue::new(ROOM),
            nudge: OnceLock::new(),
            followed: AtomicU64::new(0),
        }
    }

    /// Whether the packet path may follow a move itself: the first in a while.
    pub(crate) fn may_follow(&self, now: Time) -> bool {
        let (now, before) = (now.as_millis(), self.followed.load(Ordering::Relaxed));
        now >= before.saturating_add(PROMPT)
            && self
                .followed
                .compare_exchange(before, now, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }

    /// Makes moves wake this thread, including earlier ones.
    pub(crate) fn wake(&self, nudge: &Arc<Nudge>) {
        self.nudge.get_or_init(|| Arc::clone(nudge)).nudge();
    }

    /// Notes a move; never waits, and allocates nothing.
    pub(crate) fn note(&self, moved: Move) {
        let (activity, endpoint) = (Arc::clone(&moved.activity), moved.endpoint);
        if self.queue.push(moved).is_err() {
            return;
        }
        // From here on the peer counts as known at that address.
        activity.note_endpoint(&endpoint);
        if let Some(nudge) = self.nudge.get() {
            nudge.nudge();
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// The moves in their order; of several that one peer has made in a row, the last.
    pub(crate) fn take(&self, mut each: impl FnMut(Move)) {
        let mut last: Option<Move> = None;
        // Those that come meanwhile are taken next time.
        for _ in 0..ROOM {
            let Some(moved) = self.queue.pop() else {
                break;
            };
            if let Some(before) = last.replace(moved)
                && last.as_ref().is_none_or(|last| last.peer != before.peer)
            {
                each(before);
            }
        }
        if let Some(last) = last {
            each(last);
        }
    }
}

impl News {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A peer has moved; returns whether listeners are to be notified now.
    pub(crate) fn add(&mut self, moved: &Move) -> bool {
        let mut spacing = SPACING;
        if let Some(notified) = self.0.get_mut(&moved.peer)
            && Arc::ptr_eq(&notified.activity, &moved.activity)
        {
            if !notified.is_over(moved.at) {
                notified.moves = notified.moves.saturating_add(1);
                return false;
            }
            spacing = notified.next_spacing();
        }
        let notified = Notified {
            activity: Arc::clone(&moved.activity),
            remote: moved.endpoint.remote,
            at: moved.at,
            spacing,
            moves: 0,
        };
        self.0.insert(moved.peer, notified);
        true
    }

    /// Listeners are notified again, of this address.
    pub(crate) fn renew(&mut self, peer: PeerId, before: Notified, remote: SocketAddr, at: Time) {
        let notified = Notified {
            remote,
            at,
            spacing: before.next_spacing(),
            moves: 0,
            ..before
        };
        self.0.insert(peer, notified);
    }

    /// Takes out the peers of which listeners may be notified again.
    pub(crate) fn take_due(&mut self, now: Time) -> Vec<(PeerId, Notified)> {
        let due = self.0.iter().filter(|(_, notified)| notified.is_over(now));
        let due: Vec<PeerId> = due.map(|(peer, _)| *peer).collect();
        due.into_iter()
            .filter_map(|peer| self.0.remove_entry(&peer))
            .collect()
    }

    /// How long until there are such peers.
    pub(crate) fn next(&self, now: Time) -> Option<Duration> {
        let over = self
            .0
            .values()
            .map(|notified| notified.at.as_millis() + notified.spacing);
        let next = over.min()?;
        Some(Duration::from_millis(next.saturating_sub(now.as_millis())))
    }
}

impl Notified {
    /// Whether the peer has moved since.
    pub(crate) const fn is_stale(&self) -> bool {
        self.moves > 0
    }

    /// The spacing after the next notification, in milliseconds.
    const fn next_spacing(&self) -> u64 {
        if self.moves > OFTEN {
            LONG_SPACING
        } else {
            SPACING
        }
    }

    const fn is_over(&self, now: Time) -> bool {
        now.as_millis() >= self.at.as_millis() + self.spacing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moved(peer: u16, activity: &Arc<Activity>, port: u16, at: u64) -> Move {
        Move {
            peer: peer.into(),
            activity: Arc::clone(activity),
            endpoint: Endpoint {
                remote: ([192, 0, 2, 1], port).into(),
                local: None,
            },
            at: Time::from_millis(at),
        }
    }

    #[test]
    fn of_moves_in_a_row_the_last_counts() {
        let (moves, activity) = (Moves::new(), Arc::default());
        for (peer, port) in [(1, 1), (1, 2), (2, 3), (1, 4), (1, 5)] {
            moves.note(moved(peer, &activity, port, 0));
        }
        let mut taken = Vec::new();
        moves.take(|it| taken.push((it.peer.value(), it.endpoint.remote.port())));
        assert_eq!(taken, [(1, 2), (2, 3), (1, 5)]);
        assert!(moves.is_empty());
    }

    #[test]
    fn what_finds_no_room_is_news_with_the_next_packet() {
        let (moves, activity) = (Moves::new(), Arc::default());
        for port in 0..ROOM as u16 {
            moves.note(moved(1, &activity, port, 0));
        }
        let late = moved(1, &activity, 9999, 0);
        let endpoint = late.endpoint;
        moves.note(late);
        assert!(!activity.is_noted(&endpoint));
        moves.take(|_| ());
        moves.note(moved(1, &activity, 9999, 0));
        assert!(activity.is_noted(&endpoint));
    }

    #[test]
    fn a_peer_is_news_once_a_second() {
        let (mut news, first, second) = (News::default(), Arc::default(), Arc::default());
        assert!(news.add(&moved(1, &first, 1, 5000)));
        assert!(!news.add(&moved(1, &first, 2, 5999)));
        assert!(news.add(&moved(2, &first, 1, 5999)));
        let (early, late) = (Time::from_millis(5999), Time::from_millis(6000));
        assert_eq!(news.next(early), Some(Duration::from_millis(1)));
        assert!(news.take_due(early).is_empty());
        let due = news.take_due(late);
        assert!(due.len() == 1 && due[0].0 == PeerId::from(1) && due[0].1.is_stale());
        // Another one of the same id is not the one that has just moved.
        assert!(news.add(&moved(2, &second, 1, 6000)));
    }
}
