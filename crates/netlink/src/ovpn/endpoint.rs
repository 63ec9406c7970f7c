//! The endpoints of a peer, remote and local, as attributes: in requests with the driver's checks, in replies and in
//! notifications.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use super::schema::peer;
use super::{invalid, u32_of};
use crate::rejection::Rejection;
use crate::tlv::{Members, Writer};

/// The remote endpoint in a request: checks 2 to 4 of dco-behaviour 2.6.
pub(super) fn remote(members: &Members<'_>) -> Result<Option<SocketAddr>, Rejection> {
    let (v4, v6) = (
        address4(members, peer::REMOTE_IPV4),
        address6(members, peer::REMOTE_IPV6),
    );
    let port = members
        .find(peer::REMOTE_PORT)
        .and_then(|found| found.array());
    if v4.is_some() && v6.is_some() {
        return Err(invalid("cannot specify both remote IPv4 or IPv6 address"));
    }
    let (address, port) = match (either(v4, v6), port) {
        (None, Some(_)) => return Err(invalid("cannot specify remote port without IP address")),
        (Some(_), None) => return Err(invalid("cannot specify remote IP address without port")),
        (None, None) => return Ok(None),
        (Some(address), Some(port)) => (address, u16::from_be_bytes(port)),
    };
    let scope = u32_of(members, peer::REMOTE_IPV6_SCOPE_ID).unwrap_or(0);
    Ok(Some(match address {
        IpAddr::V4(_) => SocketAddr::new(address, port),
        IpAddr::V6(address) => SocketAddrV6::new(address, port, 0, scope).into(),
    }))
}

/// The local address in a request: checks 5 to 7. Checks 5 and 6 look at the attributes, 7 at the address families once
/// v4-mapped addresses are folded.
pub(super) fn local(
    members: &Members<'_>,
    remote: Option<SocketAddr>,
) -> Result<Option<IpAddr>, Rejection> {
    let (v4, v6) = (
        address4(members, peer::LOCAL_IPV4),
        address6(members, peer::LOCAL_IPV6),
    );
    if v4.is_some() && !members.has(peer::REMOTE_IPV4) {
        return Err(invalid("cannot specify local IPv4 address without remote"));
    }
    if v6.is_some() && !members.has(peer::REMOTE_IPV6) {
        return Err(invalid("cannot specify local IPV6 address without remote"));
    }
    let local = either(v4, v6);
    if let (Some(local), Some(remote)) = (local, remote)
        && local.is_ipv4() != remote.is_ipv4()
    {
        return Err(invalid("mismatching local and remote address families"));
    }
    Ok(local)
}

/// Whichever address is present; v4-mapped ones are folded to IPv4.
fn either(v4: Option<Ipv4Addr>, v6: Option<Ipv6Addr>) -> Option<IpAddr> {
    let v4 = v4.map(IpAddr::V4);
    v4.or_else(|| v6.map(|address| IpAddr::V6(address).to_canonical()))
}

/// Writes the endpoints of a request.
pub(super) fn write_request(nest: &mut Writer, remote: Option<SocketAddr>, local: Option<IpAddr>) {
    match remote {
        Some(SocketAddr::V4(remote)) => nest.put(peer::REMOTE_IPV4, &remote.ip().octets()),
        Some(SocketAddr::V6(remote)) => {
            nest.put(peer::REMOTE_IPV6, &remote.ip().octets());
            if remote.scope_id() != 0 {
                nest.u32(peer::REMOTE_IPV6_SCOPE_ID, remote.scope_id());
            }
        }
        None => {}
    }
    if let Some(remote) = remote {
        // Without `NLA_F_NET_BYTEORDER`, which only replies have.
        nest.put(peer::REMOTE_PORT, &remote.port().to_be_bytes());
    }
    match local {
        Some(IpAddr::V4(local)) => nest.put(peer::LOCAL_IPV4, &local.octets()),
        Some(IpAddr::V6(local)) => nest.put(peer::LOCAL_IPV6, &local.octets()),
        None => {}
    }
}

/// Writes the remote endpoint of a reply or notification.
pub(super) fn write_remote(nest: &mut Writer, remote: &SocketAddr) {
    match remote {
        SocketAddr::V4(remote) => nest.put(peer::REMOTE_IPV4, &remote.ip().octets()),
        SocketAddr::V6(remote) => {
            nest.put(peer::REMOTE_IPV6, &remote.ip().octets());
            nest.u32(peer::REMOTE_IPV6_SCOPE_ID, remote.scope_id());
        }
    }
    nest.be16(peer::REMOTE_PORT, remote.port());
}

/// Writes the local address of a reply, in the remote's family; unspecified if the route decides.
pub(super) fn write_local(nest: &mut Writer, remote: &SocketAddr, local: Option<IpAddr>) {
    match (remote, local) {
        (SocketAddr::V4(_), Some(IpAddr::V4(local))) => nest.put(peer::LOCAL_IPV4, &local.octets()),
        (SocketAddr::V4(_), _) => nest.put(peer::LOCAL_IPV4, &Ipv4Addr::UNSPECIFIED.octets()),
        (SocketAddr::V6(_), Some(IpAddr::V6(local))) => nest.put(peer::LOCAL_IPV6, &local.octets()),
        (SocketAddr::V6(_), _) => nest.put(peer::LOCAL_IPV6, &Ipv6Addr::UNSPECIFIED.octets()),
    }
}

/// Reads the remote endpoint of a reply or notification.
pub(super) fn read_remote(members: &Members<'_>) -> Option<SocketAddr> {
    let port = u16::from_be_bytes(members.find(peer::REMOTE_PORT)?.array()?);
    let scope = u32_of(members, peer::REMOTE_IPV6_SCOPE_ID).unwrap_or(0);
    Some(
        match read_address(members, peer::REMOTE_IPV4, peer::REMOTE_IPV6)? {
            IpAddr::V4(address) => SocketAddr::from((address, port)),
            IpAddr::V6(address) => SocketAddrV6::new(address, port, 0, scope).into(),
        },
    )
}

/// Reads an address that is IPv4 or IPv6.
pub(super) fn read_address(members: &Members<'_>, v4: u16, v6: u16) -> Option<IpAddr> {
    let v4 = address4(members, v4).map(IpAddr::V4);
    v4.or_else(|| address6(members, v6).map(IpAddr::V6))
}

/// Reads an IPv4 address.
pub(super) fn address4(members: &Members<'_>, member: u16) -> Option<Ipv4Addr> {
    members.find(member)?.array::<4>().map(Ipv4Addr::from)
}

/// Reads an IPv6 address.
pub(super) fn address6(members: &Members<'_>, member: u16) -> Option<Ipv6Addr> {
    members.find(member)?.array::<16>().map(Ipv6Addr::from)
}
