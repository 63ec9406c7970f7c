//! The counters of just-ended peers in a dump (faults E7).

use crate::api::{Api, BOTH, Counters};
use crate::client::namespace::enter;
use crate::client::netlink::find_number;
use crate::eventually::eventually_equal;
use crate::forger::Forger;
use crate::inner::udp4;
use crate::site::{FakeOpenVpn, HERE4, Site, vpn_of};

/// The peers of a dump.
fn dump(site: &Site, openvpn: &FakeOpenVpn) -> Vec<(u32, Counters)> {
    let target = site.openvpn.target;
    let answers = openvpn.ask(&target.peer_dump()).unwrap();
    let id = |answer: &Vec<u8>| match target.api {
        Api::Ovpn => find_number(answer, &[2, 1]),
        Api::DcoV2 => find_number(answer, &[8, 1]),
    };
    let peers = answers.iter();
    let mut peers: Vec<_> = peers
        .map(|answer| (id(answer).unwrap(), target.counters(answer)))
        .collect();
    peers.sort_by_key(|peer| peer.0);
    peers
}

/// Exchanges some packets with a peer; returns its counters afterwards.
fn exchange(site: &Site, peer: u32, forger: &Forger) -> Counters {
    for _ in 0..50 {
        forger.send_packet(&udp4(vpn_of(peer).0, HERE4, b"counted"));
        assert_eq!(site.delivered(), b"counted");
    }
    let all = forger.sent();
    eventually_equal(&all, || site.counters(peer).link_rx);
    eventually_equal(&50, || site.counters(peer).vpn_rx.packets);
    site.counters(peer)
}

#[test]
fn the_next_dump_has_the_last_counters_of_a_peer_that_ended_with_the_older_api() {
    if !enter(
        "last_counters::the_next_dump_has_the_last_counters_of_a_peer_that_ended_with_the_older_api",
    ) {
        return;
    }
    for api in BOTH {
        let site = Site::open(api);
        let (openvpn, target) = (&site.openvpn, site.openvpn.target);
        let other = FakeOpenVpn::beside(&site);
        let forgers = [1, 2, 3].map(|id| site.add_peer(id));
        let [first, second, third] =
            [0, 1, 2].map(|at| exchange(&site, at as u32 + 1, &forgers[at]));
        openvpn.must(&target.peer_del(1));
        // Only the client that uses the device gets them, and once.
        assert_eq!(dump(&site, &other), [(2, second), (3, third)]);
        let last = (api == Api::DcoV2).then_some((1, first));
        let rest = [(2, second), (3, third)];
        let wanted: Vec<_> = last.into_iter().chain(rest).collect();
        assert_eq!(dump(&site, openvpn), wanted);
        assert_eq!(dump(&site, openvpn), rest);
        // The same for a peer that has expired.
        openvpn.must(&target.peer_set(2, 600, 1));
        let notified = || {
            site.notifications()
                .iter()
                .any(|notified| format!("{notified:?}").contains("peer: 2"))
        };
        eventually_equal(&true, notified);
        let last = (api == Api::DcoV2).then_some((2, second));
        let wanted: Vec<_> = last.into_iter().chain([(3, third)]).collect();
        assert_eq!(dump(&site, openvpn), wanted);
        // A peer whose id was reused is forgotten.
        openvpn.must(&target.peer_del(3));
        site.add_peer(3);
        assert_eq!(dump(&site, openvpn), [(3, Counters::default())]);
        assert_eq!(openvpn.ask(&target.peer_get(1)), Err(2));
    }
}
