//! This process, and others by their ids.

use super::checked;
use alloc::vec::Vec;
use core::ptr::null;

/// Whether this thread has `CAP_NET_ADMIN` in effect.
pub(crate) fn is_admin() -> bool {
    /// `_LINUX_CAPABILITY_VERSION_3` and `CAP_NET_ADMIN`.
    const VERSION: u32 = 0x2008_0522;
    const NET_ADMIN: u32 = 12;
    // Version and thread (0: this one); then effective, permitted and inheritable, low half and high half.
    let mut header = [VERSION, 0];
    let mut sets = [0u32; 6];
    // SAFETY: both are as large as this version has it, and outlive the call.
    let result = unsafe { libc::syscall(libc::SYS_capget, header.as_mut_ptr(), sets.as_mut_ptr()) };
    result == 0 && sets[0] & 1 << NET_ADMIN != 0
}

/// The process id.
pub(crate) fn process() -> u32 {
    // SAFETY: cannot fail.
    unsafe { libc::getpid() }.cast_unsigned()
}

/// The name of the program.
pub(crate) fn program() -> Vec<u8> {
    let mut name = [0u8; 16];
    // SAFETY: PR_GET_NAME writes at most 16 bytes.
    unsafe { libc::prctl(libc::PR_GET_NAME, name.as_mut_ptr(), null::<u8>()) };
    name.split(|byte| *byte == 0)
        .next()
        .unwrap_or_default()
        .to_vec()
}

/// Whether a process with this id exists.
pub(crate) fn is_running(process: u32) -> bool {
    // SAFETY: signal 0 only checks.
    checked(unsafe { libc::kill(process.cast_signed(), 0) }) != Err(libc::ESRCH)
}
