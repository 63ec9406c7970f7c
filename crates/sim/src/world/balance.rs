//! Where every inner packet has gone.

use super::World;
use crate::Failure;
use crate::node::Node;

impl World {
    /// Every inner packet has arrived or was counted where it was dropped, on every node and on the wire. Only while no
    /// keepalives are sent.
    ///
    /// # Errors
    /// If a packet is missing, or there is one too many.
    pub fn check_balance(&self) -> Result<(), Failure> {
        let drops = self.nodes.iter().map(Node::drops);
        let (tx, rx) = drops.fold((0, 0), |sum, drops| (sum.0 + drops.0, sum.1 + drops.1));
        let (sent, delivered) = (self.ledger.sent(), self.ledger.delivered());
        let wire = &self.wire;
        let balances = match self.links.is_empty() {
            true => {
                sent == tx + wire.sent
                    && wire.sent + wire.duplicated + wire.forged == wire.lost + wire.arrived
                    && wire.arrived == delivered + rx + self.relayed
            }
            false => sent == tx + delivered + rx,
        };
        match balances {
            true => Ok(()),
            false => Err(Failure::new(format!(
                "{sent} sent, {tx} dropped, {wire:?}, {rx} dropped, {} relayed, {delivered} delivered",
                self.relayed
            ))),
        }
    }
}
