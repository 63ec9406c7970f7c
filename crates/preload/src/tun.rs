//! Makes TUN devices, in the program's network namespace and with its rights: the engine needs none.

use crate::answer;
use crate::calls::{self, Errno, Fd};
use libc::{c_char, c_int, c_short, ifreq};
use std::time::{Duration, Instant};
use udco_ipc::{Alias, Interface};

/// Flags of every queue. Whatever the engine reads and writes with the packets is settled here.
const FLAGS: c_int = libc::IFF_TUN | libc::IFF_NO_PI | libc::IFF_VNET_HDR;
/// Only for the first queue: the name must be new.
const IFF_TUN_EXCL: c_int = 0x8000;
/// How many packets a queue takes: as the driver's, twice what is TUN's own habit (faults E5).
const QUEUE_LENGTH: u32 = 1000;
/// Room for changes of many routes at once.
const MONITOR_BUFFER: c_int = 4 << 20;
/// Room for what the kernel tells of a link.
const TOLD: usize = 32 << 10;
/// How long an engine may need to let go of a device whose program was killed a moment ago.
const LETTING_GO: Duration = Duration::from_millis(300);

/// A TUN device. A new one is removed when dropped, unless [`Device::keep`] was called.
pub(crate) struct Device {
    /// Name that it got.
    pub(crate) name: Vec<u8>,
    /// Interface index.
    pub(crate) ifindex: u32,
    /// A dead engine had left it.
    was_left: bool,
    queues: Vec<Fd>,
    monitor: Fd,
    kept: bool,
}

/// Whether a TUN device can be made at all, as far as can be said without making one.
pub(crate) fn probe() -> Result<(), Errno> {
    open().map(drop)
}

/// A socket for requests about interfaces. Any kind will do: of one that OpenVPN cannot do without, because a unit with
/// `RestrictAddressFamilies` may not allow others (faults B8).
fn names() -> Result<Fd, Errno> {
    calls::socket(libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_ROUTE)
}

/// What a device shall be like.
pub(crate) struct Wanted<'a> {
    /// Its name; `%d` stands for the first free number.
    pub(crate) name: &'a [u8],
    /// How many queues.
    pub(crate) queues: u16,
    /// Its MTU.
    pub(crate) mtu: u32,
    /// Whether it has the flag `IFF_MULTICAST`.
    pub(crate) multicast: bool,
    /// Whether to set it up.
    pub(crate) up: bool,
    /// What its alias has to end with.
    pub(crate) nonce: u64,
    /// How many packets its queue takes, if the program says so.
    pub(crate) txqueuelen: Option<u32>,
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
    /// Makes a device that stays when all fds are closed: no packet leaves in the clear after the engine died. One of that
    /// name that a dead engine or program has left is taken as it is: with the queues that it was made for (faults A5), and
    /// with its addresses too, since with the last of them the kernel would take its routes away (promises I1).
    ///
    /// # Errors
    /// `EEXIST` if anything else has the name, `EINVAL` for more queues than a message takes, else what the kernel said.
    pub(crate) fn create(wanted: &Wanted<'_>) -> Result<Self, Errno> {
        let Wanted { name, queues, .. } = *wanted;
        if usize::from(queues) >= udco_ipc::MAX_FDS {
            return Err(libc::EINVAL);
        }
        let names = names()?;
        let monitor = monitor()?;
        let mut request = request(name)?;
        let there = (!name.is_empty()).then(|| index(&names, &mut request).ok());
        let (queues, was_left) = match there.flatten() {
            Some(ifindex) => (take(ifindex, &mut request, queues)?, true),
            None => (make(&mut request, queues)?, false),
        };
        let mut device = Self {
            name: name_of(&request),
            ifindex: 0,
            was_left,
            queues,
            monitor,
            kept: false,
        };
        device.persist(true)?;
        device.ifindex = index(&names, &mut request)?;
        device.set_up(&names, &mut request, wanted)?;
        // The one kind has the flag, the other has not.
        let kind = if wanted.multicast { "ovpn-dco" } else { "ovpn" };
        let alias = Alias::new(kind, wanted.nonce);
        // The engine reads it back: without it there is no proof (faults D1).
        let _ = ask(&answer::link_alias(device.ifindex, alias.as_bytes()));
        Ok(device)
    }

    /// The fds in the order of the protocol: the queues, then the route monitor.
    pub(crate) fn fds(&self) -> Vec<c_int> {
        let queues = self.queues.iter().chain([&self.monitor]);
        queues.map(Fd::raw).collect()
    }

    /// The engine has it: closes our fds and leaves the device.
    pub(crate) fn keep(mut self) {
        self.kept = true;
    }

    /// Gives the device its MTU and flags.
    fn set_up(&self, names: &Fd, request: &mut ifreq, wanted: &Wanted<'_>) -> Result<(), Errno> {
        request.ifr_ifru.ifru_mtu = wanted.mtu.cast_signed();
        control(names, libc::SIOCSIFMTU, request)?;
        // `ifr_qlen` lies where this member does. A length that the kernel does not take leaves the queue as it is.
        let length = wanted.txqueuelen.unwrap_or(QUEUE_LENGTH);
        request.ifr_ifru.ifru_metric = c_int::try_from(length).unwrap_or(c_int::MAX);
        let _ = control(names, libc::SIOCSIFTXQLEN, request);
        control(names, libc::SIOCGIFFLAGS, request)?;
        // SAFETY: SIOCGIFFLAGS has written this member.
        let present = c_int::from(unsafe { request.ifr_ifru.ifru_flags });
        let mut flags = present;
        if !wanted.multicast {
            flags &= !libc::IFF_MULTICAST;
        }
        if wanted.up {
            flags |= libc::IFF_UP;
        }
        request.ifr_ifru.ifru_flags = flags as c_short;
        control(names, libc::SIOCSIFFLAGS, request)
    }

    fn persist(&self, on: bool) -> Result<(), Errno> {
        let Some(first) = self.queues.first() else {
            return Ok(());
        };
        // SAFETY: TUNSETPERSIST takes an integer.
        calls::checked(unsafe { libc::ioctl(first.raw(), libc::TUNSETPERSIST, c_int::from(on)) })
            .map(drop)
    }

    /// Removes the device although a silent engine may have copies of its fds.
    fn delete(&self) {
        if self.ifindex != 0 {
            let request = answer::about_link(libc::RTM_DELLINK, self.ifindex);
            let _ = calls::send(self.monitor.raw(), &request, &[]);
        }
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        if !(self.kept || self.was_left) {
            let _ = self.persist(false);
            self.delete();
        }
    }
}

/// Whether what the kernel tells of a link shows a device of ours that nobody serves. One that has no peer is without a
/// carrier too, so only who asks for the queue learns that somebody has it; if nobody has, it is had for a moment.
pub(crate) fn is_left(told: &[u8], name: &[u8]) -> bool {
    match udco_ipc::interface(told) {
        Interface::Foreign | Interface::Served => false,
        Interface::Left {
            several: Some(true),
        } => true,
        Interface::Left { .. } => {
            let queue = request(name).and_then(|mut request| attach(&mut request, FLAGS));
            !matches!(queue, Err(libc::EBUSY))
        }
    }
}

fn open() -> Result<Fd, Errno> {
    calls::open(c"/dev/net/tun", libc::O_RDWR | libc::O_NONBLOCK)
}

/// The queues of a new device. What was made goes with them if this fails: it is not persistent yet.
fn make(request: &mut ifreq, queues: u16) -> Result<Vec<Fd>, Errno> {
    let several = if queues > 1 { libc::IFF_MULTI_QUEUE } else { 0 };
    let first = attach(request, FLAGS | several | IFF_TUN_EXCL).map_err(|errno| match errno {
        // Another process has made it in between.
        libc::EBUSY => libc::EEXIST,
        errno => errno,
    })?;
    let mut made = vec![first];
    for _ in 1..queues {
        made.push(attach(request, FLAGS | several)?);
    }
    Ok(made)
}

/// The queues of a device that was left: as many as are wanted, or the only one. `EEXIST` if it is not such a device, or
/// somebody has it; any other error is one of those that end OpenVPN, which takes `EEXIST` for success.
fn take(ifindex: u32, request: &mut ifreq, wanted: u16) -> Result<Vec<Fd>, Errno> {
    let deadline = Instant::now() + LETTING_GO;
    loop {
        let told = ask(&answer::about_link(libc::RTM_GETLINK, ifindex))?;
        let taken = match udco_ipc::interface(&told) {
            Interface::Foreign => return Err(libc::EEXIST),
            Interface::Served => Err(libc::EBUSY),
            Interface::Left { several } => attach_all(request, wanted, several),
        };
        match taken {
            Err(libc::EBUSY) if Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(10));
            }
            Err(libc::EBUSY) => return Err(libc::EEXIST),
            Err(libc::EEXIST) => return Err(libc::EINVAL),
            taken => return taken,
        }
    }
}

fn attach_all(request: &mut ifreq, wanted: u16, several: Option<bool>) -> Result<Vec<Fd>, Errno> {
    let is_several = several.unwrap_or(wanted > 1);
    let (flags, count) = if is_several {
        (FLAGS | libc::IFF_MULTI_QUEUE, wanted.max(1))
    } else {
        (FLAGS, 1)
    };
    let all = (0..count).map(|_| attach(request, flags)).collect();
    match all {
        // It was made the other way.
        Err(libc::EINVAL) if several.is_none() => attach_all(request, wanted, Some(!is_several)),
        all => all,
    }
}

/// What the kernel answers to a request, on a socket of its own: it has answered when the request was sent.
fn ask(request: &[u8]) -> Result<Vec<u8>, Errno> {
    let socket = calls::socket(libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_ROUTE)?;
    calls::send(socket.raw(), request, &[])?;
    let mut told = vec![0; TOLD];
    let len = calls::receive(socket.raw(), &mut told, libc::MSG_DONTWAIT)?;
    told.truncate(len);
    Ok(told)
}

/// A socket that hears of changes of links, addresses and routes.
fn monitor() -> Result<Fd, Errno> {
    let kind = libc::SOCK_RAW | libc::SOCK_NONBLOCK;
    let fd = calls::socket(libc::AF_NETLINK, kind, libc::NETLINK_ROUTE)?;
    calls::raise_buffer(fd.raw(), libc::SO_RCVBUF, MONITOR_BUFFER);
    // SAFETY: all zeroes is a valid sockaddr_nl.
    let mut address: libc::sockaddr_nl = unsafe { std::mem::zeroed() };
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
    let mut request: ifreq = unsafe { std::mem::zeroed() };
    if name.len() >= request.ifr_name.len() {
        return Err(libc::ENAMETOOLONG);
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name) {
        *to = *from as c_char;
    }
    Ok(request)
}

/// A queue of the device that the request names.
fn attach(request: &mut ifreq, flags: c_int) -> Result<Fd, Errno> {
    let queue = open()?;
    request.ifr_ifru.ifru_flags = flags as c_short;
    // SAFETY: TUNSETIFF reads and writes an ifreq.
    calls::checked(unsafe { libc::ioctl(queue.raw(), libc::TUNSETIFF, &raw mut *request) })?;
    Ok(queue)
}

fn index(socket: &Fd, request: &mut ifreq) -> Result<u32, Errno> {
    control(socket, libc::SIOCGIFINDEX, request)?;
    // SAFETY: SIOCGIFINDEX has written this member.
    Ok(unsafe { request.ifr_ifru.ifru_ifindex }.cast_unsigned())
}

/// An ioctl about an interface, which reads and writes an `ifreq`.
fn control(socket: &Fd, what: libc::Ioctl, request: &mut ifreq) -> Result<(), Errno> {
    // SAFETY: callers name requests that take an ifreq, and it outlives the call.
    calls::checked(unsafe { libc::ioctl(socket.raw(), what, &raw mut *request) }).map(drop)
}

fn name_of(request: &ifreq) -> Vec<u8> {
    let bytes = request.ifr_name.iter().map(|byte| *byte as u8);
    bytes.take_while(|byte| *byte != 0).collect()
}
