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
        let Some(gone) = self.known.remove(&whose) else {
            return self.newer.as_mut()?.remove(&whose);
        };
        if let Some(newer) = &mut self.newer
            && newer.get(&whose) == Some(&gone)
        {
            newer.remove(&whose);
        }
        Some(gone)
    }

    /// The peer has moved.
    pub(super) fn moved(&mut self, whose: Whose, to: SocketAddr) {
        for peers in self.newer.iter_mut().chain([&mut self.known]) {
            if let Some(who) = peers.get_mut(&whose) {
                who.remote = Some(to);
            }
        }
    }
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
