//! Inner packets: UDP in IPv4 and IPv6, made by hand.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use udco_sys::udp;

/// Port at which the namespace's own socket receives them.
pub(crate) const PORT: u16 = 4000;

pub(crate) const HEADER4: usize = 28;
pub(crate) const HEADER6: usize = 48;

/// A UDP packet to [`PORT`].
pub(crate) fn udp4(source: Ipv4Addr, destination: Ipv4Addr, payload: &[u8]) -> Vec<u8> {
    let total = (HEADER4 + payload.len()) as u16;
    let mut packet = vec![0x45, 0];
    packet.extend_from_slice(&total.to_be_bytes());
    // Don't fragment, TTL 64, UDP, and room for the checksum.
    packet.extend_from_slice(&[0, 0, 0x40, 0, 64, 17, 0, 0]);
    packet.extend_from_slice(&source.octets());
    packet.extend_from_slice(&destination.octets());
    let sum = checksum(&packet);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    // Over IPv4, UDP's checksum is optional.
    packet.extend_from_slice(&udp_datagram(payload, 0));
    packet
}

/// The same over IPv6.
pub(crate) fn udp6(source: Ipv6Addr, destination: Ipv6Addr, payload: &[u8]) -> Vec<u8> {
    let len = (8 + payload.len()) as u16;
    let addresses = [source.octets(), destination.octets()].concat();
    let pseudo = [
        &addresses[..],
        &u32::from(len).to_be_bytes(),
        &17_u32.to_be_bytes(),
        &udp_datagram(payload, 0),
    ];
    let sum = checksum(&pseudo.concat());
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend_from_slice(&len.to_be_bytes());
    packet.extend_from_slice(&[17, 64]);
    packet.extend_from_slice(&addresses);
    packet.extend_from_slice(&udp_datagram(payload, sum));
    packet
}

/// A TCP segment to [`PORT`], in the middle of a connection.
pub(crate) fn tcp4(
    source: Ipv4Addr,
    destination: Ipv4Addr,
    sequence: u32,
    payload: &[u8],
) -> Vec<u8> {
    let len = (20 + payload.len()) as u16;
    let mut packet = vec![0x45, 0];
    packet.extend_from_slice(&(20 + len).to_be_bytes());
    packet.extend_from_slice(&[0, 0, 0x40, 0, 64, 6, 0, 0]);
    packet.extend_from_slice(&source.octets());
    packet.extend_from_slice(&destination.octets());
    let sum = checksum(&packet);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    let pseudo = [
        &packet[12..20],
        &6_u16.to_be_bytes(),
        &len.to_be_bytes(),
        &tcp_segment(sequence, payload, 0),
    ];
    let sum = checksum(&pseudo.concat());
    packet.extend_from_slice(&tcp_segment(sequence, payload, sum));
    packet
}

/// Sends this many datagrams of this length in one call, which may reach the device as one packet.
pub(crate) fn send_at_once(destination: SocketAddr, datagrams: usize, len: u16) {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    let socket = udp::UdpSocket::adopt(socket.into()).unwrap();
    let bytes = vec![9; datagrams * usize::from(len)];
    let mut outbox = udp::Outbox::new(1);
    assert!(outbox.push(udp::Message {
        range: 0..bytes.len(),
        destination,
        local: None,
        segment: Some(len),
        traffic_class: 0,
    }));
    assert_eq!(outbox.send(&socket, &bytes).sent, 1);
}

fn tcp_segment(sequence: u32, payload: &[u8], checksum: u16) -> Vec<u8> {
    let mut bytes = [5000, PORT].map(u16::to_be_bytes).concat();
    bytes.extend_from_slice(&sequence.to_be_bytes());
    // Some acknowledgement number; no options; the window.
    bytes.extend_from_slice(&[0, 0, 0, 1, 0x50, 0x10, 1, 0]);
    bytes.extend_from_slice(&checksum.to_be_bytes());
    bytes.extend_from_slice(&[0, 0]);
    bytes.extend_from_slice(payload);
    bytes
}

fn udp_datagram(payload: &[u8], checksum: u16) -> Vec<u8> {
    let len = (8 + payload.len()) as u16;
    let words = [5000, PORT, len, checksum];
    let mut bytes: Vec<u8> = words.into_iter().flat_map(u16::to_be_bytes).collect();
    bytes.extend_from_slice(payload);
    bytes
}

/// The internet checksum.
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| {
        let low = pair.get(1).copied().unwrap_or(0);
        u32::from(u16::from_be_bytes([pair[0], low]))
    });
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}
