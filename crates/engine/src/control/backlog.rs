//! The backlog of a slow reader of notifications: ordered, and bounded by the number of peers (promises F5).

use std::collections::{BTreeMap, HashMap};

use udco_netlink::Notification;

/// What a notification is about: the newer of two with the same subject says all that the reader needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Subject {
    /// A peer was deleted; device and peer id.
    Deleted(u32, u32),
    /// A peer has floated.
    Floated(u32, u32),
    /// A peer needs a new key.
    KeySwap(u32, u32),
}

/// Datagrams in the order in which the client will read them.
#[derive(Default)]
pub(crate) struct Backlog {
    datagrams: BTreeMap<u64, (Vec<u8>, Option<Subject>)>,
    places: HashMap<Subject, u64>,
    next: u64,
    bytes: usize,
}

impl Subject {
    pub(crate) const fn of(notification: &Notification) -> Self {
        match notification {
            Notification::PeerDeleted { ifindex, peer, .. } => Self::Deleted(*ifindex, *peer),
            Notification::PeerFloated { ifindex, peer, .. } => Self::Floated(*ifindex, *peer),
            Notification::KeySwap { ifindex, peer, .. } => Self::KeySwap(*ifindex, *peer),
        }
    }

    /// Subjects that this one makes pointless.
    const fn supersedes(self) -> [Option<Self>; 3] {
        match self {
            Self::Deleted(ifindex, peer) => [
                Some(self),
                Some(Self::Floated(ifindex, peer)),
                Some(Self::KeySwap(ifindex, peer)),
            ],
            other => [Some(other), None, None],
        }
    }
}

impl Backlog {
    pub(crate) fn is_empty(&self) -> bool {
        self.datagrams.is_empty()
    }

    /// Memory used.
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Drains it, in order.
    pub(crate) fn take(&mut self) -> impl Iterator<Item = (Vec<u8>, Option<Subject>)> + use<> {
        std::mem::take(self).datagrams.into_values()
    }

    /// The next one to be read.
    pub(crate) fn first(&self) -> Option<&[u8]> {
        let (_, (datagram, _)) = self.datagrams.first_key_value()?;
        Some(datagram)
    }

    /// Removes the next one.
    pub(crate) fn pop(&mut self) {
        if let Some((_, (datagram, subject))) = self.datagrams.pop_first() {
            self.bytes -= cost(&datagram);
            if let Some(subject) = subject {
                self.places.remove(&subject);
            }
        }
    }

    /// Queues a datagram behind all others; a notification replaces older ones that it makes pointless. Nothing
    /// replaces a datagram without a subject: it is not one of the engine's notifications.
    pub(crate) fn push(&mut self, datagram: Vec<u8>, subject: Option<Subject>) {
        let superseded = subject.into_iter().flat_map(Subject::supersedes).flatten();
        for old in superseded {
            if let Some(place) = self.places.remove(&old)
                && let Some((datagram, _)) = self.datagrams.remove(&place)
            {
                self.bytes -= cost(&datagram);
            }
        }
        if let Some(subject) = subject {
            self.places.insert(subject, self.next);
        }
        self.bytes += cost(&datagram);
        self.datagrams.insert(self.next, (datagram, subject));
        self.next += 1;
    }
}

/// What a datagram takes, with its entries in both maps.
fn cost(datagram: &[u8]) -> usize {
    datagram.len() + 128
}

#[cfg(test)]
mod tests {
    use super::{Backlog, Subject};

    fn read(mut backlog: Backlog) -> Vec<u8> {
        let mut read = Vec::new();
        while let Some(first) = backlog.first() {
            read.extend_from_slice(first);
            backlog.pop();
        }
        assert_eq!(backlog.bytes(), 0);
        assert!(
            backlog.places.is_empty(),
            "nothing is left of what was read"
        );
        read
    }

    #[test]
    fn order_is_kept_and_the_newest_notification_of_a_peer_counts() {
        let mut backlog = Backlog::default();
        backlog.push(vec![1], Some(Subject::Floated(1, 1)));
        backlog.push(vec![2], Some(Subject::Floated(1, 2)));
        backlog.push(vec![3], None);
        backlog.push(vec![4], Some(Subject::Floated(1, 1)));
        backlog.push(vec![5], Some(Subject::Floated(2, 1)));
        backlog.push(vec![6], Some(Subject::KeySwap(1, 2)));
        assert_eq!(read(backlog), [2, 3, 4, 5, 6]);
    }

    #[test]
    fn a_deletion_supersedes_earlier_notifications_of_the_peer() {
        let mut backlog = Backlog::default();
        backlog.push(vec![1], Some(Subject::Floated(1, 7)));
        backlog.push(vec![2], Some(Subject::KeySwap(1, 7)));
        backlog.push(vec![3], Some(Subject::Deleted(1, 7)));
        // Its id went to another peer, which has floated since.
        backlog.push(vec![4], Some(Subject::Floated(1, 7)));
        assert_eq!(read(backlog), [3, 4]);
    }

    #[test]
    fn the_backlog_is_bounded_by_the_number_of_peers() {
        let mut backlog = Backlog::default();
        for round in 0..10_000_u32 {
            backlog.push(vec![0; 40], Some(Subject::Floated(1, round % 10)));
            backlog.push(vec![0; 40], Some(Subject::Deleted(1, round % 7)));
        }
        assert!(backlog.datagrams.len() <= 20);
        assert_eq!(backlog.places.len(), backlog.datagrams.len());
    }
}
