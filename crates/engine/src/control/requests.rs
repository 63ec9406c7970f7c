//! The API's requests, carried out: what [`udco_netlink::serve`] asks of the engine.

mod refusals;
mod transport;

use std::sync::Arc;

use udco_core::{Endpoint, NewPeer, Novelty, PeerChange, PeerError, PeerId, Time};
use udco_ipc::message_id;
use udco_netlink::{
    Api, DeleteReason, Keepalive, KeyNew, KeyState, Mode, NoDevice, PeerNew, PeerSet, PeerState,
    Refused, Service, Slot,
};
use udco_sys::clock;
use udco_sys::memory::Room;

use crate::client::Client;
use crate::control::keys;
use crate::control::memory;
use crate::control::registry::Found;
use crate::control::requests::transport::{endpoint_of, given};
use crate::control::session::Session;
use crate::device::Device;
use crate::device::keepalive;
use crate::device::peer::{Peer, in_api, state_of};

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
    /// For the answers, until they are encoded.
    pub(crate) room: Option<Room>,
}

impl Requests<'_> {
    fn device(&self, ifindex: u32) -> Result<Arc<Device>, Refused> {
        match self.session.engine.registry().find(&self.client, ifindex) {
            Found::Device(device) => Ok(device),
            // Another client has deleted it since the look-up of its mode.
            _ => Err(refusals::ended()),
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
}

impl Service for Requests<'_> {
    fn mode(&mut self, api: Api, ifindex: u32) -> Result<Mode, NoDevice> {
        let device = match self.session.engine.registry().find(&self.client, ifindex) {
            Found::Device(device) => device,
            Found::Forbidden => return Err(NoDevice::Forbidden),
            // Its interface goes after it, so that the peers' end is reported first; to the client both are gone at once.
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
                return Err(refusals::too_many_peers());
            }
        }
        let _room =
            memory::for_peer().map_err(|error| refusals::no_memory(self.session, &error))?;
        let (transport, fresh) = transport::of_peer(self.session, self.seq, &device, peer)?;
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
                return Err(refusals::ended());
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
                Err(PeerError::IdTaken) => Err(refusals::peer_exists(id)),
                Err(PeerError::VpnAddressTaken) => Err(refusals::peer_has_address_of_another(id)),
                Err(_) => Err(refusals::no_vpn_address()),
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
        let at = at.or_else(|| transport.stream_remote());
        let at = at.map_or_else(|| "an unknown address".to_owned(), |it| it.to_string());
        let name = &device.interface.name;
        tracing::debug!(
            device = name,
            peer = id.value(),
            "{name}: peer {id} at {at}"
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
                return Err(refusals::unexpected_remote());
            }
            if let Some(text) = peer.unusable
                && state.core.check_change(id, &change).is_ok()
            {
                return Err(refusals::unusable_address(text));
            }
            if change.endpoint.is_some() {
                state.measure(id);
            }
            Ok(state.core.change_peer(id, change, now()))
        })?;
        self.session.engine.watch().nudge();
        changed.map_err(|error| match error {
            PeerError::VpnAddressTaken => refusals::vpn_address_taken(),
            PeerError::NoVpnAddress => refusals::no_vpn_address(),
            _ => refusals::no_peer(id),
        })
    }

    fn peer_get(&mut self, ifindex: u32, id: u32) -> Result<PeerState, Refused> {
        let (id, device) = (peer_id(id)?, self.device(ifindex)?);
        let found = device.look(|state| state.core.peers().by_id(id).map(Arc::clone));
        let peer = found.ok_or_else(|| refusals::no_peer(id))?;
        Ok(self.peer_state(device.api, &peer))
    }

    fn peers(&mut self, ifindex: u32) -> Result<Vec<PeerState>, Refused> {
        let Ok(device) = self.device(ifindex) else {
            return Ok(Vec::new());
        };
        let count = device.snapshot().peers.len();
        let room = memory::for_dump(count);
        self.room = Some(room.map_err(|error| refusals::no_memory(self.session, &error))?);
        let peers = device.look(|state| state.core.peers().clone());
        let ended = device.take_ended(self.client.id, now());
        let ended = ended
            .into_iter()
            .filter(|ended| PeerId::new(ended.id).is_none_or(|id| peers.by_id(id).is_none()));
        let states = peers.iter().map(|peer| self.peer_state(device.api, peer));
        Ok(states.chain(ended).collect())
    }

    fn peer_del(&mut self, ifindex: u32, id: u32) -> Result<(), Refused> {
        let (id, device) = (peer_id(id)?, self.device(ifindex)?);
        device.change(|state| {
            let removed = state
                .core
                .remove_peer(id)
                .map_err(|_| refusals::no_peer(id))?;
            let event = device.ended(&removed, DeleteReason::Userspace, now());
            state.notify(removed.transport.netns, event);
            Ok(())
        })
    }

    fn key_new(&mut self, ifindex: u32, new: &KeyNew<'_>) -> Result<(), Refused> {
        let (peer, device) = (peer_id(new.peer)?, self.device(ifindex)?);
        let unknown = || refusals::no_peer_to("set key", peer);
        if device.look(|state| state.core.peers().by_id(peer).is_none()) {
            return Err(unknown());
        }
        let _room = memory::for_key().map_err(|error| refusals::no_memory(self.session, &error))?;
        let packet_ids = self.session.engine.packet_ids();
        let key = keys::key(new, packet_ids)
            .map(|key| key.installed_at(now()))
            .ok_or_else(|| refusals::bad_key(peer))?;
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
                message_id = message_id::KEY_REUSED,
                device = device.interface.name,
                peer = peer.value(),
                "{}: peer {peer}: another peer has or had this key, so nonces repeat, and what is sent can be read and \
                 forged: install a key for this peer alone",
                device.interface.name
            ),
            Err(PeerError::KeyUsed) => return Err(refusals::key_used(peer)),
            Err(_) => return Err(unknown()),
        }
        let name = cipher.name();
        self.session.engine.workers().retry();
        tracing::debug!(
            device = device.interface.name,
            peer = peer.value(),
            "{}: peer {peer}: key {} ({name}) is {}",
            device.interface.name,
            new.key_id,
            new.slot.name()
        );
        Ok(())
    }

    fn key_get(&mut self, ifindex: u32, peer: u32, slot: Slot) -> Result<KeyState, Refused> {
        let (id, device) = (peer_id(peer)?, self.device(ifindex)?);
        let found = device.look(|state| state.core.peers().by_id(id).map(Arc::clone));
        let found = found.ok_or_else(|| refusals::no_peer(id))?;
        let key = found.keys.at(core_slot(slot));
        let key = key.ok_or_else(|| refusals::no_key(peer, slot))?;
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
        swapped.map_err(|_| refusals::no_peer_to("swap keys", id))?;
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
        deleted.map_err(|_| refusals::no_peer_to("delete key", id))?;
        tracing::debug!(
            device = device.interface.name,
            peer,
            "{}: peer {peer}: {} key deleted",
            device.interface.name,
            slot.name()
        );
        Ok(())
    }
}

fn now() -> Time {
    Time::from_millis(clock::milliseconds())
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

/// A peer id from the API. The decoder has already refused ids of more than 24 bits.
fn peer_id(id: u32) -> Result<PeerId, Refused> {
    PeerId::new(id).ok_or_else(refusals::out_of_range)
}
