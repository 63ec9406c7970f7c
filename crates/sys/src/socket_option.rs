//! Socket options for which rustix has no typed function.
#![allow(unsafe_code)]

use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd};

use libc::{c_int, socklen_t};

use crate::netns::Netns;

/// `setsockopt` with an `int`.
pub(crate) fn set_int(
    fd: BorrowedFd<'_>,
    level: c_int,
    name: c_int,
    value: c_int,
) -> io::Result<()> {
    let length = size_of::<c_int>() as socklen_t;
    // SAFETY: the fd is open, and the kernel only reads `length` bytes of `value`.
    let result = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            level,
            name,
            (&raw const value).cast(),
            length,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// `getsockopt` of an `int`.
pub(crate) fn int(fd: BorrowedFd<'_>, level: c_int, name: c_int) -> io::Result<c_int> {
    let mut value = [0_u8; size_of::<c_int>()];
    bytes(fd, level, name, &mut value)?;
    Ok(c_int::from_ne_bytes(value))
}

/// The network namespace that a socket belongs to, unknown before Linux 5.14.
#[must_use]
pub fn network_namespace(fd: BorrowedFd<'_>) -> Netns {
    let mut value = [0_u8; size_of::<u64>()];
    match bytes(fd, libc::SOL_SOCKET, libc::SO_NETNS_COOKIE, &mut value) {
        Ok(_) => Netns::numbered(u64::from_ne_bytes(value)),
        Err(_) => Netns::UNKNOWN,
    }
}

/// Marks all packets of a socket for policy routing and filters (`SO_MARK`).
///
/// # Errors
///
/// `EPERM` without `CAP_NET_ADMIN` or `CAP_NET_RAW`.
pub fn set_mark(fd: BorrowedFd<'_>, mark: u32) -> io::Result<()> {
    set_int(fd, libc::SOL_SOCKET, libc::SO_MARK, mark.cast_signed())
}

/// The mark of a socket's packets (`SO_MARK`); 0 if none is set.
#[must_use]
pub fn socket_mark(fd: BorrowedFd<'_>) -> u32 {
    int(fd, libc::SOL_SOCKET, libc::SO_MARK).map_or(0, c_int::cast_unsigned)
}

/// Index of the device or VRF to which a socket is bound (`SO_BINDTODEVICE`); 0 if unbound, and before Linux 5.0.
#[must_use]
pub fn bound_device(fd: BorrowedFd<'_>) -> u32 {
    let ifindex = int(fd, libc::SOL_SOCKET, libc::SO_BINDTOIFINDEX).unwrap_or(0);
    u32::try_from(ifindex).unwrap_or(0)
}

/// `getsockopt` into `value`; returns how many bytes the kernel wrote, at most `value.len()`.
pub(crate) fn bytes(
    fd: BorrowedFd<'_>,
    level: c_int,
    name: c_int,
    value: &mut [u8],
) -> io::Result<usize> {
    let mut length = socklen_t::try_from(value.len()).unwrap_or(socklen_t::MAX);
    // SAFETY: the fd is open, and the kernel writes at most `length` bytes into `value`.
    let result = unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            level,
            name,
            value.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if result == 0 {
        Ok(value.len().min(length as usize))
    } else {
        Err(io::Error::last_os_error())
    }
}
