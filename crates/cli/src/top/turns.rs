//! Whether a peer is still the client that it was. Ids are used again: each client that has one is a turn of its own.
//!
//! Without a status file, one that reconnects from elsewhere looks like another. The only peer of a P2P device is always
//! the other end of its tunnel, wherever that is.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use udco_state::{Mode, Peer};

use super::sample;
use crate::rates::{Counters, Sides, Whose};

/// How long to remember a peer that is not there: its engine may only be silent.
const MEMORY: Duration = Duration::from_secs(600);

/// The turns of all peers.
#[derive(Debug, Default)]
pub(super) struct Turns {
    known: HashMap<Whose, Known>,
    last: u64,
    /// When the sample before was taken, and this one.
    before: Option<Instant>,
    now: Option<Instant>,
}

/// The turn of a peer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Turn {
    pub(super) number: u64,
    /// It has just begun.
    pub(super) is_new: bool,
    /// The counters are not those of the sample before, though they may be higher.
    pub(super) counts_anew: bool,
}

/// What was last seen of a peer.
#[derive(Debug)]
struct Known {
    turn: u64,
    seen: Option<Instant>,
    name: Option<String>,
    remote: Option<SocketAddr>,
    inside: [Option<IpAddr>; 2],
    counters: Sides,
}

impl Turns {
    /// The next sample, taken at this time.
    pub(super) fn begin(&mut self, at: Instant) {
        self.before = self.now.replace(at);
        let is_fresh = |seen: Instant| at.saturating_duration_since(seen) < MEMORY;
        self.known
            .retain(|_, known| known.seen.is_some_and(is_fresh));
    }

    /// The turn of a peer in this sample.
    pub(super) fn of(
        &mut self,
        whose: &Whose,
        mode: Mode,
        name: Option<&String>,
        peer: &Peer,
    ) -> Turn {
        let mut now = Known {
            turn: self.last + 1,
            seen: self.now,
            name: name.cloned(),
            remote: peer.remote,
            inside: [peer.vpn4.map(IpAddr::V4), peer.vpn6.map(IpAddr::V6)],
            counters: sample::sides(peer),
        };
        let before = self.known.get(whose);
        let was_there = before.is_some_and(|before| before.seen == self.before);
        let counts_on = before.is_some_and(|before| !now.is_reconnected(before, was_there));
        let same = before.filter(|before| match (mode, &now.name, &before.name) {
            (Mode::P2p, ..) => true,
            // One that comes back has its name still.
            (Mode::Mp, Some(name), Some(other)) => name == other,
            (Mode::Mp, ..) => counts_on,
        });
        if let Some(same) = same {
            now.turn = same.turn;
            // A status file may not have it now.
            now.name = now.name.or_else(|| same.name.clone());
        }
        let turn = Turn {
            number: now.turn,
            is_new: same.is_none(),
            counts_anew: same.is_none() || !counts_on,
        };
        self.last = self.last.max(turn.number);
        self.known.insert(whose.clone(), now);
        turn
    }
}

impl Known {
    /// Whether this is another connection than before, from elsewhere. One that moves keeps its counters.
    fn is_reconnected(&self, before: &Self, was_there: bool) -> bool {
        let has_begun = !was_there || self.counters.since(before.counters, 1.0).is_none();
        let has_moved = self.remote != before.remote;
        match has_begun {
            true => has_moved || self.remote.is_none(),
            false => has_moved && self.inside != before.inside,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::model::tests::{at, peer, whose};
    use super::*;

    /// The turns of a peer that is seen thus, one look after the other; `None` if it is not there.
    fn turns(looks: &[Option<(&str, Peer)>]) -> Vec<u64> {
        let (mut turns, begin) = (Turns::default(), Instant::now());
        let mut found = Vec::new();
        for (second, look) in (0..).zip(looks) {
            turns.begin(at(begin, second));
            let Some((name, peer)) = look else {
                continue;
            };
            let name = Some((*name).to_owned()).filter(|it| !it.is_empty());
            let turn = turns.of(&whose(3, Some(1)), Mode::Mp, name.as_ref(), peer);
            found.push(turn.number);
        }
        found
    }

    /// As peer 1, at the address of peer 2.
    fn elsewhere(received: u64) -> Peer {
        let moved = peer(2, received, 0);
        Peer { id: 1, ..moved }
    }

    #[test]
    fn a_client_keeps_its_turn() {
        let floated = Peer {
            remote: elsewhere(0).remote,
            ..peer(1, 6000, 0)
        };
        let one = Some(("", peer(1, 5000, 0)));
        assert_eq!(turns(&[one.clone(), Some(("", floated))]), [1, 1], "float");
        let again = Some(("", peer(1, 0, 0)));
        assert_eq!(turns(&[one.clone(), None, again]), [1, 1], "from there");
        let named = |peer| Some(("alice", peer));
        let looks = [named(peer(1, 5000, 0)), one, named(elsewhere(0))];
        assert_eq!(turns(&looks), [1, 1, 1], "by its name");
    }

    #[test]
    fn another_with_the_same_id_has_the_next_turn() {
        let one = Some(("", peer(1, 5000, 0)));
        let other = |received| Some(("", elsewhere(received)));
        assert_eq!(turns(&[one.clone(), other(1000)]), [1, 2], "less counted");
        assert_eq!(turns(&[one.clone(), other(9000)]), [1, 2], "more counted");
        assert_eq!(turns(&[one.clone(), None, other(9000)]), [1, 2], "a gap");
        let named = |name, received| Some((name, peer(1, received, 0)));
        assert_eq!(turns(&[named("alice", 1), named("bob", 2)]), [1, 2]);
        // Over TCP, the kernel's driver knows no address.
        let tcp = |received| {
            let peer = peer(1, received, 0);
            Some((
                "",
                Peer {
                    remote: None,
                    ..peer
                },
            ))
        };
        assert_eq!(turns(&[tcp(5000), tcp(6000), tcp(0)]), [1, 1, 2]);
    }

    #[test]
    fn who_is_gone_for_long_is_forgotten() {
        let (mut turns, begin) = (Turns::default(), Instant::now());
        turns.begin(begin);
        turns.of(&whose(3, Some(1)), Mode::Mp, None, &peer(1, 0, 0));
        turns.begin(at(begin, 599));
        assert_eq!(turns.known.len(), 1);
        turns.begin(at(begin, 601));
        assert!(turns.known.is_empty());
    }
}
