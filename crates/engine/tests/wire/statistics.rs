//! Every counter of `PEER_GET`, compared with the packets sent and received (dco-behaviour 5.9).

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::api::{BOTH, Counters};
use crate::client::namespace::enter;
use crate::eventually::eventually_equal;
use crate::forger::{Forger, KEEPALIVE, Record, Tally};
use crate::inner::{HEADER4, HEADER6, PORT, send_at_once, udp4, udp6};
use crate::site::{HERE4, HERE6, Site, delivered, vpn_of};

/// Lengths of inner payloads: from empty to the device's MTU over IPv6.
const LENGTHS: [usize; 8] = [0, 1, 15, 16, 17, 500, 1000, 1400 - HEADER6];

/// A peer's remote end, and the expected inner counters.
struct Remote {
    peer: u32,
    forger: Forger,
    inner_in: Tally,
    inner_out: Tally,
    keepalives: u64,
}

impl Remote {
    fn of(site: &Site, peer: u32) -> Self {
        Self {
            peer,
            forger: site.add_peer(peer),
            inner_in: Tally::default(),
            inner_out: Tally::default(),
            keepalives: 0,
        }
    }

    /// Sends deliverable packets of every length, of both families.
    fn send_packets(&mut self, site: &Site) {
        let (vpn4, vpn6) = vpn_of(self.peer);
        for len in LENGTHS {
            let payload = vec![len as u8; len];
            let packets = [
                (udp4(vpn4, HERE4, &payload), &site.inner4),
                (udp6(vpn6, HERE6, &payload), &site.inner6),
            ];
            for (packet, socket) in packets {
                self.forger.send_packet(&packet);
                let arrived = delivered(socket, Duration::from_secs(5));
                assert_eq!(arrived.as_ref(), Some(&payload));
                self.inner_in.add(packet.len());
            }
        }
    }

    /// Sends packets of one flow at once, which may be delivered as one.
    fn send_burst(&mut self, site: &Site) {
        let payloads: Vec<[u8; 300]> = (0..20).map(|it| [it; 300]).collect();
        for payload in &payloads {
            let packet = udp4(vpn_of(self.peer).0, HERE4, payload);
            self.forger.send_packet(&packet);
            self.inner_in.add(packet.len());
        }
        for payload in &payloads {
            assert_eq!(site.delivered(), payload);
        }
    }

    /// Receives packets of one flow that the device delivers as one where the kernel can (since Linux 6.2). Each
    /// counts, as at the other end (faults E10).
    fn receive_at_once(&mut self) {
        let count = 20;
        send_at_once((vpn_of(self.peer).0, PORT).into(), count, 300);
        for _ in 0..count {
            self.receive(HEADER4 + 300);
        }
    }

    /// Sends records that the engine counts for the peer on the link and nowhere else.
    fn send_what_is_dropped(&self, stranger: u32) {
        let own = udp4(vpn_of(self.peer).0, HERE4, b"fine but for the record");
        let good = self.forger.next_record(&KEEPALIVE);
        self.forger.send(&good);
        self.forger.send(&good);
        let mut forged = self.forger.next_record(&own);
        forged[30] ^= 1;
        self.forger.send(&forged);
        let unknown = Record {
            key_id: 5,
            peer: self.peer,
            packet_id: 1,
            payload: own,
        };
        self.forger.send(&self.forger.sealed(&unknown));
        self.forger.send(&good[..10]);
        self.forger.send_packet(&[]);
        self.forger.send_packet(b"not IP");
        let spoofed = udp4(vpn_of(stranger).0, HERE4, b"spoofed");
        self.forger.send_packet(&spoofed);
    }

    /// Receives the namespace's packets to the peer.
    fn receive_packets(&mut self, site: &Site) {
        for len in LENGTHS {
            let payload = vec![len as u8; len];
            site.send_inner(self.peer, &payload);
            self.receive(HEADER4 + len);
            site.send_inner6(self.peer, &payload);
            self.receive(HEADER6 + len);
        }
    }

    /// Receives the next record with an inner packet; keepalives may precede it.
    fn receive(&mut self, len: usize) {
        loop {
            let record = self.forger.receive();
            if record.payload != KEEPALIVE {
                assert_eq!(record.payload.len(), len);
                self.inner_out.add(len);
                return;
            }
            self.keepalives += 1;
        }
    }

    /// Receives keepalives that were not read yet.
    fn receive_keepalives(&mut self) {
        while let Some(record) = self.forger.receive_within(Duration::from_millis(50)) {
            assert_eq!(record.payload, KEEPALIVE);
            self.keepalives += 1;
        }
    }

    fn counters(&self) -> Counters {
        Counters {
            vpn_rx: self.inner_in,
            vpn_tx: self.inner_out,
            link_rx: self.forger.sent(),
            link_tx: self.forger.received(),
        }
    }
}

#[test]
fn every_counter_is_what_was_sent_and_received() {
    if !enter("statistics::every_counter_is_what_was_sent_and_received") {
        return;
    }
    for api in BOTH {
        let site = Site::open(api);
        let target = site.openvpn.target;
        let mut remotes = [Remote::of(&site, 1), Remote::of(&site, 2)];
        for remote in &mut remotes {
            remote.send_packets(&site);
            remote.receive_packets(&site);
            remote.send_burst(&site);
            remote.receive_at_once();
            // The counters follow a moment later.
            eventually_equal(&remote.counters(), || site.counters(remote.peer));
        }
        remotes[0].send_what_is_dropped(2);
        // The keepalive is not a drop; each other record is, with its reason.
        let reasons = [
            "rx_replay",
            "rx_bad_tag",
            "rx_unknown_key_id",
            "rx_no_tag",
            "rx_empty",
            "rx_not_ip",
            "rx_spoofed_source",
        ];
        for reason in reasons {
            site.await_drops(reason, 1);
        }
        // The kernel's own packets to multicast groups are counted apart.
        let mut drops = site.all_drops();
        drops.as_object_mut().unwrap().remove("tx_multicast");
        assert_eq!(drops.as_object().unwrap().len(), reasons.len(), "{drops}");
        eventually_equal(&remotes[0].counters(), || site.counters(1));
        // The engine's keepalives: on the link, not in the VPN.
        site.openvpn.must(&target.peer_set(2, 1, 600));
        thread::sleep(Duration::from_millis(1800));
        site.openvpn.must(&target.peer_set(2, 600, 600));
        remotes[1].receive_keepalives();
        assert!(remotes[1].keepalives >= 1);
        // A packet without a key counts as accepted for the peer, not as sent.
        let no_key = site.openvpn.new_peer(3, remotes[1].forger.address());
        site.openvpn.must(&target.peer_new(&no_key));
        site.send_inner(3, b"no key");
        site.await_drops("tx_no_key", 1);
        // So does each packet of a super-packet, each with a drop of its own.
        send_at_once((vpn_of(3).0, PORT).into(), 20, 300);
        site.await_drops("tx_no_key", 21);
        let taken = Tally {
            packets: 21,
            bytes: (HEADER4 + 6 + 20 * (HEADER4 + 300)) as u64,
        };
        let unsent = Counters {
            vpn_tx: taken,
            ..Counters::default()
        };
        assert_eq!(site.counters(3), unsent);
        // No packet was counted for another peer.
        for remote in &mut remotes {
            remote.receive_packets(&site);
            eventually_equal(&remote.counters(), || site.counters(remote.peer));
        }
    }
}

/// A reader that adds the peers up must not be told less for all of them.
#[test]
fn a_device_that_is_busy_shows_the_sum_of_its_peers() {
    if !enter("statistics::a_device_that_is_busy_shows_the_sum_of_its_peers") {
        return;
    }
    let site = Site::open(BOTH[0]);
    let forgers = [1, 2].map(|peer| site.add_peer(peer));
    let is_over = &AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(move || {
            while !is_over.load(Ordering::Relaxed) {
                forgers.iter().for_each(|it| it.send_packet(&KEEPALIVE));
            }
        });
        let wrong = (0..500).find_map(|_| {
            let device = &site.openvpn.client.show()["devices"][0];
            let peers = device["peers"].as_array().expect("peers");
            let packets = |of: &Value| of["link"]["rx_packets"].as_u64().expect("a number");
            let sum: u64 = peers.iter().map(packets).sum();
            (sum != packets(&device["totals"])).then(|| device.clone())
        });
        is_over.store(true, Ordering::Relaxed);
        assert_eq!(wrong, None);
    });
}
