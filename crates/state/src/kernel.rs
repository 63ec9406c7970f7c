//! A device of the kernel's own driver: what its API reports, and no more.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::{Keepalive, Keys, Mode, Traffic};

/// What moves a device's packets.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Driver {
    /// An engine.
    Udco,
    /// The kernel's driver `ovpn`.
    Kernel,
}

/// A device, without what only an engine knows: offloads, drops by reason, path MTUs.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct KernelDevice {
    /// Its name.
    pub name: String,
    /// Interface index.
    pub ifindex: u32,
    /// [`Driver::Kernel`].
    pub driver: Driver,
    /// Whether it has one peer or many.
    pub mode: Mode,
    /// Its peers by their ids; absent if this user may not see them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peers: Option<Vec<KernelPeer>>,
}

/// A peer of such a device.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct KernelPeer {
    /// Id in packets received from it.
    pub id: u32,
    /// Id in packets sent to it.
    pub tx_id: u32,
    /// Its address; `None` over TCP.
    pub remote: Option<SocketAddr>,
    /// Our local address for it; `None` if the route decides.
    pub local: Option<IpAddr>,
    /// Its VPN IPv4 address.
    pub vpn4: Option<Ipv4Addr>,
    /// Its VPN IPv6 address.
    pub vpn6: Option<Ipv6Addr>,
    /// Its keepalive times.
    pub keepalive: Keepalive,
    /// Its keys; their ciphers as the API names them, without the key's length.
    pub keys: Keys,
    /// Counters at the transport socket.
    pub link: Traffic,
    /// Counters at the device.
    pub vpn: Traffic,
}

impl Driver {
    /// As in the JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Udco => "udco",
            Self::Kernel => "kernel",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_that_may_not_be_seen_are_absent() {
        let device = KernelDevice {
            name: "tun0".to_owned(),
            ifindex: 3,
            driver: Driver::Kernel,
            mode: Mode::P2p,
            peers: None,
        };
        let text = serde_json::to_string(&device).unwrap();
        let expected = r#"{"name":"tun0","ifindex":3,"driver":"kernel","mode":"p2p"}"#;
        assert_eq!(text, expected);
        let again: KernelDevice = serde_json::from_str(&text).unwrap();
        assert!(again.peers.is_none());
        for driver in [Driver::Udco, Driver::Kernel] {
            assert_eq!(serde_json::to_value(driver).unwrap(), driver.name());
        }
    }

    #[test]
    fn a_report_without_the_kernels_devices_can_be_read() {
        let text = r#"{"devices":[],"engines":[],"left":[],"silent":[],"unreachable":[]}"#;
        let report: crate::Report = serde_json::from_str(text).unwrap();
        assert!(report.kernel_devices.is_empty());
    }
}
