//! A client's resources in the engine. They end with the connection, however it ends (promises I2); of a device only
//! the interface stays, unless the client has deleted it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use udco_ipc::message_id;
use udco_netlink::DeleteReason;
use udco_sys::Netns;

use crate::client::ClientId;
use crate::control::account::Charge;
use crate::device::Device;
use crate::device::transport::Transport;
use crate::engine::Engine;

/// How long to wait for the last user of a socket that the client has closed.
const RELEASE: Duration = Duration::from_millis(200);

/// A client's sockets and devices.
pub(crate) struct Resources {
    engine: Arc<Engine>,
    session: ClientId,
    /// Transport sockets by the client's fd number.
    sockets: HashMap<i32, (Arc<Transport>, Charge)>,
    /// Foreign network namespaces reported to the client, in the order of their ids.
    foreign: Vec<Netns>,
    /// Whether its devices serve this client alone. A client that never opens a generic-netlink socket (`ip link add`,
    /// `udco link add`) only makes a device for others, which stays.
    ends_devices: bool,
}

impl Resources {
    pub(crate) fn new(engine: &Arc<Engine>, session: ClientId) -> Self {
        Self {
            engine: Arc::clone(engine),
            session,
            sockets: HashMap::new(),
            foreign: Vec::new(),
            ends_devices: false,
        }
    }

    /// From now on the client's devices end with it.
    pub(crate) const fn end_with_client(&mut self) {
        self.ends_devices = true;
    }

    /// Whether its devices serve this client alone.
    pub(crate) const fn serves_devices(&self) -> bool {
        self.ends_devices
    }

    /// An id for a foreign network namespace, as the kernel would assign it: the first free one.
    pub(crate) fn netns_id(&mut self, netns: Netns) -> i32 {
        let known = self.foreign.iter().position(|other| other.is(netns));
        let id = known.unwrap_or_else(|| {
            self.foreign.push(netns);
            self.foreign.len() - 1
        });
        i32::try_from(id).unwrap_or(i32::MAX)
    }

    /// The transport socket with this fd number in the client.
    pub(crate) fn socket(&self, fd: i32) -> Option<&Arc<Transport>> {
        self.sockets.get(&fd).map(|(transport, _)| transport)
    }

    /// Adds a transport socket that the client has handed over to serve a device's peers.
    pub(crate) fn add_socket(
        &mut self,
        fd: i32,
        (transport, charge): (&Arc<Transport>, Charge),
        device: &Arc<Device>,
    ) {
        self.use_for(transport, device);
        self.sockets.insert(fd, (Arc::clone(transport), charge));
    }

    /// Uses one of its transport sockets for a device's peers from now on.
    pub(crate) fn use_for(&self, transport: &Arc<Transport>, device: &Arc<Device>) {
        self.engine
            .registry()
            .attach(self.engine.workers(), transport, device);
    }

    /// Closes a transport socket that the client has closed: its peers end, and its port is free before this returns.
    pub(crate) fn close_socket(&mut self, fd: i32) {
        let Some((transport, _charge)) = self.sockets.remove(&fd) else {
            return;
        };
        if let Some(device) = self.engine.registry().served_by(&transport) {
            device.remove_peers(
                DeleteReason::TransportDisconnect,
                crate::linux::now().time(),
                |peer| Arc::ptr_eq(&peer.transport, &transport),
            );
        }
        let workers = self.engine.workers();
        self.engine.registry().detach(workers, &transport);
        // A worker may use an old snapshot until its batch ends. Ours must be the last reference: closing a TCP socket
        // may take as long as its owner likes (SO_LINGER), and must not delay a worker (faults D2).
        let deadline = Instant::now() + RELEASE;
        while Arc::strong_count(&transport) > 1 && Instant::now() < deadline {
            std::thread::sleep(Duration::from_micros(50));
        }
        if Arc::into_inner(transport).is_none() {
            tracing::warn!("a closed transport socket is still in use: its port is not free yet");
        }
    }
}

impl Drop for Resources {
    fn drop(&mut self) {
        let fds: Vec<i32> = self.sockets.keys().copied().collect();
        for fd in fds {
            self.close_socket(fd);
        }
        let devices = self.engine.registry();
        for device in devices.owned_by(self.session) {
            if !self.ends_devices || devices.is_lent_to(&device, self.session) {
                devices.release(&device);
                continue;
            }
            // A device that was moved away disappears as a plain TUN device does: OpenVPN cannot delete it there
            // (faults A7).
            if devices.is_to_end(&device) || device.interface.is_away() {
                device.interface.let_go();
            } else {
                // OpenVPN deletes its device at an orderly end, so this one was killed: without the interface and its
                // routes, packets would leave by another route in the clear (faults A1).
                tracing::warn!(
                    message_id = message_id::DEVICE_STAYS,
                    device = device.interface.name,
                    "{} stays, with its routes, so that nothing leaves in the clear: the next start takes it over; \
                     to go on without a tunnel: ip link del {}",
                    device.interface.name,
                    device.interface.name
                );
            }
            self.engine.remove_device(&device);
        }
    }
}
