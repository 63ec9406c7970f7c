//! The setting of most tests: an engine with a device in the test's namespace, a client that configures it, one that
//! listens, and the transport socket.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;
use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rustix::net::netdevice;
use udco_engine::{Engine, Options};
use udco_sys::seqpacket::Connection;

use crate::api::{Api, Counters, NewPeer, Notification, PRIMARY, Target};
use crate::client::netlink::{self, MULTI_PEER};
use crate::client::{Channel, Client, engine_with};
use crate::eventually::{eventually, eventually_equal};
use crate::forger::Forger;
use crate::inner::{PORT, udp4};

/// The namespace's own VPN addresses.
pub(crate) const HERE4: Ipv4Addr = Ipv4Addr::new(10, 8, 0, 1);
pub(crate) const HERE6: Ipv6Addr = Ipv6Addr::new(0xfd00, 8, 0, 0, 0, 0, 0, 1);

/// Long enough for anything still in flight, where nothing must arrive.
pub(crate) const A_WHILE: Duration = Duration::from_millis(200);

pub(crate) struct Site {
    pub(crate) engine: Arc<Engine>,
    pub(crate) openvpn: FakeOpenVpn,
    listener: Channel,
    /// The namespace's own sockets, at the inner end of the VPN.
    pub(crate) inner4: UdpSocket,
    pub(crate) inner6: UdpSocket,
}

/// Stands in for an OpenVPN: configures a device over the protocol of clients.
pub(crate) struct FakeOpenVpn {
    pub(crate) client: Client,
    pub(crate) requests: Channel,
    pub(crate) target: Target,
    mode: u8,
    pub(crate) transport: TransportSocket,
}

/// A transport socket and the relay that the client gets in its place.
pub(crate) struct TransportSocket {
    pub(crate) address: SocketAddr,
    pub(crate) socket: OwnedFd,
    pub(crate) relay: OwnedFd,
    /// The client's end of the relay.
    pub(crate) control: Connection,
}

/// The settings of a site's device.
#[derive(Clone)]
pub(crate) struct Plan {
    pub(crate) api: Api,
    pub(crate) mode: u8,
    pub(crate) options: Options,
}

impl Plan {
    pub(crate) fn of(api: Api) -> Self {
        Self {
            api,
            mode: MULTI_PEER,
            options: Options::default(),
        }
    }
}

impl Site {
    /// A multi-peer device.
    pub(crate) fn open(api: Api) -> Self {
        Self::planned(&Plan::of(api))
    }

    pub(crate) fn planned(plan: &Plan) -> Self {
        let engine = engine_with(plan.options.clone());
        let name = "wire0";
        let client = Client::welcome(&engine);
        let (requests, listener) = (client.open_channel(), client.open_channel());
        let (family, group) = client.family(&requests, plan.api.family());
        client.join(&listener, group);
        let ifindex = client.make_device_in(plan.api.kind(), name, plan.mode);
        configure(name);
        let target = Target {
            api: plan.api,
            family,
            ifindex,
        };
        let openvpn = FakeOpenVpn {
            client,
            requests,
            target,
            mode: plan.mode,
            transport: TransportSocket::open(),
        };
        Self {
            engine,
            openvpn,
            listener,
            inner4: UdpSocket::bind((HERE4, PORT)).unwrap(),
            inner6: UdpSocket::bind((HERE6, PORT)).unwrap(),
        }
    }

    /// A peer with a primary key, and its remote end.
    #[track_caller]
    pub(crate) fn add_peer(&self, id: u32) -> Forger {
        let forger = Forger::new(self.openvpn.transport.address, id);
        let new = self.openvpn.new_peer(id, forger.address());
        self.openvpn.must(&self.openvpn.target.peer_new(&new));
        self.openvpn
            .must(&self.openvpn.target.key_new(id, PRIMARY, 0));
        forger
    }

    #[track_caller]
    pub(crate) fn counters(&self, peer: u32) -> Counters {
        let answers = self.openvpn.ask(&self.openvpn.target.peer_get(peer));
        let answers = answers.expect("the peer is there");
        self.openvpn.target.counters(&answers[0])
    }

    /// Ids of the existing peers.
    pub(crate) fn peers(&self) -> Vec<u64> {
        let state = self.openvpn.client.show();
        let peers = state["devices"][0]["peers"].as_array().unwrap();
        let ids = peers.iter().map(|peer| peer["id"].as_u64().unwrap());
        ids.collect()
    }

    /// Sends an inner packet to a peer's VPN address.
    pub(crate) fn send_inner(&self, peer: u32, payload: &[u8]) {
        let to = (vpn_of(peer).0, PORT);
        self.inner4.send_to(payload, to).unwrap();
    }

    /// The same over IPv6.
    pub(crate) fn send_inner6(&self, peer: u32, payload: &[u8]) {
        let to = (vpn_of(peer).1, PORT);
        self.inner6.send_to(payload, to).unwrap();
    }

    /// How many packets were dropped for this reason.
    pub(crate) fn drops(&self, reason: &str) -> u64 {
        let state = self.openvpn.client.show();
        state["devices"][0]["drops"][reason].as_u64().unwrap_or(0)
    }

    #[track_caller]
    pub(crate) fn await_drops(&self, reason: &str, count: u64) {
        eventually_equal(&count, || self.drops(reason));
    }

    /// All drops, by reason.
    pub(crate) fn all_drops(&self) -> serde_json::Value {
        self.openvpn.client.show()["devices"][0]["drops"].clone()
    }

    /// The listener's notifications since the last call.
    pub(crate) fn notifications(&self) -> Vec<Notification> {
        let messages = self.listener.drain();
        let notified = messages
            .iter()
            .map(|it| self.openvpn.target.notification(it));
        notified.collect()
    }

    /// The payload of the next inner packet that the namespace's own socket receives.
    #[track_caller]
    pub(crate) fn delivered(&self) -> Vec<u8> {
        delivered(&self.inner4, Duration::from_secs(5)).expect("an inner packet in time")
    }

    /// Asserts that packets pass both ways between the site and its peer 1.
    #[track_caller]
    pub(crate) fn require_traffic(&self, forger: &Forger, payload: &[u8]) {
        forger.send_packet(&udp4(vpn_of(1).0, HERE4, payload));
        assert_eq!(self.delivered(), payload);
        self.send_inner(1, payload);
        let sent = forger.receive().payload;
        assert!(sent.ends_with(payload), "{sent:?}");
    }

    /// Asserts that no inner packet is readable, nor arrives for a while.
    #[track_caller]
    pub(crate) fn nothing_delivered(&self) {
        for socket in [&self.inner4, &self.inner6] {
            assert_eq!(delivered(socket, A_WHILE), None);
        }
    }
}

impl FakeOpenVpn {
    /// One with this client, for a multi-peer device.
    pub(crate) fn new(client: Client, target: Target, transport: TransportSocket) -> Self {
        Self {
            requests: client.open_channel(),
            client,
            target,
            mode: MULTI_PEER,
            transport,
        }
    }

    /// Another one, with a client of its own, which uses the same device.
    pub(crate) fn beside(other: &Site) -> Self {
        let client = Client::welcome(&other.engine);
        Self {
            mode: other.openvpn.mode,
            ..Self::new(client, other.openvpn.target, TransportSocket::open())
        }
    }

    /// A peer of the device.
    pub(crate) fn new_peer(&self, id: u32, remote: SocketAddr) -> NewPeer {
        NewPeer {
            id,
            remote,
            socket: 9,
            vpn: (self.mode == MULTI_PEER).then(|| vpn_of(id)),
        }
    }

    /// Sends a request; its answers without the ACK, or the errno.
    pub(crate) fn ask(&self, datagram: &[u8]) -> Result<Vec<Vec<u8>>, i32> {
        let transport = &self.transport;
        let socket = Some([&transport.socket, &transport.relay]);
        self.client.request(&self.requests, datagram, socket);
        let mut answers = self.requests.drain();
        let last = answers.pop().expect("an answer");
        match netlink::errno(&last) {
            Some(0) => Ok(answers),
            errno => Err(errno.expect("an ACK or an error is the last")),
        }
    }

    #[track_caller]
    pub(crate) fn must(&self, datagram: &[u8]) {
        assert_eq!(self.ask(datagram), Ok(Vec::new()));
    }
}

impl TransportSocket {
    pub(crate) fn open() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let (control, relay) = Connection::pair().unwrap();
        Self {
            address: socket.local_addr().unwrap(),
            socket: socket.into(),
            relay: relay.into_fd(),
            control,
        }
    }

    /// How many of the packets in the relay are control packets.
    pub(crate) fn control_packets(&self) -> usize {
        let mut buffer = vec![0; 70_000];
        let packets = std::iter::from_fn(|| self.control.receive(&mut buffer).ok());
        packets.count()
    }
}

/// The VPN addresses of a peer.
pub(crate) fn vpn_of(id: u32) -> (Ipv4Addr, Ipv6Addr) {
    let [.., high, low] = (id + 1).to_be_bytes();
    let vpn6 = Ipv6Addr::new(0xfd00, 8, 0, 0, 0, 0, 0, (id + 1) as u16);
    (Ipv4Addr::new(10, 8, high, low), vpn6)
}

/// The payload of the next packet, if one arrives in time.
pub(crate) fn delivered(socket: &UdpSocket, time: Duration) -> Option<Vec<u8>> {
    socket.set_read_timeout(Some(time)).unwrap();
    let mut packet = vec![0; 65_535];
    let len = socket.recv(&mut packet).ok()?;
    packet.truncate(len);
    Some(packet)
}

/// Whether the namespace has an interface of this name.
pub(crate) fn is_interface(name: &str) -> bool {
    let any = UdpSocket::bind("0.0.0.0:0").unwrap();
    netdevice::name_to_index(&any, name).is_ok()
}

/// Gives a device addresses and sets it up. The kernel sends nothing of its own through it: no router solicitations.
pub(crate) fn configure(name: &str) {
    ip(&[
        &format!("link set {name} multicast off addrgenmode none mtu 1400"),
        &format!("link set {name} up"),
        &format!("addr add {HERE4}/16 dev {name}"),
        &format!("addr add {HERE6}/64 dev {name} nodad"),
    ]);
    // The kernel completes this asynchronously: until then it accepts no packet to this address.
    let host: String = HERE6
        .octets()
        .iter()
        .map(|it| format!("{it:02x}"))
        .collect();
    let host = format!("{host} 80 ");
    let routes = || std::fs::read_to_string("/proc/self/net/ipv6_route").unwrap();
    eventually("the IPv6 address", || routes().contains(&host));
}

/// Runs these `ip` commands.
#[track_caller]
pub(crate) fn ip(commands: &[&str]) {
    let script: Vec<String> = commands.iter().map(|it| format!("ip {it}")).collect();
    let output = Command::new("sh")
        .args(["-ec", &script.join("\n")])
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script:?}: {error}");
}

/// Open descriptors of this process.
pub(crate) fn open_fds() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Asserts that there are no more descriptors than before, once all threads are idle.
#[track_caller]
pub(crate) fn no_more_fds_than(before: usize) {
    for _ in 0..500 {
        if open_fds() <= before {
            return;
        }
        thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(open_fds(), before, "descriptors were left");
}
