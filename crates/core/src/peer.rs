//! A peer: its identity, its address, its keys, and its activity.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::sync::atomic::{AtomicU64, Ordering};

use crate::endpoint::{Endpoint, KeptEndpoint};
use crate::key_slots::KeySlots;
use crate::path_mtu::PathMtu;
use crate::peer_id::PeerId;
use crate::time::Time;
use crate::used_keys::UsedKeys;

/// A peer in one snapshot. `A` is the cipher, `T` the transport socket.
///
/// Clones are cheap and share keys and activity.
pub struct Peer<A, T> {
    /// Peer id in received packets.
    pub id: PeerId,
    /// Peer id in sent packets.
    pub tx_id: PeerId,
    /// Its IPv4 address inside the VPN (multi-peer devices).
    pub vpn4: Option<Ipv4Addr>,
    /// See [`Peer::vpn6`]. Boxed: most peers have none, and there are many peers.
    pub(crate) vpn6: Option<Box<Ipv6Addr>>,
    /// See [`Peer::endpoint`].
    pub(crate) endpoint: KeptEndpoint,
    /// When to ping and when to give up.
    pub keepalive: Keepalive,
    /// Its keys.
    pub keys: KeySlots<A>,
    /// The keys it has had, as far as they are remembered.
    pub(crate) used_keys: UsedKeys,
    /// The socket through which to reach it.
    pub transport: T,
    /// State that changes with every packet.
    pub activity: Arc<Activity>,
}

impl<A, T: Clone> Clone for Peer<A, T> {
    fn clone(&self) -> Self {
        Self {
            id: self.id,
            tx_id: self.tx_id,
            vpn4: self.vpn4,
            vpn6: self.vpn6.clone(),
            endpoint: self.endpoint.clone(),
            keepalive: self.keepalive,
            keys: self.keys.clone(),
            used_keys: self.used_keys.clone(),
            transport: self.transport.clone(),
            activity: Arc::clone(&self.activity),
        }
    }
}

impl<A, T> Peer<A, T> {
    /// Where its packets come from and go to; `None` over TCP.
    #[must_use]
    pub fn endpoint(&self) -> Option<Endpoint> {
        self.endpoint.get()
    }

    /// Whether this is its outer address, on any port.
    pub(crate) fn is_reached_at(&self, address: IpAddr) -> bool {
        self.endpoint.is_host(address)
    }

    /// Its IPv6 address inside the VPN.
    #[must_use]
    pub fn vpn6(&self) -> Option<Ipv6Addr> {
        self.vpn6.as_deref().copied()
    }

    /// The longest inner packet whose outer packet need not be fragmented. Over TCP, where a peer has no endpoint,
    /// there is no limit: a stream cuts records anywhere, so a full inner segment costs no second outer one.
    #[must_use]
    pub fn inner_limit(&self) -> usize {
        self.endpoint().map_or(usize::MAX, |endpoint| {
            let path_mtu = usize::from(self.activity.path_mtu.bytes());
            let format = self.keys.format();
            format.inner_limit(path_mtu, endpoint.remote.is_ipv6())
        })
    }
}

/// The keepalive pair in seconds. Either 0 switches both off (dco-behaviour 5.8).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keepalive {
    /// Send at least this often.
    pub interval: u32,
    /// A peer that sends nothing for this long expires.
    pub timeout: u32,
}

impl Keepalive {
    /// Whether both are set.
    #[must_use]
    pub const fn is_on(self) -> bool {
        self.interval != 0 && self.timeout != 0
    }
}

/// Counters and times of a peer (dco-behaviour 5.8, 5.9), and its path.
#[derive(Debug, Default)]
pub struct Activity {
    last_sent: AtomicU64,
    last_received: AtomicU64,
    /// See [`Activity::is_noted`].
    noted_endpoint: AtomicU64,
    /// The MTU of the path to it (design decision 6).
    pub path_mtu: PathMtu,
    /// Outer packets received for this peer, even if dropped later; bytes from the opcode on.
    pub link_rx: Traffic,
    /// Outer packets given to the transport; bytes from the opcode on.
    pub link_tx: Traffic,
    /// Inner packets delivered.
    pub vpn_rx: Traffic,
    /// Inner packets accepted for sending to this peer.
    pub vpn_tx: Traffic,
}

impl Activity {
    /// Records that a packet was sent.
    pub fn sent(&self, now: Time) {
        self.last_sent.store(now.as_millis(), Ordering::Relaxed);
    }

    /// Records that an authentic, new packet was received.
    pub fn received(&self, now: Time) {
        self.last_received.store(now.as_millis(), Ordering::Relaxed);
    }

    /// Notes where the peer is, so that the packet path reports a move once. The snapshot's endpoint follows later.
    pub fn note_endpoint(&self, endpoint: &Endpoint) {
        self.noted_endpoint
            .store(endpoint.mark(), Ordering::Relaxed);
    }

    /// Whether the peer is already noted to be there.
    #[must_use]
    pub fn is_noted(&self, endpoint: &Endpoint) -> bool {
        self.noted_endpoint.load(Ordering::Relaxed) == endpoint.mark()
    }

    /// Restarts both timers, as setting keepalive does.
    pub fn restart(&self, now: Time) {
        self.sent(now);
        self.received(now);
    }

    /// When a packet was last sent.
    #[must_use]
    pub fn last_sent(&self) -> Time {
        Time::from_millis(self.last_sent.load(Ordering::Relaxed))
    }

    /// When a packet was last received.
    #[must_use]
    pub fn last_received(&self) -> Time {
        Time::from_millis(self.last_received.load(Ordering::Relaxed))
    }
}

/// Bytes and packets of one direction.
#[derive(Debug, Default)]
pub struct Traffic {
    bytes: AtomicU64,
    packets: AtomicU64,
}

impl Traffic {
    /// Counts one packet.
    pub fn count(&self, bytes: usize) {
        self.count_many(1, bytes as u64);
    }

    /// Counts several packets.
    pub fn count_many(&self, packets: u64, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.packets.fetch_add(packets, Ordering::Relaxed);
    }

    /// Bytes so far.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Packets so far.
    #[must_use]
    pub fn packets(&self) -> u64 {
        self.packets.load(Ordering::Relaxed)
    }
}
