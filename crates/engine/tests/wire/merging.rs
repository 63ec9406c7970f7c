//! Which packets are merged for the device (faults B4).

use crate::api::Api;
use crate::client::namespace::enter;
use crate::eventually::eventually_equal;
use crate::forger::Forger;
use crate::inner::{tcp4, udp6};
use crate::older_kernel;
use crate::site::{HERE4, HERE6, Site, vpn_of};

/// Packets of a burst.
const BURST: u32 = 20;

/// How often to send bursts until some of their packets arrive together: once is enough unless the machine is very
/// busy.
const TRIES: usize = 50;

/// Packets that the device `wire0` has received from the engine; a super-packet counts once.
fn received_by_device() -> u64 {
    let table = std::fs::read_to_string("/proc/self/net/dev").unwrap();
    let line = table
        .lines()
        .find_map(|line| line.trim().strip_prefix("wire0:"));
    let packets = line.unwrap().split_whitespace().nth(1);
    packets.unwrap().parse().unwrap()
}

/// How many writes a burst took.
fn writes(site: &Site, forger: &Forger, packets: &[Vec<u8>]) -> u64 {
    let before = (site.counters(1).vpn_rx.packets, received_by_device());
    let records: Vec<_> = packets.iter().map(|it| forger.next_record(it)).collect();
    for record in &records {
        forger.send(record);
    }
    let all = before.0 + packets.len() as u64;
    eventually_equal(&all, || site.counters(1).vpn_rx.packets);
    received_by_device() - before.1
}

/// Whether packets are ever merged.
fn merges(site: &Site, forger: &Forger, packets: impl Fn(u32) -> Vec<Vec<u8>>) -> bool {
    (0..TRIES as u32).any(|turn| writes(site, forger, &packets(turn)) < u64::from(BURST))
}

fn segments(turn: u32) -> Vec<Vec<u8>> {
    let payload = [7; 500];
    let first = turn * BURST;
    (first..first + BURST)
        .map(|number| tcp4(vpn_of(1).0, HERE4, number * 500, &payload))
        .collect()
}

fn datagrams(_: u32) -> Vec<Vec<u8>> {
    let datagram = udp6(vpn_of(1).1, HERE6, &[7; 500]);
    vec![datagram; BURST as usize]
}

#[test]
fn both_kinds_are_merged_where_the_kernel_takes_them() {
    if !enter("merging::both_kinds_are_merged_where_the_kernel_takes_them") {
        return;
    }
    let site = Site::open(Api::Ovpn);
    let forger = site.add_peer(1);
    let state = site.openvpn.client.show();
    let offloads = &state["devices"][0]["offloads"];
    assert_eq!(offloads["merge"], true);
    assert!(merges(&site, &forger, segments));
    // UDP takes a kernel from 6.2 on.
    let takes_udp = offloads["merge-udp"] == true;
    assert_eq!(offloads["device-udp"] == true, takes_udp);
    assert_eq!(merges(&site, &forger, datagrams), takes_udp);
}

#[test]
fn bursts_of_udp_before_linux_6_2_leave_tcp_merged() {
    if !enter("merging::bursts_of_udp_before_linux_6_2_leave_tcp_merged") {
        return;
    }
    older_kernel::before_6_2();
    let site = Site::open(Api::Ovpn);
    let forger = site.add_peer(1);
    assert!(!merges(&site, &forger, datagrams));
    assert!(merges(&site, &forger, segments));
    let state = site.openvpn.client.show();
    let offloads = &state["devices"][0]["offloads"];
    assert_eq!(offloads["merge"], true);
    assert_eq!(offloads["merge-udp"], false);
    assert_eq!(offloads["device-tcp"], true);
    assert_eq!(offloads["device-udp"], false);
}
