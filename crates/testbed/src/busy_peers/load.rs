//! Which peers are busy, and with what.

use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// About as many full packets as a super-packet holds.
const SUPER_PACKET: usize = 40;

/// Peers that take part: ids from `first` on.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, clap::Args)]
pub struct Peers {
    /// The first id.
    pub first: u16,
    /// How many.
    pub count: u16,
}

impl Peers {
    pub(super) fn ids(self) -> impl Iterator<Item = u16> + Clone {
        self.first..self.first + self.count
    }

    /// Equal shares, at most this many: each sends at the same rate, so unequal ones would be unfair to their peers.
    pub(super) fn shares(self, most: u16) -> impl Iterator<Item = Self> {
        let is_equal = |number: &u16| self.count.is_multiple_of(*number);
        let number = (1..=most.min(self.count)).rev().find(is_equal);
        let number = number.unwrap_or(1);
        let count = self.count / number;
        (0..number).map(move |share| Self {
            first: self.first + share * count,
            count,
        })
    }
}

/// Which way packets go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// From the peers to the server's device.
    Up,
    /// From the server's device to the peers.
    Down,
}

/// What each of them carries.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, clap::Args,
)]
pub struct Load {
    /// Bytes of each packet inside.
    pub size: u32,
    /// Packets in a row, before another peer has its turn: 1 is the worst case, and a TCP stream's super-packet 40.
    pub row: u32,
    /// How long it lasts.
    pub milliseconds: u64,
    /// Packets a second, in bursts of a super-packet's; as many as possible if it is not given.
    pub rate: Option<u32>,
}

impl Load {
    pub(super) fn duration(self) -> Duration {
        Duration::from_millis(self.milliseconds)
    }

    /// How many packets leave at once, of at most this many.
    pub(super) fn burst(self, most: usize) -> usize {
        self.rate.map_or(most, |_| most.min(SUPER_PACKET))
    }

    /// Waits until the rate allows more than it has `sent`.
    pub(super) fn keep_rate(self, began: Instant, sent: u64) {
        if let Some(rate) = self.rate {
            let due = Duration::from_secs_f64(sent as f64 / f64::from(rate.max(1)));
            thread::sleep(due.saturating_sub(began.elapsed()));
        }
    }

    /// Each of `all` as often as packets go in a row, again and again.
    pub(super) fn turns<T: Copy>(
        self,
        all: impl Iterator<Item = T> + Clone,
    ) -> impl Iterator<Item = T> {
        all.flat_map(move |one| (0..self.row).map(move |_| one))
            .cycle()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_equal_and_hold_each_peer_once() {
        let cases = [(1, 8, 1), (10, 0, 1), (10, 1, 1), (10, 8, 5), (1_000, 8, 8)];
        for (count, most, wanted) in cases {
            let peers = Peers { first: 3, count };
            let shares: Vec<_> = peers.shares(most).collect();
            assert_eq!(shares.len(), wanted, "{count} peers, at most {most}");
            assert!(shares.iter().all(|it| it.count == shares[0].count));
            let ids: Vec<_> = shares.iter().flat_map(|it| it.ids()).collect();
            assert_eq!(ids, peers.ids().collect::<Vec<_>>());
        }
    }
}
