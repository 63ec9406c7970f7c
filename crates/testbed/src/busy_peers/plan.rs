//! Addresses, keys and packets of the busy peers.

use std::net::Ipv4Addr;

use anyhow::{Context, Result};
use udco_core::offload::checksum;
use udco_core::{Cipher, Key, KeyId, KeyMaterial};
use udco_crypto::DirectionKey;

/// The server's port, and that of all peers but the heavy one.
pub(super) const PORT: u16 = 1194;

pub(super) const SERVER_OUTER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
pub(super) const CLIENTS_OUTER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);

/// The outer addresses of all peers.
pub(super) const OUTER_NETWORK: &str = "10.50.0.0/16";

/// The server's own address in the VPN, which is 10.9.0.0/16.
pub(super) const SERVER_VPN: Ipv4Addr = Ipv4Addr::new(10, 9, 255, 1);

/// Where the peers' packets go: the server's kernel discards them without a word.
pub(super) const DISCARDED: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);

/// Bytes of an IPv4 and a UDP or ICMP header.
pub(super) const HEADERS: usize = 28;

const KEYS: [[u8; 32]; 2] = [[0x51; 32], [0xA7; 32]];
const TAILS: [[u8; 8]; 2] = [[0x1C; 8], [0x3E; 8]];

/// A peer's outer address.
pub(super) fn outer(id: u32) -> Ipv4Addr {
    let [_, _, high, low] = id.to_be_bytes();
    Ipv4Addr::new(10, 50, high, low)
}

/// A peer's VPN address.
pub(super) fn vpn(id: u32) -> Ipv4Addr {
    let [_, _, high, low] = id.to_be_bytes();
    Ipv4Addr::new(10, 9, high, low)
}

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

/// A peer's end of them, whose packet ids begin where those of an earlier run have not come.
pub(super) fn key(run: u32) -> Result<Key<DirectionKey>> {
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
    let key = Key::new(material);
    if run > 0 {
        key.reserve(run << 24).context("too many runs")?;
    }
    Ok(key)
}

/// The headers of a UDP datagram in a packet of `length` bytes, without a UDP checksum: the rest may be anything.
pub(super) fn udp(from: Ipv4Addr, to: Ipv4Addr, length: u16) -> [u8; HEADERS] {
    let mut packet = ip(from, to, 17, length);
    packet[20..24].copy_from_slice(&[0x10, 0, 0, 9]);
    packet[24..26].copy_from_slice(&(length - 20).to_be_bytes());
    packet
}

/// An echo request of [`HEADERS`] bytes (RFC 792).
pub(super) fn echo_request(from: Ipv4Addr, to: Ipv4Addr, sequence: u16) -> [u8; HEADERS] {
    let mut packet = ip(from, to, 1, HEADERS as u16);
    packet[20] = 8;
    packet[26..28].copy_from_slice(&sequence.to_be_bytes());
    let sum = !checksum::fold(checksum::sum(&packet[20..]));
    packet[22..24].copy_from_slice(&sum.to_be_bytes());
    packet
}

/// The sequence number of an echo reply.
pub(super) fn echo_reply(packet: &[u8]) -> Option<u16> {
    let is_reply = packet.len() >= HEADERS && packet[9] == 1 && packet[20] == 0;
    is_reply.then(|| u16::from_be_bytes([packet[26], packet[27]]))
}

fn ip(from: Ipv4Addr, to: Ipv4Addr, protocol: u8, length: u16) -> [u8; HEADERS] {
    let mut packet = [0; HEADERS];
    packet[0] = 0x45;
    packet[2..4].copy_from_slice(&length.to_be_bytes());
    packet[8..10].copy_from_slice(&[64, protocol]);
    packet[12..16].copy_from_slice(&from.octets());
    packet[16..20].copy_from_slice(&to.octets());
    let sum = !checksum::fold(checksum::sum(&packet[..20]));
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet
}
