//! A peer that changes its address with every packet (promises D6, faults E3).

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use crate::api::{BOTH, Notification};
use crate::client::namespace::enter;
use crate::eventually::{eventually, eventually_equal};
use crate::inner::udp4;
use crate::site::{A_WHILE, HERE4, Site, vpn_of};

/// How long the peer keeps doing so.
const STORM: Duration = Duration::from_secs(2);

/// At most one for each second that has started, and finally the last address.
const MOST: usize = 3;

#[test]
fn a_peer_that_moves_with_each_packet_is_reported_once_a_second_and_where_it_ends() {
    if !enter(
        "storm::a_peer_that_moves_with_each_packet_is_reported_once_a_second_and_where_it_ends",
    ) {
        return;
    }
    for api in BOTH {
        let site = Site::open(api);
        let (forger, neighbour) = (site.add_peer(1), site.add_peer(2));
        let places: Vec<_> = (0..20)
            .map(|_| UdpSocket::bind("127.0.0.1:0").unwrap())
            .collect();
        let packet = udp4(vpn_of(1).0, HERE4, b"on the move");
        let engine = site.openvpn.transport.address;
        let (start, mut sent, mut notified) = (Instant::now(), 0_u64, Vec::new());
        // No faster than packets are delivered, so that none is lost on the way.
        while start.elapsed() < STORM {
            for place in &places {
                place.send_to(&forger.next_record(&packet), engine).unwrap();
                assert_eq!(site.delivered(), b"on the move");
                sent += 1;
            }
            notified.extend(site.notifications());
        }
        let storm = start.elapsed();
        // The peer at the last address gets its replies there.
        let last = &places[places.len() - 1];
        last.set_read_timeout(Some(A_WHILE)).unwrap();
        eventually("an answer at the last address", || {
            site.send_inner(1, b"answer");
            last.recv(&mut [0; 2000]).is_ok()
        });
        eventually_equal(&sent, || site.counters(1).vpn_rx.packets);
        let port = last.local_addr().unwrap().port();
        let end = Notification::Floated { peer: 1, port };
        if api == BOTH[0] {
            eventually("the last address to be reported", || {
                notified.extend(site.notifications());
                notified.last() == Some(&end)
            });
        }
        std::thread::sleep(A_WHILE);
        notified.extend(site.notifications());
        let most = MOST + (storm - STORM).as_secs() as usize;
        assert!(
            notified.len() <= most,
            "{api:?}: {sent} moves, notified {notified:?}"
        );
        // The other peer has not moved.
        site.send_inner(2, b"still here");
        neighbour.receive();
        assert!(sent > 1000, "no storm: {sent} packets");
    }
}
