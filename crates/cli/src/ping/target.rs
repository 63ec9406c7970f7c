//! Where a ping goes: the device, the peer, and its address in the tunnel.

use std::net::IpAddr;

use anyhow::{Context, Result, bail};
use udco_netlink::client::{Command as Request, Received};
use udco_netlink::route::{self, Change, Family, Route};

use super::Arguments;
use crate::client::Driver;
use crate::{engines, interface, kernel, peer, rtnetlink, state};

/// An address behind a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) ifindex: u32,
    /// Id of the peer.
    pub(super) peer: u32,
    pub(super) address: IpAddr,
}

/// A peer, and its VPN addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Peer {
    id: u32,
    addresses: [Option<IpAddr>; 2],
}

/// Finds it.
///
/// # Errors
/// If there is no such device or peer, or no address of it is known.
pub(super) fn find(arguments: &Arguments) -> Result<Target> {
    let device = &arguments.device;
    let peers = match arguments.id {
        Some(id) => one(arguments, id)?,
        None => all(arguments)?,
    };
    let peer = match peers.as_slice() {
        [peer] => peer,
        [] => bail!("{device} has no peer, or none that you may see: see `udco show {device}`"),
        _ => bail!(
            "{device} has {} peers: choose one with --id; `udco show {device}` lists them",
            peers.len()
        ),
    };
    let ifindex = interface::index(device).with_context(|| format!("{device} is gone"))?;
    let is_wanted = |address: &IpAddr| match address {
        IpAddr::V4(_) => !arguments.ipv6,
        IpAddr::V6(_) => !arguments.ipv4,
    };
    let known = peer.addresses.into_iter().flatten().find(is_wanted);
    let address = match arguments.address.or(known) {
        Some(address) => address,
        None => other_end(&routes(), ifindex, is_wanted).with_context(|| {
            format!(
                "peer {} of {device} has no VPN address{}, and no route through {device} names one: give an address of \
                 the other end with --address (a server's is often the first of its network, such as 10.8.0.1)",
                peer.id,
                if arguments.ipv6 { " of IPv6" } else { "" }
            )
        })?,
    };
    Ok(Target {
        ifindex,
        peer: peer.id,
        address,
    })
}

fn one(arguments: &Arguments, id: u32) -> Result<Vec<Peer>> {
    let request = Request::PeerGet(id);
    let device = &arguments.device;
    let received = peer::request(device, &arguments.engine, &request)
        .with_context(|| format!("peer {id} of {device}"))?;
    let peers = received.into_iter().filter_map(|received| match received {
        Received::Peer(peer) => Some(Peer {
            id: peer.id,
            addresses: [peer.vpn4.map(IpAddr::from), peer.vpn6.map(IpAddr::from)],
        }),
        _ => None,
    });
    Ok(peers.collect())
}

/// All peers of a device. A dump of the older API omits that of a point-to-point device; the engine's state does not.
fn all(arguments: &Arguments) -> Result<Vec<Peer>> {
    let found = engines::with_device(&arguments.device, &arguments.engine)?;
    let known = |id, vpn4: Option<_>, vpn6: Option<_>| Peer {
        id,
        addresses: [vpn4.map(IpAddr::V4), vpn6.map(IpAddr::V6)],
    };
    let Driver::Engine(mut client) = found.driver else {
        let (devices, remarks) = kernel::devices(Some(&arguments.device));
        if let Some(remark) = remarks.first() {
            bail!("{remark}");
        }
        let peers = devices.into_iter().filter_map(|it| it.peers).flatten();
        return Ok(peers.map(|it| known(it.id, it.vpn4, it.vpn6)).collect());
    };
    let peers = state::peers_of(&mut client, found.ifindex)?.into_iter();
    Ok(peers.map(|it| known(it.id, it.vpn4, it.vpn6)).collect())
}

/// The other end's address by the routes: the gateway of any through the device, or the one host that it leads to.
fn other_end(
    routes: &[Route],
    ifindex: u32,
    is_wanted: impl Fn(&IpAddr) -> bool,
) -> Option<IpAddr> {
    let here = || routes.iter().filter(|route| route.ifindex == ifindex);
    let gateways = here().filter_map(|route| route.gateway);
    let is_host = |route: &&Route| {
        let whole = if route.destination.is_ipv4() { 32 } else { 128 };
        route.gateway.is_none() && route.prefix == whole
    };
    let hosts = here().filter(is_host).map(|route| route.destination);
    gateways.chain(hosts).find(is_wanted)
}

/// The main table of both families.
fn routes() -> Vec<Route> {
    let mut routes = Vec::new();
    for family in [Family::V4, Family::V6] {
        let messages = rtnetlink::dump(&route::dump_request(family, 1)).unwrap_or_default();
        for message in &messages {
            routes.extend(
                route::changes(message, 0).filter_map(|change| match change {
                    Change::Added { route, .. } => Some(route),
                    _ => None,
                }),
            );
        }
    }
    routes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(destination: &str, prefix: u8, gateway: Option<&str>, ifindex: u32) -> Route {
        Route {
            destination: destination.parse().unwrap(),
            prefix,
            metric: 0,
            gateway: gateway.map(|gateway| gateway.parse().unwrap()),
            ifindex,
        }
    }

    #[test]
    fn a_clients_routes_name_its_server() {
        let routes = [
            route("0.0.0.0", 0, Some("192.0.2.1"), 2),
            route("10.8.0.0", 24, None, 5),
            route("10.9.0.1", 32, None, 5),
            route("192.168.7.0", 24, Some("10.8.0.1"), 5),
            route("2001:db8::", 32, Some("fd00:8::1"), 5),
        ];
        let end = |is_wanted: fn(&IpAddr) -> bool| {
            other_end(&routes, 5, is_wanted).map(|address| address.to_string())
        };
        assert_eq!(end(IpAddr::is_ipv4).as_deref(), Some("10.8.0.1"));
        assert_eq!(end(IpAddr::is_ipv6).as_deref(), Some("fd00:8::1"));
        assert_eq!(other_end(&routes, 7, |_| true), None);
        let without = &routes[..3];
        let host = other_end(without, 5, |_| true).unwrap();
        assert_eq!(host.to_string(), "10.9.0.1");
        assert_eq!(other_end(without, 5, IpAddr::is_ipv6), None);
    }
}
