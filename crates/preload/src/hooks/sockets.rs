//! Sockets: making, naming and connecting them, and their options.

use super::fds::fresh;
use crate::marks::{self, FRESH, SERVED};
use crate::{calls, fds, real, socket, state};
use libc::{c_int, c_void, sockaddr, socklen_t};

/// `socket`: generic netlink becomes a channel to the engine; rtnetlink is monitored.
///
/// # Safety
/// As for libc's function of that name.
#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C" fn socket(domain: c_int, kind: c_int, protocol: c_int) -> c_int {
    let is_netlink = domain == libc::AF_NETLINK
        && matches!(protocol, libc::NETLINK_GENERIC | libc::NETLINK_ROUTE);
    if is_netlink && state::is_configured() {
        match state::enter(|| socket::open(kind, protocol)) {
            Some(Ok(fd)) => return fd,
            Some(Err(_)) => return -1,
            None => {}
        }
    }
    // SAFETY: no pointers.
    let fd = unsafe { real::socket(domain, kind, protocol) };
    match domain {
        libc::AF_INET | libc::AF_INET6 => {
            connected(fd);
            if fd >= 0 && state::is_active() {
                marks::add(fd, FRESH);
            }
        }
        _ => fresh(fd),
    }
    fd
}

openers! {
    accept(fd: c_int, address: *mut sockaddr, len: *mut socklen_t), |new| connected(new);
    accept4(fd: c_int, address: *mut sockaddr, len: *mut socklen_t, flags: c_int), |new| connected(new);
}

hooks! {
    bind(fd: c_int, address: *const sockaddr, len: socklen_t) -> c_int, if marks::has(fd, SERVED) => {
        if let Some(real) = socket::real_of(fd) {
            // SAFETY: the caller keeps to libc's contract.
            return Some(calls::checked(unsafe { real::bind(real, address, len) }));
        }
        // SAFETY: the caller keeps to libc's contract.
        socket::bind(fd, unsafe { socket::bytes_of(address, len) })
    };
    connect(fd: c_int, address: *const sockaddr, len: socklen_t) -> c_int, if marks::has(fd, SERVED | FRESH) => {
        // SAFETY: the caller keeps to libc's contract.
        socket::first_use(fd, unsafe { socket::bytes_of(address, len) });
        if socket::is_channel(fd) {
            return Some(Ok(0));
        }
        let real = socket::real_of(fd)?;
        // SAFETY: the caller keeps to libc's contract.
        Some(calls::checked(unsafe { real::connect(real, address, len) }))
    };
    shutdown(fd: c_int, how: c_int) -> c_int, if marks::has(fd, SERVED) => {
        let real = socket::real_of(fd)?;
        // SAFETY: no pointers.
        Some(calls::checked(unsafe { real::shutdown(real, how) }))
    };
    getsockname(fd: c_int, address: *mut sockaddr, len: *mut socklen_t) -> c_int, if marks::has(fd, SERVED) => {
        if let Some(own) = socket::address(fd, true) {
            // SAFETY: the caller keeps to libc's contract.
            return Some(unsafe { socket::give(&own, address.cast(), len) });
        }
        let real = socket::real_of(fd)?;
        // SAFETY: the caller keeps to libc's contract.
        Some(calls::checked(unsafe { real::getsockname(real, address, len) }))
    };
    getpeername(fd: c_int, address: *mut sockaddr, len: *mut socklen_t) -> c_int, if marks::has(fd, SERVED) => {
        if let Some(kernel) = socket::address(fd, false) {
            // SAFETY: the caller keeps to libc's contract.
            return Some(unsafe { socket::give(&kernel, address.cast(), len) });
        }
        let real = socket::real_of(fd)?;
        // SAFETY: the caller keeps to libc's contract.
        Some(calls::checked(unsafe { real::getpeername(real, address, len) }))
    };
    setsockopt(fd: c_int, level: c_int, name: c_int, value: *const c_void, len: socklen_t) -> c_int,
    if marks::has(fd, SERVED) => {
        if let Some(real) = socket::real_of(fd) {
            // SAFETY: the caller keeps to libc's contract.
            let result = calls::checked(unsafe { real::setsockopt(real, level, name, value, len) });
            if result.is_ok() && level == libc::SOL_SOCKET && calls::is_timeout(name) {
                // Calls wait on the relay.
                // SAFETY: the caller keeps to libc's contract.
                unsafe { real::setsockopt(fd, level, name, value, len) };
            }
            return Some(result);
        }
        socket::set_option(fd, level, name, || {
            let is_int = !value.is_null() && len as usize >= size_of::<c_int>();
            // SAFETY: the caller keeps to libc's contract, and there are enough bytes.
            is_int.then(|| unsafe { value.cast::<c_int>().read_unaligned() })
        })
    };
    getsockopt(fd: c_int, level: c_int, name: c_int, value: *mut c_void, len: *mut socklen_t) -> c_int,
    if marks::has(fd, SERVED) => {
        if let Some(real) = socket::real_of(fd) {
            // SAFETY: the caller keeps to libc's contract.
            return Some(calls::checked(unsafe { real::getsockopt(real, level, name, value, len) }));
        }
        let made_up = socket::option(fd, level, name)?;
        // SAFETY: the caller keeps to libc's contract.
        Some(unsafe { socket::give(&made_up.to_ne_bytes(), value, len) })
    };
}

/// A new socket has this number; it may be a stream that is handed over later.
fn connected(fd: c_int) {
    fresh(fd);
    if fd >= 0 && state::is_active() {
        state::enter(|| fds::count(fd));
    }
}
