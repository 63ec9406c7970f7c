//! A device's queues as the kernel of its host has them: each may be a pair, and the kernel keeps a flow in the queue of a
//! pair through which its other direction was delivered last.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use udco_core::offload::virtio;

use crate::tun::Tun;

/// The queues of a device.
#[derive(Debug)]
pub struct Queues {
    bulk: Vec<Tun>,
    /// None, or one beside each.
    sparse: Vec<Tun>,
    /// By the addresses of a flow, in order: whether it is in the queue for sparse flows.
    places: BTreeMap<(Ipv4Addr, Ipv4Addr), bool>,
}

impl Queues {
    /// This many, at least one.
    #[must_use]
    pub fn new(count: usize, are_pairs: bool) -> Self {
        let bulk: Vec<Tun> = (0..count.max(1)).map(|_| Tun::default()).collect();
        let pairs = bulk.iter().filter(|_| are_pairs);
        Self {
            sparse: pairs.map(Tun::paired).collect(),
            bulk,
            places: BTreeMap::new(),
        }
    }

    /// How many.
    #[must_use]
    pub fn count(&self) -> usize {
        self.bulk.len()
    }

    /// The engine's ends: of all queues, and of those for sparse flows beside them.
    #[must_use]
    pub fn ends(&self) -> (Vec<Tun>, Vec<Tun>) {
        (self.bulk.clone(), self.sparse.clone())
    }

    /// The host sends a packet through this queue.
    pub fn push(&self, queue: usize, packet: Vec<u8>) {
        let queue = queue % self.count();
        let is_sparse = flow(&packet).is_some_and(|flow| {
            // The kernel chooses for a flow that it does not know by a hash.
            let known = self.places.get(&flow);
            known
                .copied()
                .unwrap_or_else(|| flow.0.octets()[3] % 2 == 1)
        });
        let sparse = self.sparse.get(queue).filter(|_| is_sparse);
        if let Some(tun) = sparse.or_else(|| self.bulk.get(queue)) {
            tun.push(packet);
        }
    }

    /// What the engine has written since the last call.
    pub fn take_written(&mut self) -> Vec<Vec<u8>> {
        let written = self.bulk.iter().flat_map(Tun::take_written_to_pair);
        let mut packets = Vec::new();
        for (is_sparse, packet) in written {
            if let Some(flow) = flow(&packet) {
                self.places.insert(flow, is_sparse);
            }
            packets.push(packet);
        }
        packets
    }

    /// Sets whether they refuse what the engine writes.
    pub fn set_down(&self, is_down: bool) {
        let all = self.bulk.iter().chain(&self.sparse);
        all.for_each(|queue| queue.set_down(is_down));
    }
}

/// The addresses of a packet's flow, the lower one first.
fn flow(packet: &[u8]) -> Option<(Ipv4Addr, Ipv4Addr)> {
    let packet = packet.get(virtio::LEN..)?;
    let address = |at: usize| {
        let octets = packet.get(at..)?.first_chunk::<4>()?;
        Some(Ipv4Addr::from(*octets))
    };
    let (one, other) = (address(12)?, address(16)?);
    (packet.first()? >> 4 == 4).then_some((one.min(other), one.max(other)))
}
