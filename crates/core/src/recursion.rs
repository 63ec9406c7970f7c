//! Packets for a peer's own outer address (recursive routing): each would come back from the tunnel as a longer packet
//! for the same address, forever. The kernel routes them into the tunnel once the route to the peer is gone
//! (faults A6).

use core::net::SocketAddr;

use crate::ip;

/// Protocol numbers of the transports.
pub const UDP: u8 = 17;
/// See [`UDP`].
pub const TCP: u8 = 6;

/// The most IPv6 extension headers to skip.
const EXTENSIONS: usize = 8;

/// Whether an inner packet is for a peer's outer address, by protocol and port. A later fragment has no port and counts
/// as if it had the peer's.
#[must_use]
pub fn is_for(packet: &[u8], remote: SocketAddr, protocol: u8) -> bool {
    ip::addresses(packet)
        .is_some_and(|addresses| addresses.destination == remote.ip().to_canonical())
        && upper(packet).is_some_and(|upper| {
            upper.protocol == protocol && upper.port.is_none_or(|port| port == remote.port())
        })
}

/// What an IP packet carries.
struct Upper {
    protocol: u8,
    /// Destination port; `None` in a later fragment.
    port: Option<u16>,
}

fn upper(packet: &[u8]) -> Option<Upper> {
    if packet.first()? >> 4 == 4 {
        let protocol = *packet.get(9)?;
        let header = usize::from(packet.first()? & 15) * 4;
        let is_later = u16::from_be_bytes(ip::array(packet, 6)?) & 0x1FFF != 0;
        return Some(Upper {
            protocol,
            port: (!is_later).then(|| port(packet, header)).flatten(),
        });
    }
    let (mut protocol, mut at) = (*packet.get(6)?, 40);
    for _ in 0..EXTENSIONS {
        let [next, length] = ip::array(packet, at)?;
        let length = usize::from(length);
        at += match protocol {
            // Hop-by-hop options, routing, destination options.
            0 | 43 | 60 => (length + 1) * 8,
            // Authentication.
            51 => (length + 2) * 4,
            // Fragment.
            44 => {
                if u16::from_be_bytes(ip::array(packet, at + 2)?) & 0xFFF8 != 0 {
                    return Some(Upper {
                        protocol: next,
                        port: None,
                    });
                }
                8
            }
            _ => {
                return Some(Upper {
                    protocol,
                    port: port(packet, at),
                });
            }
        };
        protocol = next;
    }
    None
}

/// The destination port of UDP and TCP alike.
fn port(packet: &[u8], header: usize) -> Option<u16> {
    ip::array(packet, header + 2).map(u16::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const REMOTE4: &str = "192.0.2.1:1194";
    const REMOTE6: &str = "[2001:db8::1]:1194";

    fn v4(protocol: u8, offset: u16, options: usize, port: u16) -> Vec<u8> {
        let mut packet = vec![0; 20 + options + 8];
        packet[0] = 0x45 + (options / 4) as u8;
        packet[6..8].copy_from_slice(&offset.to_be_bytes());
        packet[9] = protocol;
        packet[16..20].copy_from_slice(&[192, 0, 2, 1]);
        packet[20 + options + 2..][..2].copy_from_slice(&port.to_be_bytes());
        packet
    }

    /// With extension headers: the number of each, and its bytes without the first.
    fn v6(extensions: &[(u8, &[u8])], protocol: u8, port: u16) -> Vec<u8> {
        let mut packet = vec![0; 40];
        packet[0] = 0x60;
        packet[24..40].copy_from_slice(
            &"2001:db8::1"
                .parse::<core::net::Ipv6Addr>()
                .unwrap()
                .octets(),
        );
        let numbers = extensions
            .iter()
            .map(|(number, _)| *number)
            .chain([protocol]);
        let numbers: Vec<u8> = numbers.collect();
        packet[6] = numbers[0];
        for ((_, bytes), next) in extensions.iter().zip(&numbers[1..]) {
            packet.push(*next);
            packet.extend_from_slice(bytes);
        }
        packet.extend_from_slice(&[0, 0]);
        packet.extend_from_slice(&port.to_be_bytes());
        packet.extend_from_slice(&[0; 4]);
        packet
    }

    fn is_for4(packet: &[u8]) -> bool {
        is_for(packet, REMOTE4.parse().unwrap(), UDP)
    }

    fn is_for6(packet: &[u8]) -> bool {
        is_for(packet, REMOTE6.parse().unwrap(), UDP)
    }

    #[test]
    fn address_protocol_and_port_count() {
        assert!(is_for4(&v4(UDP, 0, 0, 1194)));
        assert!(is_for4(&v4(UDP, 0, 40, 1194)), "behind options");
        assert!(!is_for4(&v4(UDP, 0, 0, 1195)));
        assert!(!is_for4(&v4(TCP, 0, 0, 1194)));
        assert!(is_for(&v4(TCP, 0, 0, 1194), REMOTE4.parse().unwrap(), TCP));
        assert!(!is_for(
            &v4(UDP, 0, 0, 1194),
            "192.0.2.2:1194".parse().unwrap(),
            UDP
        ));
        assert!(is_for(
            &v4(UDP, 0, 0, 1194),
            "[::ffff:192.0.2.1]:1194".parse().unwrap(),
            UDP
        ));
        assert!(is_for6(&v6(&[], UDP, 1194)));
        assert!(!is_for6(&v6(&[], UDP, 1195)) && !is_for6(&v6(&[], TCP, 1194)));
    }

    #[test]
    fn later_fragments_have_no_port() {
        assert!(is_for4(&v4(UDP, 0x2000, 0, 1194)), "the first");
        assert!(
            !is_for4(&v4(UDP, 0x2000, 0, 1195)),
            "the first, to another port"
        );
        for offset in [1, 0x2001, 0x1FFF] {
            assert!(is_for4(&v4(UDP, offset, 0, 7)));
            assert!(!is_for4(&v4(TCP, offset, 0, 7)));
        }
        let fragment = |offset: u8| [0, 0, offset, 0, 0, 0, 7];
        assert!(
            is_for6(&v6(&[(44, &fragment(1))], UDP, 1194)),
            "the first: more follow"
        );
        assert!(!is_for6(&v6(&[(44, &fragment(1))], UDP, 7)));
        assert!(is_for6(&v6(&[(44, &fragment(8))], UDP, 7)));
        assert!(!is_for6(&v6(&[(44, &fragment(8))], TCP, 7)));
    }

    #[test]
    fn extension_headers_are_skipped() {
        let options: &[u8] = &[0, 1, 4, 0, 0, 0, 0];
        let long = [&[1u8][..], &[0; 14]].concat();
        let authentication = [&[4u8][..], &[0; 22]].concat();
        for extensions in [
            &[(0, options)][..],
            &[(60, &*long), (43, options)],
            &[(0, options), (51, &authentication), (60, options)],
            &[(0, options), (44, &[0, 0, 1, 0, 0, 0, 1]), (60, &long)],
        ] {
            assert!(is_for6(&v6(extensions, UDP, 1194)), "{extensions:?}");
            assert!(!is_for6(&v6(extensions, UDP, 1195)), "{extensions:?}");
        }
        let endless: Vec<(u8, &[u8])> = vec![(60, options); 100];
        assert!(!is_for6(&v6(&endless, UDP, 1194)));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), version in 0u8..16) {
            let mut packet = bytes;
            if let Some(first) = packet.first_mut() {
                *first = version << 4 | *first & 15;
            }
            let _ = upper(&packet);
            let _ = is_for4(&packet) || is_for6(&packet);
        }
    }
}
