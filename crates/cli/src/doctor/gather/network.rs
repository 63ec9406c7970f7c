//! Links, default routes and settings of this network namespace.

use std::collections::{HashMap, HashSet};
use std::fs;

use udco_ipc::ALIAS;
use udco_netlink::client::link;
use udco_netlink::route::{self, Change, Family};
use udco_netlink::{link_names, message_link};

use crate::doctor::facts::{DefaultRoute, Link, Network, Serves};
use crate::left::Left;
use crate::survey::Survey;
use crate::{kernel, rtnetlink, state};

/// Flags of a route: usable, and one that refuses packets.
const UP: u32 = 1;
const REJECT: u32 = 0x200;

pub(super) fn look(survey: &Survey<'_>) -> anyhow::Result<Network> {
    let defaults =
        fs::read_to_string("/proc/net/route").map_or_else(|_| Vec::new(), |it| defaults(&it));
    let strict = defaults
        .iter()
        .map(|it| &it.device)
        .filter(|it| is_strict(it));
    let strict: HashSet<_> = strict.cloned().collect();
    let mut strict: Vec<_> = strict.into_iter().collect();
    strict.sort();
    let reply = rtnetlink::dump(&link::all(1)).unwrap_or_default();
    Ok(Network {
        links: links(survey, &reply),
        defaults6: defaults6(&reply),
        forwards4: flag("/proc/sys/net/ipv4/ip_forward"),
        forwards6: flag("/proc/sys/net/ipv6/conf/all/forwarding"),
        strict,
        defaults,
    })
}

fn links(survey: &Survey<'_>, reply: &[Vec<u8>]) -> Vec<Link> {
    let devices = survey.engines.iter().flat_map(|it| &it.state.devices);
    let devices = devices.filter(|device| state::is_here(device));
    let served: HashSet<u32> = devices.map(|device| device.ifindex).collect();
    let drivers: HashSet<u32> = kernel::links().iter().map(|it| it.ifindex).collect();
    let links = reply.iter().filter_map(|message| {
        let ((name, alias), ifindex) = (link_names(message)?, message_link(message)?);
        let serves = if served.contains(&ifindex) {
            Serves::Engine
        } else if drivers.contains(&ifindex) {
            Serves::Driver
        } else {
            unserved(survey, ifindex, alias)
        };
        let name = name.to_owned();
        Some(Link { name, serves })
    });
    links.collect()
}

/// What serves a link if neither an engine that answers does, nor the kernel's own driver.
fn unserved(survey: &Survey<'_>, ifindex: u32, alias: &str) -> Serves {
    let is_one_of = |links: &[Left]| links.iter().any(|it| it.ifindex == ifindex);
    if is_one_of(&survey.left) {
        Serves::Nothing
    } else if is_one_of(&survey.unsure) {
        Serves::Unsure
    } else if alias.starts_with(ALIAS) {
        Serves::Silent
    } else {
        Serves::Other
    }
}

/// The default routes in the text of `/proc/net/route`.
fn defaults(text: &str) -> Vec<DefaultRoute> {
    let routes = text.lines().skip(1).filter_map(|line| {
        let columns: Vec<_> = line.split_whitespace().collect();
        let [device, to, _, flags, _, _, metric, mask, ..] = columns.as_slice() else {
            return None;
        };
        let flags = u32::from_str_radix(flags, 16).ok()?;
        let is_default = *to == "00000000" && *mask == "00000000";
        let is_usable = flags & UP != 0 && flags & REJECT == 0;
        (is_default && is_usable).then_some(DefaultRoute {
            device: (*device).to_owned(),
            metric: metric.parse().ok()?,
            preference: None,
        })
    });
    routes.collect()
}

/// The IPv6 default routes of the main table; the file in `/proc` mixes them with those of others.
fn defaults6(links: &[Vec<u8>]) -> Vec<DefaultRoute> {
    let names = links.iter().filter_map(|message| {
        let (name, _) = link_names(message)?;
        Some((message_link(message)?, name))
    });
    let names: HashMap<u32, &str> = names.collect();
    let mut found = Vec::new();
    for message in rtnetlink::dump(&route::dump_request(Family::V6, 1)).unwrap_or_default() {
        let Some(Change::Added { route, .. }) = route::changes(&message, 0).next() else {
            continue;
        };
        // One that leads nowhere has no device. Of several next hops the first stands for all: that is one route.
        if route.prefix == 0 && route.ifindex != 0 {
            let name = names.get(&route.ifindex);
            found.extend(name.map(|name| DefaultRoute {
                device: (*name).to_owned(),
                metric: route.metric,
                preference: Some(route::preference(&message)),
            }));
        }
    }
    found
}

/// Whether the filter is strict: the stricter of two values counts, and 2 is looser than 1 but wins.
fn is_strict(device: &str) -> bool {
    let of = |name: &str| {
        let text = fs::read_to_string(format!("/proc/sys/net/ipv4/conf/{name}/rp_filter"));
        text.ok().and_then(|it| it.trim().parse::<u32>().ok())
    };
    of("all").max(of(device)) == Some(1)
}

fn flag(path: &str) -> Option<bool> {
    let text = fs::read_to_string(path).ok()?;
    Some(text.trim() != "0")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With an engine that does not answer, a device without a carrier may be its own, or that of one that was killed.
    #[test]
    fn a_link_without_a_carrier_may_be_anyones() {
        let mut survey = Survey::of_all(&[], Vec::new(), false, (Vec::new(), Vec::new()));
        let left = |ifindex| Left {
            name: "tun0".to_owned(),
            ifindex,
        };
        survey.left = vec![left(100_001)];
        survey.unsure = vec![left(100_002)];
        let serves = |ifindex| unserved(&survey, ifindex, &format!("{ALIAS}ovpn"));
        let found = [100_001, 100_002, 100_003].map(serves);
        assert_eq!(found, [Serves::Nothing, Serves::Unsure, Serves::Silent]);
        assert_eq!(unserved(&survey, 100_004, ""), Serves::Other);
    }

    #[test]
    fn default_routes_are_told_from_others() {
        let text = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
            eth0\t00000000\t010200C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\n\
            tun0\t00000000\t00000000\t0001\t0\t0\t0\t00000080\t0\t0\t0\n\
            *\t00000000\t00000000\t0201\t0\t0\t5\t00000000\t0\t0\t0\n\
            eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n";
        let found = defaults(text);
        let wanted = DefaultRoute {
            device: "eth0".to_owned(),
            metric: 100,
            preference: None,
        };
        assert_eq!(found, [wanted]);
    }
}
