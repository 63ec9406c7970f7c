//! What a program at the other end of a connection has in the engine. It goes when the connection ends, however it ends
//! (promises I2); of a device only the interface stays, unless the program has ended it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use udco_netlink::DeleteReason;

use crate::client::ClientId;
use crate::control::account::Charge;
use crate::device::Device;
use crate::device::transport::Transport;
use crate::engine::Engine;

/// How long to wait until nobody uses a socket that the program has closed.
const RELEASE: Duration = Duration::from_millis(200);

/// The sockets and devices of a program.
pub(crate) struct Resources {
    engine: Arc<Engine>,
    session: ClientId,
    /// Transport sockets by the fd number under which the program knows them.
    sockets: HashMap<i32, (Arc<Transport>, Charge)>,
    /// Foreign network namespaces that were told of, in the order of their ids.
    foreign: Vec<u64>,
    /// Whether its devices are served for it alone. A program that never opens a generic-netlink socket (`ip link add`, `udco link
    /// add`) only makes a device for others, which stays.
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

    /// The program's devices are served no longer than it lives.
    pub(crate) const fn end_with_program(&mut self) {
        self.ends_devices = true;
    }

    /// Whether its devices are served for it alone.
    pub(crate) const fn serves_devices(&self) -> bool {
        self.ends_devices
    }

    /// An id for a network namespace that is not the program's, as the kernel would give it: the first free one.
    pub(crate) fn netns_id(&mut self, netns: u64) -> i32 {
        let known = self.foreign.iter().position(|other| *other == netns);
        let id = known.unwrap_or_else(|| {
            self.foreign.push(netns);
            self.foreign.len() - 1
        });
        i32::try_from(id).unwrap_or(i32::MAX)
    }

    /// The transport socket that the program knows by this number.
    pub(crate) fn socket(&self, fd: i32) -> Option<&Arc<Transport>> {
        self.sockets.get(&fd).map(|(transport, _)| transport)
    }

    /// A transport socket was handed over: it serves the peers of a device.
    pub(crate) fn add_socket(
        &mut self,
        fd: i32,
        (transport, charge): (&Arc<Transport>, Charge),
        device: &Arc<Device>,
    ) {
        self.use_for(transport, device);
        self.sockets.insert(fd, (Arc::clone(transport), charge));
    }

    /// One of its transport sockets serves the peers of a device from now on.
    pub(crate) fn use_for(&self, transport: &Arc<Transport>, device: &Arc<Device>) {
        self.engine
            .registry()
            .attach(self.engine.workers(), transport, device);
    }

    /// The program has closed a transport socket: its peers end, and its port becomes free before this returns.
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
        // A worker may look at an old snapshot for the rest of a batch. The last reference is to be this one: closing a
        // TCP socket may take as long as its owner likes (SO_LINGER), and no worker is to wait for that (faults D2).
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
            // One that was moved away goes as a plain TUN device does: OpenVPN cannot delete it there (faults A7).
            if devices.is_to_end(&device) || device.interface.is_away() {
                device.interface.let_go();
            } else {
                // OpenVPN deletes its device at an orderly end. This one was killed: without the interface and its routes
                // packets would leave by another route in the clear (faults A1).
                tracing::warn!(
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
