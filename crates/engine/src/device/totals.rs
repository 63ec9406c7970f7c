//! Totals of peers that have ended: how many there were, why they ended, their traffic, and what was lost. A device's
//! traffic includes theirs, so it never falls.

use std::sync::atomic::{AtomicU64, Ordering};

use udco_core::{Activity, Loss, Traffic};
use udco_netlink::DeleteReason;

/// Of an interface's ended peers.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    ended: [AtomicU64; DeleteReason::ALL.len()],
    pub(crate) link_rx: Traffic,
    pub(crate) link_tx: Traffic,
    pub(crate) vpn_rx: Traffic,
    pub(crate) vpn_tx: Traffic,
    expected: AtomicU64,
    lost: AtomicU64,
}

impl Totals {
    /// A peer has ended. Packets still in flight are no longer counted.
    pub(crate) fn add(&self, reason: DeleteReason, activity: &Activity, loss: Loss) {
        if let Some(ended) = self.ended.get(reason as usize) {
            ended.fetch_add(1, Ordering::Relaxed);
        }
        let traffic = [
            (&self.link_rx, &activity.link_rx),
            (&self.link_tx, &activity.link_tx),
            (&self.vpn_rx, &activity.vpn_rx),
            (&self.vpn_tx, &activity.vpn_tx),
        ];
        for (total, counter) in traffic {
            total.count_many(counter.packets(), counter.bytes());
        }
        self.expected.fetch_add(loss.expected, Ordering::Relaxed);
        self.lost.fetch_add(loss.lost, Ordering::Relaxed);
    }

    /// The packets that they had sent, and those lost on the way here.
    pub(crate) fn loss(&self) -> Loss {
        Loss {
            expected: self.expected.load(Ordering::Relaxed),
            lost: self.lost.load(Ordering::Relaxed),
        }
    }

    /// The reasons, and how many peers have ended for each.
    pub(crate) fn ended(&self) -> impl Iterator<Item = (DeleteReason, u64)> + '_ {
        let counts = self.ended.iter().map(|it| it.load(Ordering::Relaxed));
        DeleteReason::ALL.iter().copied().zip(counts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_are_counted_by_reason_and_their_traffic_is_kept() {
        let totals = Totals::default();
        let activity = Activity::default();
        activity.vpn_rx.count_many(2, 300);
        let (expected, lost) = (5, 3);
        let loss = Loss { expected, lost };
        totals.add(DeleteReason::Expired, &activity, loss);
        totals.add(DeleteReason::Expired, &activity, loss);
        totals.add(DeleteReason::TransportDisconnect, &activity, Loss::NONE);
        let ended: Vec<_> = totals.ended().filter(|(_, count)| *count > 0).collect();
        let expected = [
            (DeleteReason::Expired, 2),
            (DeleteReason::TransportDisconnect, 1),
        ];
        assert_eq!(ended, expected);
        assert_eq!((totals.vpn_rx.packets(), totals.vpn_rx.bytes()), (6, 900));
        assert_eq!(totals.link_tx.packets(), 0);
        let (expected, lost) = (10, 6);
        assert_eq!(totals.loss(), Loss { expected, lost });
    }
}
