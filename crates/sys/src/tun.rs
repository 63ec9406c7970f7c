//! Queues of a TUN interface.
//!
//! The client, which has the capability and the namespace, makes the interface and passes its queues; the engine adopts
//! them. A queue reads and writes whole packets, each after a virtio-net header of [`VNET_HEADER_LEN`] bytes when
//! [`Queue::vnet_header`] says so.
#![allow(unsafe_code)]

use std::ffi::CStr;
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use libc::{c_int, c_short, c_ulong, ifreq};
use rustix::fs::{FileType, Mode, OFlags, fcntl_getfl, fcntl_setfl, fstat, major, minor, open};
use rustix::io::{Errno, ReadWriteFlags, preadv2, pwritev2, readv, writev};
use rustix::net::{AddressFamily, SocketFlags, SocketType, netdevice, socket_with};

/// Bytes of `struct virtio_net_hdr`, before every packet of a queue with that header.
pub const VNET_HEADER_LEN: usize = 10;

/// Flags of [`Queue::set_offload`]: the work that the kernel may leave to us in the packets we read. `TUN_F_*` of
/// `linux/if_tun.h`.
pub mod offload {
    /// Checksums may be partial; the other flags require it.
    pub const CSUM: u32 = 0x01;
    /// TCP over IPv4 may be up to 64 KiB.
    pub const TSO4: u32 = 0x02;
    /// TCP over IPv6 may be up to 64 KiB.
    pub const TSO6: u32 = 0x04;
    /// TCP super-packets may carry ECN's CWR.
    pub const TSO_ECN: u32 = 0x08;
    /// UDP over IPv4 may hold several datagrams of equal size (Linux 6.2). Only together with [`USO6`].
    pub const USO4: u32 = 0x20;
    /// UDP over IPv6 likewise.
    pub const USO6: u32 = 0x40;
}

/// The offset for `preadv2` and `pwritev2` on a file without offsets.
const NO_PLACE: u64 = u64::MAX;

/// One queue of a TUN interface: reads and writes return at once.
///
/// The client that passed the queue shares the open file, and may clear `O_NONBLOCK` at any time (faults D2). So each
/// call passes `RWF_NOWAIT`, which TUN supports since Linux 6.4. Older kernels only have `O_NONBLOCK`; it is set again
/// when a signal interrupts a call, which is how a watchdog frees a thread.
#[derive(Debug)]
pub struct Queue {
    fd: OwnedFd,
    name: String,
    vnet_header: bool,
    multi_queue: bool,
    /// Whether the kernel supports `RWF_NOWAIT` here, as far as tried.
    nowait: AtomicBool,
}

impl Queue {
    /// Takes over a descriptor of `/dev/net/tun` that is attached to an interface, makes it non-blocking and sets its
    /// virtio header to [`VNET_HEADER_LEN`] bytes.
    ///
    /// # Errors
    ///
    /// `EINVAL`: not a TUN descriptor, or of a TAP; `EBADFD`: not attached. The descriptor is closed on error.
    ///
    /// One thing the kernel does not reveal: `TUNGETIFF` reports `IFF_NO_PI` even for a queue made without it (seen
    /// with 6.18). The packets of such a queue start with four more bytes, the first of which are 0, so they have no
    /// valid IP version and are dropped as such.
    pub fn adopt(fd: OwnedFd) -> io::Result<Self> {
        if !is_tun_device(fd.as_fd())? {
            return Err(Errno::INVAL.into());
        }
        let mut request = empty_request();
        ioctl_with(fd.as_fd(), libc::TUNGETIFF, &mut request)?;
        let flags = flags_of(&request);
        if flags & libc::IFF_TUN == 0 || flags & libc::IFF_NO_PI == 0 {
            return Err(Errno::INVAL.into());
        }
        let vnet_header = flags & libc::IFF_VNET_HDR != 0;
        if vnet_header {
            // The client may have set another length; 10 is the kernel's default.
            let mut length = VNET_HEADER_LEN as c_int;
            ioctl_with(fd.as_fd(), libc::TUNSETVNETHDRSZ, &mut length)?;
        }
        fcntl_setfl(&fd, fcntl_getfl(&fd)? | OFlags::NONBLOCK)?;
        Ok(Self {
            name: name_of(&request),
            vnet_header,
            multi_queue: flags & libc::IFF_MULTI_QUEUE != 0,
            nowait: AtomicBool::new(true),
            fd,
        })
    }

    /// The interface's name when the queue was adopted; it may have been renamed since.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The interface's current name in its network namespace, as the kernel reports it.
    ///
    /// # Errors
    ///
    /// `EBADFD`: the interface is gone.
    pub fn current_name(&self) -> io::Result<String> {
        let mut request = empty_request();
        ioctl_with(self.fd.as_fd(), libc::TUNGETIFF, &mut request)?;
        Ok(name_of(&request))
    }

    /// Whether every packet read or written starts with a virtio-net header.
    #[must_use]
    pub fn vnet_header(&self) -> bool {
        self.vnet_header
    }

    /// Whether the interface may have further queues.
    #[must_use]
    pub fn multi_queue(&self) -> bool {
        self.multi_queue
    }

    /// Reads one packet (after its virtio header). A packet longer than `into` is truncated, so pass 65,535 +
    /// [`VNET_HEADER_LEN`] bytes.
    ///
    /// # Errors
    ///
    /// `EAGAIN` (`WouldBlock`): there is no packet; `EBADFD`: the interface is gone; `EIO`: the queue is disabled or
    /// the interface is down (write).
    pub fn read(&self, into: &mut [u8]) -> io::Result<usize> {
        let mut pieces = [IoSliceMut::new(into)];
        self.at_once(|flags| match flags {
            Some(flags) => preadv2(&self.fd, &mut pieces, NO_PLACE, flags),
            None => readv(&self.fd, &mut pieces),
        })
    }

    /// Writes one packet (after its virtio header).
    ///
    /// # Errors
    ///
    /// `EINVAL`: the kernel refuses the packet or its virtio header; `EIO`: the interface is down;
    /// `EAGAIN`, `ENOBUFS`, `ENOMEM`: drop it; `EBADFD`: the interface is gone.
    pub fn write(&self, packet: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(packet)])
    }

    /// [`Queue::write`] of one packet in several pieces (at most 1,024).
    ///
    /// # Errors
    ///
    /// As [`Queue::write`].
    pub fn write_vectored(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        self.at_once(|flags| match flags {
            Some(flags) => pwritev2(&self.fd, pieces, NO_PLACE, flags),
            None => writev(&self.fd, pieces),
        })
    }

    /// Whether no call on it can wait, even if others change the flags of its open file; true since Linux 6.4. If a
    /// packet is readable, finding out loses it.
    pub fn never_waits(&self) -> bool {
        let mut packet = [0];
        let mut pieces = [IoSliceMut::new(&mut packet)];
        let read = preadv2(&self.fd, &mut pieces, NO_PLACE, ReadWriteFlags::NOWAIT);
        !matches!(read, Err(Errno::OPNOTSUPP | Errno::NOSYS))
    }

    /// Retries a call while it is interrupted, with the flags that keep it from waiting, or without them where the
    /// kernel does not support them.
    fn at_once(
        &self,
        mut call: impl FnMut(Option<ReadWriteFlags>) -> rustix::io::Result<usize>,
    ) -> io::Result<usize> {
        loop {
            let flags = self
                .nowait
                .load(Ordering::Relaxed)
                .then_some(ReadWriteFlags::NOWAIT);
            match call(flags) {
                Err(Errno::INTR) => {
                    fcntl_setfl(&self.fd, fcntl_getfl(&self.fd)? | OFlags::NONBLOCK)?
                }
                Err(Errno::OPNOTSUPP | Errno::NOSYS) if flags.is_some() => {
                    self.nowait.store(false, Ordering::Relaxed);
                }
                result => return Ok(result?),
            }
        }
    }

    /// Sets whether the interface outlives its last queue: if so, packets for a dead engine's peers are dropped there
    /// instead of leaving in the clear by another route (design decision 4).
    ///
    /// # Errors
    ///
    /// `EBADFD`: the interface is gone.
    pub fn set_persist(&self, persist: bool) -> io::Result<()> {
        set_persist(self.fd.as_fd(), persist)
    }

    /// Sets whether the interface has carrier, as if a cable were plugged in. It gains carrier with its first queue.
    ///
    /// # Errors
    ///
    /// `EBADFD`: the interface is gone; `EINVAL`: a kernel older than 5.0.
    pub fn set_carrier(&self, carrier: bool) -> io::Result<()> {
        let mut carrier = c_int::from(carrier);
        ioctl_with(self.fd.as_fd(), libc::TUNSETCARRIER, &mut carrier)
    }

    /// Sets how much of [`offload`] the kernel may leave to us, for all queues of the interface. 0 turns everything
    /// off.
    ///
    /// # Errors
    ///
    /// `EINVAL`: this kernel does not know one of the flags; nothing has changed then.
    pub fn set_offload(&self, flags: u32) -> io::Result<()> {
        ioctl_with_value(self.fd.as_fd(), libc::TUNSETOFFLOAD, c_ulong::from(flags))
    }

    /// Another descriptor of the same queue.
    ///
    /// # Errors
    ///
    /// `EMFILE`.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self {
            fd: self.fd.try_clone()?,
            name: self.name.clone(),
            vnet_header: self.vnet_header,
            multi_queue: self.multi_queue,
            nowait: AtomicBool::new(self.nowait.load(Ordering::Relaxed)),
        })
    }

    /// Gives up the descriptor.
    #[must_use]
    pub fn into_fd(self) -> OwnedFd {
        self.fd
    }
}

/// Whether this error of a queue means that its interface is gone (`EBADFD`), and not that one call has failed.
#[must_use]
pub fn is_gone(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EBADFD)
}

impl AsFd for Queue {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// A TUN interface made by [`create`].
#[derive(Debug)]
pub struct Created {
    /// Its queues, at least one, not yet adopted.
    pub queues: Vec<OwnedFd>,
    /// Its index in the caller's network namespace.
    pub ifindex: u32,
    /// Its name: the given one with `%d` replaced.
    pub name: String,
}

/// Makes a new, persistent TUN interface with virtio headers and `queues` queues (at least one) in
/// the caller's network namespace. Needs `CAP_NET_ADMIN` there.
///
/// A name with `%d` gets a free number.
///
/// # Errors
///
/// `EBUSY`: an interface of that name exists; `EPERM`; `EINVAL`: invalid name; `E2BIG`: more than 256 queues; `ENOENT`:
/// no `/dev/net/tun`. Nothing is left behind on error.
pub fn create(name: &str, queues: usize) -> io::Result<Created> {
    let mut flags = libc::IFF_TUN | libc::IFF_NO_PI | libc::IFF_VNET_HDR;
    if queues > 1 {
        flags |= libc::IFF_MULTI_QUEUE;
    }
    // Only the first queue is exclusive: the flag means "must not exist yet".
    let (first, name) = attach(name, flags | libc::IFF_TUN_EXCL)?;
    let mut made = vec![first];
    while made.len() < queues {
        // An interface that is not persistent yet disappears with its queues if this fails.
        made.push(attach(&name, flags)?.0);
    }
    let any = socket_with(
        AddressFamily::INET,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC,
        None,
    )?;
    let ifindex = netdevice::name_to_index(&any, &name)?;
    if let Some(first) = made.first() {
        set_persist(first.as_fd(), true)?;
    }
    Ok(Created {
        queues: made,
        ifindex,
        name,
    })
}

/// [`Queue::set_persist`] of a queue that was not adopted.
///
/// # Errors
///
/// `EBADFD`: the interface is gone.
pub fn set_persist(queue: BorrowedFd<'_>, persist: bool) -> io::Result<()> {
    ioctl_with_value(queue, libc::TUNSETPERSIST, c_ulong::from(persist))
}

/// Opens one more queue, of a new or an existing interface, with these flags of `TUNSETIFF`. Returns the interface's
/// name, too.
///
/// # Errors
///
/// `EBUSY`: another process has its only queue; `EPERM`; `EINVAL`: invalid name, not a TUN interface, or one that was
/// made with `IFF_MULTI_QUEUE` if `flags` lack it, or the reverse.
pub fn open_queue(name: &str, flags: u16) -> io::Result<(OwnedFd, String)> {
    attach(name, flags.into())
}

fn attach(name: &str, flags: c_int) -> io::Result<(OwnedFd, String)> {
    let fd = open(
        "/dev/net/tun",
        OFlags::RDWR | OFlags::CLOEXEC | OFlags::NONBLOCK,
        Mode::empty(),
    )?;
    let mut request = empty_request();
    // One byte stays zero: the kernel's names are C strings.
    let room = request.ifr_name.len() - 1;
    if name.is_empty() || name.len() > room || name.bytes().any(|byte| byte == 0) {
        return Err(Errno::INVAL.into());
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from.cast_signed() as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = flags as c_short;
    ioctl_with(fd.as_fd(), libc::TUNSETIFF, &mut request)?;
    Ok((fd, name_of(&request)))
}

/// Character device 10:200. Checked before any TUN ioctl, as their numbers mean something else to other drivers, and
/// the descriptor may be anything (promises G2).
fn is_tun_device(fd: BorrowedFd<'_>) -> io::Result<bool> {
    let status = fstat(fd)?;
    Ok(
        FileType::from_raw_mode(status.st_mode) == FileType::CharacterDevice
            && major(status.st_rdev) == 10
            && minor(status.st_rdev) == 200,
    )
}

fn empty_request() -> ifreq {
    // SAFETY: `ifreq` is plain C data for which all zeroes are valid.
    unsafe { std::mem::zeroed() }
}

fn flags_of(request: &ifreq) -> c_int {
    // SAFETY: the whole union is initialised (zeroes, then what the kernel wrote), any bits are a valid short.
    let flags = unsafe { request.ifr_ifru.ifru_flags };
    c_int::from(flags.cast_unsigned())
}

fn name_of(request: &ifreq) -> String {
    let bytes = request.ifr_name.map(|byte| byte as u8);
    CStr::from_bytes_until_nul(&bytes)
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default()
}

/// An ioctl of the TUN driver that reads or writes a `T`: an `ifreq` or an `int`.
fn ioctl_with<T>(fd: BorrowedFd<'_>, request: libc::Ioctl, argument: &mut T) -> io::Result<()> {
    // SAFETY: `argument` is live and exclusive, and callers pass only requests that transfer a `T`.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), request, &raw mut *argument) };
    check(result)
}

/// An ioctl of the TUN driver whose argument is a number.
fn ioctl_with_value(fd: BorrowedFd<'_>, request: libc::Ioctl, argument: c_ulong) -> io::Result<()> {
    // SAFETY: the requests used here take their argument by value and touch no memory of ours.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), request, argument) };
    check(result)
}

fn check(result: c_int) -> io::Result<()> {
    if result == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
