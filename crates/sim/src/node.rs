//! An engine's data path with everything around it: its host's queues, its socket, and a simulated OpenVPN.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use udco_core::{Endpoint, Keepalive, Mode, NewPeer, PeerId, Slot};
use udco_engine::embed::{Addresses, DataPath, Notification, Setup, Transport};
use udco_engine::io::Moment;

use crate::Failure;
use crate::keys::{Secret, Side};
use crate::memory::Sim;
use crate::queues::Queues;
use crate::relay::Relay;
use crate::tcp::Stream;
use crate::udp::Socket;

/// The server is this node; the others are its clients.
pub const SERVER: usize = 0;

/// Peer ids by which clients know their server begin here.
const OF_SERVER: u16 = 100;

/// A node.
pub struct Node {
    /// The engine.
    pub path: DataPath<Sim>,
    /// Its device's queues.
    pub queues: Queues,
    /// Its UDP socket.
    pub socket: Socket,
    /// Where the others see its packets come from.
    pub public: SocketAddr,
    /// What its OpenVPN gets: by the UDP socket, then by each stream.
    pub relays: Vec<Relay>,
    /// What the API's listeners were notified of, and when.
    pub notified: Vec<(Moment, Notification)>,
    transport: Transport<Sim>,
}

/// How a node is made.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Of its device.
    pub mode: Mode,
    /// Of its device, at least one.
    pub queues: usize,
    /// Each is a pair.
    pub pairs: bool,
    /// At least one.
    pub workers: usize,
    /// Its device takes super-packets.
    pub merges: bool,
    /// Its kernel cuts one send into many datagrams.
    pub segments: bool,
}

impl Node {
    /// A node without peers.
    ///
    /// # Errors
    /// Of the engine.
    pub fn new(number: usize, shape: Shape, seed: u64, now: Moment) -> Result<Self, Failure> {
        let queues = Queues::new(shape.queues, shape.pairs);
        let (bulk, sparse) = queues.ends();
        let mut path = DataPath::new(Setup {
            name: format!("node{number}"),
            mode: shape.mode,
            queues: bulk,
            sparse,
            merges: (shape.merges, shape.merges),
            workers: shape.workers,
            seed,
            now,
        })?;
        let public = outer(number);
        let (socket, relay) = (Socket::new(public.ip()), Relay::default());
        let addresses = Addresses {
            local: public,
            remote: None,
        };
        let ends = (socket.clone(), relay.clone());
        let transport = path.serve_datagrams(ends, addresses, shape.segments);
        Ok(Self {
            path,
            queues,
            socket,
            public,
            relays: vec![relay],
            notified: Vec::new(),
            transport,
        })
    }

    /// Adds another node as a peer, over UDP.
    ///
    /// # Errors
    /// Of the engine.
    pub fn add_peer(
        &mut self,
        (own, other): (usize, usize),
        keepalive: Keepalive,
        now: Moment,
    ) -> Result<(), Failure> {
        let endpoint = Endpoint {
            remote: outer(other),
            local: Some(self.public.ip()),
        };
        let new = peer((own, other), Some(endpoint), keepalive, &self.transport);
        Ok(self.path.add_peer(new, now.time())?)
    }

    /// Adds another node as a peer, over a stream of its own.
    ///
    /// # Errors
    /// Of the engine.
    pub fn add_stream_peer(
        &mut self,
        (own, other): (usize, usize),
        stream: Stream,
        keepalive: Keepalive,
        now: Moment,
    ) -> Result<(), Failure> {
        let addresses = Addresses {
            local: outer(own),
            remote: Some(outer(other)),
        };
        let relay = Relay::default();
        self.relays.push(relay.clone());
        let transport = self.path.serve_stream((stream, relay), addresses);
        let new = peer((own, other), None, keepalive, &transport);
        Ok(self.path.add_peer(new, now.time())?)
    }

    /// Installs a key for a peer as the primary.
    ///
    /// # Errors
    /// Of the engine.
    pub fn install(&self, (own, other): (usize, usize), secret: &Secret) -> Result<(), Failure> {
        let key = secret.key(side(own))?;
        let peer = peer_id(own, other);
        Ok(self.path.install_key(peer, Slot::Primary, key)?)
    }

    /// Changes to a key as OpenVPN does: the new one becomes the primary, the one before stays as the secondary.
    ///
    /// # Errors
    /// Of the engine.
    pub fn rekey(&self, (own, other): (usize, usize), secret: &Secret) -> Result<(), Failure> {
        let (key, peer) = (secret.key(side(own))?, peer_id(own, other));
        self.path.install_key(peer, Slot::Secondary, key)?;
        Ok(self.path.swap_keys(peer)?)
    }

    /// Deletes the secondary key, which may open packets for a while still.
    ///
    /// # Errors
    /// Of the engine.
    pub fn retire(&self, (own, other): (usize, usize), now: Moment) -> Result<(), Failure> {
        // As the engine does for KEY_DEL.
        let until = now.after(Duration::from_millis(750)).time();
        let peer = peer_id(own, other);
        Ok(self.path.retire_key(peer, Slot::Secondary, until)?)
    }

    /// How many packets were dropped on their way out, and on their way in.
    #[must_use]
    pub fn drops(&self) -> (u64, u64) {
        let mut sums = (0, 0);
        for (reason, count) in self.path.drops() {
            match reason.name().starts_with("tx_") {
                true => sums.0 += count,
                false => sums.1 += count,
            }
        }
        sums
    }

    /// How many were dropped for this reason.
    #[must_use]
    pub fn dropped(&self, name: &str) -> u64 {
        let mut drops = self.path.drops();
        drops
            .find(|(reason, _)| reason.name() == name)
            .map_or(0, |(_, count)| count)
    }
}

fn peer(
    (own, other): (usize, usize),
    endpoint: Option<Endpoint>,
    keepalive: Keepalive,
    transport: &Transport<Sim>,
) -> NewPeer<&Transport<Sim>> {
    NewPeer {
        id: peer_id(own, other),
        tx_id: peer_id(other, own),
        vpn4: Some(inner(other)),
        vpn6: None,
        endpoint,
        keepalive,
        transport,
    }
}

/// The id by which a node knows another one.
#[must_use]
pub fn peer_id(own: usize, other: usize) -> PeerId {
    PeerId::from(match own {
        SERVER => other as u16,
        _ => OF_SERVER + own as u16,
    })
}

/// A node's address inside the tunnel.
#[must_use]
pub fn inner(node: usize) -> Ipv4Addr {
    Ipv4Addr::from(0x0a08_0001 + node as u32)
}

/// A node's address outside, when it begins.
#[must_use]
pub fn outer(node: usize) -> SocketAddr {
    let address = IpAddr::from(Ipv4Addr::from(0xc000_0201 + node as u32));
    SocketAddr::new(address, 1194)
}

const fn side(node: usize) -> Side {
    match node {
        SERVER => Side::Server,
        _ => Side::Client,
    }
}
