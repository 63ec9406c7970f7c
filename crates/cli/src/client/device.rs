//! Makes the TUN device that an engine wants, as the preload library does in OpenVPN.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;
use std::{io, thread};

use udco_ipc::{Interface, Kernel, Made, Name, Shape, Wanted};
use udco_netlink::client::link;
use udco_sys::route::Monitor;
use udco_sys::tun;

use crate::{interface, rtnetlink};

/// A TUN device. A new one is removed when dropped, unless it was kept.
pub(crate) struct TunDevice {
    pub(crate) made: Made,
    builder: Builder,
    kept: bool,
}

/// The open files that make a device.
struct Builder {
    queues: Vec<OwnedFd>,
    monitor: Monitor,
}

impl TunDevice {
    /// Makes the device that the engine wants, or takes over one left behind.
    ///
    /// # Errors
    /// As [`udco_ipc::make`].
    pub(crate) fn create(wanted: &Wanted<'_>) -> io::Result<Self> {
        let mut builder = Builder {
            queues: Vec::new(),
            monitor: Monitor::open()?,
        };
        let made = udco_ipc::make(&mut builder, wanted).map_err(io::Error::from_raw_os_error)?;
        Ok(Self {
            made,
            builder,
            kept: false,
        })
    }

    /// The descriptors in the order of the protocol: the queues, then the route monitor.
    pub(crate) fn fds(&self) -> Vec<BorrowedFd<'_>> {
        let queues = self.builder.queues.iter().map(AsFd::as_fd);
        queues.chain([self.builder.monitor.as_fd()]).collect()
    }

    /// Keeps the device, which the engine has taken, and returns its name.
    pub(crate) fn keep(mut self) -> String {
        self.kept = true;
        String::from_utf8_lossy(self.made.name()).into_owned()
    }
}

impl Drop for TunDevice {
    fn drop(&mut self) {
        if !(self.kept || self.made.was_left) {
            self.builder.remove(Some(self.made.ifindex));
        }
    }
}

impl Kernel for Builder {
    fn index(&mut self, name: &[u8]) -> Option<u32> {
        interface::index(str::from_utf8(name).ok()?)
    }

    fn interface(&mut self, ifindex: u32) -> Result<Interface, i32> {
        let reply = rtnetlink::dump(&link::show(ifindex, 1));
        Ok(udco_ipc::interface(
            &reply.map_err(|error| errno(&error))?.concat(),
        ))
    }

    fn attach(&mut self, name: &[u8], flags: u16) -> Result<Name, i32> {
        let name = str::from_utf8(name).map_err(|_| rustix::io::Errno::INVAL.raw_os_error())?;
        let (queue, name) = tun::open_queue(name, flags).map_err(|error| errno(&error))?;
        self.queues.push(queue);
        Ok(Name::of(name.as_bytes()))
    }

    fn detach(&mut self) {
        self.queues.clear();
    }

    fn persist(&mut self) -> Result<(), i32> {
        let first = self.queues.first().map(AsFd::as_fd);
        let persistent = first.map_or(Ok(()), |first| tun::set_persist(first, true));
        persistent.map_err(|error| errno(&error))
    }

    fn shape(&mut self, ifindex: u32, shape: &Shape) -> Result<(), i32> {
        let Shape {
            mtu, flags, mask, ..
        } = *shape;
        rtnetlink::request(&link::change(ifindex, mtu, flags, mask, 1))
            .and_then(|()| rtnetlink::request(&link::alias(ifindex, shape.alias.as_bytes(), 1)))
            .map_err(|error| errno(&error))
    }

    fn request(&mut self, message: &[u8]) {
        let _ = self.monitor.send(message);
    }

    fn remove(&mut self, ifindex: Option<u32>) {
        if let Some(first) = self.queues.first() {
            let _ = tun::set_persist(first.as_fd(), false);
        }
        // Even if others have copies of its queues.
        if let Some(ifindex) = ifindex {
            let _ = rtnetlink::request(&link::delete(ifindex, 1));
        }
    }

    fn namespace(&self) -> u64 {
        udco_sys::network_namespace(self.monitor.as_fd()).number()
    }

    fn pause(&self, time: Duration) {
        thread::sleep(time);
    }
}

/// An error's number, for the engine.
pub(super) fn errno(error: &io::Error) -> i32 {
    let invalid = rustix::io::Errno::INVAL.raw_os_error();
    error.raw_os_error().unwrap_or(invalid)
}
