//! Where every inner packet has gone.

use super::World;
use crate::Failure;
use crate::node::Node;

/// Why authentic and new packets are dropped.
const BEHIND_THE_WINDOW: [&str; 5] = [
    "rx_empty",
    "rx_not_ip",
    "rx_spoofed_source",
    "rx_link_local",
    "rx_tun_refused",
];

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
        Failure::unless(balances, || {
            format!(
                "{sent} sent, {tx} dropped, {wire:?}, {rx} dropped, {} relayed, {delivered} delivered",
                self.relayed
            )
        })?;
        self.check_losses(delivered)
    }

    /// What was sent over UDP and not lost was delivered, or dropped behind the replay window.
    fn check_losses(&self, delivered: u64) -> Result<(), Failure> {
        let (mut accepted, mut behind) = (0, 0);
        for node in &self.nodes {
            let loss = node.path.loss();
            accepted += loss.expected - loss.lost;
            behind += BEHIND_THE_WINDOW
                .map(|it| node.dropped(it))
                .iter()
                .sum::<u64>();
        }
        let holds = !self.links.is_empty() || accepted == delivered + behind;
        Failure::unless(holds, || {
            format!(
                "{accepted} accepted, {delivered} delivered, {behind} dropped behind the window"
            )
        })
    }
}
