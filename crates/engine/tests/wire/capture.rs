//! A capture shows what passes and what is dropped, to whom it may, and costs the tunnel nothing if nobody reads.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use udco_core::DropReason;
use udco_ipc::ToEngine;
use udco_ipc::capture::{Batch, Captured, MAX_BATCH, Wanted, Way};
use udco_sys::seqpacket::Connection;

use crate::api::{Api, PRIMARY};
use crate::client::namespace::enter;
use crate::client::{Client, Owned};
use crate::eventually::{eventually, eventually_equal};
use crate::forger::OVERHEAD;
use crate::inner::udp4;
use crate::site::{HERE4, Site, delivered, ip, vpn_of};

const EBUSY: i32 = 16;
const ENODEV: i32 = 19;
const EINVAL: i32 = 22;

const ALL: Wanted = Wanted {
    inner: true,
    outer: true,
    drops: true,
};

/// Long enough for a busy machine.
const SOON: Duration = Duration::from_secs(10);

/// The client's end of a capture, and what it has read so far.
struct Capture {
    from: Connection,
    seen: RefCell<Vec<Seen>>,
}

/// A captured packet without its buffer.
#[derive(Clone, Debug, PartialEq)]
struct Seen {
    way: Way,
    peer: Option<u32>,
    remote: Option<SocketAddr>,
    dropped: Option<&'static str>,
    length: u32,
    bytes: Vec<u8>,
}

/// Asks for a capture; returns the errno of the answer.
fn ask(client: &Client, ifindex: u32, peer: Option<u32>, wanted: Wanted) -> (i32, Capture) {
    let (from, to) = Connection::pair().unwrap();
    let request = ToEngine::Capture {
        ifindex,
        peer,
        wanted,
        snap: 65_535,
    };
    let Some(Owned::Done(errno)) = client.ask(8, &request, &[to.as_fd()]) else {
        panic!("no answer")
    };
    let seen = RefCell::default();
    (errno, Capture { from, seen })
}

fn begin(site: &Site, client: &Client, peer: Option<u32>, wanted: Wanted) -> Capture {
    let (errno, capture) = ask(client, site.openvpn.target.ifindex, peer, wanted);
    assert_eq!(errno, 0);
    capture
}

impl Capture {
    /// Reads one message, and returns how many packets were lost so far; `None` at the end.
    fn read(&self) -> Option<u64> {
        let mut buffer = vec![0; MAX_BATCH];
        let received = self.from.receive_within(&mut buffer, SOON).unwrap();
        if received.len == 0 {
            return None;
        }
        let (batch, mut rest) = Batch::decode(&buffer[..received.len]).unwrap();
        while !rest.is_empty() {
            let run;
            (run, rest) = Captured::decode(rest).unwrap();
            assert!(run.at <= batch.now);
            let seen = |packet: Captured<'_>| Seen {
                way: packet.way,
                peer: packet.peer,
                remote: packet.ends.map(|ends| ends.remote),
                dropped: packet
                    .dropped
                    .map(|reason| DropReason::ALL[usize::from(reason)].name()),
                length: packet.length,
                bytes: packet.bytes.to_vec(),
            };
            self.seen.borrow_mut().extend(run.packets().map(seen));
        }
        Some(batch.lost)
    }

    /// Reads until such a packet has come, and returns it.
    #[track_caller]
    fn find(&self, is_it: impl Fn(&Seen) -> bool) -> Seen {
        let deadline = Instant::now() + SOON;
        loop {
            let found = self.seen.borrow().iter().find(|seen| is_it(seen)).cloned();
            if let Some(found) = found {
                return found;
            }
            assert!(Instant::now() < deadline, "{:?}", self.seen.borrow());
            assert!(self.read().is_some(), "the capture has ended");
        }
    }

    /// Reads until a packet was dropped for this reason, and returns it.
    #[track_caller]
    fn drop_of(&self, reason: &str) -> Seen {
        self.find(|seen| seen.dropped == Some(reason))
    }
}

#[test]
fn packets_are_seen_on_both_sides_and_drops_with_their_reasons() {
    if !enter("capture::packets_are_seen_on_both_sides_and_drops_with_their_reasons") {
        return;
    }
    let site = Site::open(Api::Ovpn);
    let (forger, _other) = (site.add_peer(1), site.add_peer(2));
    let client = Client::welcome(&site.engine);
    let capture = begin(&site, &client, None, ALL);
    let passes = |way| move |seen: &Seen| seen.way == way && seen.dropped.is_none();

    let packet = udp4(vpn_of(1).0, HERE4, b"inwards");
    let record = forger.next_record(&packet);
    forger.send(&record);
    assert_eq!(site.delivered(), b"inwards");
    let outer = capture.find(passes(Way::OuterIn));
    assert_eq!(
        (outer.peer, outer.remote),
        (Some(1), Some(forger.address()))
    );
    assert_eq!(outer.bytes, record);
    let inner = capture.find(passes(Way::InnerIn));
    assert_eq!((inner.peer, &inner.bytes), (Some(1), &packet));

    site.send_inner(1, b"outwards");
    let sent = forger.receive();
    let inner = capture.find(passes(Way::InnerOut));
    assert_eq!((inner.peer, &inner.bytes), (Some(1), &sent.payload));
    let outer = capture.find(passes(Way::OuterOut));
    assert_eq!(
        (outer.peer, outer.remote),
        (Some(1), Some(forger.address()))
    );
    assert_eq!(outer.bytes.len(), OVERHEAD + sent.payload.len());

    let spoofed = udp4(vpn_of(2).0, HERE4, b"another's");
    forger.send_packet(&spoofed);
    let dropped = capture.drop_of("rx_spoofed_source");
    assert_eq!((dropped.way, dropped.peer), (Way::InnerIn, Some(1)));
    assert_eq!(dropped.bytes, spoofed);

    forger.send(&record);
    assert_eq!(capture.drop_of("rx_replay").bytes, packet);

    let mut forged = forger.next_record(&packet);
    forged[OVERHEAD] ^= 1;
    forger.send(&forged);
    let dropped = capture.drop_of("rx_bad_tag");
    assert_eq!((dropped.way, dropped.peer), (Way::OuterIn, Some(1)));
    assert_eq!(
        (dropped.length as usize, &dropped.bytes),
        (forged.len(), &forged[..OVERHEAD].to_vec())
    );

    forger.send(&[0x48]);
    assert_eq!(capture.drop_of("rx_short").bytes, [0x48]);

    // From an address of this host only: there is no way.
    let far: SocketAddr = "203.0.113.1:5000".parse().unwrap();
    let target = site.openvpn.target;
    site.openvpn
        .must(&target.peer_new(&site.openvpn.new_peer(3, far)));
    site.openvpn.must(&target.key_new(3, PRIMARY, 0));
    site.send_inner(3, b"into nowhere");
    let dropped = capture.drop_of("tx_transport_error");
    assert_eq!((dropped.way, dropped.peer), (Way::OuterOut, Some(3)));
    assert_eq!(dropped.remote, Some(far));

    site.send_inner(9, b"nobody's");
    let dropped = capture.drop_of("tx_no_peer");
    assert_eq!((dropped.way, dropped.peer), (Way::InnerOut, None));
    assert!(dropped.bytes.ends_with(b"nobody's"));
}

#[test]
fn a_capture_of_one_peer_or_of_drops_shows_nothing_else() {
    if !enter("capture::a_capture_of_one_peer_or_of_drops_shows_nothing_else") {
        return;
    }
    let site = Site::open(Api::DcoV2);
    let (one, two) = (site.add_peer(1), site.add_peer(2));
    let from = |peer: u32, payload: &[u8]| udp4(vpn_of(peer).0, HERE4, payload);
    let exchange = || {
        one.send_packet(&from(1, b"1"));
        assert_eq!(site.delivered(), b"1");
        two.send_packet(&from(2, b"2"));
        assert_eq!(site.delivered(), b"2");
        // Of the same worker, and so behind all others.
        two.send_packet(&from(1, b"spoofed"));
    };
    let client = Client::welcome(&site.engine);
    let inner = Wanted {
        inner: true,
        drops: true,
        outer: false,
    };
    let capture = begin(&site, &client, Some(2), inner);
    exchange();
    capture.drop_of("rx_spoofed_source");
    let seen: Vec<_> = capture.seen.take();
    assert!(seen.iter().all(|seen| seen.peer == Some(2)), "{seen:?}");
    assert_eq!(seen.len(), 2, "{seen:?}");
    client.end().unwrap();

    let client = Client::welcome(&site.engine);
    let drops = Wanted {
        drops: true,
        ..Wanted::default()
    };
    let capture = begin(&site, &client, None, drops);
    exchange();
    capture.drop_of("rx_spoofed_source");
    assert_eq!(capture.seen.borrow().len(), 1);
}

#[test]
fn one_capture_a_device_which_ends_with_its_reader_or_the_device() {
    if !enter("capture::one_capture_a_device_which_ends_with_its_reader_or_the_device") {
        return;
    }
    let site = Site::open(Api::Ovpn);
    let ifindex = site.openvpn.target.ifindex;
    let (client, other) = (Client::welcome(&site.engine), Client::welcome(&site.engine));
    assert_eq!(ask(&client, ifindex + 100, None, ALL).0, ENODEV);
    let without_end = ToEngine::Capture {
        ifindex,
        peer: None,
        wanted: ALL,
        snap: 100,
    };
    assert_eq!(client.ask(8, &without_end, &[]), Some(Owned::Done(EINVAL)));

    let capture = begin(&site, &client, None, ALL);
    assert_eq!(ask(&client, ifindex, None, ALL).0, EBUSY, "the same client");
    assert_eq!(ask(&other, ifindex, None, ALL).0, EBUSY, "another");
    // Its reader is gone, then its client.
    drop(capture);
    eventually_equal(&0, || ask(&other, ifindex, None, ALL).0);
    other.end().unwrap();
    let capture = begin(&site, &client, None, ALL);

    site.openvpn.client.remove_device(ifindex);
    while capture.read().is_some() {}
    ip(&["link del wire0"]);
}

#[test]
fn what_is_not_read_is_lost_to_the_capture_only() {
    if !enter("capture::what_is_not_read_is_lost_to_the_capture_only") {
        return;
    }
    let site = Site::open(Api::Ovpn);
    let forger = site.add_peer(1);
    let client = Client::welcome(&site.engine);
    let capture = begin(&site, &client, None, ALL);
    // Each is seen twice: twice as many bytes as there is room for.
    let payload = vec![7; 1300];
    for round in 0..4_000 {
        forger.send_packet(&udp4(vpn_of(1).0, HERE4, &payload));
        if round % 16 == 0 {
            assert_eq!(site.delivered(), payload);
        }
    }
    let mut lost = 0;
    while lost == 0 {
        lost = capture.read().expect("it goes on");
    }
    // Nothing else is slower or fuller for it.
    let kept: usize = capture
        .seen
        .take()
        .iter()
        .map(|seen| seen.bytes.len())
        .sum();
    assert!(kept < 8 << 20, "{kept}");
    drop(capture);
    // What had queued comes first.
    eventually("packets as before", || {
        forger.send_packet(&udp4(vpn_of(1).0, HERE4, b"as before"));
        let mut packets = std::iter::from_fn(|| delivered(&site.inner4, Duration::from_millis(20)));
        packets.any(|packet| packet == b"as before")
    });
}
