//! Both Netlink families, as these tests use them. Numbers are those of `<linux/ovpn.h>` and `ovpn_dco.h`.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::client::netlink::{self, attribute, find, find_number, nest, number, request};
use crate::forger::{Direction, Secret, Tally};

/// A family, and the kind of link that goes with it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Api {
    Ovpn,
    DcoV2,
}

pub(crate) const BOTH: [Api; 2] = [Api::Ovpn, Api::DcoV2];

pub(crate) const PRIMARY: u8 = 0;
pub(crate) const SECONDARY: u8 = 1;

/// Reasons for a peer's end.
pub(crate) const TEARDOWN: u32 = 0;
pub(crate) const USERSPACE: u32 = 1;
pub(crate) const TRANSPORT_DISCONNECT: u32 = 4;

pub(crate) const ENOENT: i32 = 2;
pub(crate) const EEXIST: i32 = 17;
pub(crate) const ENODEV: i32 = 19;

/// The target of requests: a device in one of the families.
#[derive(Clone, Copy)]
pub(crate) struct Target {
    pub(crate) api: Api,
    pub(crate) family: u16,
    pub(crate) ifindex: u32,
}

/// A new peer.
#[derive(Clone, Copy)]
pub(crate) struct NewPeer {
    pub(crate) id: u32,
    pub(crate) remote: SocketAddr,
    /// The client's number of the transport socket.
    pub(crate) socket: u32,
    /// On a multi-peer device.
    pub(crate) vpn: Option<(Ipv4Addr, Ipv6Addr)>,
}

/// The contents of a notification.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Notification {
    Deleted { peer: u32, reason: u32 },
    KeySwap { peer: u32, key_id: u32 },
    Floated { peer: u32, port: u16 },
}

/// The counters of a peer.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Counters {
    pub(crate) vpn_rx: Tally,
    pub(crate) vpn_tx: Tally,
    pub(crate) link_rx: Tally,
    pub(crate) link_tx: Tally,
}

impl Api {
    pub(crate) const fn kind(self) -> &'static str {
        match self {
            Self::Ovpn => "ovpn",
            Self::DcoV2 => "ovpn-dco",
        }
    }

    pub(crate) const fn family(self) -> &'static str {
        match self {
            Self::Ovpn => "ovpn",
            Self::DcoV2 => "ovpn-dco-v2",
        }
    }
}

impl Target {
    pub(crate) fn peer_new(&self, new: &NewPeer) -> Vec<u8> {
        let SocketAddr::V4(remote) = new.remote else {
            panic!("these tests reach their peers over IPv4")
        };
        let (ip, port) = (remote.ip().octets(), remote.port().to_be_bytes());
        let mut members = vec![number(1, new.id)];
        if self.api == Api::Ovpn {
            members.extend([attribute(2, &ip), attribute(5, &port)]);
            members.push(number(6, new.socket));
        } else {
            let family = 2_u16.to_ne_bytes();
            let sockaddr = [&family[..], &port, &ip, &[0; 8]].concat();
            members.extend([attribute(2, &sockaddr), number(3, new.socket)]);
        }
        let (kind4, kind6) = if self.api == Api::Ovpn {
            (8, 9)
        } else {
            (4, 5)
        };
        if let Some((vpn4, vpn6)) = new.vpn {
            members.push(attribute(kind4, &vpn4.octets()));
            members.push(attribute(kind6, &vpn6.octets()));
        }
        self.request(1, nest(2, &members))
    }

    pub(crate) fn peer_del(&self, id: u32) -> Vec<u8> {
        match self.api {
            Api::Ovpn => self.request(4, nest(2, &[number(1, id)])),
            Api::DcoV2 => self.request(3, nest(4, &[number(2, id)])),
        }
    }

    /// All peers.
    pub(crate) fn peer_dump(&self) -> Vec<u8> {
        let command = match self.api {
            Api::Ovpn => 3,
            Api::DcoV2 => 7,
        };
        netlink::dump(self.family, command, &[number(1, self.ifindex)])
    }

    /// Keepalive of a peer, in seconds.
    pub(crate) fn peer_set(&self, id: u32, interval: u32, timeout: u32) -> Vec<u8> {
        match self.api {
            Api::Ovpn => {
                let members = [number(1, id), number(13, interval), number(14, timeout)];
                self.request(2, nest(2, &members))
            }
            Api::DcoV2 => {
                let members = [number(1, id), number(2, interval), number(3, timeout)];
                self.request(2, nest(3, &members))
            }
        }
    }

    /// AES-256-GCM, with the keys of a forger with this peer id.
    pub(crate) fn key_new(&self, peer: u32, slot: u8, key_id: u8) -> Vec<u8> {
        let direction = |kind, direction| {
            let secret = Secret::of(direction, peer, key_id);
            nest(
                kind,
                &[attribute(1, &secret.key), attribute(2, &secret.tail)],
            )
        };
        let secrets = [direction(5, Direction::Out), direction(6, Direction::In)];
        let members = if self.api == Api::Ovpn {
            vec![
                number(1, peer),
                number(2, slot.into()),
                number(3, key_id.into()),
                number(4, 1),
            ]
        } else {
            vec![
                number(1, peer),
                attribute(2, &[slot]),
                attribute(3, &[key_id]),
                attribute(4, &1_u16.to_ne_bytes()),
            ]
        };
        let nested = [members, secrets.to_vec()].concat();
        match self.api {
            Api::Ovpn => self.request(6, nest(3, &nested)),
            Api::DcoV2 => self.request(4, nest(5, &nested)),
        }
    }

    pub(crate) fn key_swap(&self, peer: u32) -> Vec<u8> {
        match self.api {
            Api::Ovpn => self.request(8, nest(3, &[number(1, peer)])),
            Api::DcoV2 => self.request(5, nest(6, &[number(1, peer)])),
        }
    }

    pub(crate) fn key_del(&self, peer: u32, slot: u8) -> Vec<u8> {
        let members = match self.api {
            Api::Ovpn => [number(1, peer), number(2, slot.into())],
            Api::DcoV2 => [number(1, peer), attribute(2, &[slot])],
        };
        match self.api {
            Api::Ovpn => self.request(10, nest(3, &members)),
            Api::DcoV2 => self.request(6, nest(7, &members)),
        }
    }

    pub(crate) fn peer_get(&self, id: u32) -> Vec<u8> {
        match self.api {
            Api::Ovpn => self.request(3, nest(2, &[number(1, id)])),
            Api::DcoV2 => self.request(7, nest(8, &[number(1, id)])),
        }
    }

    /// The counters in an answer to `PEER_GET`.
    pub(crate) fn counters(&self, answer: &[u8]) -> Counters {
        // Bytes and packets of VPN_RX, VPN_TX, LINK_RX, LINK_TX.
        let (outer, numbers) = match self.api {
            Api::Ovpn => (2, [(16, 18), (17, 19), (20, 22), (21, 23)]),
            Api::DcoV2 => (8, [(9, 11), (10, 12), (13, 15), (14, 16)]),
        };
        let uint = |member| {
            let payload = find(answer, &[outer, member]).expect("a counter");
            match payload.len() {
                4 => u32::from_ne_bytes(payload.try_into().unwrap()).into(),
                _ => u64::from_ne_bytes(payload.try_into().unwrap()),
            }
        };
        let [vpn_rx, vpn_tx, link_rx, link_tx] = numbers.map(|(bytes, packets)| Tally {
            packets: uint(packets),
            bytes: uint(bytes),
        });
        Counters {
            vpn_rx,
            vpn_tx,
            link_rx,
            link_tx,
        }
    }

    /// Parses a notification about this device.
    pub(crate) fn notification(&self, message: &[u8]) -> Notification {
        assert_eq!(find_number(message, &[1]), Some(self.ifindex));
        let value = |path: &[u16]| find_number(message, path).expect("an attribute");
        match (self.api, netlink::command(message)) {
            (Api::Ovpn, 5) => Notification::Deleted {
                peer: value(&[2, 1]),
                reason: value(&[2, 15]),
            },
            (Api::Ovpn, 9) => Notification::KeySwap {
                peer: value(&[3, 1]),
                key_id: value(&[3, 3]),
            },
            (Api::Ovpn, 11) => Notification::Floated {
                peer: value(&[2, 1]),
                port: u16::from_be(value(&[2, 5]) as u16),
            },
            (Api::DcoV2, 3) => Notification::Deleted {
                peer: value(&[4, 2]),
                reason: value(&[4, 1]),
            },
            (_, command) => panic!("no such notification: {command}"),
        }
    }

    fn request(&self, command: u8, nested: Vec<u8>) -> Vec<u8> {
        request(self.family, command, &[number(1, self.ifindex), nested])
    }
}
