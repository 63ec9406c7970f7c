//! Workers allocate nothing for a packet, once they have moved some (promises J5): neither for super-packets of TCP and
//! UDP on their way out, nor for merging on the way in, nor for a capture of all that.
#![allow(unsafe_code)]

#[path = "../wire/api.rs"]
#[allow(dead_code, reason = "shared with the other tests")]
mod api;
#[path = "../client/mod.rs"]
mod client;
#[path = "../wire/eventually.rs"]
mod eventually;
#[path = "../wire/forger.rs"]
#[allow(dead_code, reason = "shared with the other tests")]
mod forger;
#[path = "../wire/inner.rs"]
#[allow(dead_code, reason = "shared with the other tests")]
mod inner;
#[path = "../wire/site.rs"]
#[allow(dead_code, reason = "shared with the other tests")]
mod site;

mod captured;
mod counting;
mod mirror;
mod traffic;

use std::time::{Duration, Instant};

use crate::api::{Api, PRIMARY};
use crate::captured::Captured;
use crate::client::namespace::{enter, say};
use crate::counting::{Counted, Counting};
use crate::mirror::Mirror;
use crate::site::Site;
use crate::traffic::Traffic;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Packets in each direction before the count starts, and during it.
const WARM_UP: u64 = 10_000;
const STEADY: u64 = 100_000;

const PEERS: [u32; 3] = [1, 2, 3];

/// For all of the packets; an idle machine takes seconds.
const PATIENCE: Duration = Duration::from_secs(120);

#[test]
fn workers_allocate_nothing_for_a_packet() {
    if !enter("workers_allocate_nothing_for_a_packet") {
        return;
    }
    for (api, is_captured) in [(Api::Ovpn, false), (Api::DcoV2, false), (Api::Ovpn, true)] {
        // Workers do allocate at first, which proves that the counter works.
        let counted = Counted::silent();
        let site = Site::open(api);
        let at_first = counted.stop();
        assert!(at_first > 0, "no worker was seen");
        let _mirrors = PEERS.map(|peer| mirrored(&site, peer));
        let capture = is_captured.then(|| Captured::start(&site));
        let mut traffic = Traffic::new(&PEERS);
        let until = |traffic: &mut Traffic, packets: u64| {
            let deadline = Instant::now() + PATIENCE;
            while moved(&site).into_iter().min() < Some(packets) {
                assert!(Instant::now() < deadline, "{:?}", moved(&site));
                traffic.round();
            }
        };
        until(&mut traffic, WARM_UP);
        let before = moved(&site);
        let counted = Counted::start();
        // A run of some seconds includes the keepalive timer, and its changes of the snapshot.
        until(&mut traffic, before.into_iter().max().unwrap_or(0) + STEADY);
        let allocations = counted.stop();
        let seen = capture.map_or(0, Captured::end);
        let [out, back] = [0, 1].map(|at| moved(&site)[at] - before[at]);
        say(&format!(
            "{{\"api\":\"{}\",\"out\":{out},\"in\":{back},\"merged\":{},\"at_first\":{at_first},\"allocations\":{allocations},\"captured\":{seen}}}",
            api.family(),
            traffic.largest_read(),
        ));
        assert_eq!(allocations, 0, "by workers; the first are above");
        assert_eq!(
            seen > STEADY,
            is_captured,
            "{seen} packets captured or lost"
        );
        assert!(traffic.largest_read() > 1400, "nothing was merged");
    }
}

/// A peer whose remote end sends everything back.
fn mirrored(site: &Site, peer: u32) -> Mirror {
    let mirror = Mirror::start(site.openvpn.transport.address, peer);
    let new = site.openvpn.new_peer(peer, mirror.address());
    let target = site.openvpn.target;
    site.openvpn.must(&target.peer_new(&new));
    site.openvpn.must(&target.key_new(peer, PRIMARY, 0));
    mirror
}

/// Records sent and received, of all peers.
fn moved(site: &Site) -> [u64; 2] {
    let counters = PEERS.map(|peer| site.counters(peer));
    let sum = |of: fn(&api::Counters) -> u64| counters.iter().map(of).sum();
    [sum(|it| it.link_tx.packets), sum(|it| it.link_rx.packets)]
}
