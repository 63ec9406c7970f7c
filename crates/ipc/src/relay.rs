//! How a control packet received on a UDP transport socket reaches the client.

use core::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};

/// Header of each datagram in the relay of a UDP socket: its source and the local address it arrived at, enough for a
/// client to fill in `msg_name` and an `IP_PKTINFO` control message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RelayHeader {
    /// Source address and port. On a dual-stack socket an IPv4 source is given as the kernel gives it: v4-mapped.
    pub source: SocketAddr,
    /// Destination address of the packet; unspecified if the socket does not report it.
    pub local: IpAddr,
    /// Interface on which it arrived; 0 if unknown.
    pub ifindex: u32,
}

impl RelayHeader {
    /// Bytes of an encoded header.
    pub const LEN: usize = 48;

    /// Encodes the header.
    pub fn encode(&self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        let (version, scope) = match self.source {
            SocketAddr::V4(_) => (4u16, 0),
            SocketAddr::V6(source) => (6, source.scope_id()),
        };
        let local_version: u16 = if self.local.is_ipv4() { 4 } else { 6 };
        bytes[0..2].copy_from_slice(&version.to_ne_bytes());
        bytes[2..4].copy_from_slice(&self.source.port().to_ne_bytes());
        bytes[4..8].copy_from_slice(&scope.to_ne_bytes());
        bytes[8..24].copy_from_slice(&in_16_bytes(self.source.ip()));
        bytes[24..26].copy_from_slice(&local_version.to_ne_bytes());
        bytes[28..32].copy_from_slice(&self.ifindex.to_ne_bytes());
        bytes[32..48].copy_from_slice(&in_16_bytes(self.local));
        bytes
    }

    /// Splits a relayed datagram into its header and the packet; `None` if it is shorter than a header.
    pub fn decode(datagram: &[u8]) -> Option<(Self, &[u8])> {
        let (bytes, packet) = datagram.split_first_chunk::<{ Self::LEN }>()?;
        let u16_at = |at: usize| u16::from_ne_bytes([bytes[at], bytes[at + 1]]);
        let u32_at = |at: usize| {
            u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        let mut source = [0; 16];
        source.copy_from_slice(&bytes[8..24]);
        let mut local = [0; 16];
        local.copy_from_slice(&bytes[32..48]);
        let port = u16_at(2);
        let source = match address(u16_at(0), source) {
            IpAddr::V4(ip) => SocketAddr::from((ip, port)),
            IpAddr::V6(ip) => SocketAddrV6::new(ip, port, 0, u32_at(4)).into(),
        };
        let header = Self {
            source,
            local: address(u16_at(24), local),
            ifindex: u32_at(28),
        };
        Some((header, packet))
    }
}

fn in_16_bytes(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => ip.octets(),
    }
}

fn address(version: u16, bytes: [u8; 16]) -> IpAddr {
    if version == 4 {
        IpAddr::from([bytes[12], bytes[13], bytes[14], bytes[15]])
    } else {
        Ipv6Addr::from(bytes).into()
    }
}
