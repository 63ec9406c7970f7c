//! How a TUN interface becomes a device: handed over by a client, or made beforehand and taken over.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use udco_core::Mode;
use udco_netlink::{Api, Errno};
use udco_sys::route::Monitor;
use udco_sys::seqpacket::FdList;
use udco_sys::tun;

use crate::control::account::Kind;
use crate::control::notifications::Listeners;
use crate::control::proof::{Proven, prove};
use crate::control::session::{Session, malformed};
use crate::device::Device;
use crate::device::interface::{Interface, Offloads};
use crate::device::offload::{self, Merging};

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
        if self.account.is_bounded() && !queues.iter().all(tun::Queue::never_waits) {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "before Linux 6.4 a program that shares its queues can make the workers wait: \
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
        // Fails closed: when this process dies, packets meet a device without a program (design decision 4).
        first.set_persist(true)?;
        let forbidden = self.engine.forbidden();
        // In this order: what is offered last is in force.
        let merge = Merging::probe(first, forbidden);
        let offloads = Offloads {
            merge,
            from_device: offload::offer(first, forbidden),
        };
        let devices = self.engine.registry();
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
        self.account.line(|| match self.resources.serves_devices() {
            true => tracing::info!(
                "data channel offload active: {name} of {program}, {}",
                role(mode)
            ),
            false => tracing::info!("{program} created {name}, which stays"),
        });
        Ok(())
    }

    /// Lets go of a device whose interface is gone, which nobody has heard of, and whose index another one has now.
    ///
    /// # Errors
    /// `EEXIST` if the interface is still there: a device is handed over once.
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

    /// Uses a device that was made beforehand; `false` if that cannot be, or if the program would not use it: `ip link
    /// add` shall say that there is one.
    pub(crate) fn take_over(&self, device: &Arc<Device>, api: Api, mode: Mode) -> bool {
        if !self.resources.serves_devices() {
            return false;
        }
        let devices = self.engine.registry();
        let workers = self.engine.workers();
        let renewed = devices.take_over(workers, device, &self.client, (api, mode));
        let Some(renewed) = renewed else {
            return false;
        };
        renewed.tune(self.tuning);
        self.engine.watch().replace(device, &renewed);
        tracing::info!(
            "data channel offload active: {}, created beforehand, of {}, {}",
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
