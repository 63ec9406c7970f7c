//! What a program at the other end of a connection has in the engine. It goes when the connection ends, however it ends
//! (promises I2); of a device only the interface stays, unless the program has ended it.

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use udco_core::Mode;
use udco_netlink::{Api, DeleteReason, Errno};
use udco_sys::route::Monitor;
use udco_sys::seqpacket::FdList;
use udco_sys::tun;

use crate::Engine;
use crate::client::ClientId;
use crate::control::account::{Charge, Kind};
use crate::control::conversation::{Session, malformed};
use crate::control::notifications::Listeners;
use crate::control::proof::{Proven, prove};
use crate::device::Device;
use crate::device::interface::{Interface, Offloads};
use crate::device::offload::{self, Merging};
use crate::device::transport::Transport;

/// How long to wait until nobody uses a socket that the program has closed.
const RELEASE: Duration = Duration::from_millis(200);

/// The sockets and devices of a program.
pub(crate) struct Belongings {
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

impl Belongings {
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
            .devices()
            .attach(self.engine.workers(), transport, device);
    }

    /// The program has closed a transport socket: its peers end, and its port becomes free before this returns.
    pub(crate) fn close_socket(&mut self, fd: i32) {
        let Some((transport, _charge)) = self.sockets.remove(&fd) else {
            return;
        };
        if let Some(device) = self.engine.devices().served_by(&transport) {
            device.remove_peers(DeleteReason::TransportDisconnect, |peer| {
                Arc::ptr_eq(&peer.transport, &transport)
            });
        }
        let workers = self.engine.workers();
        self.engine.devices().detach(workers, &transport);
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

impl Drop for Belongings {
    fn drop(&mut self) {
        let fds: Vec<i32> = self.sockets.keys().copied().collect();
        for fd in fds {
            self.close_socket(fd);
        }
        let devices = self.engine.devices();
        for device in devices.of_session(self.session) {
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
                    "{} stays, with its routes, so that nothing leaves in the clear: the next start goes on with it; \
                     to be without: ip link del {}",
                    device.interface.name,
                    device.interface.name
                );
            }
            self.engine.remove_device(&device);
        }
    }
}

impl Session {
    /// Takes over a TUN device that was made for the question with this nonce, and has this index.
    pub(crate) fn adopt_device(
        &self,
        (ifindex, nonce): (u32, u64),
        (api, mode): (Api, Mode),
        fds: FdList,
    ) -> io::Result<()> {
        let mut fds: Vec<OwnedFd> = fds.into_iter().collect();
        let monitor = fds
            .pop()
            .ok_or_else(|| malformed("a TUN device without fds"))?;
        let monitor = Monitor::adopt(monitor)?;
        let queues = fds
            .into_iter()
            .map(tun::Queue::adopt)
            .collect::<io::Result<Vec<_>>>()?;
        let first = queues
            .first()
            .ok_or_else(|| malformed("a TUN device without a queue"))?;
        if !queues.iter().all(tun::Queue::vnet_header) {
            return Err(malformed("a TUN queue without packet headers"));
        }
        let proven = prove(&queues, &monitor, (ifindex, api, nonce), &self.client)?;
        self.clear_place(&proven)?;
        let charge = self.account.charge(Kind::Devices).ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::QuotaExceeded,
                "its user has as many devices as it may",
            )
        })?;
        // Fails closed: when this process dies, packets meet a device without a program (design decision 4).
        first.set_persist(true)?;
        let forbidden = self.engine.forbidden();
        // In this order: what is offered last is in force.
        let merge = Merging::probe(first, forbidden);
        let offloads = Offloads {
            merge,
            from_device: offload::offer(first, forbidden),
        };
        let devices = self.engine.devices();
        let place = (proven.netns, proven.ifindex);
        let interface = Interface::new(place, proven.name, queues, offloads)?;
        let device = Arc::new(Device::new(
            Arc::new(interface),
            (api, mode),
            &self.client,
            Arc::<Listeners>::clone(devices.listeners()),
        ));
        device.tune(self.tuning);
        let routes = self.account.most_routes();
        self.engine.watch().add(&device, monitor, routes)?;
        if !devices.add(self.engine.workers(), &device, (&self.client, charge)) {
            self.engine.watch().remove(&device);
            return Err(taken());
        }
        let (name, program) = (&device.interface.name, &self.program);
        self.account.line(|| match self.belongings.ends_devices {
            true => tracing::info!(
                "data channel offload active: {name} of {program}, {}",
                role(mode)
            ),
            false => tracing::info!("{program} made {name}, which stays"),
        });
        Ok(())
    }

    /// Lets go of a device whose interface is gone, which nobody has heard of, and whose index another one has now.
    ///
    /// # Errors
    /// `EEXIST` if the interface is still there: a device is handed over once.
    fn clear_place(&self, proven: &Proven) -> io::Result<()> {
        let Some(old) = self.engine.devices().at(proven.netns, proven.ifindex) else {
            return Ok(());
        };
        if old.interface.current_name().is_ok() {
            return Err(taken());
        }
        self.engine.remove_device(&old);
        Ok(())
    }

    /// Uses a device that was made beforehand; `false` if that cannot be, or if the program would not use it: `ip link
    /// add` shall say that there is one.
    pub(crate) fn take_over(&self, device: &Arc<Device>, api: Api, mode: Mode) -> bool {
        if !self.belongings.ends_devices {
            return false;
        }
        let devices = self.engine.devices();
        let workers = self.engine.workers();
        let renewed = devices.take_over(workers, device, &self.client, (api, mode));
        let Some(renewed) = renewed else {
            return false;
        };
        renewed.tune(self.tuning);
        self.engine.watch().replace(device, &renewed);
        tracing::info!(
            "data channel offload active: {}, made beforehand, of {}, {}",
            renewed.interface.name,
            self.program,
            role(mode)
        );
        true
    }
}

/// The error of a device that the engine has already.
fn taken() -> io::Error {
    io::Error::from_raw_os_error(Errno::EEXIST.0)
}

const fn role(mode: Mode) -> &'static str {
    match mode {
        Mode::Mp => "server",
        Mode::P2p => "client",
    }
}
