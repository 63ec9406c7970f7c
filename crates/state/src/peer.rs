//! A peer of a device.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use serde::{Deserialize, Serialize};

/// A peer.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Peer {
    /// Id in packets received from it.
    pub id: u32,
    /// Id in packets sent to it.
    pub tx_id: u32,
    /// Its address; `None` over TCP.
    pub remote: Option<SocketAddr>,
    /// Our local address for it; `None` if the route decides.
    pub local: Option<IpAddr>,
    /// Length of the longest outer packet that is not fragmented; `None` over TCP.
    pub path_mtu: Option<u16>,
    /// The MSS to which that, or `mssfix`, limits TCP inside the tunnel; `None` if there is no limit.
    pub mss: Option<Mss>,
    /// Its VPN IPv4 address.
    pub vpn4: Option<Ipv4Addr>,
    /// Its VPN IPv6 address.
    pub vpn6: Option<Ipv6Addr>,
    /// Its keepalive times.
    pub keepalive: Keepalive,
    /// Its keys.
    pub keys: Keys,
    /// Counters at the transport socket.
    pub link: Traffic,
    /// Counters at the device.
    pub vpn: Traffic,
    /// What was lost on the way from it; absent over TCP, and of an engine or driver that does not count it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss: Option<Loss>,
}

/// Bytes of TCP payload per packet, by the family inside the tunnel.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
pub struct Mss {
    /// Over IPv4.
    pub ipv4: u16,
    /// Over IPv6.
    pub ipv6: u16,
}

/// Keepalive times in seconds; 0 is never.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub struct Keepalive {
    /// Something is sent at least this often.
    pub interval: u32,
    /// The peer is deleted after this long without a packet.
    pub timeout: u32,
}

/// The key slots; never key material.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Keys {
    /// Encrypts and decrypts.
    pub primary: Option<Key>,
    /// Decrypts.
    pub secondary: Option<Key>,
}

/// The key in a slot.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Key {
    /// Its id in packets.
    pub key_id: u8,
    /// Name of its cipher.
    pub cipher: Cow<'static, str>,
    /// Seconds since it was installed; absent if that is not known, as of the kernel's own driver.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age: Option<u64>,
}

/// Counters of all peers that a device has, and of those that have ended.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
pub struct Totals {
    /// Peers that have ended, by the API's name of the reason; reasons that never occurred are omitted.
    pub ended: BTreeMap<String, u64>,
    /// Counters at the transport sockets.
    pub link: Traffic,
    /// Counters at the device.
    pub vpn: Traffic,
    /// What was lost on the way here; absent of an engine that does not count it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss: Option<Loss>,
}

/// Packets lost on the way here, as gaps in packet ids show them.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
pub struct Loss {
    /// Packets that were sent here, as far as is known.
    pub expected: u64,
    /// Of these, not accepted. Falls when one comes late.
    pub lost: u64,
}

/// Bytes and packets of both directions.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
pub struct Traffic {
    /// Bytes received.
    pub rx_bytes: u64,
    /// Packets received.
    pub rx_packets: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Packets sent.
    pub tx_packets: u64,
}

impl std::ops::AddAssign for Traffic {
    fn add_assign(&mut self, other: Self) {
        self.rx_bytes += other.rx_bytes;
        self.rx_packets += other.rx_packets;
        self.tx_bytes += other.tx_bytes;
        self.tx_packets += other.tx_packets;
    }
}

impl std::ops::AddAssign for Loss {
    fn add_assign(&mut self, other: Self) {
        self.expected += other.expected;
        self.lost += other.lost;
    }
}
