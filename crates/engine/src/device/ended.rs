//! The last counters of peers that have ended.
//!
//! When OpenVPN 2.6 is notified that a peer is gone, it asks for the counters for its `client-disconnect` script,
//! microseconds later. By then the older driver has forgotten them, so accounting is wrong (faults E7). Here OpenVPN's next
//! dump has them once more.
//!
//! The API allows no more. OpenVPN 2.6.14 asks, but has already removed the client from its own table, so it cannot store
//! the answer, and reports the bytes of the handshake.

use std::collections::BTreeMap;
use std::sync::Arc;

use udco_core::{Activity, PeerId, Time};
use udco_netlink::PeerState;

use crate::device::peer::with_counters;

/// How many peers are remembered; if more end at once, the rest is forgotten.
const ROOM: usize = 8192;

/// For how many seconds: OpenVPN asks at once.
const SECONDS: u32 = 2;

/// Peers of a device that have ended, by id.
#[derive(Default)]
pub(crate) struct EndedPeers(BTreeMap<u32, Ended>);

struct Ended {
    state: PeerState,
    /// Packets in flight still count.
    activity: Arc<Activity>,
    at: Time,
}

impl EndedPeers {
    /// A peer has ended.
    pub(crate) fn add(&mut self, state: PeerState, activity: &Arc<Activity>, at: Time) {
        if self.0.len() >= ROOM {
            return;
        }
        let ended = Ended {
            activity: Arc::clone(activity),
            at,
            state,
        };
        self.0.insert(ended.state.id, ended);
    }

    /// Another peer has this id now.
    pub(crate) fn forget(&mut self, id: PeerId) {
        self.0.remove(&id.value());
    }

    /// Forgets those remembered for long enough.
    pub(crate) fn forget_old(&mut self, now: Time) {
        self.0
            .retain(|_, ended| now < ended.at.plus_seconds(SECONDS));
    }

    /// Reports all of them, once.
    pub(crate) fn take(&mut self, now: Time) -> Vec<PeerState> {
        self.forget_old(now);
        let all = std::mem::take(&mut self.0).into_values();
        all.map(|ended| with_counters(ended.state, &ended.activity))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(id: u32) -> PeerState {
        PeerState {
            id,
            tx_id: id,
            ..PeerState::default()
        }
    }

    fn ids(reported: &[PeerState]) -> Vec<u32> {
        reported.iter().map(|peer| peer.id).collect()
    }

    #[test]
    fn the_last_counters_are_told_once_unless_the_id_is_taken_or_the_time_is_over() {
        let (mut ended, activity) = (EndedPeers::default(), Arc::new(Activity::default()));
        for id in [1, 2, 3] {
            ended.add(peer(id), &activity, Time::from_millis(u64::from(id)));
        }
        ended.forget(PeerId::from(2));
        activity.link_rx.count(7);
        let reported = ended.take(Time::from_millis(100));
        assert!(reported.iter().all(|peer| peer.link_rx.bytes == 7));
        assert_eq!(ids(&reported), [1, 3]);
        assert!(ended.take(Time::from_millis(100)).is_empty());
        for (id, at) in [(1, 0), (2, 1)] {
            ended.add(peer(id), &activity, Time::from_millis(at));
        }
        assert_eq!(ids(&ended.take(Time::from_millis(2000))), [2]);
    }

    #[test]
    fn a_crowd_is_remembered_up_to_a_bound() {
        let (mut ended, activity) = (EndedPeers::default(), Arc::default());
        for id in 0..ROOM as u32 + 10 {
            ended.add(peer(id), &activity, Time::default());
        }
        assert_eq!(ended.0.len(), ROOM);
        ended.forget_old(Time::from_millis(20_000));
        assert!(ended.0.is_empty());
    }
}
