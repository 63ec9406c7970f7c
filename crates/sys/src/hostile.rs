//! For tests: attacks by a hostile process on descriptors that it shares with the engine (faults D2).
#![allow(unsafe_code, missing_docs)]

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use libc::{c_int, c_long, c_uint};

/// `setsockopt` with any value.
///
/// # Errors
///
/// The kernel's.
pub fn set_option(fd: impl AsFd, level: c_int, name: c_int, value: &[c_int]) -> io::Result<()> {
    let length = size_of_val(value) as libc::socklen_t;
    // SAFETY: the kernel only reads `length` bytes of `value`.
    let result = unsafe {
        libc::setsockopt(
            fd.as_fd().as_raw_fd(),
            level,
            name,
            value.as_ptr().cast(),
            length,
        )
    };
    check(result)
}

/// An ioctl that reads or writes at most 128 bytes.
///
/// # Errors
///
/// The kernel's.
pub fn ioctl(fd: impl AsFd, request: u32, value: c_int) -> io::Result<()> {
    let mut argument = [0 as c_int; 32];
    argument[0] = value;
    // SAFETY: callers pass only requests that transfer no more than the array holds.
    let result =
        unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), request as _, argument.as_mut_ptr()) };
    check(result)
}

/// `TUNSETQUEUE`: detaches a queue from its interface (`0x400`), or attaches it again (`0x200`).
///
/// # Errors
///
/// The kernel's.
pub fn set_queue(fd: impl AsFd, flags: i16) -> io::Result<()> {
    const TUNSETQUEUE: u32 = 0x4004_54d9;
    // SAFETY: all zeroes is a valid ifreq.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    request.ifr_ifru.ifru_flags = flags;
    // SAFETY: TUNSETQUEUE reads an ifreq.
    let result = unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), TUNSETQUEUE as _, &raw mut request) };
    check(result)
}

/// An ioctl whose argument is a number.
///
/// # Errors
///
/// The kernel's.
pub fn ioctl_value(fd: impl AsFd, request: u32, value: c_long) -> io::Result<()> {
    // SAFETY: callers pass only requests that take their argument by value.
    let result = unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), request as _, value) };
    check(result)
}

/// A socket of any kind.
///
/// # Errors
///
/// The kernel's.
pub fn socket(domain: c_int, kind: c_int, protocol: c_int) -> io::Result<OwnedFd> {
    // SAFETY: no memory is passed.
    owned(unsafe { libc::socket(domain, kind | libc::SOCK_CLOEXEC, protocol) })
}

/// An epoll set, a timer, a handle of this process, and an eventfd.
pub fn odd_descriptors() -> Vec<OwnedFd> {
    // SAFETY: no memory is passed.
    let epoll = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
    // SAFETY: no memory is passed.
    let timer = unsafe { libc::timerfd_create(libc::CLOCK_MONOTONIC, libc::TFD_CLOEXEC) };
    // SAFETY: no memory is passed.
    let process = unsafe { libc::syscall(libc::SYS_pidfd_open, std::process::id(), 0 as c_uint) };
    // SAFETY: no memory is passed.
    let event = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) };
    [epoll, timer, process as c_int, event]
        .into_iter()
        .filter_map(|fd| owned(fd).ok())
        .collect()
}

fn owned(fd: c_int) -> io::Result<OwnedFd> {
    check(fd.min(0))?;
    // SAFETY: it was just made, and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn check(result: c_int) -> io::Result<()> {
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
