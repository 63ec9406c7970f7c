//! A client's changes to open files shared with the engine do not affect service for the others (faults D2).

use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::net::{Shutdown, shutdown};
use udco_ipc::Alias;
use udco_sys::route::Monitor;
use udco_sys::seqpacket::Connection;
use udco_sys::{hostile, tun};

use crate::api::{Api, NewPeer, PRIMARY, Target};
use crate::client::namespace::enter;
use crate::client::netlink::POINT_TO_POINT;
use crate::client::{Channel, Client, set_alias};
use crate::forger::Forger;
use crate::inner::PORT;
use crate::site::{FakeOpenVpn, Site, TransportSocket, ip};

/// Ioctls of TUN: `TUNSETOFFLOAD`, `TUNSETSNDBUF`, `TUNSETVNETHDRSZ`, `TUNSETCARRIER`.
const TUNSETOFFLOAD: u32 = 0x4004_54d0;
const TUNSETSNDBUF: u32 = 0x4004_54d4;
const TUNSETVNETHDRSZ: u32 = 0x4004_54d8;
const TUNSETCARRIER: u32 = 0x4004_54e2;
const IFF_DETACH_QUEUE: i16 = 0x400;

/// How long a hostile client pauses between two packets: a worker that blocks on the next one would be lost.
const QUIET: Duration = Duration::from_millis(200);

/// Addresses in the network of the hostile client with this number: its own, and one beyond its device.
fn network(number: u8) -> (Ipv4Addr, Ipv4Addr) {
    (
        Ipv4Addr::new(10, 8 + number, 0, 1),
        Ipv4Addr::new(10, 8 + number, 0, 2),
    )
}

/// A client with a device of its own beside a site's, and all files that it shares with the engine.
struct Hostile {
    number: u8,
    openvpn: FakeOpenVpn,
    queue: OwnedFd,
    monitor: OwnedFd,
    /// Receives the packets of its device, and sends packets to it.
    remote: Option<Forger>,
    /// The engine's end of a channel that is never read.
    channel: OwnedFd,
    _unread: Channel,
}

impl Hostile {
    /// Each has a number, from 1 on.
    fn beside(site: &Site, number: u8) -> Self {
        let name = format!("wire{number}");
        let (here, _) = network(number);
        let client = Client::welcome(&site.engine);
        let nonce = client.ask_for_device("ovpn", &name, POINT_TO_POINT);
        let made = tun::create(&name, 1).unwrap();
        set_alias(made.ifindex, Alias::new("ovpn", nonce).as_bytes());
        let (queue, monitor) = (
            made.queues.into_iter().next().unwrap(),
            Monitor::open().unwrap(),
        );
        let fds = [queue.as_fd(), monitor.as_fd()];
        assert_eq!(client.hand_over((made.ifindex, 0, &name), &fds), 0);
        ip(&[
            &format!("link set {name} multicast off addrgenmode none mtu 1400 up"),
            &format!("addr add {here}/16 dev {name}"),
        ]);
        let (unread, engines) = Connection::pair().unwrap();
        let unread = client.open_channel_on(unread, &engines);
        let target = Target {
            ifindex: made.ifindex,
            ..site.openvpn.target
        };
        client.join(
            &unread,
            site.openvpn.client.family(&site.openvpn.requests, "ovpn").1,
        );
        let openvpn = FakeOpenVpn::new(client, target, TransportSocket::open());
        let remote = Forger::new(openvpn.transport.address, 1);
        openvpn.must(&target.peer_new(&NewPeer {
            id: 1,
            remote: remote.address(),
            socket: 9,
            vpn: None,
        }));
        openvpn.must(&target.key_new(1, PRIMARY, 0));
        Self {
            number,
            openvpn,
            queue,
            monitor: monitor.into_fd(),
            remote: Some(remote),
            channel: engines.into_fd(),
            _unread: unread,
        }
    }

    /// All open files that it shares with the engine.
    fn shared(&self) -> [&OwnedFd; 5] {
        let transport = &self.openvpn.transport;
        [
            &self.queue,
            &self.monitor,
            &self.channel,
            &transport.socket,
            &transport.relay,
        ]
    }

    /// Makes the engine's calls on them block.
    fn let_them_block(&self) {
        for file in self.shared() {
            fcntl_setfl(file, fcntl_getfl(file).unwrap() - OFlags::NONBLOCK).unwrap();
            for option in [libc::SO_RCVTIMEO, libc::SO_SNDTIMEO] {
                let _ = hostile::set_option(file, libc::SOL_SOCKET, option, &[3600, 0, 0, 0]);
            }
            for (option, value) in [
                (libc::SO_RCVLOWAT, i32::MAX),
                (libc::SO_SNDBUF, 1),
                (libc::SO_RCVBUF, 1),
                (libc::SO_PEEK_OFF, 1000),
                (libc::SO_LINGER, 1),
            ] {
                let _ = hostile::set_option(file, libc::SOL_SOCKET, option, &[value, 3600]);
            }
        }
        let socket = &self.openvpn.transport.socket;
        // UDP_CORK, UDP_GRO off.
        hostile::set_option(socket, libc::SOL_UDP, 1, &[1]).unwrap();
        let _ = hostile::set_option(socket, libc::SOL_UDP, 104, &[0]);
        hostile::ioctl(&self.queue, TUNSETSNDBUF, 1).unwrap();
    }

    /// Sends packets through its device, in both directions; the third also steals packets that the engine is about to
    /// read.
    fn keep_busy(&mut self) -> impl FnOnce(&AtomicBool) + Send + 'static {
        let thief = self.queue.try_clone().unwrap();
        let remote = self.remote.take().unwrap();
        let number = self.number;
        move |until| busy(&remote, thief, number, until)
    }
}

fn busy(remote: &Forger, thief: OwnedFd, number: u8, until: &AtomicBool) {
    let (here, beyond) = network(number);
    let inner = UdpSocket::bind((here, PORT)).unwrap();
    if number > 2 {
        // It blocks, and stays until the process ends.
        thread::spawn(move || while rustix::io::read(&thief, &mut [0; 2_000][..]).is_ok() {});
    }
    while !until.load(Ordering::Relaxed) {
        let _ = inner.send_to(b"out", (beyond, PORT));
        remote.send_packet(&crate::inner::udp4(beyond, here, b"in"));
        remote.send(b"\x38control");
        thread::sleep(QUIET);
    }
}

#[test]
fn flags_of_shared_files_keep_no_worker_from_the_others() {
    if !enter("shared_files::flags_of_shared_files_keep_no_worker_from_the_others") {
        return;
    }
    let site = Site::open(Api::Ovpn);
    let forger = site.add_peer(1);
    // One for each worker, and a thief.
    let mut hostile = [1, 2, 3].map(|number| Hostile::beside(&site, number));
    site.require_traffic(&forger, b"before");
    let until = AtomicBool::new(false);
    thread::scope(|scope| {
        for hostile in &mut hostile {
            hostile.let_them_block();
            let (busy, until) = (hostile.keep_busy(), &until);
            scope.spawn(move || busy(until));
        }
        thread::sleep(2 * QUIET);
        let look = |rounds: u32| {
            for round in 0..rounds {
                site.require_traffic(&forger, &round.to_ne_bytes());
                assert_eq!(site.peers(), [1], "it answers");
            }
        };
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            look(100);
            for length in [0, 12, 20, 1_000] {
                let _ = hostile::ioctl(&hostile[0].queue, TUNSETVNETHDRSZ, length);
                look(20);
            }
            for offloads in [0, 0x1f, 0x1] {
                let _ = hostile::ioctl_value(&hostile[0].queue, TUNSETOFFLOAD, offloads);
                look(20);
            }
            for carrier in [0, 1] {
                let _ = hostile::ioctl(&hostile[0].queue, TUNSETCARRIER, carrier);
                look(20);
            }
            let _ = hostile::set_queue(&hostile[0].queue, IFF_DETACH_QUEUE);
            look(20);
        }));
        until.store(true, Ordering::Relaxed);
        outcome.unwrap();
    });
}

#[test]
fn a_socket_that_was_shut_down_does_not_spin_a_worker() {
    if !enter("shared_files::a_socket_that_was_shut_down_does_not_spin_a_worker") {
        return;
    }
    let site = Site::open(Api::Ovpn);
    let forger = site.add_peer(1);
    let hostile = Hostile::beside(&site, 1);
    for how in [Shutdown::Read, Shutdown::Both] {
        // It fails with ENOTCONN, but takes effect all the same.
        let _ = shutdown(&hostile.openvpn.transport.socket, how);
        site.require_traffic(&forger, b"first");
        let before = processor_time();
        thread::sleep(Duration::from_millis(500));
        let used = processor_time() - before;
        assert!(
            used < Duration::from_millis(200),
            "{how:?}: {used:?} in half a second"
        );
        site.require_traffic(&forger, b"then");
    }
}

/// This process's processor time so far.
fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
