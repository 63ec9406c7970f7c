//! How a TUN interface becomes a device: handed over by a client, or created beforehand and taken over.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use udco_core::Mode;
use udco_ipc::message_id;
use udco_netlink::{Api, Errno};
use udco_sys::route::Monitor;
use udco_sys::seqpacket::FdList;
use udco_sys::tun;

use crate::control::account::Kind;
use crate::control::notifications::Listeners;
use crate::control::proof::{Proven, prove};
use crate::control::session::{Session, malformed};
use crate::device::interface::{Interface, Offloads};
use crate::device::offload::{self, Merging};
use crate::device::queues::Queue;
use crate::device::{Device, random_seed};

impl Session {
    /// Takes over the TUN device with this index, made for the request that carried this nonce.
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
        if self.account.is_bounded() && !queues.iter().all(tun::Queue::never_waits) {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "before Linux 6.4 a client that shares its queues can make the workers wait: \
                 give this user an engine of its own (udco run without --engine)",
            ));
        }
        let proven = prove(&queues, &monitor, (ifindex, api, nonce), &self.client)?;
        self.clear_place(&proven)?;
        let charge = self.account.charge(Kind::Devices).ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::QuotaExceeded,
                "its user has reached the limit on devices",
            )
        })?;
        // Fails closed: if this process dies, the interface stays and drops packets (design decision 4).
        first.set_persist(true)?;
        let forbidden = self.engine.forbidden();
        // The order matters: the offloads set last are in force.
        let merge = Merging::probe(first, forbidden);
        let offloads = Offloads {
            merge,
            from_device: offload::offer(first, forbidden),
        };
        let devices = self.engine.registry();
        let place = (proven.netns, proven.ifindex);
        let wanted = self.engine.workers().queues(mode);
        let has_ipv6 = self.engine.has_ipv6_flows();
        let queues = Queue::pair(queues, wanted, random_seed(), has_ipv6);
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
        let (name, program) = (&device.interface.name, &self.name);
        self.account.line(|| match self.resources.serves_devices() {
            true => tracing::info!(
                message_id = message_id::OFFLOAD_ACTIVE,
                device = name,
                program,
                "data channel offload active: {name} of {program}, {}",
                role(mode)
            ),
            false => tracing::info!(
                device = name,
                program,
                "{program} created {name}, which stays"
            ),
        });
        Ok(())
    }

    /// Removes the unnoticed remains of a device whose interface is gone and whose index another interface has now.
    ///
    /// # Errors
    /// `EEXIST` if the interface is still there: a device is handed over only once.
    fn clear_place(&self, proven: &Proven) -> io::Result<()> {
        let Some(old) = self.engine.registry().at(proven.netns, proven.ifindex) else {
            return Ok(());
        };
        if old.interface.current_name().is_ok() {
            return Err(taken());
        }
        self.engine.remove_device(&old);
        Ok(())
    }

    /// Takes over a device that was created beforehand; `false` if that is impossible or the client would not use it:
    /// `ip link add` must report that the device exists.
    pub(crate) fn take_over(&self, device: &Arc<Device>, api: Api, mode: Mode) -> bool {
        if !self.resources.serves_devices() {
            return false;
        }
        let devices = self.engine.registry();
        let workers = self.engine.workers();
        let taken = devices.take_over(workers, device, &self.client, (api, mode));
        let Some(own) = taken else {
            return false;
        };
        own.tune(self.tuning);
        self.engine.watch().replace(device, &own);
        tracing::info!(
            message_id = message_id::OFFLOAD_ACTIVE,
            device = own.interface.name,
            program = self.name,
            "data channel offload active: {}, created beforehand, of {}, {}",
            own.interface.name,
            self.name,
            role(mode)
        );
        true
    }
}

/// The error for a device that the engine already has.
fn taken() -> io::Error {
    io::Error::from_raw_os_error(Errno::EEXIST.0)
}

const fn role(mode: Mode) -> &'static str {
    match mode {
        Mode::Mp => "server",
        Mode::P2p => "client",
    }
}
