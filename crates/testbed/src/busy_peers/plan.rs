//! Addresses, keys and packets of the busy peers.

use std::net::{IpAddr, Ipv6Addr};

use anyhow::{Context, Result};
use udco_core::offload::checksum;
use udco_core::{Cipher, Key, KeyId, KeyMaterial};
use udco_crypto::DirectionKey;

use crate::scenario::Variant;

/// The server's port, and that of all peers but the heavy one.
pub(super) const PORT: u16 = 1194;

const KEYS: [[u8; 32]; 2] = [[0x51; 32], [0xA7; 32]];
const TAILS: [[u8; 8]; 2] = [[0x1C; 8], [0x3E; 8]];

/// The server's end of the keys, as `udco key new` reads it.
pub(super) fn key_file() -> String {
    let hexadecimal = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let lines: [(&str, String); 4] = [
        ("encrypt-key", hexadecimal(&KEYS[1])),
        ("encrypt-nonce-tail", hexadecimal(&TAILS[1])),
        ("decrypt-key", hexadecimal(&KEYS[0])),
        ("decrypt-nonce-tail", hexadecimal(&TAILS[0])),
    ];
    lines
        .map(|(name, value)| format!("{name}: {value}\n"))
        .concat()
}

/// A peer's end of them.
pub(super) fn key() -> Result<Key<DirectionKey>> {
    let cipher = Cipher::Aes256Gcm;
    let [encrypt, decrypt] = KEYS.map(|key| DirectionKey::new(cipher, &key).ok());
    let material = KeyMaterial {
        id: KeyId::new(0).context("key id")?,
        cipher,
        encrypt: encrypt.context("key length")?,
        decrypt: decrypt.context("key length")?,
        encrypt_nonce_tail: TAILS[0],
        decrypt_nonce_tail: TAILS[1],
    };
    Ok(Key::new(material))
}

/// The addresses of each family, and packets between them.
impl Variant {
    pub(super) fn server_outer(self) -> IpAddr {
        self.either([192, 0, 2, 1], [0x2001, 0xdb8, 0, 0, 0, 0, 0, 1])
    }

    pub(super) fn clients_outer(self) -> IpAddr {
        self.either([192, 0, 2, 2], [0x2001, 0xdb8, 0, 0, 0, 0, 0, 2])
    }

    /// No address in particular.
    pub(super) fn any(self) -> IpAddr {
        self.either([0; 4], [0; 8])
    }

    /// The outer addresses of all peers.
    pub(super) const fn outer_network(self) -> &'static str {
        match self.ipv6 {
            false => "10.50.0.0/16",
            true => "fd50::/64",
        }
    }

    /// A peer's outer address.
    pub(super) fn outer(self, id: u16) -> IpAddr {
        let [high, low] = id.to_be_bytes();
        self.either([10, 50, high, low], [0xfd50, 0, 0, 0, 0, 0, 0, id])
    }

    /// A peer's VPN address.
    pub(super) fn vpn(self, id: u16) -> IpAddr {
        let [high, low] = id.to_be_bytes();
        self.either([10, 9, high, low], [0xfd09, 0, 0, 0, 0, 0, 0, id])
    }

    /// The server's own address in the VPN.
    pub(super) fn server_vpn(self) -> IpAddr {
        self.either([10, 9, 255, 1], [0xfd09, 0, 0, 0, 0, 0, 1, 1])
    }

    /// The length of the VPN's prefix, and of that of the link outside.
    pub(super) const fn prefixes(self) -> [u8; 2] {
        match self.ipv6 {
            false => [16, 24],
            true => [64, 64],
        }
    }

    /// Where the peers' packets go: the server's kernel discards them without a word.
    pub(super) fn discarded(self) -> IpAddr {
        self.either([198, 51, 100, 1], [0x2001, 0xdb8, 1, 0, 0, 0, 0, 1])
    }

    /// Bytes of an IP and a UDP or ICMP header.
    pub(super) const fn headers(self) -> usize {
        match self.ipv6 {
            false => 28,
            true => 48,
        }
    }

    /// Makes this the packet of a UDP datagram, without a checksum: what lies behind the headers may be anything.
    pub(super) fn udp(self, packet: &mut [u8], from: IpAddr) {
        let at = ip(packet, [from, self.discarded()], 17);
        let length = (packet.len() - at) as u16;
        packet[at..at + 4].copy_from_slice(&[0x10, 0, 0, 9]);
        packet[at + 4..at + 6].copy_from_slice(&length.to_be_bytes());
        packet[at + 6..at + 8].fill(0);
    }

    /// Makes this an echo request to the server (RFC 792, RFC 4443).
    pub(super) fn echo_request(self, packet: &mut [u8], from: IpAddr, sequence: u16) {
        let (kind, protocol) = if self.ipv6 { (128, 58) } else { (8, 1) };
        let at = ip(packet, [from, self.server_vpn()], protocol);
        packet[at..].fill(0);
        packet[at] = kind;
        packet[at + 6..at + 8].copy_from_slice(&sequence.to_be_bytes());
        let pseudo_header = match self.ipv6 {
            false => 0,
            true => {
                checksum::sum(&packet[8..at]) + u64::from(protocol) + (packet.len() - at) as u64
            }
        };
        let sum = !checksum::fold(pseudo_header + checksum::sum(&packet[at..]));
        packet[at + 2..at + 4].copy_from_slice(&sum.to_be_bytes());
    }

    /// The sequence number of an echo reply.
    pub(super) fn echo_reply(self, packet: &[u8]) -> Option<u16> {
        let packet = packet.get(..self.headers())?;
        let is_reply = match self.ipv6 {
            false => packet[9] == 1 && packet[20] == 0,
            true => packet[6] == 58 && packet[40] == 129,
        };
        let [.., high, low] = *packet else {
            return None;
        };
        is_reply.then(|| u16::from_be_bytes([high, low]))
    }

    fn either(self, v4: [u8; 4], v6: [u16; 8]) -> IpAddr {
        match self.ipv6 {
            false => v4.into(),
            true => v6.into(),
        }
    }
}

/// Fills in the IP header, and returns its length.
fn ip(packet: &mut [u8], [from, to]: [IpAddr; 2], protocol: u8) -> usize {
    let length = packet.len() as u16;
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            packet[..20].fill(0);
            packet[0] = 0x45;
            packet[2..4].copy_from_slice(&length.to_be_bytes());
            packet[8..10].copy_from_slice(&[64, protocol]);
            packet[12..16].copy_from_slice(&from.octets());
            packet[16..20].copy_from_slice(&to.octets());
            let sum = !checksum::fold(checksum::sum(&packet[..20]));
            packet[10..12].copy_from_slice(&sum.to_be_bytes());
            20
        }
        (from, to) => {
            packet[..4].copy_from_slice(&[0x60, 0, 0, 0]);
            packet[4..6].copy_from_slice(&(length - 40).to_be_bytes());
            packet[6..8].copy_from_slice(&[protocol, 64]);
            packet[8..24].copy_from_slice(&v6(from).octets());
            packet[24..40].copy_from_slice(&v6(to).octets());
            40
        }
    }
}

fn v6(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    }
}
