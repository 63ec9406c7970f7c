//! What the API asks of the engine behind it: typed requests, shared by both families.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// A Linux error number, positive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Errno(pub i32);

/// Which of the two APIs a device speaks, and a request came by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Api {
    /// `ovpn-dco-v2`, of the module of that name and OpenVPN 2.6 (link kind `ovpn-dco`).
    DcoV2,
    /// `ovpn`, of Linux 6.16 and OpenVPN 2.7 (link kind `ovpn`).
    Ovpn,
}

/// How many peers a device has (dco-behaviour 2.15).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Point to point: one peer, which gets every packet.
    P2p,
    /// Multi-peer: the peer is found by VPN address.
    Mp,
}

/// Primary or secondary: a key slot of a peer, relative to the last swap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    /// Its key encrypts, and decrypts.
    Primary,
    /// Its key decrypts only.
    Secondary,
}

/// A cipher as the API names it: the key length tells which AES it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CipherAlg {
    /// AES-128-GCM, AES-192-GCM or AES-256-GCM.
    AesGcm,
    /// CHACHA20-POLY1305.
    ChaCha20Poly1305,
}

/// Why a peer was deleted; the number is that of both APIs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum DeleteReason {
    /// The device goes, or a P2P peer is replaced.
    Teardown = 0,
    /// By request.
    Userspace = 1,
    /// Nothing was received for the keepalive timeout.
    Expired = 2,
    /// The transport failed.
    TransportError = 3,
    /// The transport socket was closed.
    TransportDisconnect = 4,
}

impl DeleteReason {
    /// The reason with this number.
    pub(crate) const fn of(number: u32) -> Option<Self> {
        Some(match number {
            0 => Self::Teardown,
            1 => Self::Userspace,
            2 => Self::Expired,
            3 => Self::TransportError,
            4 => Self::TransportDisconnect,
            _ => return None,
        })
    }
}

/// The keepalive pair, in seconds; 0 and 0 is off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keepalive {
    /// Send something at least this often.
    pub interval: u32,
    /// The peer is gone when nothing came for so long.
    pub timeout: u32,
}

/// `PEER_NEW`, checked as far as the message alone and the device's mode allow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerNew {
    /// The API it came by.
    pub api: Api,
    /// Peer id, in received packets.
    pub id: u32,
    /// Peer id in sent packets, if it differs.
    pub tx_id: Option<u32>,
    /// Remote endpoint; v4-mapped addresses are already folded to IPv4. Scope id in the address.
    pub remote: Option<SocketAddr>,
    /// Local address to send from.
    pub local: Option<IpAddr>,
    /// File descriptor of the transport socket, in the requester's process.
    pub socket: u32,
    /// The peer's address inside the VPN (multi-peer only).
    pub vpn4: Option<Ipv4Addr>,
    /// The same for IPv6.
    pub vpn6: Option<Ipv6Addr>,
    /// Keepalive, if given.
    pub keepalive: Option<Keepalive>,
}

impl PeerNew {
    /// A new peer with nothing but what every request has.
    pub fn new(api: Api, id: u32, socket: u32) -> Self {
        Self {
            api,
            id,
            tx_id: None,
            remote: None,
            local: None,
            socket,
            vpn4: None,
            vpn6: None,
            keepalive: None,
        }
    }
}

/// `PEER_SET`: what is `Some` changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerSet {
    /// Peer id.
    pub id: u32,
    /// New peer id in sent packets.
    pub tx_id: Option<u32>,
    /// New remote endpoint (UDP).
    pub remote: Option<SocketAddr>,
    /// New local address, only beside a remote.
    pub local: Option<IpAddr>,
    /// New VPN address; unspecified clears it.
    pub vpn4: Option<Ipv4Addr>,
    /// The same for IPv6.
    pub vpn6: Option<Ipv6Addr>,
    /// Why one of these cannot be a VPN address: `EADDRNOTAVAIL` with this text, after all other checks.
    pub unusable: Option<&'static str>,
    /// New keepalive.
    pub keepalive: Option<Keepalive>,
}

/// One direction of a key. Has no `Debug`: it is secret.
#[derive(Clone, Copy)]
pub struct KeyDirection<'a> {
    /// 16, 24 or 32 bytes for AES-GCM, 32 for CHACHA20-POLY1305; not yet checked against the cipher.
    pub key: &'a [u8],
    /// The 8 bytes of nonce after the packet id.
    pub nonce_tail: [u8; 8],
}

/// `KEY_NEW`. Has no `Debug`: it is secret.
#[derive(Clone, Copy)]
pub struct KeyNew<'a> {
    /// Peer id.
    pub peer: u32,
    /// Where to.
    pub slot: Slot,
    /// Key id on the wire, 0..=7.
    pub key_id: u8,
    /// Cipher.
    pub cipher: CipherAlg,
    /// For sent packets.
    pub encrypt: KeyDirection<'a>,
    /// For received packets.
    pub decrypt: KeyDirection<'a>,
}

/// Bytes and packets of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Bytes.
    pub bytes: u64,
    /// Packets.
    pub packets: u64,
}

/// The reply to `PEER_GET`: the state of a peer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerState {
    /// Peer id, in received packets.
    pub id: u32,
    /// Peer id in sent packets.
    pub tx_id: u32,
    /// Network namespace id of the transport socket, as the requester sees it; `None` if it is in the requester's own.
    pub socket_netnsid: Option<i32>,
    /// The peer's VPN address.
    pub vpn4: Option<Ipv4Addr>,
    /// The same for IPv6.
    pub vpn6: Option<Ipv6Addr>,
    /// Keepalive.
    pub keepalive: Keepalive,
    /// Remote endpoint; none over TCP.
    pub remote: Option<SocketAddr>,
    /// Local address; unspecified if the route decides.
    pub local: Option<IpAddr>,
    /// Port of the transport socket.
    pub local_port: u16,
    /// Inner packets received.
    pub vpn_rx: Traffic,
    /// Inner packets sent.
    pub vpn_tx: Traffic,
    /// Outer packets received.
    pub link_rx: Traffic,
    /// Outer packets sent.
    pub link_tx: Traffic,
}

/// What `KEY_GET` tells of a key: never the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyState {
    /// Peer id.
    pub peer: u32,
    /// The slot asked for.
    pub slot: Slot,
    /// Key id on the wire.
    pub key_id: u8,
    /// Cipher.
    pub cipher: CipherAlg,
}

/// What a device tells its listeners.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notification {
    /// A peer is gone.
    PeerDeleted {
        /// Device.
        ifindex: u32,
        /// Peer id.
        peer: u32,
        /// Why.
        reason: DeleteReason,
    },
    /// A peer's remote endpoint changed.
    PeerFloated {
        /// Device.
        ifindex: u32,
        /// Peer id.
        peer: u32,
        /// Where it is now.
        remote: SocketAddr,
    },
    /// A key is nearly worn out: exchange it.
    KeySwap {
        /// Device.
        ifindex: u32,
        /// Peer id.
        peer: u32,
        /// Key id on the wire.
        key_id: u8,
    },
}

/// A request that the engine refuses: the errno, and the extended-ack text without the family's prefix (`ovpn: `).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Why, as a number.
    pub errno: Errno,
    /// Why, in the kernel's words.
    pub text: Option<Cow<'static, str>>,
}

/// Why there is no device for an interface index (dco-behaviour 2.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoDevice {
    /// No interface has this index in the requester's network namespace.
    Unknown,
    /// The interface is not a device of this API.
    NotOurs,
    /// It is a device of another user.
    Forbidden,
}

/// The engine, as the API sees it. Every call is one validated request; errors change nothing.
pub trait Service {
    /// Mode of the device with this index in the requester's network namespace.
    ///
    /// # Errors
    /// [`NoDevice`].
    fn mode(&mut self, api: Api, ifindex: u32) -> Result<Mode, NoDevice>;

    /// Adds a peer.
    ///
    /// # Errors
    /// As dco-behaviour 2.6, from check 13 on.
    fn peer_new(&mut self, ifindex: u32, peer: &PeerNew) -> Result<(), Refused>;

    /// Changes a peer.
    ///
    /// # Errors
    /// As dco-behaviour 2.7.
    fn peer_set(&mut self, ifindex: u32, peer: &PeerSet) -> Result<(), Refused>;

    /// Tells of a peer.
    ///
    /// # Errors
    /// `ENOENT` for an unknown id.
    fn peer_get(&mut self, ifindex: u32, id: u32) -> Result<PeerState, Refused>;

    /// Tells of every peer.
    fn peers(&mut self, ifindex: u32) -> Vec<PeerState>;

    /// Deletes a peer.
    ///
    /// # Errors
    /// `ENOENT` for an unknown id.
    fn peer_del(&mut self, ifindex: u32, id: u32) -> Result<(), Refused>;

    /// Installs a key.
    ///
    /// # Errors
    /// As dco-behaviour 2.10.
    fn key_new(&mut self, ifindex: u32, key: &KeyNew<'_>) -> Result<(), Refused>;

    /// Tells of a key.
    ///
    /// # Errors
    /// As dco-behaviour 2.11.
    fn key_get(&mut self, ifindex: u32, peer: u32, slot: Slot) -> Result<KeyState, Refused>;

    /// Exchanges primary and secondary key.
    ///
    /// # Errors
    /// As dco-behaviour 2.12.
    fn key_swap(&mut self, ifindex: u32, peer: u32) -> Result<(), Refused>;

    /// Deletes a key.
    ///
    /// # Errors
    /// As dco-behaviour 2.13.
    fn key_del(&mut self, ifindex: u32, peer: u32, slot: Slot) -> Result<(), Refused>;
}
