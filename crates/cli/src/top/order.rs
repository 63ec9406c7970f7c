//! In which order peers are listed, and which of them.

use std::cmp::Ordering;

use super::model::PeerRow;
use crate::rates::Rate;

/// By what peers are sorted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Order {
    /// Both directions, the busiest first.
    #[default]
    Traffic,
    Received,
    Sent,
    Packets,
    /// On the way here.
    Loss,
    /// As the devices have them: by their ids.
    Id,
    /// Outer address.
    Address,
}

impl Order {
    /// The next one; after the last, the first.
    pub(super) const fn next(self) -> Self {
        match self {
            Self::Traffic => Self::Received,
            Self::Received => Self::Sent,
            Self::Sent => Self::Packets,
            Self::Packets => Self::Loss,
            Self::Loss => Self::Id,
            Self::Id => Self::Address,
            Self::Address => Self::Traffic,
        }
    }

    /// As the screen has it, after "by".
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Traffic => "traffic",
            Self::Received => "received",
            Self::Sent => "sent",
            Self::Packets => "packets",
            Self::Loss => "loss",
            Self::Id => "id",
            Self::Address => "address",
        }
    }

    /// Sorts peers that are in the order of their devices and ids.
    pub(super) fn sort(self, peers: &mut [&PeerRow], is_reversed: bool) {
        // Stable: equal ones stay as they are.
        peers.sort_by(|one, other| match is_reversed {
            true => self.compare(other, one),
            false => self.compare(one, other),
        });
        if is_reversed && self == Self::Id {
            peers.reverse();
        }
    }

    fn compare(self, one: &PeerRow, other: &PeerRow) -> Ordering {
        let by = |value: fn(&Rate) -> f64| {
            let of = |row: &PeerRow| row.rate.map_or(0.0, |[inside, _]| value(&inside));
            of(other).total_cmp(&of(one))
        };
        match self {
            Self::Traffic => by(Rate::bytes),
            Self::Received => by(|rate| rate.rx_bytes),
            Self::Sent => by(|rate| rate.tx_bytes),
            Self::Packets => by(Rate::packets),
            Self::Loss => {
                let of = |row: &PeerRow| row.loss.unwrap_or_default();
                of(other).total_cmp(&of(one))
            }
            Self::Id => Ordering::Equal,
            Self::Address => one.peer.remote.cmp(&other.peer.remote),
        }
    }
}

/// Whether a peer matches each word of a filter: its device, its id, its name, or one of its addresses contains it.
pub(super) fn matches(row: &PeerRow, filter: &str) -> bool {
    if filter.is_empty() {
        return true;
    }
    let peer = &row.peer;
    let mut about = format!("{} {}", row.device.to_lowercase(), peer.id);
    if let Some(name) = &row.common_name {
        about.push(' ');
        about.push_str(&name.to_lowercase());
    }
    let addresses = [
        peer.remote.map(|it| it.to_string()),
        peer.vpn4.map(|it| it.to_string()),
        peer.vpn6.map(|it| it.to_string()),
    ];
    for address in addresses.into_iter().flatten() {
        about.push(' ');
        about.push_str(&address);
    }
    let filter = filter.to_lowercase();
    filter.split_whitespace().all(|word| about.contains(word))
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::super::model::Model;
    use super::super::model::tests::{at, device, peer, sample};
    use super::*;

    /// Three peers: 1 receives most, 2 sends most and loses some, 3 is idle.
    fn model() -> Model {
        let begin = Instant::now();
        let mut model = Model::default();
        for second in 0..2 {
            let rates = [(5000, 0), (1000, 9000), (0, 0)];
            let peers = (1..).zip(rates);
            let peers =
                peers.map(|(id, (received, sent))| peer(id, second * received, second * sent));
            let mut peers: Vec<_> = peers.collect();
            peers[1].loss.as_mut().unwrap().lost = second;
            model.take(sample(at(begin, second), vec![device("tun0", 3, peers)]));
        }
        model
    }

    fn sorted(order: Order, is_reversed: bool) -> Vec<u32> {
        let model = model();
        let mut peers: Vec<_> = model.peers.iter().collect();
        order.sort(&mut peers, is_reversed);
        peers.iter().map(|row| row.peer.id).collect()
    }

    #[test]
    fn orders_differ() {
        assert_eq!(sorted(Order::Traffic, false), [2, 1, 3]);
        assert_eq!(sorted(Order::Traffic, true), [3, 1, 2]);
        assert_eq!(sorted(Order::Received, false), [1, 2, 3]);
        assert_eq!(sorted(Order::Sent, false), [2, 1, 3], "equal ones by id");
        assert_eq!(sorted(Order::Packets, false), [2, 1, 3]);
        assert_eq!(sorted(Order::Loss, false), [2, 1, 3]);
        assert_eq!(sorted(Order::Id, false), [1, 2, 3]);
        assert_eq!(sorted(Order::Id, true), [3, 2, 1]);
        assert_eq!(sorted(Order::Address, false), [1, 2, 3]);
        assert_eq!(sorted(Order::Address, true), [3, 2, 1]);
    }

    #[test]
    fn each_order_comes_round() {
        let mut order = Order::default();
        let mut names = std::collections::BTreeSet::new();
        for _ in 0..7 {
            names.insert(order.name());
            order = order.next();
        }
        assert_eq!((order, names.len()), (Order::Traffic, 7));
    }

    #[test]
    fn a_filter_looks_at_device_id_and_addresses() {
        let model = model();
        let found = |filter: &str| {
            let rows = model.peers.iter().filter(|row| matches(row, filter));
            rows.map(|row| row.peer.id).collect::<Vec<_>>()
        };
        assert_eq!(found(""), [1, 2, 3]);
        assert_eq!(found("TUN"), [1, 2, 3]);
        assert_eq!(found("192.0.2.2"), [2]);
        assert_eq!(found("10.8.0.3"), [3]);
        assert_eq!(found("tun0 10.8.0.1"), [1]);
        assert!(found("tun1").is_empty());
    }
}
