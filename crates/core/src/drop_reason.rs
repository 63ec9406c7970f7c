//! Reasons for drops (dco-behaviour 1.5, 1.6). Every drop has one and is counted.

use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};

macro_rules! drop_reasons {
    ($($(#[doc = $doc:literal])+ $variant:ident => $name:literal,)+) => {
        /// Why a packet was dropped.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum DropReason {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl DropReason {
            /// Every reason, in the order of the packet path.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The name that `udco show` and its JSON report.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }
        }
    };
}

drop_reasons! {
    /// Received: longer than the receive buffer.
    RxOversize => "rx_oversize",
    /// Received: too short for an opcode and a peer id.
    RxShort => "rx_short",
    /// Received: the `DATA_V1` format, which data channel offload does not support.
    RxDataV1 => "rx_data_v1",
    /// Received: a control packet, while the relay to OpenVPN was full or gone.
    RxRelayFull => "rx_relay_full",
    /// Received: no peer has this id (or, for the undefined id, this address).
    RxNoPeer => "rx_no_peer",
    /// Received: the peer has no key with this key id.
    RxUnknownKeyId => "rx_unknown_key_id",
    /// Received: too short for packet id and tag.
    RxNoTag => "rx_no_tag",
    /// Received: the tag does not match these bytes under this key.
    RxBadTag => "rx_bad_tag",
    /// Received: under a key that has seen too many forgeries to be trusted any longer.
    RxIntegrityLimit => "rx_integrity_limit",
    /// Received: authentic, but its packet id was seen before, or is 0.
    RxReplay => "rx_replay",
    /// Received: authentic, but its packet id is older than the replay window reaches.
    RxTooOld => "rx_too_old",
    /// Received: authentic, but with nothing inside.
    RxEmpty => "rx_empty",
    /// Received: authentic, but its contents are neither IPv4 nor IPv6 nor a keepalive.
    RxNotIp => "rx_not_ip",
    /// Received: the inner source address is not one of this peer's (reverse-path check).
    RxSpoofedSource => "rx_spoofed_source",
    /// Received: link-local housekeeping of the other end's host, from an address that no peer has (faults E9).
    RxLinkLocal => "rx_link_local",
    /// Received: the TUN device did not take the packet (down, or out of memory).
    RxTunRefused => "rx_tun_refused",
    /// Sent: the virtio header does not describe its packet (promises E3).
    TxBadOffload => "tx_bad_offload",
    /// Sent: not an IPv4 or IPv6 packet.
    TxNotIp => "tx_not_ip",
    /// Sent: no peer has the next hop's address.
    TxNoPeer => "tx_no_peer",
    /// Sent: to a multicast group or to 255.255.255.255, which no peer has (faults E9).
    TxMulticast => "tx_multicast",
    /// Sent: for the peer's own outer address (recursive routing).
    TxRecursive => "tx_recursive",
    /// Sent: the peer's worker has no room for packets handed off by other workers.
    TxHandoffFull => "tx_handoff_full",
    /// Sent: the peer has no primary key.
    TxNoKey => "tx_no_key",
    /// Sent: all packet ids of the key are used up.
    TxPacketIdsUsedUp => "tx_packet_ids_used_up",
    /// Sent: the cipher failed.
    TxSealFailed => "tx_seal_failed",
    /// Sent: the peer has no address yet.
    TxNoEndpoint => "tx_no_endpoint",
    /// Sent: the transport socket's buffer was full.
    TxTransportFull => "tx_transport_full",
    /// Sent: the transport refused the packet (no route, too big, filtered).
    TxTransportError => "tx_transport_error",
}

/// The reason's name, under which docs/drops.md explains it.
impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl core::error::Error for DropReason {}

/// One counter for each [`DropReason`].
#[derive(Debug)]
pub struct DropCounters([AtomicU64; DropReason::ALL.len()]);

impl DropCounters {
    /// All at zero.
    #[must_use]
    pub const fn new() -> Self {
        Self([const { AtomicU64::new(0) }; DropReason::ALL.len()])
    }

    /// Counts one packet.
    pub fn count(&self, reason: DropReason) {
        self.count_many(reason, 1);
    }

    /// Counts several packets.
    pub fn count_many(&self, reason: DropReason, packets: u64) {
        if let Some(counter) = self.0.get(reason as usize) {
            counter.fetch_add(packets, Ordering::Relaxed);
        }
    }

    /// The reasons that occurred, with their counts.
    pub fn nonzero(&self) -> impl Iterator<Item = (DropReason, u64)> + '_ {
        DropReason::ALL
            .iter()
            .zip(&self.0)
            .map(|(reason, counter)| (*reason, counter.load(Ordering::Relaxed)))
            .filter(|(_, count)| *count > 0)
    }
}

impl Default for DropCounters {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_its_own_counter_and_name() {
        let counters = DropCounters::new();
        for (count, reason) in (1..).zip(DropReason::ALL) {
            counters.count_many(*reason, count);
        }
        let counted: Vec<_> = counters.nonzero().collect();
        let expected: Vec<_> = DropReason::ALL.iter().copied().zip(1..).collect();
        assert_eq!(counted, expected);
        let mut names: Vec<_> = DropReason::ALL.iter().map(|reason| reason.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), DropReason::ALL.len());
    }

    #[test]
    fn the_page_for_users_has_every_name() {
        let page = include_str!("../../../docs/drops.md");
        for reason in DropReason::ALL {
            let row = alloc::format!("| `{}` |", reason.name());
            assert!(page.contains(&row), "{row}");
        }
    }
}
