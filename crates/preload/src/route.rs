//! Restores the routes of a client to those it has without offload.
//!
//! With offload OpenVPN gives metric 200 to each route that names none, so that a server's routes to networks behind
//! its clients, 100, take precedence. Without offload such a route has no metric. On a client 200 is useless and
//! harmful: the default route of a host with DHCP has 100, say, and then all traffic bypasses the tunnel (faults A3).

use crate::answer::{self, HEADER, attributes};
use crate::fib::{self, ROUTE};
use alloc::vec::Vec;

/// OpenVPN's metric for a route that names none, with offload. A route that names 200 looks the same.
const DEFAULT_METRIC: u32 = 200;

/// The kernel's metric for an IPv6 route without one. An IPv4 route gets 0, which always takes precedence.
const KERNEL_METRIC6: u32 = 1024;

/// Bytes of `struct ifinfomsg`.
const LINK: usize = 16;

/// `IFLA_LINKINFO`, `IFLA_INFO_DATA`, the mode (in both families), and its value for a server's device.
const LINK_INFO: u16 = 18;
const INFO_DATA: u16 = 2;
const MODE: u16 = 1;
const MULTI_PEER: u8 = 1;

/// A request about a route as rewritten for the kernel, if it has the metric meant for servers. A metric of 0 is
/// none: a new route gets the kernel's default, and a deletion matches any.
pub(crate) fn without_default_metric(request: &[u8]) -> Option<Vec<u8>> {
    let find = |wanted| {
        let mut all = attributes(request, HEADER + ROUTE);
        all.find(|(kind, _)| *kind == wanted)
            .map(|(_, place)| place)
    };
    let metric = find(libc::RTA_PRIORITY)?;
    if *request.get(metric.clone())? != DEFAULT_METRIC.to_ne_bytes() {
        return None;
    }
    let value = |wanted| find(wanted).and_then(|place| request.get(place));
    let destination = value(libc::RTA_DST).unwrap_or(&[0; 16]);
    if is_new_route6(request) && would_lose(request, destination, value(libc::RTA_OIF)) {
        return None;
    }
    let mut changed = request.to_vec();
    changed.get_mut(metric)?.fill(0);
    Some(changed)
}

fn is_new_route6(request: &[u8]) -> bool {
    answer::only_kind(request) == Some(libc::RTM_NEWROUTE)
        && request.get(HEADER) == Some(&(libc::AF_INET6 as u8))
}

/// Whether a route to the same IPv6 prefix takes precedence over the kernel's default metric, but not over 200:
/// router advertisements make such default routes. Without offload, packets leave by them in the clear; with offload
/// they never have. One through the same device, which a killed run has left, is no rival.
fn would_lose(request: &[u8], destination: &[u8], device: Option<&[u8]>) -> bool {
    let prefix = request.get(HEADER + 1);
    fib::route_to(destination).is_some_and(|present| {
        prefix == Some(&present.prefix)
            && device != Some(&present.ifindex.to_ne_bytes())
            && (DEFAULT_METRIC + 1..=KERNEL_METRIC6).contains(&present.metric)
    })
}

/// Whether a request makes a server's link.
pub(crate) fn is_for_many_peers(request: &[u8]) -> bool {
    let mut place = HEADER + LINK..request.len();
    for wanted in [LINK_INFO, INFO_DATA, MODE] {
        let outer = request.get(..place.end).unwrap_or_default();
        let inner = attributes(outer, place.start).find(|(kind, _)| *kind == wanted);
        let Some((_, inner)) = inner else {
            return false;
        };
        place = inner;
    }
    request.get(place) == Some(&[MULTI_PEER])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An `RTM_NEWROUTE` of a default route of IPv4, with these attributes.
    fn route(attributes: &[(u16, &[u8])]) -> Vec<u8> {
        let mut fixed = [0; ROUTE];
        fixed[0] = libc::AF_INET as u8;
        answer::request(libc::RTM_NEWROUTE, 0, &fixed, attributes)
    }

    fn link(attributes: &[(u16, &[u8])]) -> Vec<u8> {
        answer::request(libc::RTM_NEWLINK, 0, &[0; LINK], attributes)
    }

    #[test]
    fn only_the_metric_for_servers_is_taken_out() {
        let gateway = (libc::RTA_GATEWAY, &[10, 8, 0, 1][..]);
        let with = |metric: u32| route(&[gateway, (libc::RTA_PRIORITY, &metric.to_ne_bytes())]);
        assert_eq!(without_default_metric(&with(200)), Some(with(0)));
        for other in [0, 1, 100, 199, 201] {
            assert_eq!(without_default_metric(&with(other)), None);
        }
        let looks_like_it = route(&[(libc::RTA_GATEWAY, &200u32.to_ne_bytes())]);
        assert_eq!(without_default_metric(&looks_like_it), None);
        assert_eq!(without_default_metric(&with(200)[..40]), None, "cut off");
    }

    #[test]
    fn the_mode_of_a_new_link_is_found() {
        let nested = |inner: &[(u16, &[u8])]| answer::request(0, 0, &[], inner)[HEADER..].to_vec();
        let with = |mode: u8, flag: u16| {
            let data = nested(&[(MODE, &[mode])]);
            let info = nested(&[(1, b"ovpn\0"), (INFO_DATA | flag, &data)]);
            link(&[(3, b"tun0\0"), (LINK_INFO | flag, &info)])
        };
        for flag in [0, 0x8000] {
            assert!(is_for_many_peers(&with(1, flag)));
            assert!(!is_for_many_peers(&with(0, flag)));
        }
        let without = link(&[(3, b"tun0\0")]);
        assert!(!is_for_many_peers(&without));
    }
}
