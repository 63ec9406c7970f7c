//! A parser for tcpdump's output: the classic capture format, Ethernet, IPv4 and IPv6 with fragments.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context, Result, ensure};

/// Length of an Ethernet header.
const ETHERNET: usize = 14;

/// One captured frame, as far as it can be parsed.
#[derive(Debug)]
pub(crate) enum Frame<'a> {
    /// Address resolution.
    Arp,
    /// IP of either version.
    Ip(IpPacket<'a>),
    /// Anything else, by its EtherType.
    Other(u16),
}

/// An IP packet or fragment.
#[derive(Debug)]
pub(crate) struct IpPacket<'a> {
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    pub(crate) protocol: u8,
    /// False for all fragments but the first: their `payload` starts in the middle.
    pub(crate) is_start: bool,
    /// True for all fragments.
    pub(crate) is_fragment: bool,
    /// The captured part of its payload.
    pub(crate) payload: &'a [u8],
}

/// Cuts a capture file into frames.
///
/// # Errors
/// If it is not a little-endian capture of Ethernet.
pub(crate) fn frames(file: &[u8]) -> Result<Vec<&[u8]>> {
    ensure!(
        file.starts_with(&[0xd4, 0xc3, 0xb2, 0xa1]),
        "not a capture file of this machine"
    );
    ensure!(le32(file, 20)? == 1, "not a capture of Ethernet");
    let mut rest = file.get(24..).context("no header")?;
    let mut found = Vec::new();
    // A killed tcpdump leaves an unfinished record at the end.
    while let Ok(captured) = le32(rest, 8) {
        let end = 16 + captured as usize;
        let Some(frame) = rest.get(16..end) else {
            break;
        };
        found.push(frame);
        rest = rest.get(end..).unwrap_or_default();
    }
    Ok(found)
}

impl<'a> Frame<'a> {
    /// Parses the headers of a frame; `None` if they are cut off.
    pub(crate) fn parse(frame: &'a [u8]) -> Option<Self> {
        let body = frame.get(ETHERNET..)?;
        Some(match be16(frame, 12)? {
            0x0806 => Self::Arp,
            0x0800 => Self::Ip(IpPacket::v4(body)?),
            0x86dd => Self::Ip(IpPacket::v6(body)?),
            other => Self::Other(other),
        })
    }
}

impl<'a> IpPacket<'a> {
    fn v4(packet: &'a [u8]) -> Option<Self> {
        let header = usize::from(packet.first()? & 0x0f) * 4;
        let address = |at: usize| -> Option<IpAddr> {
            let octets: [u8; 4] = packet.get(at..at + 4)?.try_into().ok()?;
            Some(Ipv4Addr::from(octets).into())
        };
        Some(Self {
            source: address(12)?,
            destination: address(16)?,
            protocol: *packet.get(9)?,
            is_start: be16(packet, 6)? & 0x1fff == 0,
            // "More fragments", or an offset.
            is_fragment: be16(packet, 6)? & 0x3fff != 0,
            payload: packet.get(header..)?,
        })
    }

    fn v6(packet: &'a [u8]) -> Option<Self> {
        let address = |at: usize| -> Option<IpAddr> {
            let octets: [u8; 16] = packet.get(at..at + 16)?.try_into().ok()?;
            Some(Ipv6Addr::from(octets).into())
        };
        let mut protocol = *packet.get(6)?;
        let mut payload = packet.get(40..)?;
        let mut is_start = true;
        let mut is_fragment = false;
        // Hop-by-hop options (multicast listener reports carry them), then a fragment header.
        while matches!(protocol, 0 | 44) {
            let length = if protocol == 44 {
                is_start = be16(payload, 2)? & 0xfff8 == 0;
                is_fragment = true;
                8
            } else {
                (usize::from(*payload.get(1)?) + 1) * 8
            };
            protocol = *payload.first()?;
            payload = payload.get(length..)?;
        }
        Some(Self {
            source: address(8)?,
            destination: address(24)?,
            protocol,
            is_start,
            is_fragment,
            payload,
        })
    }
}

/// Big-endian 16 bits at `at`.
pub(crate) fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn le32(bytes: &[u8], at: usize) -> Result<u32> {
    let field = bytes.get(at..at + 4).context("cut off")?;
    Ok(u32::from_le_bytes(field.try_into()?))
}
