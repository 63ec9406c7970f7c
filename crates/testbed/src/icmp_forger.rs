//! Forged ICMP errors: "too big", about any packet.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result, bail};
use rustix::net::{AddressFamily, SendFlags, SocketType, ipproto, sendto, socket};
use udco_core::offload::checksum;

/// Sends `target` the claim that a packet from `from` to `to` was too big for an MTU.
pub(crate) fn forge(target: IpAddr, mtu: u16, from: SocketAddr, to: SocketAddr) -> Result<()> {
    let message = too_big(mtu, from, to)?;
    let (family, protocol) = if target.is_ipv4() {
        (AddressFamily::INET, ipproto::ICMP)
    } else {
        (AddressFamily::INET6, ipproto::ICMPV6)
    };
    let socket = socket(family, SocketType::RAW, Some(protocol)).context("a raw socket")?;
    let target = SocketAddr::new(target, 0);
    sendto(&socket, &message, SendFlags::empty(), &target).context("send")?;
    Ok(())
}

/// "Too big, the next link's MTU is `mtu`", about a datagram of 1,500 bytes between these ends. The kernel fills in
/// ICMPv6's checksum.
fn too_big(mtu: u16, from: SocketAddr, to: SocketAddr) -> Result<Vec<u8>> {
    let mut message = Vec::new();
    match (from.ip(), to.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            // RFC 792 and 1191: type, code, checksum, unused, MTU.
            message.extend_from_slice(&[3, 4, 0, 0, 0, 0]);
            message.extend_from_slice(&mtu.to_be_bytes());
            let mut header = [0; 20];
            header[0] = 0x45;
            header[2..4].copy_from_slice(&1500u16.to_be_bytes());
            header[6] = 0x40;
            header[8..10].copy_from_slice(&[60, 17]);
            header[12..16].copy_from_slice(&from.octets());
            header[16..20].copy_from_slice(&to.octets());
            let sum = !checksum::fold(checksum::sum(&header));
            header[10..12].copy_from_slice(&sum.to_be_bytes());
            message.extend_from_slice(&header);
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            // RFC 4443, 3.2: type, code, checksum, MTU.
            message.extend_from_slice(&[2, 0, 0, 0]);
            message.extend_from_slice(&u32::from(mtu).to_be_bytes());
            message.extend_from_slice(&[0x60, 0, 0, 0]);
            message.extend_from_slice(&1460u16.to_be_bytes());
            message.extend_from_slice(&[17, 60]);
            message.extend_from_slice(&from.octets());
            message.extend_from_slice(&to.octets());
        }
        _ => bail!("{from} and {to} are not of one family"),
    }
    message.extend_from_slice(&from.port().to_be_bytes());
    message.extend_from_slice(&to.port().to_be_bytes());
    message.extend_from_slice(&1472u16.to_be_bytes());
    message.extend_from_slice(&[0, 0]);
    if from.is_ipv4() {
        let sum = !checksum::fold(checksum::sum(&message));
        message[2..4].copy_from_slice(&sum.to_be_bytes());
    }
    Ok(message)
}
