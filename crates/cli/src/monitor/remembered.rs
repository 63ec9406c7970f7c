//! Who the peers are, so that a peer that has gone has a name: its notification has its id only.
//!
//! A source is asked now and then, and its notifications arrive in between. An id that is used again must not give the new
//! client's name to the one that went. So a new look counts only for what comes after it: what is received between the
//! two is about the clients of the look before, unless that did not have them yet.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::notification::Who;

/// How many peers of a source to remember.
const MOST: usize = 100_000;

/// How often to look, and how many times longer than a look took to wait for the next: a look at very many peers takes
/// long, for their engine, too.
const EVERY: Duration = Duration::from_secs(2);
const SPARSE: u32 = 20;

/// A peer's device, by its index, and its id.
pub(super) type Whose = (u32, u32);

/// The peers of a source.
#[derive(Debug, Default)]
pub(super) struct Remembered {
    known: HashMap<Whose, Who>,
    /// What the last look has found, until all that came before it is received.
    newer: Option<HashMap<Whose, Who>>,
    next: Option<Instant>,
}

impl Remembered {
    /// Whether it is time to look again.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.next.is_none_or(|next| now >= next)
    }

    /// A look is over, at `now`; it began at `begin`. Without an answer, what is known stays.
    pub(super) fn looked(
        &mut self,
        begin: Instant,
        now: Instant,
        peers: Option<Vec<(Whose, Who)>>,
    ) {
        self.newer = peers.map(|peers| peers.into_iter().take(MOST).collect());
        self.next = Some(now + EVERY.max(now.saturating_duration_since(begin) * SPARSE));
    }

    /// All that came before the last look has been received.
    pub(super) fn settle(&mut self) {
        if let Some(newer) = self.newer.take() {
            self.known = newer;
        }
    }

    /// The peer that has gone.
    pub(super) fn take(&mut self, whose: Whose) -> Option<Who> {
        let Some(mut gone) = self.known.remove(&whose) else {
            return self.newer.as_mut()?.remove(&whose);
        };
        if let Some(newer) = &mut self.newer
            && let Some(later) = newer.get(&whose)
            && may_be_same(&gone, later)
        {
            let later = newer.remove(&whose)?;
            if later.remote == gone.remote {
                gone.common_name = gone.common_name.or(later.common_name);
                gone.vpn4 = gone.vpn4.or(later.vpn4);
                gone.vpn6 = gone.vpn6.or(later.vpn6);
            }
        }
        Some(gone)
    }

    /// The peer has moved.
    pub(super) fn moved(&mut self, whose: Whose, to: SocketAddr) {
        let known = self.known.get_mut(&whose);
        let later = self.newer.as_mut().and_then(|it| it.get_mut(&whose));
        // Where the last look has found it elsewhere, that is a newer address, or another client's.
        let later = later.filter(|later| {
            let known = known.as_deref();
            known.is_none_or(|it| may_be_same(it, later) && it.remote == later.remote)
        });
        for who in known.into_iter().chain(later) {
            who.remote = Some(to);
        }
    }
}

/// Whether both may be one client, as far as its name and VPN addresses are known; its outer address may have changed.
fn may_be_same(one: &Who, other: &Who) -> bool {
    let names = one.common_name.as_ref().zip(other.common_name.as_ref());
    let addresses = |who: &Who| Some((who.vpn4, who.vpn6)).filter(|it| *it != (None, None));
    let addresses = addresses(one).zip(addresses(other));
    names.is_none_or(|(one, other)| one == other)
        && addresses.is_none_or(|(one, other)| one == other)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who(name: &str) -> Who {
        Who {
            common_name: Some(name.to_owned()),
            ..Who::default()
        }
    }

    fn looked(remembered: &mut Remembered, peers: &[(u32, &str)]) {
        let now = Instant::now();
        let peers = peers.iter().map(|(id, name)| ((3, *id), who(name)));
        remembered.looked(now, now, Some(peers.collect()));
    }

    #[test]
    fn an_id_that_is_used_again_names_each_client_once() {
        let mut peers = Remembered::default();
        looked(&mut peers, &[(1, "alice"), (2, "carol")]);
        peers.settle();
        // Alice has gone, Bob has come, and then Bob has gone, too, before her notification was read.
        looked(&mut peers, &[(1, "bob"), (2, "carol")]);
        assert_eq!(peers.take((3, 1)), Some(who("alice")));
        assert_eq!(peers.take((3, 2)), Some(who("carol")));
        assert_eq!(peers.take((3, 1)), Some(who("bob")));
        peers.settle();
        assert_eq!(peers.take((3, 1)), None);
        assert_eq!(peers.take((3, 2)), None, "she has gone for good");
    }

    /// With its VPN address, and that outside.
    fn at(name: Option<&str>, vpn: u8, port: u16) -> Who {
        Who {
            common_name: name.map(str::to_owned),
            remote: Some(([192, 0, 2, 1], port).into()),
            vpn4: Some([10, 8, 0, vpn].into()),
            vpn6: None,
        }
    }

    /// What two looks have found of peer 1; the second is not settled.
    fn looked_twice(older: Who, newer: Who) -> Remembered {
        let (mut peers, now) = (Remembered::default(), Instant::now());
        peers.looked(now, now, Some(vec![((3, 1), older)]));
        peers.settle();
        peers.looked(now, now, Some(vec![((3, 1), newer)]));
        peers
    }

    /// The status file has it later than the engine.
    #[test]
    fn a_name_that_came_between_two_looks_is_its_own() {
        let mut peers = looked_twice(at(None, 2, 5), at(Some("alice"), 2, 5));
        assert_eq!(peers.take((3, 1)), Some(at(Some("alice"), 2, 5)));
        assert_eq!(peers.take((3, 1)), None, "the next one is not Alice");
        // An address of the VPN is used again, too.
        let mut peers = looked_twice(at(None, 2, 5), at(Some("bob"), 2, 6));
        assert_eq!(peers.take((3, 1)), Some(at(None, 2, 5)));
        let mut peers = looked_twice(at(Some("alice"), 2, 5), at(Some("bob"), 2, 6));
        assert_eq!(peers.take((3, 1)), Some(at(Some("alice"), 2, 5)));
        assert_eq!(peers.take((3, 1)), Some(at(Some("bob"), 2, 6)));
    }

    #[test]
    fn one_that_moves_does_not_move_the_next() {
        let to = |port| ([192, 0, 2, 1], port).into();
        let mut peers = looked_twice(at(Some("alice"), 2, 5), at(None, 3, 6));
        peers.moved((3, 1), to(7));
        assert_eq!(peers.take((3, 1)), Some(at(Some("alice"), 2, 7)));
        peers.moved((3, 1), to(8));
        assert_eq!(peers.take((3, 1)), Some(at(None, 3, 8)));
        // It was seen before the second look, after it, or both.
        for seen in [5, 7, 8] {
            let mut peers = looked_twice(at(None, 2, 5), at(Some("alice"), 2, seen));
            peers.moved((3, 1), to(7));
            peers.moved((3, 1), to(8));
            assert_eq!(peers.take((3, 1)), Some(at(Some("alice"), 2, 8)));
            assert_eq!(peers.take((3, 1)), None);
        }
    }

    #[test]
    fn one_that_has_moved_is_named_with_its_new_address() {
        let mut peers = Remembered::default();
        looked(&mut peers, &[(1, "alice")]);
        peers.settle();
        let to = "192.0.2.9:5".parse().unwrap();
        peers.moved((3, 1), to);
        assert_eq!(peers.take((3, 1)).unwrap().remote, Some(to));
    }

    #[test]
    fn memory_and_looks_are_bounded() {
        let (mut peers, begin) = (Remembered::default(), Instant::now());
        assert!(peers.is_due(begin));
        let end = begin + Duration::from_secs(1);
        let many = (0..200_000).map(|id| ((3, id), who("x")));
        peers.looked(begin, end, Some(many.collect()));
        peers.settle();
        assert_eq!(peers.known.len(), MOST);
        peers.looked(begin, end, None);
        peers.settle();
        assert_eq!(peers.known.len(), MOST, "nothing is forgotten");
        assert!(!peers.is_due(end + Duration::from_secs(19)));
        assert!(peers.is_due(end + Duration::from_secs(20)));
    }
}
