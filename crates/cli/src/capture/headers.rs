//! IP and UDP or TCP headers for outer packets, which the engine's sockets do not show: made of the addresses, so that
//! every reader of captures finds its way to OpenVPN's records.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use udco_ipc::capture::{Captured, Ends, Way};

const UDP: u8 = 17;
const TCP: u8 = 6;
const UDP_LEN: usize = 8;
const TCP_LEN: usize = 20;

/// The longest header: IPv6, TCP and the length before the packet.
pub(super) const LONGEST: u32 = 40 + 20 + 2;

/// Acknowledges, and pushes.
const PSH_ACK: u8 = 0x18;

/// The sequence numbers of streams, by the address of the sender and that of the receiver.
#[derive(Debug, Default)]
pub(super) struct Headers {
    sent: HashMap<(SocketAddr, SocketAddr), u32>,
    /// The last datagram's header, and whose it is: most are like the one before.
    last: Option<(Way, Ends, u32)>,
    last_header: Vec<u8>,
}

impl Headers {
    /// Adds what comes before the packet's bytes. Checksums other than IPv4's are 0: nothing has computed them.
    pub(super) fn put(&mut self, packet: &Captured<'_>, into: &mut Vec<u8>) {
        let like = packet.ends.map(|ends| (packet.way, ends, packet.length));
        if like.is_none() || like != self.last {
            self.last_header = self.of(packet);
            // Sequence numbers of streams go on.
            self.last = like.filter(|(_, ends, _)| !ends.is_stream);
        }
        into.extend_from_slice(&self.last_header);
    }

    fn of(&mut self, packet: &Captured<'_>) -> Vec<u8> {
        let unknown = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        let ends = packet.ends.unwrap_or(Ends {
            local: unknown,
            remote: unknown,
            is_stream: false,
        });
        let local = like(ends.local, ends.remote);
        let (from, to) = match packet.way {
            Way::OuterIn | Way::InnerIn => (ends.remote, local),
            Way::OuterOut | Way::InnerOut => (local, ends.remote),
        };
        let length = packet.length as usize;
        let mut header = Vec::with_capacity(64);
        if !ends.is_stream {
            ip(&mut header, (from, to), UDP, UDP_LEN + length);
            ports(&mut header, from, to);
            header.extend_from_slice(&short(UDP_LEN + length));
            header.extend_from_slice(&[0, 0]);
            return header;
        }
        // The length before each packet in the stream.
        let length = 2 + length;
        let acknowledged = self.sent.get(&(to, from)).copied().unwrap_or(1);
        let sent = self.sent.entry((from, to)).or_insert(1);
        ip(&mut header, (from, to), TCP, TCP_LEN + length);
        ports(&mut header, from, to);
        header.extend_from_slice(&sent.to_be_bytes());
        header.extend_from_slice(&acknowledged.to_be_bytes());
        header.extend_from_slice(&[(TCP_LEN as u8 / 4) << 4, PSH_ACK, 0xff, 0xff, 0, 0, 0, 0]);
        header.extend_from_slice(&short(length - 2));
        *sent = sent.wrapping_add(u32::try_from(length).unwrap_or_default());
        header
    }
}

/// An address of the other one's family: a socket of both may not know its own.
fn like(local: SocketAddr, remote: SocketAddr) -> SocketAddr {
    match (local, remote) {
        (SocketAddr::V6(local), SocketAddr::V4(_)) => {
            SocketAddr::from((Ipv4Addr::UNSPECIFIED, local.port()))
        }
        (SocketAddr::V4(local), SocketAddr::V6(_)) => {
            SocketAddr::from((Ipv6Addr::UNSPECIFIED, local.port()))
        }
        _ => local,
    }
}

fn ip(header: &mut Vec<u8>, (from, to): (SocketAddr, SocketAddr), protocol: u8, payload: usize) {
    match (from.ip(), to.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            header.extend_from_slice(&[0x45, 0]);
            header.extend_from_slice(&short(20 + payload));
            header.extend_from_slice(&[0, 0, 0, 0, 64, protocol, 0, 0]);
            header.extend_from_slice(&from.octets());
            header.extend_from_slice(&to.octets());
            let checksum = checksum(header);
            if let Some(place) = header.get_mut(10..12) {
                place.copy_from_slice(&checksum.to_be_bytes());
            }
        }
        (from, to) => {
            header.extend_from_slice(&[0x60, 0, 0, 0]);
            header.extend_from_slice(&short(payload));
            header.extend_from_slice(&[protocol, 64]);
            for address in [from, to] {
                let octets = match address {
                    IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
                    IpAddr::V6(address) => address.octets(),
                };
                header.extend_from_slice(&octets);
            }
        }
    }
}

fn ports(header: &mut Vec<u8>, from: SocketAddr, to: SocketAddr) {
    for end in [from, to] {
        header.extend_from_slice(&end.port().to_be_bytes());
    }
}

/// A length, as far as 16 bits go.
fn short(length: usize) -> [u8; 2] {
    u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes()
}

fn checksum(header: &[u8]) -> u16 {
    let words = header.chunks_exact(2).map(|pair| match *pair {
        [high, low] => u32::from(u16::from_be_bytes([high, low])),
        _ => 0,
    });
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet<'a>(way: Way, local: &str, remote: &str, is_stream: bool) -> Captured<'a> {
        Captured {
            at: 0,
            way,
            peer: Some(1),
            ends: Some(Ends {
                local: local.parse().unwrap(),
                remote: remote.parse().unwrap(),
                is_stream,
            }),
            dropped: None,
            length: 100,
            last_length: 100,
            each: 0,
            bytes: b"",
        }
    }

    #[test]
    fn a_datagram_gets_its_addresses_and_lengths() {
        let mut headers = Headers::default();
        let inbound = packet(Way::OuterIn, "192.0.2.1:1194", "192.0.2.2:5000", false);
        let header = headers.of(&inbound);
        assert_eq!(header.len(), 28);
        assert_eq!(header[2..4], [0, 128]);
        assert_eq!(header[12..20], [192, 0, 2, 2, 192, 0, 2, 1]);
        assert_eq!(header[20..26], [0x13, 0x88, 0x04, 0xaa, 0, 108]);
        assert_eq!(checksum(&header[..20]), 0);
        // An unbound socket of both families.
        let outbound = packet(Way::OuterOut, "[::]:1194", "192.0.2.2:5000", false);
        assert_eq!(headers.of(&outbound)[12..20], [0, 0, 0, 0, 192, 0, 2, 2]);
        let sixth = packet(Way::OuterOut, "[2001:db8::1]:1", "[2001:db8::2]:2", false);
        let header = headers.of(&sixth);
        assert_eq!(
            (header.len(), header[0], header[4..8].to_vec()),
            (48, 0x60, vec![0, 108, 17, 64])
        );
    }

    #[test]
    fn a_header_is_used_again_only_for_a_datagram_like_the_last() {
        let mut headers = Headers::default();
        let inbound = packet(Way::OuterIn, "192.0.2.1:1194", "192.0.2.2:5000", false);
        let longer = Captured {
            length: 101,
            ..inbound
        };
        let outbound = packet(Way::OuterOut, "192.0.2.1:1194", "192.0.2.2:5000", false);
        let stream = packet(Way::OuterOut, "192.0.2.1:1194", "192.0.2.2:5000", true);
        let nowhere = Captured {
            ends: None,
            ..inbound
        };
        let packets = [
            inbound, inbound, longer, inbound, outbound, nowhere, inbound,
        ];
        for packet in packets {
            let mut bytes = b"before".to_vec();
            headers.put(&packet, &mut bytes);
            assert_eq!(bytes[6..], Headers::default().of(&packet));
        }
        let mut sequence = || {
            let mut bytes = Vec::new();
            headers.put(&stream, &mut bytes);
            bytes[24..28].to_vec()
        };
        assert_ne!(sequence(), sequence());
    }

    #[test]
    fn a_stream_goes_on_where_it_was() {
        let mut headers = Headers::default();
        let out = packet(Way::OuterOut, "192.0.2.1:1194", "192.0.2.2:5000", true);
        let inbound = Captured {
            way: Way::OuterIn,
            ..out
        };
        let number =
            |header: &[u8], at: usize| u32::from_be_bytes(*header[at..].first_chunk().unwrap());
        let first = headers.of(&out);
        assert_eq!(first.len(), 20 + 20 + 2);
        assert_eq!(first[40..], [0, 100]);
        assert_eq!((number(&first, 24), number(&first, 28)), (1, 1));
        assert_eq!(number(&headers.of(&out), 24), 103);
        let answer = headers.of(&inbound);
        assert_eq!((number(&answer, 24), number(&answer, 28)), (1, 205));
    }

    #[test]
    fn a_packet_without_addresses_gets_a_header_too() {
        let nowhere = Captured {
            ends: None,
            ..packet(Way::OuterOut, "0.0.0.0:0", "0.0.0.0:0", false)
        };
        assert_eq!(Headers::default().of(&nowhere).len(), 28);
    }
}
