//! A service that keeps peers and keys in memory, and refuses what the kernel would refuse.
#![allow(dead_code, reason = "each test uses its part")]

use std::collections::BTreeMap;

use udco_netlink::{
    Api, CipherAlg, DeleteReason, Errno, KeyNew, KeyState, Mode, NoDevice, Notification, PeerNew,
    PeerSet, PeerState, Refused, Service, Slot,
};

/// A device.
pub(crate) struct Device {
    pub(crate) api: Api,
    pub(crate) name: String,
    pub(crate) mode: Mode,
    pub(crate) peers: Vec<Peer>,
}

/// A peer and its keys by slot, the primary first.
pub(crate) struct Peer {
    pub(crate) state: PeerState,
    pub(crate) socket: u32,
    keys: [Option<(u8, CipherAlg)>; 2],
}

/// The kinds of file descriptors of the requester.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fd {
    NoSocket,
    OtherSocket,
    /// With its port; true if it belongs to another encapsulation.
    Udp(u16, bool),
    /// With its port, if it's connected.
    Tcp(Option<u16>),
}

/// The service.
#[derive(Default)]
pub(crate) struct Fake {
    pub(crate) devices: BTreeMap<u32, Device>,
    pub(crate) fds: BTreeMap<u32, Fd>,
    /// The notifications since they were last taken.
    pub(crate) notifications: Vec<Notification>,
}

impl Fake {
    pub(crate) fn add_device(&mut self, ifindex: u32, api: Api, name: &str, mode: Mode) {
        let (name, peers) = (name.to_owned(), Vec::new());
        self.devices.insert(
            ifindex,
            Device {
                api,
                name,
                mode,
                peers,
            },
        );
    }

    pub(crate) fn remove_device(&mut self, ifindex: u32) -> bool {
        let Some(device) = self.devices.remove(&ifindex) else {
            return false;
        };
        for peer in device.peers {
            self.notifications
                .push(deleted(ifindex, peer.state.id, DeleteReason::Teardown));
        }
        true
    }

    /// Closes a transport socket, as its owner would.
    pub(crate) fn close(&mut self, fd: u32) {
        self.fds.remove(&fd);
        for (ifindex, device) in &mut self.devices {
            for peer in device.peers.extract_if(.., |peer| peer.socket == fd) {
                self.notifications.push(deleted(
                    *ifindex,
                    peer.state.id,
                    DeleteReason::TransportDisconnect,
                ));
            }
        }
    }

    fn device(&mut self, ifindex: u32) -> &mut Device {
        self.devices.get_mut(&ifindex).unwrap()
    }

    fn peer(
        &mut self,
        ifindex: u32,
        id: u32,
        text: impl FnOnce() -> String,
    ) -> Result<&mut Peer, Refused> {
        let found = self
            .device(ifindex)
            .peers
            .iter_mut()
            .find(|peer| peer.state.id == id);
        found.ok_or_else(|| refused(Errno::ENOENT, text()))
    }

    /// The port, or the inner errno of a socket that can't be attached (dco-behaviour 2.6,
    /// checks 14 to 17).
    fn attach(&self, ifindex: u32, peer: &PeerNew) -> Result<u16, Refused> {
        let lookup = |errno: i32| {
            refused(
                Errno::ENOTSOCK,
                format!("cannot lookup peer socket (fd={}): -{errno}", peer.socket),
            )
        };
        let encapsulate = |errno: i32| {
            refused(
                Errno::ENOTSOCK,
                format!("cannot encapsulate socket: -{errno}"),
            )
        };
        let owners = || {
            let all = self
                .devices
                .iter()
                .flat_map(|(ifindex, device)| device.peers.iter().map(move |p| (*ifindex, p)));
            all.filter(|(_, owner)| owner.socket == peer.socket)
                .map(|(ifindex, _)| ifindex)
        };
        match *self.fds.get(&peer.socket).ok_or_else(|| lookup(9))? {
            Fd::NoSocket => Err(lookup(88)),
            Fd::OtherSocket => Err(encapsulate(95)),
            Fd::Udp(..) if peer.remote.is_none() => Err(refused(
                Errno::EINVAL,
                "missing remote IP address for UDP socket",
            )),
            Fd::Udp(port, foreign) => match foreign || owners().any(|owner| owner != ifindex) {
                true => Err(encapsulate(16)),
                false => Ok(port),
            },
            Fd::Tcp(_) if peer.remote.is_some() && peer.api == Api::Ovpn => Err(refused(
                Errno::EINVAL,
                "unexpected remote IP address with TCP socket",
            )),
            Fd::Tcp(_) if owners().next().is_some() => Err(encapsulate(16)),
            Fd::Tcp(port) => port.ok_or_else(|| encapsulate(22)),
        }
    }
}

impl Service for Fake {
    fn mode(&mut self, api: Api, ifindex: u32) -> Result<Mode, NoDevice> {
        match self.devices.get(&ifindex) {
            Some(device) if device.api == api => Ok(device.mode),
            Some(_) => Err(NoDevice::NotOurs),
            None if ifindex == 1 => Err(NoDevice::NotOurs),
            None => Err(NoDevice::Unknown),
        }
    }

    fn peer_new(&mut self, ifindex: u32, peer: &PeerNew) -> Result<(), Refused> {
        let local_port = self.attach(ifindex, peer)?;
        let tcp = matches!(self.fds.get(&peer.socket), Some(Fd::Tcp(_)));
        let device = self.device(ifindex);
        match device.mode {
            Mode::Mp => {
                let text = |errno: i32| {
                    format!(
                        "cannot add new peer (id={}) to hashtable: -{errno}",
                        peer.id
                    )
                };
                if device.peers.iter().any(|other| other.state.id == peer.id) {
                    return Err(refused(Errno::EEXIST, text(17)));
                }
                if device
                    .peers
                    .iter()
                    .any(|other| same_address(&other.state, peer.vpn4, peer.vpn6))
                {
                    return Err(refused(Errno::EADDRINUSE, text(98)));
                }
            }
            Mode::P2p => {
                if let Some(old) = device.peers.pop() {
                    self.notifications
                        .push(deleted(ifindex, old.state.id, DeleteReason::Teardown));
                }
            }
        }
        let state = PeerState {
            id: peer.id,
            tx_id: peer.tx_id.unwrap_or(peer.id),
            vpn4: peer.vpn4,
            vpn6: peer.vpn6,
            keepalive: peer.keepalive.unwrap_or_default(),
            remote: peer.remote.filter(|_| !tcp),
            local: peer.local,
            local_port,
            ..PeerState::default()
        };
        let (socket, keys) = (peer.socket, [None; 2]);
        self.device(ifindex).peers.push(Peer {
            state,
            socket,
            keys,
        });
        Ok(())
    }

    fn peer_set(&mut self, ifindex: u32, change: &PeerSet) -> Result<(), Refused> {
        let id = change.id;
        let fds = self.fds.clone();
        let peers = &self.device(ifindex).peers;
        let mut others = peers.iter().filter(|other| other.state.id != id);
        let taken = others.any(|other| same_address(&other.state, change.vpn4, change.vpn6));
        let peer = self.peer(ifindex, id, || format!("cannot find peer with id {id}"))?;
        if change.remote.is_some() && matches!(fds.get(&peer.socket), Some(Fd::Tcp(_))) {
            return Err(refused(
                Errno::EINVAL,
                "unexpected remote IP address with TCP socket",
            ));
        }
        if taken {
            return Err(refused(
                Errno::EADDRINUSE,
                "VPN IP is already assigned to another peer",
            ));
        }
        let state = &mut peer.state;
        let vpn4 = change
            .vpn4
            .or(state.vpn4)
            .filter(|address| !address.is_unspecified());
        let vpn6 = change
            .vpn6
            .or(state.vpn6)
            .filter(|address| !address.is_unspecified());
        let changed = change.vpn4.is_some() || change.vpn6.is_some();
        if changed && vpn4.is_none() && vpn6.is_none() {
            let text = "at least one VPN IP must be configured in MP mode";
            return Err(refused(Errno::EINVAL, text));
        }
        if let Some(text) = change.unusable {
            return Err(refused(Errno::EADDRNOTAVAIL, text));
        }
        if change.remote.is_some() {
            (state.remote, state.local) = (change.remote, change.local);
        }
        (state.vpn4, state.vpn6) = (vpn4, vpn6);
        state.tx_id = change.tx_id.unwrap_or(state.tx_id);
        state.keepalive = change.keepalive.unwrap_or(state.keepalive);
        Ok(())
    }

    fn peer_get(&mut self, ifindex: u32, id: u32) -> Result<PeerState, Refused> {
        let peer = self.peer(ifindex, id, || format!("cannot find peer with id {id}"))?;
        Ok(peer.state.clone())
    }

    fn peers(&mut self, ifindex: u32) -> Result<Vec<PeerState>, Refused> {
        let peers = self.device(ifindex).peers.iter();
        Ok(peers.map(|peer| peer.state.clone()).collect())
    }

    fn peer_del(&mut self, ifindex: u32, id: u32) -> Result<(), Refused> {
        self.peer(ifindex, id, || format!("cannot find peer with id {id}"))?;
        self.device(ifindex)
            .peers
            .retain(|peer| peer.state.id != id);
        self.notifications
            .push(deleted(ifindex, id, DeleteReason::Userspace));
        Ok(())
    }

    fn key_new(&mut self, ifindex: u32, key: &KeyNew<'_>) -> Result<(), Refused> {
        let id = key.peer;
        let peer = self.peer(ifindex, id, || {
            format!("no peer with id {id} to set key for")
        })?;
        let fits = |length: usize| match key.cipher {
            CipherAlg::AesGcm => [16, 24, 32].contains(&length),
            CipherAlg::ChaCha20Poly1305 => length == 32,
        };
        if !fits(key.encrypt.key.len()) || !fits(key.decrypt.key.len()) {
            return Err(refused(
                Errno::EINVAL,
                format!("cannot install new key for peer {id}"),
            ));
        }
        peer.keys[key.slot as usize] = Some((key.key_id, key.cipher));
        Ok(())
    }

    fn key_get(&mut self, ifindex: u32, id: u32, slot: Slot) -> Result<KeyState, Refused> {
        let peer = self.peer(ifindex, id, || format!("cannot find peer with id {id}"))?;
        let number = slot as usize;
        match peer.keys[number] {
            Some((key_id, cipher)) => Ok(KeyState {
                peer: id,
                slot,
                key_id,
                cipher,
            }),
            None => Err(refused(
                Errno::ENOENT,
                format!("cannot extract key from slot {number} for peer {id}"),
            )),
        }
    }

    fn key_swap(&mut self, ifindex: u32, id: u32) -> Result<(), Refused> {
        let peer = self.peer(ifindex, id, || {
            format!("no peer with id {id} to swap keys for")
        })?;
        peer.keys.swap(0, 1);
        Ok(())
    }

    fn key_del(&mut self, ifindex: u32, id: u32, slot: Slot) -> Result<(), Refused> {
        let peer = self.peer(ifindex, id, || {
            format!("no peer with id {id} to delete key for")
        })?;
        peer.keys[slot as usize] = None;
        Ok(())
    }
}

fn same_address(
    state: &PeerState,
    vpn4: Option<std::net::Ipv4Addr>,
    vpn6: Option<std::net::Ipv6Addr>,
) -> bool {
    (vpn4.is_some() && state.vpn4 == vpn4) || (vpn6.is_some() && state.vpn6 == vpn6)
}

fn deleted(ifindex: u32, peer: u32, reason: DeleteReason) -> Notification {
    Notification::PeerDeleted {
        ifindex,
        peer,
        reason,
    }
}

fn refused(errno: Errno, text: impl Into<std::borrow::Cow<'static, str>>) -> Refused {
    let text = Some(text.into());
    Refused { errno, text }
}
