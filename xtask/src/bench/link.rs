//! The link between the two hosts.

use anyhow::Result;
use clap::ValueEnum;
use serde::Serialize;
use udco_testbed::{Host, Pair};

/// A behaviour of the outer link: always a veth pair, MTU 1500.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Link {
    /// Unmodified: a UDP super-packet crosses whole, as with a card that segments and merges in hardware.
    Veth,
    /// The kernel segments just before the device and merges at the receiver, as with an ordinary card.
    Nic,
    /// The kernel segments, and every packet crosses and arrives alone.
    NicNoGro,
}

impl Link {
    pub(crate) const fn title(self) -> &'static str {
        match self {
            Self::Veth => "veth",
            Self::Nic => "NIC-like, GRO",
            Self::NicNoGro => "NIC-like, no GRO",
        }
    }

    /// Configures the pair's devices accordingly.
    ///
    /// # Errors
    /// If ethtool fails.
    pub(crate) fn prepare(self, pair: &Pair) -> Result<()> {
        // A veth merges at the receiver only if the sending end has no TSO (performance 5.4).
        let features: &[&str] = match self {
            Self::Veth => return Ok(()),
            Self::Nic => &["tx-udp-segmentation", "off", "tso", "off", "gro", "on"],
            Self::NicNoGro => &["tx-udp-segmentation", "off", "tso", "off", "gro", "off"],
        };
        set_features(pair, features)
    }
}

/// Disables everything that creates packets above the MTU: the cost of the network packet by packet.
///
/// # Errors
/// If ethtool fails.
pub(crate) fn without_segmentation(pair: &Pair) -> Result<()> {
    let features = [
        "tso",
        "off",
        "gso",
        "off",
        "gro",
        "off",
        "tx-udp-segmentation",
        "off",
    ];
    set_features(pair, &features)
}

fn set_features(pair: &Pair, features: &[&str]) -> Result<()> {
    let set = |host: &Host, device: &str| {
        let words = [&["ethtool", "-K", device], features].concat();
        host.run(&words).map(drop)
    };
    set(&pair.server, &pair.link.a)?;
    set(&pair.client, &pair.link.b)
}
