//! Makes TUN devices, in the program's network namespace and with its privileges: the engine needs none.

use crate::answer;
use crate::calls::{self, Errno, Fd};
use crate::{clock, files};
use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;
use libc::{c_char, c_int, c_short, ifreq};
use udco_ipc::{Interface, Kernel, Made, Name, QUEUE_FLAGS, Shape, Wanted};

/// Packets per queue: as many as the driver's, twice TUN's own default (faults E5).
const QUEUE_LENGTH: u32 = 1000;
/// Receive buffer for many route changes at once.
const MONITOR_BUFFER: c_int = 4 << 20;
/// Room for the kernel's report of a link.
const REPLY: usize = 32 << 10;

/// A TUN device. A new one is removed when dropped, unless [`Device::keep`] was called.
pub(crate) struct Device {
    pub(crate) made: Made,
    builder: Builder,
    kept: bool,
}

/// The open files that make a device, and those needed to configure it.
struct Builder {
    names: Fd,
    monitor: Fd,
    queues: Vec<Fd>,
    /// Packets per queue, if the program specifies it.
    txqueuelen: Option<u32>,
}

/// Whether a TUN device can be made, as far as can be checked without making one.
pub(crate) fn probe() -> Result<(), Errno> {
    open().map(drop)
}

/// A socket for requests about interfaces. Any kind will do: use one that OpenVPN needs anyway, because a unit with
/// `RestrictAddressFamilies` may not allow others (faults B8).
fn names() -> Result<Fd, Errno> {
    calls::socket(libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_ROUTE)
}

/// Whether there is an interface with this index.
pub(crate) fn is_there(ifindex: u32) -> bool {
    let Ok(names) = names() else {
        return false;
    };
    let Ok(mut request) = request(b"") else {
        return false;
    };
    request.ifr_ifru.ifru_ifindex = ifindex.cast_signed();
    control(&names, libc::SIOCGIFNAME, &mut request).is_ok()
}

impl Device {
    /// Makes the device that the engine wants, or takes over one left behind.
    ///
    /// # Errors
    /// As [`udco_ipc::make`].
    pub(crate) fn create(wanted: &Wanted<'_>, txqueuelen: Option<u32>) -> Result<Self, Errno> {
        let mut builder = Builder {
            names: names()?,
            monitor: monitor()?,
            queues: Vec::new(),
            txqueuelen,
        };
        let made = udco_ipc::make(&mut builder, wanted)?;
        Ok(Self {
            made,
            builder,
            kept: false,
        })
    }

    /// The fds in the order of the protocol: the queues, then the route monitor.
    pub(crate) fn fds(&self) -> Vec<c_int> {
        let queues = self.builder.queues.iter().chain([&self.builder.monitor]);
        queues.map(Fd::raw).collect()
    }

    /// The engine has it: closes our fds and leaves the device.
    pub(crate) fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        if !(self.kept || self.made.was_left) {
            self.builder.remove(Some(self.made.ifindex));
        }
    }
}

impl Builder {
    fn set_persistent(&self, on: bool) -> Result<(), Errno> {
        let Some(first) = self.queues.first() else {
            return Ok(());
        };
        // SAFETY: TUNSETPERSIST takes an integer.
        calls::checked(unsafe { libc::ioctl(first.raw(), libc::TUNSETPERSIST, c_int::from(on)) })
            .map(drop)
    }
}

impl Kernel for Builder {
    fn index(&mut self, name: &[u8]) -> Option<u32> {
        let mut request = request(name).ok()?;
        control(&self.names, libc::SIOCGIFINDEX, &mut request).ok()?;
        // SAFETY: SIOCGIFINDEX has written this member.
        Some(unsafe { request.ifr_ifru.ifru_ifindex }.cast_unsigned())
    }

    fn interface(&mut self, ifindex: u32) -> Result<Interface, Errno> {
        let reply = transact(&answer::about_link(libc::RTM_GETLINK, ifindex))?;
        Ok(udco_ipc::interface(&reply))
    }

    fn attach(&mut self, name: &[u8], flags: u16) -> Result<Name, Errno> {
        let mut request = request(name)?;
        self.queues.push(attach(&mut request, flags)?);
        Ok(Name::of(&request.ifr_name.map(|byte| byte as u8)))
    }

    fn detach(&mut self) {
        self.queues.clear();
    }

    fn persist(&mut self) -> Result<(), Errno> {
        self.set_persistent(true)
    }

    fn shape(&mut self, ifindex: u32, shape: &Shape) -> Result<(), Errno> {
        let mut request = request(b"")?;
        request.ifr_ifru.ifru_ifindex = ifindex.cast_signed();
        control(&self.names, libc::SIOCGIFNAME, &mut request)?;
        request.ifr_ifru.ifru_mtu = shape.mtu.cast_signed();
        control(&self.names, libc::SIOCSIFMTU, &mut request)?;
        // `ifr_qlen` shares this member's place in the union. If the kernel refuses the length, the queue stays as it
        // is.
        let length = self.txqueuelen.unwrap_or(QUEUE_LENGTH);
        request.ifr_ifru.ifru_metric = c_int::try_from(length).unwrap_or(c_int::MAX);
        let _ = control(&self.names, libc::SIOCSIFTXQLEN, &mut request);
        control(&self.names, libc::SIOCGIFFLAGS, &mut request)?;
        // SAFETY: SIOCGIFFLAGS has written this member.
        let present = unsafe { request.ifr_ifru.ifru_flags };
        let others = present & !(shape.mask as c_short);
        request.ifr_ifru.ifru_flags = others | shape.flags as c_short;
        control(&self.names, libc::SIOCSIFFLAGS, &mut request)?;
        // The engine reads it back as proof (faults D1).
        let _ = transact(&answer::link_alias(ifindex, shape.alias.as_bytes()));
        Ok(())
    }

    fn request(&mut self, message: &[u8]) {
        // The kernel replies only if it refuses.
        let _ = transact(message);
    }

    fn remove(&mut self, ifindex: Option<u32>) {
        let _ = self.set_persistent(false);
        // A silent engine may have copies of its fds.
        if let Some(ifindex) = ifindex {
            let request = answer::about_link(libc::RTM_DELLINK, ifindex);
            let _ = calls::send(self.monitor.raw(), &request, &[]);
        }
    }

    fn namespace(&self) -> u64 {
        calls::network_namespace(self.monitor.raw())
    }

    fn pause(&self, time: Duration) {
        clock::pause(time);
    }
}

/// Whether the kernel's report of a link shows a device of ours that nobody serves. A served device without a peer
/// has no carrier either, so only an attempt to open a queue tells them apart; if it succeeds, the queue is closed at
/// once.
pub(crate) fn is_left(reply: &[u8], name: &[u8]) -> bool {
    match udco_ipc::interface(reply) {
        Interface::Foreign | Interface::Served => false,
        Interface::Left {
            several: Some(true),
        } => true,
        Interface::Left { .. } => {
            let queue = request(name).and_then(|mut request| attach(&mut request, QUEUE_FLAGS));
            !matches!(queue, Err(libc::EBUSY))
        }
    }
}

fn open() -> Result<Fd, Errno> {
    files::open(c"/dev/net/tun", libc::O_RDWR | libc::O_NONBLOCK)
}

/// Sends a request on a new socket and returns the kernel's reply, which is there as soon as the request is sent.
fn transact(request: &[u8]) -> Result<Vec<u8>, Errno> {
    let socket = calls::socket(libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_ROUTE)?;
    calls::send(socket.raw(), request, &[])?;
    let mut reply = vec![0; REPLY];
    let len = calls::receive(socket.raw(), &mut reply, libc::MSG_DONTWAIT)?;
    reply.truncate(len);
    Ok(reply)
}

/// A socket that receives changes of links, addresses and routes.
fn monitor() -> Result<Fd, Errno> {
    let kind = libc::SOCK_RAW | libc::SOCK_NONBLOCK;
    let fd = calls::socket(libc::AF_NETLINK, kind, libc::NETLINK_ROUTE)?;
    calls::raise_buffer(fd.raw(), libc::SO_RCVBUF, MONITOR_BUFFER);
    // SAFETY: all zeroes is a valid sockaddr_nl.
    let mut address: libc::sockaddr_nl = unsafe { core::mem::zeroed() };
    address.nl_family = libc::AF_NETLINK as libc::sa_family_t;
    address.nl_groups = (libc::RTMGRP_LINK
        | libc::RTMGRP_IPV4_IFADDR
        | libc::RTMGRP_IPV6_IFADDR
        | libc::RTMGRP_IPV4_ROUTE
        | libc::RTMGRP_IPV6_ROUTE)
        .cast_unsigned();
    calls::bind(fd.raw(), &address)?;
    Ok(fd)
}

fn request(name: &[u8]) -> Result<ifreq, Errno> {
    // SAFETY: all zeroes is a valid ifreq.
    let mut request: ifreq = unsafe { core::mem::zeroed() };
    if name.len() >= request.ifr_name.len() {
        return Err(libc::ENAMETOOLONG);
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name) {
        *to = *from as c_char;
    }
    Ok(request)
}

/// The program's own `TUNSETIFF` has had this outcome. A device that an engine has left behind may have several queues, and
/// the kernel refuses a program that does not ask for such a device; and it hands out super-packets, which a program without
/// their headers could not tell from packets. `None`: the program has libc's answer.
///
/// # Safety
/// If `queue` is a TUN file, `request` is an `ifreq` that the caller may write to, unless the outcome is `EFAULT`.
pub(crate) unsafe fn own_attached(
    queue: c_int,
    request: *mut ifreq,
    outcome: Result<c_int, Errno>,
) -> Option<Result<c_int, Errno>> {
    let is_refused = match outcome {
        Ok(_) => false,
        Err(libc::EINVAL) if is_unattached(queue) => true,
        Err(_) => return None,
    };
    // SAFETY: the kernel has just read it, since this is a TUN file.
    let request = unsafe { &mut *request };
    if is_refused && !attach_to_left(queue, request) {
        return None;
    }
    // SAFETY: TUNSETIFF has set this member.
    let flags = c_int::from(unsafe { request.ifr_ifru.ifru_flags });
    if flags & libc::IFF_VNET_HDR == 0 {
        // SAFETY: TUNSETOFFLOAD takes an integer.
        let _ = unsafe { libc::ioctl(queue, libc::TUNSETOFFLOAD, 0) };
    }
    is_refused.then_some(Ok(0))
}

/// Whether this is a TUN file without a device.
fn is_unattached(queue: c_int) -> bool {
    // SAFETY: all zeroes is a valid ifreq.
    let mut device: ifreq = unsafe { core::mem::zeroed() };
    // SAFETY: TUNGETIFF writes an ifreq.
    let asked = unsafe { libc::ioctl(queue, libc::TUNGETIFF, &raw mut device) };
    calls::checked(asked) == Err(libc::EBADFD)
}

/// Attaches a TUN file to the device that the request names, if that has several queues and nobody serves it: two programs
/// with queues of one would share its packets.
fn attach_to_left(queue: c_int, request: &mut ifreq) -> bool {
    let is_left = || {
        let mut about = *request;
        control(&names()?, libc::SIOCGIFINDEX, &mut about)?;
        // SAFETY: SIOCGIFINDEX has written this member.
        let ifindex = unsafe { about.ifr_ifru.ifru_ifindex }.cast_unsigned();
        let reply = transact(&answer::about_link(libc::RTM_GETLINK, ifindex))?;
        let several = Some(true);
        Ok::<_, Errno>(udco_ipc::interface(&reply) == Interface::Left { several })
    };
    if is_left() != Ok(true) {
        return false;
    }
    // SAFETY: the program has set this member for TUNSETIFF.
    let flags = unsafe { request.ifr_ifru.ifru_flags };
    request.ifr_ifru.ifru_flags = flags | libc::IFF_MULTI_QUEUE as c_short;
    // SAFETY: TUNSETIFF reads and writes an ifreq.
    let attached = unsafe { libc::ioctl(queue, libc::TUNSETIFF, &raw mut *request) };
    if attached < 0 {
        request.ifr_ifru.ifru_flags = flags;
    }
    attached >= 0
}

/// A queue of the device that the request names.
fn attach(request: &mut ifreq, flags: u16) -> Result<Fd, Errno> {
    let queue = open()?;
    request.ifr_ifru.ifru_flags = flags.cast_signed();
    // SAFETY: TUNSETIFF reads and writes an ifreq.
    calls::checked(unsafe { libc::ioctl(queue.raw(), libc::TUNSETIFF, &raw mut *request) })?;
    Ok(queue)
}

/// An ioctl about an interface, which reads and writes an `ifreq`.
fn control(socket: &Fd, what: libc::Ioctl, request: &mut ifreq) -> Result<(), Errno> {
    // SAFETY: callers name requests that take an ifreq, and it outlives the call.
    calls::checked(unsafe { libc::ioctl(socket.raw(), what, &raw mut *request) }).map(drop)
}
