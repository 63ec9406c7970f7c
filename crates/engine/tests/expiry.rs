//! Many peers that expire while the listener does not read: each end is reported once (promises F5, J8).

mod client;

use std::fs;
use std::net::UdpSocket;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::thread;
use std::time::{Duration, Instant};

use udco_ipc::ToEngine;
use udco_sys::seqpacket::Connection;

use crate::client::netlink::{self, attribute, find_number, nest, number};
use crate::client::{Channel, Client, Owned, engine, namespace};

/// Names of attributes and commands are those of `<linux/ovpn.h>`.
const PEER_NEW: u8 = 1;
const PEER_GET: u8 = 3;
const PEER_DEL_NTF: u8 = 5;
const KEY_NEW: u8 = 6;
const EXPIRED: u32 = 2;

const NETLINK_ADD_MEMBERSHIP: i32 = 1;

/// How many peers: even an unoptimised build adds and expires them in seconds.
const PEERS: u32 = 100_000;

/// Set by `cargo xtask expiry`: the listener sleeps for a minute, and the test prints figures that only mean something
/// in an optimised build.
const LONG: &str = "UDCO_EXPIRY_LONG";

#[test]
fn each_of_100_000_peers_that_expire_unread_is_reported_once() {
    if !namespace::enter("each_of_100_000_peers_that_expire_unread_is_reported_once") {
        return;
    }
    if std::env::var_os(LONG).is_some() {
        return at_length();
    }
    let office = Office::open();
    office.add(0..PEERS, BATCH, (1, 2));
    office.expire_all_unread(Duration::from_secs(5));
}

fn at_length() {
    let office = Office::open();
    let (before, keepalive) = (resident(), (10, 30));
    let single = office.add(0..PEERS / 2, 1, keepalive);
    let batched = office.add(PEERS / 2..PEERS, BATCH, keepalive);
    let idle = per_peer(before);
    office.request_all(0..PEERS, BATCH, |id| office.key_new(id));
    let keyed = per_peer(before);
    let reported = office.expire_all_unread(Duration::from_secs(60));
    namespace::say(&format!(
        "{{\"peers\":{PEERS},\"listener_sleeps_s\":60,\"reported_once\":{reported},\"peer_new_per_s\":{single:.0},\
         \"peer_new_per_s_{BATCH}_a_datagram\":{batched:.0},\"bytes_per_peer\":{idle},\"bytes_per_peer_with_key\":{keyed}}}"
    ));
}

/// Requests per datagram, where they are batched.
const BATCH: usize = 100;

/// A device of `ovpn` for many peers, a channel that configures it, and one that listens.
struct Office {
    client: Client,
    requests: Channel,
    listener: Channel,
    family: u16,
    ifindex: u32,
    socket: OwnedFd,
    relay: OwnedFd,
    /// The client's end of the relay; it closes when the test ends.
    _control: Connection,
}

impl Office {
    fn open() -> Self {
        let client = Client::welcome(&engine());
        let (requests, listener) = (client.open_channel(), client.open_channel());
        let (family, group) = family(&client, &requests);
        let join = ToEngine::SetOption {
            channel: listener.number,
            name: NETLINK_ADD_MEMBERSHIP,
            value: group,
        };
        assert_eq!(client.ask(5, &join, &[]), Some(Owned::Done(0)));
        let ifindex = client.make_device("ovpn", "expiry0");
        let (control, relay) = Connection::pair().unwrap();
        Self {
            socket: UdpSocket::bind("127.0.0.1:0").unwrap().into(),
            relay: relay.into_fd(),
            _control: control,
            client,
            requests,
            listener,
            family,
            ifindex,
        }
    }

    /// Adds peers, `batch` per datagram, and returns how many per second.
    fn add(&self, ids: Range<u32>, batch: usize, keepalive: (u32, u32)) -> f64 {
        let (count, start) = (f64::from(ids.end - ids.start), Instant::now());
        self.request_all(ids, batch, |id| self.peer_new(id, keepalive));
        count / start.elapsed().as_secs_f64()
    }

    /// Sends a request for each id; all of them must succeed.
    fn request_all(&self, ids: Range<u32>, batch: usize, request: impl Fn(u32) -> Vec<u8>) {
        for start in ids.clone().step_by(batch) {
            let requests: Vec<Vec<u8>> = (start..ids.end).take(batch).map(&request).collect();
            let socket = Some([&self.socket, &self.relay]);
            self.client
                .request(&self.requests, &requests.concat(), socket);
            let answers = self.requests.drain();
            assert_eq!(answers.len(), requests.len());
            let refused = answers.iter().find(|it| netlink::errno(it) != Some(0));
            assert!(refused.is_none(), "{refused:?}");
        }
    }

    /// The listener sleeps until all peers have expired, and then receives exactly one notification for each.
    fn expire_all_unread(&self, sleep: Duration) -> u32 {
        thread::sleep(sleep);
        let get = netlink::dump(self.family, PEER_GET, &[number(1, self.ifindex)]);
        self.client.request(&self.requests, &get, None);
        let left = self.requests.drain();
        assert_eq!(left.len(), 1, "no peer, only the end of the dump");

        let mut times = vec![0_u32; PEERS as usize];
        let mut reported = 0;
        let mut last = Instant::now();
        // No further one for a while after the last.
        while last.elapsed() < Duration::from_millis(500) {
            for message in self.listener.drain() {
                last = Instant::now();
                assert_eq!(netlink::command(&message), PEER_DEL_NTF);
                assert_eq!(find_number(&message, &[1]), Some(self.ifindex));
                assert_eq!(find_number(&message, &[2, 15]), Some(EXPIRED));
                times[find_number(&message, &[2, 1]).unwrap() as usize] += 1;
                reported += 1;
            }
            thread::sleep(Duration::from_millis(1));
        }
        let wrong = times.iter().position(|times| *times != 1);
        assert_eq!(
            wrong,
            None,
            "a peer reported {:?} times; {reported} in all",
            wrong.map(|id| times[id])
        );
        reported
    }

    fn peer_new(&self, id: u32, (interval, timeout): (u32, u32)) -> Vec<u8> {
        let members = [
            number(1, id),
            // Each at an address of its own, like real clients.
            attribute(2, &(0x7f00_0001 + id).to_be_bytes()),
            attribute(5, &9_u16.to_be_bytes()),
            number(6, 9),
            attribute(8, &(0x0a00_0001 + id).to_be_bytes()),
            number(13, interval),
            number(14, timeout),
        ];
        let attributes = [number(1, self.ifindex), nest(2, &members)];
        netlink::request(self.family, PEER_NEW, &attributes)
    }

    /// AES-256-GCM in the primary slot, the same key for all peers.
    fn key_new(&self, peer: u32) -> Vec<u8> {
        let direction = |kind| nest(kind, &[attribute(1, &[7; 32]), attribute(2, &[9; 8])]);
        let members = [
            number(1, peer),
            number(2, 0),
            number(3, 0),
            number(4, 1),
            direction(5),
            direction(6),
        ];
        let attributes = [number(1, self.ifindex), nest(3, &members)];
        netlink::request(self.family, KEY_NEW, &attributes)
    }
}

/// The numbers of the family `ovpn` and of its group, as CTRL_CMD_GETFAMILY tells them.
fn family(client: &Client, channel: &Channel) -> (u16, i32) {
    let ask = netlink::request(0x10, 3, &[attribute(2, b"ovpn\0")]);
    client.request(channel, &ask, None);
    let answers = channel.drain();
    let family = find_number(&answers[0], &[1]).unwrap();
    let group = find_number(&answers[0], &[7, 1, 2]).unwrap();
    (family as u16, group as i32)
}

/// Resident memory of this process, engine and client, in bytes.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let words = line.unwrap().split_whitespace().next().unwrap();
    words.parse::<u64>().unwrap() * 1024
}

fn per_peer(before: u64) -> u64 {
    resident().saturating_sub(before) / u64::from(PEERS)
}
