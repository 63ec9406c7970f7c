//! Where the program's lines go, and with them its private engine's: the file behind fd 2, or syslog(3) (faults C3).

use crate::calls::{self, Errno, Fd};
use crate::dispenser::notify;
use crate::files;
use crate::lock::Lock;
use crate::marks;
use alloc::vec::Vec;
use core::ffi::CStr;
use core::sync::atomic::{AtomicBool, Ordering};
use libc::{c_char, c_int};
use udco_ipc::ToEngine;

/// The longest name on syslog that is passed on.
pub(crate) const MAX_IDENT: usize = 64;

const STANDARD_ERROR: c_int = 2;

/// Where syslog(3) listens.
const SYSLOG: &CStr = c"/dev/log";

/// Name and facility of the last `openlog`, until `closelog`.
static SYSLOGGED: Lock<Option<(Vec<u8>, c_int)>> = Lock::new(None);

/// Whether there is one: readable without the lock, which the reporter of a bug may hold.
static IS_SYSLOGGED: AtomicBool = AtomicBool::new(false);

/// The program has called `openlog`.
///
/// # Safety
/// `ident` is null or a C string.
pub(crate) unsafe fn opened_syslog(ident: *const c_char, facility: c_int) {
    let mut name = if ident.is_null() {
        calls::program()
    } else {
        // SAFETY: as the caller promised.
        unsafe { CStr::from_ptr(ident) }.to_bytes().to_vec()
    };
    name.truncate(MAX_IDENT);
    let facility = if facility == 0 {
        libc::LOG_USER
    } else {
        facility
    };
    set(Some((name, facility)));
}

/// The program has called `closelog`.
pub(crate) fn closed_syslog() {
    set(None);
}

/// Whether the program logs to syslog(3).
pub(crate) fn is_syslogged() -> bool {
    IS_SYSLOGGED.load(Ordering::Acquire)
}

/// Whether fd 2 really is the standard error: if that is closed, the number may go to any other file.
pub(crate) fn has_standard_error() -> bool {
    if marks::has(
        STANDARD_ERROR,
        marks::SERVED | marks::POLLED | marks::HIDDEN,
    ) {
        return false;
    }
    let option = |name| calls::option(STANDARD_ERROR, libc::SOL_SOCKET, name);
    match files::kind(STANDARD_ERROR) {
        Ok((libc::S_IFREG | libc::S_IFIFO, _)) => true,
        Ok((libc::S_IFCHR, device)) => device != files::TUN_DEVICE,
        // The journal's is a stream; a network stream is a transport.
        Ok((libc::S_IFSOCK, _)) => {
            option(libc::SO_DOMAIN) == Ok(libc::AF_UNIX)
                && option(libc::SO_TYPE) == Ok(libc::SOCK_STREAM)
        }
        _ => false,
    }
}

/// Reports to the private engine, over this connection.
pub(crate) fn report(connection: c_int) {
    let output = |facility: c_int, ident, fds: &[c_int]| {
        let message = ToEngine::Output {
            pid: calls::process(),
            facility: facility as u16,
            ident,
        };
        let _ = notify(connection, &message, fds);
    };
    let syslogged = SYSLOGGED.lock();
    match &*syslogged {
        Some((ident, facility)) => match syslog() {
            Ok(socket) => output(*facility, ident, &[socket.raw()]),
            // Then its own lines are lost, too.
            Err(_) => output(0, b"", &[]),
        },
        None if has_standard_error() => output(0, b"", &[STANDARD_ERROR]),
        None => output(0, b"", &[]),
    }
}

/// Reports that this process has daemonized, to an engine to which it has no connection.
pub(crate) fn let_go(dispenser: c_int) {
    let message = ToEngine::Output {
        pid: calls::process(),
        facility: 0,
        ident: b"",
    };
    let _ = notify(dispenser, &message, &[]);
}

fn syslog() -> Result<Fd, Errno> {
    let socket = calls::socket(libc::AF_UNIX, libc::SOCK_DGRAM, 0)?;
    calls::connect_unix(socket.raw(), SYSLOG)?;
    Ok(socket)
}

fn set(value: Option<(Vec<u8>, c_int)>) {
    IS_SYSLOGGED.store(value.is_some(), Ordering::Release);
    *SYSLOGGED.lock() = value;
}
