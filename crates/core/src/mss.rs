//! The MSS clamp (design decision 6): TCP segments that fit the outer path.
//!
//! OpenVPN leaves `tun-mtu` at 1500, so a full segment makes an outer packet of 1,552 bytes, which is fragmented.
//! Lowering the MSS option in the SYNs that pass makes both ends send segments that fit.

use crate::ip::array;
use crate::peer::Peer;

const TCP: u8 = 6;
const SYN: u8 = 2;
const MSS_OPTION: u8 = 2;

/// The size limit of TCP segments: OpenVPN's `mssfix` (faults E5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MssFix {
    /// The path's limit alone.
    #[default]
    Path,
    /// No limit.
    Off,
    /// Records of at most this length, and the path's limit.
    Record(u16),
    /// Outer packets of at most this length, with all headers, and the path's limit.
    Outer(u16),
    /// Inner packets of at most this length, and the path's limit.
    Inner(u16),
}

impl MssFix {
    /// The longest inner packet that a segment to or from this peer may make.
    #[must_use]
    pub fn limit<A, T>(self, peer: &Peer<A, T>) -> usize {
        let by_path = peer.inner_limit();
        let format = peer.keys.format();
        let endpoint = peer.endpoint();
        // A stream puts a length in front of each record.
        let framing = if endpoint.is_none() { 2 } else { 0 };
        let bound = match self {
            Self::Path => by_path,
            Self::Off => usize::MAX,
            Self::Record(most) => usize::from(most).saturating_sub(format.overhead() + framing),
            Self::Outer(most) => match endpoint {
                Some(endpoint) => format.inner_limit(most.into(), endpoint.remote.is_ipv6()),
                // Only the transport knows a stream's address family: assume the longer header.
                None => usize::from(most).saturating_sub(40 + 20 + framing + format.overhead()),
            },
            Self::Inner(most) => most.into(),
        };
        match self {
            Self::Off => bound,
            _ => bound.min(by_path),
        }
    }
}

/// Lowers the MSS option of a TCP SYN so that its segments make inner packets of at most `limit` bytes. Any other
/// packet, and a SYN whose option is low enough, is left alone. The checksum is updated.
///
/// Returns whether the packet was changed.
pub fn clamp(packet: &mut [u8], limit: usize) -> bool {
    clamp_option(packet, limit).is_some()
}

/// The largest MSS whose segments make inner packets of at most `limit` bytes.
#[must_use]
pub const fn most(limit: usize, inner_is_v6: bool) -> usize {
    let headers = if inner_is_v6 { 40 + 20 } else { 20 + 20 };
    limit.saturating_sub(headers)
}

fn clamp_option(packet: &mut [u8], limit: usize) -> Option<()> {
    let (tcp_at, ip_header) = tcp_header(packet)?;
    let tcp = packet.get_mut(tcp_at..)?;
    if tcp.get(13)? & SYN == 0 {
        return None;
    }
    let options_end = usize::from(*tcp.get(12)? >> 4) * 4;
    let mss_at = find_mss(tcp.get(..options_end)?)?;
    let old = u16::from_be_bytes(array(tcp, mss_at)?);
    let most = u16::try_from(limit.checked_sub(ip_header + 20)?).ok()?;
    if old <= most {
        return None;
    }
    tcp.get_mut(mss_at..mss_at + 2)?
        .copy_from_slice(&most.to_be_bytes());
    let checksum = u16::from_be_bytes(array(tcp, 16)?);
    let updated = if mss_at % 2 == 0 {
        update(checksum, old, most)
    } else {
        // The value straddles two words of the sum, so its bytes trade places in them.
        update(checksum, old.swap_bytes(), most.swap_bytes())
    };
    tcp.get_mut(16..18)?.copy_from_slice(&updated.to_be_bytes());
    Some(())
}

/// Where the TCP header begins, and the size of the smallest IP header of that version. `None` if the packet is not
/// TCP, or a fragment without the TCP header, or has IPv6 extension headers (SYNs have none).
fn tcp_header(packet: &[u8]) -> Option<(usize, usize)> {
    match packet.first()? >> 4 {
        4 => {
            let fragment_offset = u16::from_be_bytes(array(packet, 6)?) & 0x1fff;
            let is_tcp = *packet.get(9)? == TCP && fragment_offset == 0;
            is_tcp.then_some((usize::from(packet.first()? & 0xf) * 4, 20))
        }
        6 => (*packet.get(6)? == TCP).then_some((40, 40)),
        _ => None,
    }
}

/// Offset of the MSS value in a TCP header with options.
fn find_mss(header: &[u8]) -> Option<usize> {
    let mut at = 20;
    loop {
        match *header.get(at)? {
            0 => return None,
            1 => at += 1,
            MSS_OPTION if *header.get(at + 1)? == 4 => {
                return header.get(at + 2..at + 4).map(|_| at + 2);
            }
            _ => at += usize::from(*header.get(at + 1)?).max(2),
        }
    }
}

/// The Internet checksum after one word changed (RFC 1624, equation 3).
const fn update(checksum: u16, old: u16, new: u16) -> u16 {
    let mut sum = !checksum as u32 + !old as u32 + new as u32;
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::PeerId;

    fn sum(bytes: &[u8]) -> u16 {
        let words = bytes
            .chunks(2)
            .map(|word| u32::from(word[0]) << 8 | u32::from(*word.get(1).unwrap_or(&0)));
        let mut sum: u32 = words.sum();
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        sum as u16
    }

    /// A SYN with the given options; addresses are all zero, so the pseudo-header is protocol and length.
    fn syn(v6: bool, options: &[u8]) -> Vec<u8> {
        let mut tcp = vec![0; 20];
        tcp[13] = SYN;
        tcp.extend_from_slice(options);
        tcp.resize(tcp.len().next_multiple_of(4), 0);
        tcp[12] = ((tcp.len() / 4) as u8) << 4;
        let mut pseudo = vec![0, TCP, 0, tcp.len() as u8];
        pseudo.extend_from_slice(&tcp);
        let checksum = !sum(&pseudo);
        tcp[16..18].copy_from_slice(&checksum.to_be_bytes());
        let mut packet = vec![0; if v6 { 40 } else { 20 }];
        packet[0] = if v6 { 0x60 } else { 0x45 };
        packet[if v6 { 6 } else { 9 }] = TCP;
        packet.extend_from_slice(&tcp);
        packet
    }

    fn checksum_is_right(packet: &[u8], v6: bool) -> bool {
        let tcp = &packet[if v6 { 40 } else { 20 }..];
        let mut pseudo = vec![0, TCP, 0, tcp.len() as u8];
        pseudo.extend_from_slice(tcp);
        sum(&pseudo) == 0xffff
    }

    /// faults E5
    #[test]
    fn every_bound_holds_beside_that_of_the_path() {
        let device = crate::testing::device(&[1]);
        let peer = device.peers().by_id(PeerId::from(1)).unwrap();
        for (mssfix, wanted) in [
            (MssFix::Path, 1448),
            (MssFix::Off, usize::MAX),
            (MssFix::Record(1300), 1276),
            (MssFix::Outer(1300), 1248),
            (MssFix::Inner(1300), 1300),
            (MssFix::Record(9000), 1448),
            (MssFix::Outer(0), 0),
        ] {
            assert_eq!(mssfix.limit(peer), wanted, "{mssfix:?}");
        }
        let mut stream = Peer::clone(peer);
        stream.endpoint = None.into();
        assert_eq!(MssFix::Path.limit(&stream), usize::MAX);
        assert_eq!(MssFix::Record(1300).limit(&stream), 1274);
        assert_eq!(MssFix::Outer(1300).limit(&stream), 1214);
    }

    proptest! {
        #[test]
        fn the_option_is_lowered_wherever_it_stands(mss: u16, nops in 0usize..5, v6: bool, limit in 100usize..3000) {
            let mut options = vec![1; nops];
            options.extend_from_slice(&[4, 2, MSS_OPTION, 4]);
            options.extend_from_slice(&mss.to_be_bytes());
            let mut packet = syn(v6, &options);
            let most = (limit - if v6 { 60 } else { 40 }) as u16;
            prop_assert_eq!(clamp(&mut packet, limit), mss > most);
            let at = if v6 { 60 } else { 40 } + nops + 4;
            prop_assert_eq!(u16::from_be_bytes([packet[at], packet[at + 1]]), mss.min(most));
            prop_assert!(checksum_is_right(&packet, v6));
        }

        #[test]
        fn no_packet_makes_it_panic(mut packet in proptest::collection::vec(any::<u8>(), 0..80), limit in 0usize..2000) {
            clamp(&mut packet, limit);
            if let Some(first) = packet.first_mut() {
                *first = 0x45;
                if let Some(protocol) = packet.get_mut(9) {
                    *protocol = TCP;
                }
            }
            clamp(&mut packet, limit);
        }
    }

    #[test]
    fn other_packets_are_left_alone() {
        let option = [MSS_OPTION, 4, 0x05, 0xb4];
        let mut no_syn = syn(false, &option);
        no_syn[20 + 13] = 0x10;
        let mut udp = syn(false, &option);
        udp[9] = 17;
        let mut later_fragment = syn(false, &option);
        later_fragment[7] = 1;
        for mut packet in [
            no_syn,
            udp,
            later_fragment,
            syn(false, &[]),
            syn(true, &[3, 3, 7]),
        ] {
            let before = packet.clone();
            assert!(!clamp(&mut packet, 576));
            assert_eq!(packet, before);
        }
    }
}
