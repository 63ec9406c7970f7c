//! The API's requests, carried out: what [`udco_netlink::serve`] asks of the engine.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::sync::Arc;

use udco_core::{Endpoint, NewPeer, Novelty, PeerChange, PeerError, PeerId, Time};
use udco_netlink::{
    Api, DeleteReason, Errno, Keepalive, KeyNew, KeyState, Mode, NoDevice, PeerNew, PeerSet,
    PeerState, Refused, Service, Slot,
};
use udco_sys::clock;
use udco_sys::seqpacket::Connection;
use udco_sys::tcp::{self, Kind, inspect};
use udco_sys::udp::UdpSocket;

use crate::client::Client;
use crate::control::account::{self, Charge};
use crate::control::registry::Found;
use crate::control::session::Session;
use crate::control::{keys, namespace};
use crate::device::Device;
use crate::device::keepalive;
use crate::device::peer::{Peer, in_api, state_of};
use crate::device::transport::Transport;

const ENOENT: i32 = 2;
const EBADF: i32 = 9;
const EBUSY: i32 = 16;
const EEXIST: i32 = 17;
const ENODEV: i32 = 19;
const EINVAL: i32 = 22;
const ERANGE: i32 = 34;
const ENOTSOCK: i32 = 88;
const EOPNOTSUPP: i32 = 95;
const EDQUOT: i32 = 122;
const EADDRINUSE: i32 = 98;
const EADDRNOTAVAIL: i32 = 99;

/// For how many milliseconds a deleted key still opens packets that were on their way. It is wiped within the second:
/// what wipes it looks every [`keepalive::LINGERING`].
const LINGER: u64 = 750;
const _: () = assert!(LINGER + keepalive::LINGERING.as_millis() as u64 <= 1000);

/// The API, as one client sees it while its request is carried out.
pub(crate) struct Requests<'s> {
    pub(crate) session: &'s mut Session,
    /// Number of the client's question, for an exchange in the middle of it.
    pub(crate) seq: u32,
    /// The client, in the network namespace of the channel of its request.
    pub(crate) client: Client,
    /// A socket was taken over: the client is to put the relay in its place.
    pub(crate) replace_fd: bool,
}

impl Requests<'_> {
    fn device(&self, ifindex: u32) -> Result<Arc<Device>, Refused> {
        match self.session.engine.registry().find(&self.client, ifindex) {
            Found::Device(device) => Ok(device),
            // Another program has deleted it since the look-up of its mode.
            _ => Err(ended()),
        }
    }

    /// A peer as PEER_GET reports it.
    fn peer_state(&mut self, api: Api, peer: &Peer) -> PeerState {
        let netns = peer.transport.netns;
        let elsewhere = api == Api::Ovpn && !netns.may_be(self.client.netns);
        PeerState {
            socket_netnsid: elsewhere.then(|| self.session.resources.netns_id(netns)),
            ..state_of(peer)
        }
    }

    /// The transport of a new peer: known already, or fetched from the client. The order of the checks is the kernel's
    /// (dco-behaviour 2.6, checks 14 to 17).
    fn transport(
        &mut self,
        device: &Arc<Device>,
        peer: &PeerNew,
    ) -> Result<(Arc<Transport>, Option<Charge>), Refused> {
        let number = i32::try_from(peer.socket).map_err(|_| no_socket(peer.socket, EBADF))?;
        if let Some(transport) = self.session.resources.socket(number).map(Arc::clone) {
            endpoint_of(device.api, &transport, peer)?;
            let owner = self.session.engine.registry().served_by(&transport);
            let is_here = owner.is_some_and(|owner| Arc::ptr_eq(&owner, device));
            let is_shared = is_here && transport.as_stream().is_none();
            if !is_shared && !transport.is_idle() {
                return Err(cannot_encapsulate(EBUSY));
            }
            if !is_here {
                // No peer is left on it: it serves this device from now on.
                self.session.resources.use_for(&transport, device);
            }
            return Ok((transport, None));
        }
        let charge = self.session.account.charge(account::Kind::Sockets);
        let charge =
            charge.ok_or_else(|| refused(EDQUOT, "this user has as many sockets as it may"))?;
        let handed = self.session.need_socket(self.seq, number);
        let handed = handed.ok_or_else(|| no_socket(peer.socket, EBUSY))?;
        let (Some(socket), Some(relay)) = (handed.socket, handed.relay) else {
            return Err(match handed.errno.saturating_abs() {
                // A UDP socket with an encapsulation of its own.
                EBUSY => match remote_of(peer) {
                    Ok(_) => cannot_encapsulate(EBUSY),
                    Err(missing) => missing,
                },
                EOPNOTSUPP => cannot_encapsulate(EOPNOTSUPP),
                errno => no_socket(peer.socket, errno),
            });
        };
        let refuse = |error: std::io::Error| {
            let errno = error.raw_os_error().unwrap_or(EINVAL);
            cannot_encapsulate(errno)
        };
        let forbidden = self.session.engine.forbidden();
        let netns = namespace::of(socket.as_fd(), &self.session.client);
        let transport = match inspect(socket.as_fd()) {
            Kind::Udp => {
                remote_of(peer)?;
                UdpSocket::adopt(socket)
                    .and_then(|socket| {
                        Transport::new(socket, Connection::adopt_pair_end(relay)?, forbidden, netns)
                    })
                    .map_err(refuse)?
            }
            Kind::NotASocket => return Err(no_socket(peer.socket, ENOTSOCK)),
            Kind::TcpEstablished | Kind::Tcp(_) if no_remote(device.api, peer).is_err() => {
                return Err(unexpected_remote());
            }
            Kind::TcpEstablished => tcp::Stream::adopt(socket)
                .and_then(|socket| {
                    Transport::stream(
                        socket,
                        Connection::adopt_pair_end(relay)?,
                        handed.partial,
                        netns,
                    )
                })
                .map_err(refuse)?,
            Kind::Tcp(_) => return Err(cannot_encapsulate(EINVAL)),
            Kind::OtherSocket => return Err(cannot_encapsulate(EOPNOTSUPP)),
        };
        Ok((Arc::new(transport), Some(charge)))
    }
}

impl Service for Requests<'_> {
    fn mode(&mut self, api: Api, ifindex: u32) -> Result<Mode, NoDevice> {
        let device = match self.session.engine.registry().find(&self.client, ifindex) {
            Found::Device(device) => device,
            Found::Forbidden => return Err(NoDevice::Forbidden),
            // Its interface goes after it, so that the peers' end is reported first: for the programs both go at once.
            Found::Gone => return Err(NoDevice::Unknown),
            Found::Nothing => {
                return Err(match self.session.is_link(self.seq, ifindex) {
                    true => NoDevice::NotOurs,
                    false => NoDevice::Unknown,
                });
            }
        };
        if device.api != api {
            return Err(NoDevice::NotOurs);
        }
        Ok(in_api(device.mode))
    }

    fn peer_new(&mut self, ifindex: u32, peer: &PeerNew) -> Result<(), Refused> {
        let id = peer_id(peer.id)?;
        let tx_id = peer.tx_id.map_or(Ok(id), peer_id)?;
        let device = self.device(ifindex)?;
        let most = self.session.account.most_peers();
        if most != usize::MAX {
            let peers = self
                .session
                .engine
                .registry()
                .peers_of(self.session.client.uid);
            if peers >= most {
                return Err(refused(EDQUOT, "this user has as many peers as it may"));
            }
        }
        let (transport, fresh) = self.transport(&device, peer)?;
        let endpoint = endpoint_of(device.api, &transport, peer)?;
        let new = NewPeer {
            id,
            tx_id,
            vpn4: peer.vpn4,
            vpn6: peer.vpn6,
            endpoint,
            keepalive: peer.keepalive.map_or_else(Default::default, core_keepalive),
            transport: Arc::clone(&transport),
        };
        device.change(|state| {
            if state.is_ended {
                return Err(ended());
            }
            state.measure(id);
            match state.core.add_peer(new, now()) {
                Ok(None) => {
                    device.forget_ended(id);
                    transport.attach(id);
                    Ok(())
                }
                Ok(Some(replaced)) => {
                    transport.attach(id);
                    let event = device.ended(&replaced, DeleteReason::Teardown, now());
                    state.notify(replaced.transport.netns, event);
                    Ok(())
                }
                Err(PeerError::IdTaken) => Err(not_added(id, EEXIST)),
                Err(PeerError::VpnAddressTaken) => Err(not_added(id, EADDRINUSE)),
                Err(_) => Err(no_vpn_address()),
            }
        })?;
        if let Some(charge) = fresh {
            let fd = peer.socket as i32;
            self.session
                .resources
                .add_socket(fd, (&transport, charge), &device);
            self.replace_fd = true;
        }
        self.session.engine.watch().nudge();
        let at = endpoint.map(|endpoint| endpoint.remote);
        let name = &device.interface.name;
        tracing::debug!(
            device = name,
            peer = id.value(),
            "{name}: peer {id} at {at:?}"
        );
        Ok(())
    }

    fn peer_set(&mut self, ifindex: u32, peer: &PeerSet) -> Result<(), Refused> {
        let id = peer_id(peer.id)?;
        let endpoint = peer.remote.map(|remote| Endpoint {
            remote,
            local: given(peer.local),
        });
        let change = PeerChange {
            tx_id: peer.tx_id.map(peer_id).transpose()?,
            vpn4: peer.vpn4,
            vpn6: peer.vpn6,
            endpoint,
            keepalive: peer.keepalive.map(core_keepalive),
        };
        let device = self.device(ifindex)?;
        let changed = device.change(|state| {
            let present = state.core.peers().by_id(id);
            if change.endpoint.is_some()
                && present.is_some_and(|present| present.transport.as_stream().is_some())
            {
                return Err(unexpected_remote());
            }
            if let Some(text) = peer.unusable
                && state.core.check_change(id, &change).is_ok()
            {
                return Err(refused(EADDRNOTAVAIL, text));
            }
            if change.endpoint.is_some() {
                state.measure(id);
            }
            Ok(state.core.change_peer(id, change, now()))
        })?;
        self.session.engine.watch().nudge();
        changed.map_err(|error| match error {
            PeerError::VpnAddressTaken => {
                refused(EADDRINUSE, "VPN IP is already assigned to another peer")
            }
            PeerError::NoVpnAddress => no_vpn_address(),
            _ => no_peer(id),
        })
    }

    fn peer_get(&mut self, ifindex: u32, id: u32) -> Result<PeerState, Refused> {
        let (id, device) = (peer_id(id)?, self.device(ifindex)?);
        let found = device.look(|state| state.core.peers().by_id(id).map(Arc::clone));
        let peer = found.ok_or_else(|| no_peer(id))?;
        Ok(self.peer_state(device.api, &peer))
    }

    fn peers(&mut self, ifindex: u32) -> Vec<PeerState> {
        let Ok(device) = self.device(ifindex) else {
            return Vec::new();
        };
        let peers = device.look(|state| state.core.peers().clone());
        let ended = device.take_ended(self.client.id, now());
        let ended = ended
            .into_iter()
            .filter(|ended| PeerId::new(ended.id).is_none_or(|id| peers.by_id(id).is_none()));
        let states = peers.iter().map(|peer| self.peer_state(device.api, peer));
        states.chain(ended).collect()
    }

    fn peer_del(&mut self, ifindex: u32, id: u32) -> Result<(), Refused> {
        let (id, device) = (peer_id(id)?, self.device(ifindex)?);
        device.change(|state| {
            let removed = state.core.remove_peer(id).map_err(|_| no_peer(id))?;
            let event = device.ended(&removed, DeleteReason::Userspace, now());
            state.notify(removed.transport.netns, event);
            Ok(())
        })
    }

    fn key_new(&mut self, ifindex: u32, new: &KeyNew<'_>) -> Result<(), Refused> {
        let (peer, device) = (peer_id(new.peer)?, self.device(ifindex)?);
        let unknown = || refused(ENOENT, format!("no peer with id {peer} to set key for"));
        if device.look(|state| state.core.peers().by_id(peer).is_none()) {
            return Err(unknown());
        }
        let packet_ids = self.session.engine.packet_ids();
        let key = keys::key(new, packet_ids)
            .map(|key| key.installed_at(now()))
            .ok_or_else(|| refused(EINVAL, format!("cannot install new key for peer {peer}")))?;
        let cipher = key.cipher();
        let digest = self
            .session
            .engine
            .digester()
            .map(|digester| digester.digest(cipher, new.encrypt.key, new.encrypt.nonce_tail));
        let slot = core_slot(new.slot);
        let installed = device.change(|state| match digest {
            Some(digest) => state.core.install_key_once(peer, slot, key, digest),
            None => {
                let installed = state.core.install_key(peer, slot, key);
                installed.map(|()| Novelty::New)
            }
        });
        match installed {
            Ok(Novelty::New) => {}
            Ok(Novelty::HadByAnother) => tracing::warn!(
                device = device.interface.name,
                peer = peer.value(),
                "{}: peer {peer}: another peer has or had this key, so nonces repeat, and what is sent can be read and \
                 forged: install a key for this peer alone",
                device.interface.name
            ),
            Err(PeerError::KeyUsed) => return Err(key_used(peer)),
            Err(_) => return Err(unknown()),
        }
        let name = cipher.name();
        self.session.engine.workers().retry();
        tracing::debug!(
            device = device.interface.name,
            peer = peer.value(),
            "{}: peer {peer}: key {} ({name}) in {:?}",
            device.interface.name,
            new.key_id,
            new.slot
        );
        Ok(())
    }

    fn key_get(&mut self, ifindex: u32, peer: u32, slot: Slot) -> Result<KeyState, Refused> {
        let (id, device) = (peer_id(peer)?, self.device(ifindex)?);
        let found = device.look(|state| state.core.peers().by_id(id).map(Arc::clone));
        let found = found.ok_or_else(|| no_peer(id))?;
        let key = found.keys.at(core_slot(slot)).ok_or_else(|| {
            let number = slot as u8;
            refused(
                ENOENT,
                format!("cannot extract key from slot {number} for peer {peer}"),
            )
        })?;
        Ok(KeyState {
            peer,
            slot,
            key_id: key.id().value(),
            cipher: keys::algorithm(key.cipher()),
        })
    }

    fn key_swap(&mut self, ifindex: u32, peer: u32) -> Result<(), Refused> {
        let (id, device) = (peer_id(peer)?, self.device(ifindex)?);
        let swapped = device.change(|state| state.core.swap_keys(id));
        swapped.map_err(|_| refused(ENOENT, format!("no peer with id {peer} to swap keys for")))?;
        let name = &device.interface.name;
        tracing::debug!(device = name, peer, "{name}: peer {peer}: keys swapped");
        Ok(())
    }

    fn key_del(&mut self, ifindex: u32, peer: u32, slot: Slot) -> Result<(), Refused> {
        let (id, device) = (peer_id(peer)?, self.device(ifindex)?);
        // The slot is empty at once, but OpenVPN, 2.6 and 2.7, deletes before the other end has stopped to use the
        // key, so it may open what is on its way.
        let until = now().plus_millis(LINGER);
        let deleted = device.change(|state| state.core.retire_key(id, core_slot(slot), until));
        deleted
            .map_err(|_| refused(ENOENT, format!("no peer with id {peer} to delete key for")))?;
        tracing::debug!(
            device = device.interface.name,
            peer,
            "{}: peer {peer}: {slot:?} key deleted",
            device.interface.name
        );
        Ok(())
    }
}

fn now() -> Time {
    Time::from_millis(clock::milliseconds())
}

/// A peer id of the API. What decodes requests refuses more than 24 bits; these are the words of the driver's policy.
fn peer_id(id: u32) -> Result<PeerId, Refused> {
    PeerId::new(id).ok_or_else(|| refused(ERANGE, "integer out of range"))
}

/// Where a peer over UDP is.
fn remote_of(peer: &PeerNew) -> Result<SocketAddr, Refused> {
    let missing = || refused(EINVAL, "missing remote IP address for UDP socket");
    peer.remote.ok_or_else(missing)
}

/// The outer addresses of a peer: given over UDP, those of the socket over TCP.
fn endpoint_of(
    api: Api,
    transport: &Transport,
    peer: &PeerNew,
) -> Result<Option<Endpoint>, Refused> {
    if transport.as_stream().is_some() {
        return no_remote(api, peer).map(|()| None);
    }
    Ok(Some(Endpoint {
        remote: remote_of(peer)?,
        local: given(peer.local),
    }))
}

/// A peer over TCP has no remote address of its own. OpenVPN 2.6 gives one, and the older driver ignores it
/// (dco-behaviour 3.1).
fn no_remote(api: Api, peer: &PeerNew) -> Result<(), Refused> {
    if api == Api::Ovpn && peer.remote.is_some() {
        return Err(unexpected_remote());
    }
    Ok(())
}

/// An unspecified local address leaves it to the route.
fn given(local: Option<IpAddr>) -> Option<IpAddr> {
    local.filter(|local| !local.is_unspecified())
}

const fn core_keepalive(keepalive: Keepalive) -> udco_core::Keepalive {
    udco_core::Keepalive {
        interval: keepalive.interval,
        timeout: keepalive.timeout,
    }
}

const fn core_slot(slot: Slot) -> udco_core::Slot {
    match slot {
        Slot::Primary => udco_core::Slot::Primary,
        Slot::Secondary => udco_core::Slot::Secondary,
    }
}

/// The kernel's words (dco-behaviour 2.6 to 2.13).
fn refused(errno: i32, text: impl Into<std::borrow::Cow<'static, str>>) -> Refused {
    let text = text.into();
    Refused {
        errno: Errno(errno),
        text: (!text.is_empty()).then_some(text),
    }
}

/// The device has come to its end (dco-behaviour 7).
fn ended() -> Refused {
    refused(ENODEV, "")
}

fn no_peer(id: PeerId) -> Refused {
    refused(ENOENT, format!("cannot find peer with id {id}"))
}

/// The driver takes it, and seals other packets under the same nonces (promises B9).
fn key_used(peer: PeerId) -> Refused {
    refused(
        EEXIST,
        format!("peer {peer} has had this key before: its nonces would repeat; install a new key"),
    )
}

fn unexpected_remote() -> Refused {
    refused(EINVAL, "unexpected remote IP address with TCP socket")
}

fn no_vpn_address() -> Refused {
    refused(EINVAL, "at least one VPN IP must be configured in MP mode")
}

fn not_added(id: PeerId, errno: i32) -> Refused {
    refused(
        errno,
        format!("cannot add new peer (id={id}) to hashtable: -{errno}"),
    )
}

fn no_socket(fd: u32, errno: i32) -> Refused {
    refused(
        ENOTSOCK,
        format!("cannot lookup peer socket (fd={fd}): -{errno}"),
    )
}

/// Whatever the reason, the errno is that of dco-behaviour 2.6, check 17.
fn cannot_encapsulate(errno: i32) -> Refused {
    refused(ENOTSOCK, format!("cannot encapsulate socket: -{errno}"))
}
