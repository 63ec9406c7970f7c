//! The contents of requests, replies and notifications, typed and shared by both families.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// One of the two APIs: the API of a device, or the one through which a request came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Api {
    /// `ovpn-dco-v2`, of the module of that name and OpenVPN 2.6 (link kind `ovpn-dco`).
    DcoV2,
    /// `ovpn`, of Linux 6.16 and OpenVPN 2.7 (link kind `ovpn`).
    Ovpn,
}

/// The mode of a device (dco-behaviour 2.15).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Point to point: a single peer, which gets every packet.
    P2p,
    /// Multi-peer: packets go to the peer with the VPN address of their next hop.
    Mp,
}

/// A key slot of a peer, relative to the last swap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    /// Its key encrypts and decrypts.
    Primary,
    /// Its key decrypts only.
    Secondary,
}

impl Slot {
    /// Its display name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Primary => "primary",
            Self::Secondary => "secondary",
        }
    }
}

/// A cipher as the API names it; the length of the key selects the AES variant. Both APIs number ciphers alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum CipherAlg {
    /// AES-128-GCM, AES-192-GCM or AES-256-GCM.
    AesGcm = 1,
    /// CHACHA20-POLY1305.
    ChaCha20Poly1305 = 2,
}

impl CipherAlg {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::AesGcm, Self::ChaCha20Poly1305];

    /// Its display name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::AesGcm => "aes-gcm",
            Self::ChaCha20Poly1305 => "chacha20-poly1305",
        }
    }

    /// The key lengths it accepts, in bytes.
    #[must_use]
    pub const fn key_lens(self) -> &'static [usize] {
        match self {
            Self::AesGcm => &[16, 24, 32],
            Self::ChaCha20Poly1305 => &[32],
        }
    }

    /// The cipher with this number.
    pub(crate) fn of(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.number() == number)
    }

    /// Its number.
    pub(crate) const fn number(self) -> u32 {
        self as u32
    }
}

/// Why a peer was deleted; both APIs number the reasons alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum DeleteReason {
    /// The device was deleted, or a new peer replaced this one on a P2P device.
    Teardown = 0,
    /// By request.
    Userspace = 1,
    /// Its keepalive timeout expired.
    Expired = 2,
    /// The transport failed.
    TransportError = 3,
    /// The transport socket was closed.
    TransportDisconnect = 4,
}

impl DeleteReason {
    /// Every reason, by its number.
    pub const ALL: [Self; 5] = [
        Self::Teardown,
        Self::Userspace,
        Self::Expired,
        Self::TransportError,
        Self::TransportDisconnect,
    ];

    /// Its name in the API.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Teardown => "teardown",
            Self::Userspace => "userspace",
            Self::Expired => "expired",
            Self::TransportError => "transport-error",
            Self::TransportDisconnect => "transport-disconnect",
        }
    }

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

/// Keepalive times, in seconds; both 0: off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keepalive {
    /// Longest pause between sent packets.
    pub interval: u32,
    /// Time without a received packet after which the peer expires.
    pub timeout: u32,
}

/// `PEER_NEW`, checked as far as the message and the device's mode allow (dco-behaviour 2.6, checks 1 to 12).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerNew {
    /// The API through which it came.
    pub api: Api,
    /// Peer id in received packets, 24 bits.
    pub id: u32,
    /// Peer id in sent packets, 24 bits; `None`: the same.
    pub tx_id: Option<u32>,
    /// Remote endpoint, with scope id; v4-mapped addresses are folded to IPv4.
    pub remote: Option<SocketAddr>,
    /// Local address to send from; `None`: the route decides.
    pub local: Option<IpAddr>,
    /// File descriptor of the transport socket, in the requester's process.
    pub socket: u32,
    /// The peer's IPv4 address inside the VPN (multi-peer only).
    pub vpn4: Option<Ipv4Addr>,
    /// The same for IPv6.
    pub vpn6: Option<Ipv6Addr>,
    /// Keepalive; `None`: off.
    pub keepalive: Option<Keepalive>,
}

impl PeerNew {
    /// A peer with only the fields that every request has.
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

/// `PEER_SET`: fields that are `Some` change (dco-behaviour 2.7).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerSet {
    /// Peer id.
    pub id: u32,
    /// New peer id in sent packets.
    pub tx_id: Option<u32>,
    /// New remote endpoint (UDP).
    pub remote: Option<SocketAddr>,
    /// New local address; only together with a remote.
    pub local: Option<IpAddr>,
    /// New VPN IPv4 address; the unspecified address removes it.
    pub vpn4: Option<Ipv4Addr>,
    /// The same for IPv6.
    pub vpn6: Option<Ipv6Addr>,
    /// If one of these cannot be a VPN address: the text of `EADDRNOTAVAIL`, to be returned after all other checks.
    pub unusable: Option<&'static str>,
    /// New keepalive.
    pub keepalive: Option<Keepalive>,
}

/// One direction of a key. Has no `Debug`: it is secret.
#[derive(Clone, Copy)]
pub struct KeyDirection<'a> {
    /// 16, 24 or 32 bytes for AES-GCM, 32 for CHACHA20-POLY1305; [`crate::Service::key_new`] checks the length.
    pub key: &'a [u8],
    /// The 8 bytes of the nonce after the packet id.
    pub nonce_tail: [u8; 8],
}

/// `KEY_NEW`. Has no `Debug`: it is secret.
#[derive(Clone, Copy)]
pub struct KeyNew<'a> {
    /// Peer id.
    pub peer: u32,
    /// Slot to install it in.
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

/// Bytes and packets in one direction.
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
    /// Peer id in received packets, 24 bits.
    pub id: u32,
    /// Peer id in sent packets.
    pub tx_id: u32,
    /// Id of the transport socket's network namespace, as the requester sees it; `None`: the requester's own.
    pub socket_netnsid: Option<i32>,
    /// The peer's IPv4 address inside the VPN.
    pub vpn4: Option<Ipv4Addr>,
    /// The same for IPv6.
    pub vpn6: Option<Ipv6Addr>,
    /// Keepalive.
    pub keepalive: Keepalive,
    /// Remote endpoint; none over TCP.
    pub remote: Option<SocketAddr>,
    /// Local address; the unspecified address if the route decides.
    pub local: Option<IpAddr>,
    /// Port of the transport socket.
    pub local_port: u16,
    /// Packets received, as counted inside the tunnel.
    pub vpn_rx: Traffic,
    /// Packets sent, as counted inside the tunnel.
    pub vpn_tx: Traffic,
    /// Packets received, as counted on the transport.
    pub link_rx: Traffic,
    /// Packets sent, as counted on the transport.
    pub link_tx: Traffic,
}

/// The reply to `KEY_GET`, which never contains the key itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyState {
    /// Peer id.
    pub peer: u32,
    /// The slot that was requested.
    pub slot: Slot,
    /// Key id on the wire.
    pub key_id: u8,
    /// Cipher.
    pub cipher: CipherAlg,
}

/// A notification to the listeners of a device's API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notification {
    /// A peer was deleted.
    PeerDeleted {
        /// Interface index of the device.
        ifindex: u32,
        /// Peer id.
        peer: u32,
        /// The reason.
        reason: DeleteReason,
    },
    /// A peer's remote endpoint changed.
    PeerFloated {
        /// Interface index of the device.
        ifindex: u32,
        /// Peer id.
        peer: u32,
        /// Its new remote endpoint.
        remote: SocketAddr,
    },
    /// A key has reached its usage limit and must be replaced.
    KeySwap {
        /// Interface index of the device.
        ifindex: u32,
        /// Peer id.
        peer: u32,
        /// Key id on the wire.
        key_id: u8,
    },
}
