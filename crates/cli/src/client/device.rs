//! The TUN device that an engine wants: made here, as the preload library makes it in OpenVPN.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};
use std::{io, thread};

use udco_ipc::{Alias, Interface, MAX_FDS, ToClient};
use udco_netlink::Api;
use udco_netlink::client::link;
use udco_netlink::client::link::{MULTICAST, UP};
use udco_sys::route::Monitor;
use udco_sys::tun::{self, Created};

use crate::{interface, rtnetlink};

/// How long an engine may need to let go of a device whose program was killed a moment ago.
const LETTING_GO: Duration = Duration::from_millis(300);

/// A TUN device. A new one is removed when dropped, unless it was kept.
pub(crate) struct TunDevice {
    pub(crate) name: String,
    pub(crate) ifindex: u32,
    queues: Vec<OwnedFd>,
    monitor: Monitor,
    /// A dead engine or program had left it.
    was_left: bool,
    kept: bool,
}

impl TunDevice {
    /// Makes the device that a [`ToClient::NeedTun`] describes; it stays when all descriptors are closed. One of that name
    /// that a dead engine has left is taken over, with the queues that it was made for (faults A5).
    ///
    /// # Errors
    /// `EEXIST` if the name is taken; of the kernel.
    pub(crate) fn create(wanted: &ToClient<'_>) -> io::Result<Self> {
        let ToClient::NeedTun {
            queues,
            mtu,
            multicast,
            up,
            nonce,
            name,
        } = *wanted
        else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let queues = usize::from(queues);
        let name = str::from_utf8(name).map_err(|_| io::ErrorKind::InvalidInput)?;
        if queues >= MAX_FDS {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let monitor = Monitor::open()?;
        let (made, was_left) = match interface::index(name) {
            Some(ifindex) => (take(name, ifindex, queues)?, true),
            None => {
                let made = tun::create(name, queues).map_err(|error| match error.kind() {
                    // Made by another process in between.
                    io::ErrorKind::ResourceBusy => exists(),
                    _ => error,
                })?;
                (made, false)
            }
        };
        let device = Self {
            name: made.name,
            ifindex: made.ifindex,
            queues: made.queues,
            monitor,
            was_left,
            kept: false,
        };
        let flags = if up { UP } else { 0 } | if multicast { MULTICAST } else { 0 };
        // Up only if wanted, but down for nobody.
        let mask = MULTICAST | flags;
        rtnetlink::request(&link::change(device.ifindex, mtu, flags, mask, 1))?;
        // The one kind has the flag, the other has not.
        let kind = if multicast { Api::DcoV2 } else { Api::Ovpn }.link_kind();
        let alias = Alias::new(kind, nonce);
        rtnetlink::request(&link::alias(device.ifindex, alias.as_bytes(), 1))?;
        Ok(device)
    }

    /// The descriptors in the order of the protocol: the queues, then the route monitor.
    pub(crate) fn fds(&self) -> Vec<BorrowedFd<'_>> {
        let queues = self.queues.iter().map(AsFd::as_fd);
        queues.chain([self.monitor.as_fd()]).collect()
    }

    /// The kernel's number of its network namespace; 0 if it has none.
    pub(crate) fn netns(&self) -> u64 {
        udco_sys::network_namespace(self.monitor.as_fd())
    }

    /// The engine has it.
    pub(crate) fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for TunDevice {
    fn drop(&mut self) {
        if !(self.kept || self.was_left) {
            // Whatever copies of its queues there are.
            let _ = rtnetlink::request(&link::delete(self.ifindex, 1));
        }
    }
}

/// A device that was left; `EEXIST` if it is not such a device, or somebody has it.
fn take(name: &str, ifindex: u32, queues: usize) -> io::Result<Created> {
    let deadline = Instant::now() + LETTING_GO;
    loop {
        let told = rtnetlink::dump(&link::show(ifindex, 1))?.concat();
        let taken = match udco_ipc::interface(&told) {
            Interface::Foreign => return Err(exists()),
            Interface::Served => Err(io::ErrorKind::ResourceBusy.into()),
            Interface::Left { several } => tun::take(name, queues, several),
        };
        match taken {
            Ok(queues) => {
                return Ok(Created {
                    queues,
                    ifindex,
                    name: name.to_owned(),
                });
            }
            Err(error) if error.kind() != io::ErrorKind::ResourceBusy => return Err(error),
            Err(_) if Instant::now() >= deadline => return Err(exists()),
            Err(_) => thread::sleep(Duration::from_millis(10)),
        }
    }
}

fn exists() -> io::Error {
    rustix::io::Errno::EXIST.into()
}
