//! System calls of this library itself, bypassing its own hooks.

mod options;
mod process;

pub(crate) use options::{
    TIMEOUTS, bind_to_device, copy_timeout, is_another_users, is_timeout, network_namespace,
    option, raise_buffer,
};
pub(crate) use process::{is_admin, is_running, process, program};

use crate::clock::Instant;
use crate::{marks, real};
use alloc::vec;
use alloc::vec::Vec;
use core::ptr::null_mut;
use libc::{c_int, c_short, msghdr};

/// An errno.
pub(crate) type Errno = c_int;

/// `errno` of this thread.
pub(crate) fn errno() -> Errno {
    // SAFETY: always points to this thread's errno.
    let at = unsafe { libc::__errno_location() };
    // SAFETY: see above.
    unsafe { *at }
}

/// Sets `errno` of this thread.
pub(crate) fn set_errno(errno: Errno) {
    // SAFETY: always points to this thread's errno.
    let at = unsafe { libc::__errno_location() };
    // SAFETY: see above.
    unsafe { *at = errno };
}

/// Turns `-1` into the errno.
pub(crate) fn checked(result: c_int) -> Result<c_int, Errno> {
    if result < 0 { Err(errno()) } else { Ok(result) }
}

/// As [`checked`], for calls that return a length.
pub(crate) fn checked_len(result: isize) -> Result<usize, Errno> {
    usize::try_from(result).map_err(|_| errno())
}

/// A file descriptor of this library; closed when dropped.
#[derive(Debug)]
pub(crate) struct Fd {
    raw: c_int,
    hidden: bool,
}

impl Fd {
    /// Takes over an open fd.
    pub(crate) fn new(raw: c_int) -> Self {
        Self { raw, hidden: false }
    }

    /// Protects the fd from programs that close fds they do not know.
    pub(crate) fn hide(mut self) -> Self {
        self.hidden = true;
        marks::add(self.raw, marks::HIDDEN);
        self
    }

    /// The number.
    pub(crate) fn raw(&self) -> c_int {
        self.raw
    }

    /// Gives the fd to the program.
    pub(crate) fn into_raw(self) -> c_int {
        let raw = self.raw;
        core::mem::forget(self);
        raw
    }
}

impl Drop for Fd {
    fn drop(&mut self) {
        if self.hidden {
            if !marks::has(self.raw, marks::HIDDEN) {
                return; // a forked child closed it already
            }
            marks::remove(self.raw, marks::HIDDEN);
        }
        // SAFETY: the fd is owned and open.
        unsafe { real::close(self.raw) };
    }
}

/// A connected pair of Unix sockets, close-on-exec.
pub(crate) fn pair(kind: c_int) -> Result<(Fd, Fd), Errno> {
    let mut fds = [-1; 2];
    // SAFETY: there is room for two fds.
    checked(unsafe {
        libc::socketpair(
            libc::AF_UNIX,
            kind | libc::SOCK_CLOEXEC,
            0,
            fds.as_mut_ptr(),
        )
    })?;
    Ok((Fd::new(fds[0]), Fd::new(fds[1])))
}

/// Another number for the same open file, at least 3 (a low RLIMIT_NOFILE forbids high numbers: openvpn-integration
/// 3.8).
pub(crate) fn duplicate(fd: c_int) -> Result<Fd, Errno> {
    // SAFETY: no pointers.
    checked(unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 3) }).map(Fd::new)
}

/// `fcntl` that reads flags (`F_GETFD`, `F_GETFL`).
pub(crate) fn flags(fd: c_int, command: c_int) -> Result<c_int, Errno> {
    // SAFETY: no pointers.
    checked(unsafe { libc::fcntl(fd, command) })
}

/// `fcntl` that sets flags (`F_SETFD`, `F_SETFL`).
pub(crate) fn set_flags(fd: c_int, command: c_int, flags: c_int) -> Result<(), Errno> {
    // SAFETY: no pointers.
    checked(unsafe { libc::fcntl(fd, command, flags) }).map(drop)
}

/// Whether `O_NONBLOCK` is set.
pub(crate) fn is_nonblocking(fd: c_int) -> bool {
    flags(fd, libc::F_GETFL).is_ok_and(|flags| flags & libc::O_NONBLOCK != 0)
}

/// Sets `O_NONBLOCK`.
pub(crate) fn set_nonblocking(fd: c_int) -> Result<(), Errno> {
    let now = flags(fd, libc::F_GETFL)?;
    set_flags(fd, libc::F_SETFL, now | libc::O_NONBLOCK)
}

/// Waits for one of `events`; `false` at the deadline.
pub(crate) fn wait(fd: c_int, events: c_short, deadline: Instant) -> Result<bool, Errno> {
    loop {
        let left = deadline.left().as_micros().div_ceil(1000);
        let timeout = left.try_into().unwrap_or(c_int::MAX);
        let mut entry = libc::pollfd {
            fd,
            events,
            revents: 0,
        };
        // SAFETY: one entry, which outlives the call.
        match checked(unsafe { libc::poll(&raw mut entry, 1, timeout) }) {
            Ok(ready) => return Ok(ready > 0),
            Err(libc::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// Waits for a datagram as a receive call of the program would: up to the socket's timeout, and signals restart it or
/// not.
pub(crate) fn await_datagram(fd: c_int) -> Result<(), Errno> {
    receive(fd, &mut [], libc::MSG_PEEK).map(drop)
}

/// Sends one datagram with fds beside it, without blocking and without `SIGPIPE`.
pub(crate) fn send(fd: c_int, datagram: &[u8], fds: &[c_int]) -> Result<(), Errno> {
    let mut part = libc::iovec {
        iov_base: datagram.as_ptr().cast_mut().cast(),
        iov_len: datagram.len(),
    };
    let mut header = empty_message();
    header.msg_iov = &raw mut part;
    header.msg_iovlen = 1;
    // u64s, because control messages are aligned like size_t.
    let mut control = [0u64; 16];
    if !fds.is_empty() {
        let bytes = size_of_val(fds) as u32;
        // SAFETY: computes only.
        let space = unsafe { libc::CMSG_SPACE(bytes) } as usize;
        if space > size_of_val(&control) {
            return Err(libc::EMSGSIZE);
        }
        header.msg_control = control.as_mut_ptr().cast();
        header.msg_controllen = space;
        // SAFETY: msg_control and msg_controllen describe `control`.
        let first = unsafe { libc::CMSG_FIRSTHDR(&raw const header) };
        let head = libc::cmsghdr {
            // SAFETY: computes only.
            cmsg_len: unsafe { libc::CMSG_LEN(bytes) } as usize,
            cmsg_level: libc::SOL_SOCKET,
            cmsg_type: libc::SCM_RIGHTS,
        };
        // SAFETY: `first` points to the start of `control`, which has room for the header and the fds.
        unsafe { first.write(head) };
        // SAFETY: as above.
        let data = unsafe { libc::CMSG_DATA(first) };
        // SAFETY: as above; the two don't overlap.
        unsafe { data.copy_from_nonoverlapping(fds.as_ptr().cast(), bytes as usize) };
    }
    let flags = libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT;
    // SAFETY: the header describes memory that outlives the call.
    checked_len(unsafe { real::sendmsg(fd, &raw const header, flags) }).map(drop)
}

/// Receives into a buffer.
pub(crate) fn receive(fd: c_int, into: &mut [u8], flags: c_int) -> Result<usize, Errno> {
    // SAFETY: pointer and length describe the buffer.
    checked_len(unsafe { real::recv(fd, into.as_mut_ptr().cast(), into.len(), flags) })
}

/// Peeks at the next datagram. `room` is the size of the program's buffer: the kernel fits dumps to the buffers with
/// which a socket is read.
pub(crate) fn peek(fd: c_int, room: usize) -> Result<Vec<u8>, Errno> {
    const LEAST: usize = 8 * 1024;
    const MOST: usize = 128 * 1024;
    let flags = libc::MSG_PEEK | libc::MSG_TRUNC | libc::MSG_DONTWAIT;
    let mut datagram = vec![0; room.clamp(LEAST, MOST)];
    let mut len = receive(fd, &mut datagram, flags)?;
    if len > datagram.len() {
        datagram.resize(len, 0);
        len = receive(fd, &mut datagram, flags)?;
    }
    datagram.truncate(len);
    Ok(datagram)
}

/// An empty message header.
pub(crate) fn empty_message() -> msghdr {
    // SAFETY: all zeroes is a valid msghdr.
    let mut header: msghdr = unsafe { core::mem::zeroed() };
    header.msg_name = null_mut();
    header
}

/// A socket, close-on-exec.
pub(crate) fn socket(domain: c_int, kind: c_int, protocol: c_int) -> Result<Fd, Errno> {
    // SAFETY: no pointers.
    checked(unsafe { real::socket(domain, kind | libc::SOCK_CLOEXEC, protocol) }).map(Fd::new)
}

/// Binds a socket to an address (`T` is a `sockaddr_*`).
pub(crate) fn bind<T>(fd: c_int, address: &T) -> Result<(), Errno> {
    let len = size_of::<T>() as libc::socklen_t;
    // SAFETY: pointer and length describe `address`.
    checked(unsafe { real::bind(fd, (&raw const *address).cast(), len) }).map(drop)
}

/// Connects a socket to an address (`T` is a `sockaddr_*`).
pub(crate) fn connect<T>(fd: c_int, address: &T) -> Result<(), Errno> {
    let len = size_of::<T>() as libc::socklen_t;
    // SAFETY: pointer and length describe `address`.
    checked(unsafe { real::connect(fd, (&raw const *address).cast(), len) }).map(drop)
}

/// Connects a Unix socket to the one at a path.
pub(crate) fn connect_unix(fd: c_int, path: &core::ffi::CStr) -> Result<(), Errno> {
    let mut address = libc::sockaddr_un {
        sun_family: libc::AF_UNIX as libc::sa_family_t,
        sun_path: [0; 108],
    };
    let bytes = path.to_bytes_with_nul();
    if bytes.len() > address.sun_path.len() {
        return Err(libc::ENAMETOOLONG);
    }
    for (to, from) in address.sun_path.iter_mut().zip(bytes) {
        *to = *from as libc::c_char;
    }
    connect(fd, &address)
}

/// The local address of a socket, as bytes.
pub(crate) fn local_address(fd: c_int) -> Result<Vec<u8>, Errno> {
    let mut bytes = vec![0u8; size_of::<libc::sockaddr_storage>()];
    let mut len = bytes.len() as libc::socklen_t;
    // SAFETY: pointer and length describe `bytes`; getsockname writes bytes, without need for alignment.
    checked(unsafe { real::getsockname(fd, bytes.as_mut_ptr().cast(), &raw mut len) })?;
    bytes.truncate(len as usize);
    Ok(bytes)
}
