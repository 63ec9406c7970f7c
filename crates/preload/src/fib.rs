//! What the kernel's routing table says about a destination.

use crate::answer::{self, HEADER, attributes};
use crate::calls::{self, Errno};

/// Bytes of `struct rtmsg`.
pub(crate) const ROUTE: usize = 12;

/// Room for a part of an answer.
const ROOM: usize = 32 << 10;

/// `RTM_F_FIB_MATCH`: the route itself is the answer, not what follows from it for one address.
const FIB_MATCH: u32 = 0x2000;

/// A route, as far as it is looked at here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Route {
    /// `AF_INET` or `AF_INET6`.
    pub(crate) family: u8,
    /// How many bits of the destination count.
    pub(crate) prefix: u8,
    /// The metric; for IPv4 0 if it has none.
    pub(crate) metric: u32,
    /// Index of the interface it leads to.
    pub(crate) ifindex: u32,
}

/// The route for an address of 4 or 16 bytes; `None` if there is none.
pub(crate) fn route_to(address: &[u8]) -> Option<Route> {
    let family = family_of(address)?;
    let bits = (address.len() * 8) as u8;
    let mut message = [0; ROUTE];
    message[0] = family;
    message[1] = bits;
    message[8..12].copy_from_slice(&FIB_MATCH.to_ne_bytes());
    let request = answer::request(
        libc::RTM_GETROUTE,
        libc::NLM_F_REQUEST,
        &message,
        &[(libc::RTA_DST, address)],
    );
    ask(&request).ok().as_deref().and_then(read)
}

/// `AF_INET` for 4 bytes, `AF_INET6` for 16.
pub(crate) fn family_of(address: &[u8]) -> Option<u8> {
    match address.len() {
        4 => Some(libc::AF_INET as u8),
        16 => Some(libc::AF_INET6 as u8),
        _ => None,
    }
}

/// Reads the only `RTM_NEWROUTE` of a datagram.
fn read(datagram: &[u8]) -> Option<Route> {
    if answer::only_kind(datagram)? != libc::RTM_NEWROUTE {
        return None;
    }
    let [family, prefix, ..] = *datagram.get(HEADER..)?.first_chunk::<ROUTE>()?;
    let mut route = Route {
        family,
        prefix,
        ..Route::default()
    };
    for (kind, place) in attributes(datagram, HEADER + ROUTE) {
        let number = || Some(u32::from_ne_bytes(*datagram.get(place)?.first_chunk()?));
        match kind {
            libc::RTA_PRIORITY => route.metric = number()?,
            libc::RTA_OIF => route.ifindex = number()?,
            _ => {}
        }
    }
    Some(route)
}

/// What the kernel answers to a request, on a socket of its own: it has answered when the request was sent.
fn ask(request: &[u8]) -> Result<Vec<u8>, Errno> {
    let socket = calls::socket(libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_ROUTE)?;
    calls::send(socket.raw(), request, &[])?;
    let mut told = vec![0; ROOM];
    let len = calls::receive(socket.raw(), &mut told, libc::MSG_DONTWAIT)?;
    told.truncate(len);
    Ok(told)
}
