//! Options of sockets.

use super::{Errno, checked};
use crate::real;
use libc::c_int;

/// An integer socket option.
pub(crate) fn option(fd: c_int, level: c_int, name: c_int) -> Result<c_int, Errno> {
    let mut value: c_int = 0;
    let mut len = size_of::<c_int>() as libc::socklen_t;
    // SAFETY: value and len outlive the call and agree.
    let result =
        unsafe { real::getsockopt(fd, level, name, (&raw mut value).cast(), &raw mut len) };
    checked(result).map(|_| value)
}

/// The options that limit how long a call on a socket waits.
pub(crate) const TIMEOUTS: [c_int; 2] = [libc::SO_RCVTIMEO, libc::SO_SNDTIMEO];

/// Whether this option of `SOL_SOCKET` is one of them.
pub(crate) fn is_timeout(name: c_int) -> bool {
    /// What they are to programs of 32 bits whose times have 64 (`SO_RCVTIMEO_NEW` and `SO_SNDTIMEO_NEW`).
    const NEW: [c_int; 2] = [66, 67];
    TIMEOUTS.contains(&name) || NEW.contains(&name)
}

/// Gives a socket this limit of another one, which the kernel reports as 0 both if it is endless and if the call does not
/// wait.
pub(crate) fn copy_timeout(from: c_int, to: c_int, name: c_int) {
    let mut value = libc::timeval {
        tv_sec: 0,
        tv_usec: 0,
    };
    let mut len = size_of_val(&value) as libc::socklen_t;
    let (level, at) = (libc::SOL_SOCKET, (&raw mut value).cast());
    // SAFETY: value and len outlive the call and agree.
    if unsafe { real::getsockopt(from, level, name, at, &raw mut len) } == 0 {
        // SAFETY: value outlives the call, len is its size.
        unsafe { real::setsockopt(to, level, name, at, len) };
    }
}

/// The kernel's number of the network namespace of a socket; 0 before Linux 5.14.
pub(crate) fn network_namespace(fd: c_int) -> u64 {
    let mut value = 0u64;
    let mut len = size_of::<u64>() as libc::socklen_t;
    let into = (&raw mut value).cast();
    // SAFETY: value and len outlive the call and agree.
    unsafe {
        real::getsockopt(
            fd,
            libc::SOL_SOCKET,
            libc::SO_NETNS_COOKIE,
            into,
            &raw mut len,
        );
    }
    value
}

/// Whether the process at the other end of a Unix socket is another user's, and this one not root's.
pub(crate) fn is_another_users(fd: c_int) -> bool {
    let mut other = libc::ucred {
        pid: 0,
        uid: 0,
        gid: 0,
    };
    let mut len = size_of::<libc::ucred>() as libc::socklen_t;
    let into = (&raw mut other).cast();
    // SAFETY: other and len outlive the call and agree.
    let result =
        unsafe { real::getsockopt(fd, libc::SOL_SOCKET, libc::SO_PEERCRED, into, &raw mut len) };
    // SAFETY: cannot fail.
    let own = unsafe { libc::geteuid() };
    result == 0 && own != 0 && own != other.uid
}

/// Restricts a socket to the routes through one device.
pub(crate) fn bind_to_device(fd: c_int, name: &core::ffi::CStr) -> Result<(), Errno> {
    let bytes = name.to_bytes();
    let len = bytes.len() as libc::socklen_t;
    let (level, option) = (libc::SOL_SOCKET, libc::SO_BINDTODEVICE);
    // SAFETY: pointer and length describe the name.
    let result = unsafe { real::setsockopt(fd, level, option, bytes.as_ptr().cast(), len) };
    checked(result).map(drop)
}

/// Requests a send (`SO_SNDBUF`) or receive buffer (`SO_RCVBUF`) of that size, beyond the system's limit if
/// permitted.
pub(crate) fn raise_buffer(fd: c_int, name: c_int, size: c_int) {
    let forced = match name {
        libc::SO_SNDBUF => libc::SO_SNDBUFFORCE,
        _ => libc::SO_RCVBUFFORCE,
    };
    if set_option(fd, libc::SOL_SOCKET, forced, size).is_err() {
        let _ = set_option(fd, libc::SOL_SOCKET, name, size);
    }
}

/// Sets an integer socket option.
fn set_option(fd: c_int, level: c_int, name: c_int, value: c_int) -> Result<(), Errno> {
    let len = size_of::<c_int>() as libc::socklen_t;
    // SAFETY: value outlives the call, len is its size.
    let result = unsafe { real::setsockopt(fd, level, name, (&raw const value).cast(), len) };
    checked(result).map(drop)
}
