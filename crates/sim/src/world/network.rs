//! What is between the nodes: a network for datagrams, and TCP connections.

use std::net::SocketAddr;

use super::{What, World};
use crate::tcp::Stream;
use crate::udp::Arrival;
use crate::weather::{STEP, corrupt};

/// A TCP connection between two nodes.
pub struct Link {
    /// The nodes and their ends.
    pub ends: [(usize, Stream); 2],
    /// The most bytes that move at once.
    pub most: usize,
    /// Nothing moves before this time.
    pub stalled_until: u64,
    pub(super) is_pumped: [bool; 2],
}

impl World {
    /// The network takes a datagram.
    pub(super) fn forward(&mut self, source: SocketAddr, to: SocketAddr, bytes: Vec<u8>) {
        if self.weather.loses(self.now, &mut self.rng) {
            self.wire.lost += 1;
            return;
        }
        let copies = match self.rng.chance(self.weather.duplicates) {
            true => self.rng.within(2, 3),
            false => 1,
        };
        self.wire.duplicated += copies - 1;
        for _ in 0..copies {
            let mut bytes = bytes.clone();
            if self.rng.chance(self.weather.corruption) {
                corrupt(&mut bytes, &mut self.rng);
            }
            let mut at = self.weather.arrival(self.now, &mut self.rng);
            if self.weather.in_order
                && let Some(node) = self.nodes.iter().position(|node| node.public == to)
            {
                at = at.max(self.latest[node]);
                self.latest[node] = at;
            }
            let arrival = Arrival { bytes, source };
            self.schedule(at, What::Datagram { to, arrival });
        }
    }

    /// Bytes move through a connection, cut anywhere.
    pub(super) fn pump(&mut self, number: usize, end: usize) {
        let link = &mut self.links[number];
        let few = self.rng.chance(100);
        let most = self.rng.size(1, if few { 5 } else { link.most });
        let [near, far] = match end {
            0 => [&link.ends[0], &link.ends[1]],
            _ => [&link.ends[1], &link.ends[0]],
        };
        let moved = match self.now < link.stalled_until {
            true => 0,
            false => near.1.transfer(&far.1, most),
        };
        self.trace.add(3, self.now, &(moved as u64).to_le_bytes());
        if moved > 0 {
            self.stirred[near.0] = true;
            self.stirred[far.0] = true;
        }
        let again = near.1.unsent() > 0;
        link.is_pumped[end] = again;
        if again {
            let after = link.stalled_until.saturating_sub(self.now);
            let pause = STEP * self.rng.within(1, 4);
            let at = self.now + after.max(pause);
            self.schedule(at, What::Pump { link: number, end });
        }
    }

    /// Has the network look at connections that something waits for.
    pub(super) fn start_pumps(&mut self) {
        for number in 0..self.links.len() {
            for end in 0..2 {
                let link = &mut self.links[number];
                if !link.is_pumped[end] && link.ends[end].1.unsent() > 0 {
                    link.is_pumped[end] = true;
                    let at = self.now + STEP;
                    self.schedule(at, What::Pump { link: number, end });
                }
            }
        }
    }
}
