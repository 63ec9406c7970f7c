//! A peer of a device.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use serde::{Deserialize, Serialize};

/// A peer.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Peer {
    /// Id in the packets that come from it.
    pub id: u32,
    /// Id in the packets that go to it.
    pub tx_id: u32,
    /// Where it is; `None` over TCP.
    pub remote: Option<SocketAddr>,
    /// The address of ours that it talks to; `None` if the route decides.
    pub local: Option<IpAddr>,
    /// Bytes of the longest outer packet that is not fragmented; `None` over TCP.
    pub path_mtu: Option<u16>,
    /// The MSS to which that, or `mssfix`, limits TCP inside; `None` if nothing does.
    pub mss: Option<Mss>,
    /// Its IPv4 address inside.
    pub vpn4: Option<Ipv4Addr>,
    /// Its IPv6 address inside.
    pub vpn6: Option<Ipv6Addr>,
    /// When it is asked for a sign of life, and when it is given up.
    pub keepalive: Keepalive,
    /// Its keys.
    pub keys: Keys,
    /// What crossed the wire.
    pub link: Traffic,
    /// What crossed the device.
    pub vpn: Traffic,
}

/// Bytes of TCP payload, by the family inside.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
pub struct Mss {
    /// Over IPv4.
    pub ipv4: u16,
    /// Over IPv6.
    pub ipv6: u16,
}

/// Seconds; 0 is never.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub struct Keepalive {
    /// Something is sent at least this often.
    pub interval: u32,
    /// The peer is gone after such a silence.
    pub timeout: u32,
}

/// The slots; never a key.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Keys {
    /// Encrypts and decrypts.
    pub primary: Option<Key>,
    /// Decrypts.
    pub secondary: Option<Key>,
}

/// Which key is in a slot.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Key {
    /// Its id in packets.
    pub key_id: u8,
    /// Name of its cipher.
    pub cipher: Cow<'static, str>,
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
