//! `libudco_preload.so`: routes the netlink calls and the fds of a stock OpenVPN to the udco engine.
//!
//! Loaded with `LD_PRELOAD`, it does nothing unless `UDCO_FD` or `UDCO_SOCKET` names an engine. Then the program's
//! generic-netlink sockets are channels to the engine (`channel`), the engine answers requests about our links
//! (`link`), and takes over transport sockets as it needs them (`transport`). Only the engine interprets the
//! messages.
//!
//! This file lists the hooks: the functions OpenVPN and libnl import (openvpn-integration 1.1), and the variants of
//! the same calls in glibc's headers. Each hook calls libc's function of that name unless its own part has an answer.
#![cfg_attr(not(test), no_std)]
#![allow(unsafe_code)]
#![deny(clippy::print_stdout, clippy::print_stderr)]

extern crate alloc;

mod addresses;
mod answer;
mod calls;
mod channel;
mod clock;
mod completed;
mod compression;
mod connection;
mod dispenser;
mod environment;
mod epoll;
mod exchange;
mod fib;
mod files;
mod generic_netlink;
mod hand_over;
mod inside;
mod journal;
mod left;
mod lines;
mod link;
mod lock;
mod marks;
mod message;
mod old_routes;
mod output;
mod real;
mod resolve;
mod route;
mod route_socket;
#[cfg(not(test))]
mod runtime;
mod secret;
mod socket;
mod state;
mod symbols;
mod tally;
mod text;
mod transport;
mod tun;

use core::ffi::CStr;
use libc::{
    addrinfo, c_char, c_int, c_void, epoll_event, iovec, mode_t, msghdr, size_t, sockaddr,
    socklen_t, ssize_t,
};
use marks::{FRESH, HIDDEN, POLLED, SERVED};
use message::{Incoming, Outgoing};
use socket::Outcome;

/// Defines hooks: if the condition behind `if` holds and the block has an answer, the program gets that answer; else
/// libc's. In unit tests the linker does not see their names.
macro_rules! hooks {
    ($($name:ident($($arg:ident: $ty:ty),*) -> $ret:ty, if $condition:expr => $own:expr;)*) => {$(
        /// In front of libc's function.
        ///
        /// # Safety
        /// As for libc's function of that name.
        #[cfg_attr(not(test), unsafe(no_mangle))]
        pub unsafe extern "C" fn $name($($arg: $ty),*) -> $ret {
            if $condition {
                match state::enter(|| -> Outcome<$ret> { $own }) {
                    Some(Ok(result)) => return result,
                    Some(Err(_)) => return -1,
                    None => {}
                }
            }
            // SAFETY: the caller keeps to libc's contract.
            unsafe { real::$name($($arg),*) }
        }
    )*};
}

// Creating and naming sockets.
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

// Sending.
hooks! {
    sendmsg(fd: c_int, message: *const msghdr, flags: c_int) -> ssize_t, if marks::has(fd, SERVED | FRESH) => {
        // SAFETY: the caller keeps to libc's contract.
        let header = unsafe { message.as_ref() }?;
        // SAFETY: the caller keeps to libc's contract.
        socket::first_use(fd, unsafe { socket::bytes_of(header.msg_name.cast(), header.msg_namelen) });
        // SAFETY: the caller keeps to libc's contract.
        socket::send(fd, &unsafe { Outgoing::new(header, flags) })
    };
    sendto(fd: c_int, data: *const c_void, len: size_t, flags: c_int, to: *const sockaddr, to_len: socklen_t) -> ssize_t,
    if marks::has(fd, SERVED | FRESH) => {
        // SAFETY: the caller keeps to libc's contract.
        socket::first_use(fd, unsafe { socket::bytes_of(to, to_len) });
        let part = iovec { iov_base: data.cast_mut(), iov_len: len };
        let header = message::header_of(&part, to.cast_mut(), to_len);
        // SAFETY: the header holds what the caller gave, who keeps to libc's contract.
        socket::send(fd, &unsafe { Outgoing::new(&header, flags) })
    };
    send(fd: c_int, data: *const c_void, len: size_t, flags: c_int) -> ssize_t, if marks::has(fd, SERVED) => {
        let part = iovec { iov_base: data.cast_mut(), iov_len: len };
        let header = message::header_of(&part, core::ptr::null_mut(), 0);
        // SAFETY: as for sendto.
        socket::send(fd, &unsafe { Outgoing::new(&header, flags) })
    };
    write(fd: c_int, data: *const c_void, len: size_t) -> ssize_t, if marks::has(fd, SERVED) => {
        let part = iovec { iov_base: data.cast_mut(), iov_len: len };
        let header = message::header_of(&part, core::ptr::null_mut(), 0);
        // SAFETY: as for sendto.
        socket::send(fd, &unsafe { Outgoing::new(&header, 0) })
    };
    writev(fd: c_int, parts: *const iovec, count: c_int) -> ssize_t, if marks::has(fd, SERVED) => {
        let header = message::header_of_parts(parts, count);
        // SAFETY: as for sendto.
        socket::send(fd, &unsafe { Outgoing::new(&header, 0) })
    };
}

// Receiving.
hooks! {
    recvmsg(fd: c_int, message: *mut msghdr, flags: c_int) -> ssize_t, if marks::has(fd, SERVED) => {
        // SAFETY: the caller keeps to libc's contract.
        let header = unsafe { message.as_mut() }?;
        // SAFETY: the caller keeps to libc's contract.
        socket::receive(fd, &mut unsafe { Incoming::new(header, flags) })
    };
    recvfrom(fd: c_int, into: *mut c_void, len: size_t, flags: c_int, from: *mut sockaddr, from_len: *mut socklen_t) -> ssize_t,
    if marks::has(fd, SERVED) => {
        // SAFETY: the caller keeps to libc's contract.
        unsafe { receive_from(fd, into, len, flags, from, from_len) }
    };
    recv(fd: c_int, into: *mut c_void, len: size_t, flags: c_int) -> ssize_t, if marks::has(fd, SERVED) => {
        // SAFETY: the caller keeps to libc's contract.
        unsafe { receive_into(fd, into, len, flags) }
    };
    // Unlike recv, read and readv of no bytes consume nothing.
    read(fd: c_int, into: *mut c_void, len: size_t) -> ssize_t, if len > 0 && marks::has(fd, SERVED) => {
        // SAFETY: the caller keeps to libc's contract.
        unsafe { receive_into(fd, into, len, 0) }
    };
    readv(fd: c_int, parts: *const iovec, count: c_int) -> ssize_t, if marks::has(fd, SERVED) => {
        let mut header = message::header_of_parts(parts, count);
        // SAFETY: the header holds what the caller gave, who keeps to libc's contract.
        let mut incoming = unsafe { Incoming::new(&mut header, 0) };
        if incoming.room() == 0 {
            return None;
        }
        socket::receive(fd, &mut incoming)
    };
}

// The variants that glibc's headers call under `_FORTIFY_SOURCE`. On overflow libc's function runs, and aborts.
hooks! {
    __recvfrom_chk(fd: c_int, into: *mut c_void, len: size_t, room: size_t, flags: c_int, from: *mut sockaddr, from_len: *mut socklen_t) -> ssize_t,
    if len <= room && marks::has(fd, SERVED) => {
        // SAFETY: the caller keeps to libc's contract.
        unsafe { receive_from(fd, into, len, flags, from, from_len) }
    };
    __recv_chk(fd: c_int, into: *mut c_void, len: size_t, room: size_t, flags: c_int) -> ssize_t,
    if len <= room && marks::has(fd, SERVED) => {
        // SAFETY: the caller keeps to libc's contract.
        unsafe { receive_into(fd, into, len, flags) }
    };
    __read_chk(fd: c_int, into: *mut c_void, len: size_t, room: size_t) -> ssize_t,
    if (1..=room).contains(&len) && marks::has(fd, SERVED) => {
        // SAFETY: the caller keeps to libc's contract.
        unsafe { receive_into(fd, into, len, 0) }
    };
}

// Closed fd numbers, and epoll sets.
hooks! {
    close(fd: c_int) -> c_int, if marks::has(fd, SERVED | POLLED | HIDDEN) => state::release(fd);
    dup2(old: c_int, new: c_int) -> c_int, if is_overwritten(old, new) => {
        if let Err(errno) = make_way(new) {
            return Some(Err(errno));
        }
        // SAFETY: no pointers.
        Some(written_over(new, unsafe { real::dup2(old, new) }))
    };
    dup3(old: c_int, new: c_int, flags: c_int) -> c_int, if is_overwritten(old, new) => {
        if let Err(errno) = make_way(new) {
            return Some(Err(errno));
        }
        // SAFETY: no pointers.
        Some(written_over(new, unsafe { real::dup3(old, new, flags) }))
    };
    epoll_ctl(epoll: c_int, operation: c_int, fd: c_int, event: *mut epoll_event) -> c_int, if state::is_active() => {
        let mut state = state::lock()?;
        // SAFETY: the caller keeps to libc's contract.
        let result = calls::checked(unsafe { real::epoll_ctl(epoll, operation, fd, event) });
        if result.is_ok() {
            // SAFETY: the kernel has just read it. It is packed, so alignment does not matter.
            let event = unsafe { event.as_ref() }.copied();
            state.epolls.note(epoll, operation, fd, event);
        }
        Some(result)
    };
}

// OpenVPN's log lines. The `va_list` is a pointer, or passed as one, on every Linux architecture.
hooks! {
    vsnprintf(into: *mut c_char, room: size_t, format: *const c_char, arguments: *mut c_void) -> c_int,
    if state::is_configured() => {
        // SAFETY: the caller keeps to libc's contract.
        let write = || unsafe { real::vsnprintf(into, room, format, arguments) };
        // SAFETY: the same.
        unsafe { logged(into, room, format, write) }
    };
    __vsnprintf_chk(
        into: *mut c_char, room: size_t, flag: c_int, size: size_t, format: *const c_char, arguments: *mut c_void
    ) -> c_int,
    if state::is_configured() => {
        // SAFETY: the caller keeps to libc's contract.
        let write = || unsafe { real::__vsnprintf_chk(into, room, flag, size, format, arguments) };
        // SAFETY: the same.
        unsafe { logged(into, room, format, write) }
    };
}

/// A line of OpenVPN's log, which `write` formats into this room.
///
/// # Safety
/// As for `vsnprintf`.
unsafe fn logged(
    into: *mut c_char,
    room: usize,
    format: *const c_char,
    write: impl FnOnce() -> c_int,
) -> Outcome<c_int> {
    lines::catch_up();
    // SAFETY: the caller keeps to libc's contract.
    unsafe { compression::notice(format) };
    // SAFETY: the caller keeps to libc's contract.
    if !unsafe { completed::may_be_completed(format) } {
        return None;
    }
    let len = write();
    // SAFETY: it has been written just now.
    unsafe { completed::notice(into, room, len) };
    Some(Ok(len))
}

/// Whether `dup2(old, new)` is about to close an fd of interest.
fn is_overwritten(old: c_int, new: c_int) -> bool {
    let is_error_output = new == libc::STDERR_FILENO && state::is_active();
    old != new
        && (marks::has(new, SERVED | POLLED | HIDDEN) || is_error_output)
        && calls::flags(old, libc::F_GETFD).is_ok()
}

/// Releases a number that `dup2` is about to close.
fn make_way(new: c_int) -> Result<(), calls::Errno> {
    if marks::has(new, SERVED | POLLED | HIDDEN) {
        state::make_way(new)?;
    }
    Ok(())
}

/// The outcome of a `dup2`, which may have redirected the program's lines.
fn written_over(new: c_int, result: c_int) -> Result<c_int, calls::Errno> {
    let result = calls::checked(result);
    if new == libc::STDERR_FILENO && result.is_ok() {
        state::report_output();
    }
    result
}

/// Defines hooks in front of calls that open an fd; they examine it afterwards.
macro_rules! openers {
    ($($name:ident($($arg:ident: $ty:ty),*), |$fd:ident| $after:expr;)*) => {$(
        /// In front of libc's function.
        ///
        /// # Safety
        /// As for libc's function of that name.
        #[cfg_attr(not(test), unsafe(no_mangle))]
        pub unsafe extern "C" fn $name($($arg: $ty),*) -> c_int {
            // SAFETY: the caller keeps to libc's contract.
            let $fd = unsafe { real::$name($($arg),*) };
            $after;
            $fd
        }
    )*};
}

// New fd numbers. `open` takes its third argument only sometimes, in the same register.
openers! {
    accept(fd: c_int, address: *mut sockaddr, len: *mut socklen_t), |new| connected(new);
    accept4(fd: c_int, address: *mut sockaddr, len: *mut socklen_t, flags: c_int), |new| connected(new);
    open(path: *const c_char, flags: c_int, mode: mode_t), |new| opened(new, path);
    open64(path: *const c_char, flags: c_int, mode: mode_t), |new| opened(new, path);
    openat(directory: c_int, path: *const c_char, flags: c_int, mode: mode_t), |new| opened(new, path);
    openat64(directory: c_int, path: *const c_char, flags: c_int, mode: mode_t), |new| opened(new, path);
    __open_2(path: *const c_char, flags: c_int), |new| opened(new, path);
    __open64_2(path: *const c_char, flags: c_int), |new| opened(new, path);
}

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

/// `getaddrinfo`: reaches a name server even if a device left behind by a killed run is in the way.
///
/// # Safety
/// As for libc's function of that name.
#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C" fn getaddrinfo(
    node: *const c_char,
    service: *const c_char,
    hints: *const addrinfo,
    result: *mut *mut addrinfo,
) -> c_int {
    if state::is_active() {
        // SAFETY: the caller keeps to libc's contract.
        let own = state::enter(|| unsafe { resolve::look_up(node, service, hints, result) });
        if let Some(Ok(found)) = own {
            return found;
        }
    }
    // SAFETY: the caller keeps to libc's contract.
    unsafe { real::getaddrinfo(node, service, hints, result) }
}

/// `daemon`: the surviving child takes over the connection to the engine.
///
/// # Safety
/// As for libc's function of that name.
#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C" fn daemon(stay: c_int, keep_open: c_int) -> c_int {
    let (was_owner, has_lost) = (state::is_owner(), lines::has_lost());
    // SAFETY: no pointers; the caller keeps to libc's contract.
    let result = unsafe { real::daemon(stay, keep_open) };
    if result == 0 && has_lost {
        lines::adopt();
    }
    if result == 0 && state::is_active() {
        state::enter(|| state::daemonized(was_owner));
    }
    result
}

/// `openlog`: a private engine's lines follow the program's.
///
/// # Safety
/// As for libc's function of that name.
#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C" fn openlog(ident: *const c_char, option: c_int, facility: c_int) {
    if state::is_active() {
        state::enter(|| {
            // SAFETY: the caller keeps to libc's contract.
            unsafe { output::opened_syslog(ident, facility) };
            None::<Result<(), _>>
        });
    }
    // SAFETY: the caller keeps to libc's contract.
    unsafe { real::openlog(ident, option, facility) };
}

/// `closelog`.
///
/// # Safety
/// As for libc's function of that name.
#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C" fn closelog() {
    if state::is_active() {
        state::enter(|| {
            output::closed_syslog();
            None::<Result<(), _>>
        });
    }
    // SAFETY: no pointers.
    unsafe { real::closelog() };
}

/// A new file has this number.
fn fresh(fd: c_int) {
    marks::remove(fd, FRESH);
    if marks::has(fd, SERVED | POLLED) {
        state::enter(|| state::renew(fd));
    }
}

/// A new socket has this number; it may be a stream that is handed over later.
fn connected(fd: c_int) {
    fresh(fd);
    if fd >= 0 && state::is_active() {
        state::enter(|| state::count(fd));
    }
}

/// A file has been opened.
fn opened(fd: c_int, path: *const c_char) {
    if fd < 0 {
        return;
    }
    fresh(fd);
    if state::is_configured() {
        // SAFETY: open has succeeded, so this is a C string.
        let path = unsafe { CStr::from_ptr(path) };
        if path == c"/dev/net/tun" {
            state::enter(state::own_tun);
        }
    }
}

/// `recvfrom` on a served fd.
///
/// # Safety
/// As for `recvfrom`.
unsafe fn receive_from(
    fd: c_int,
    into: *mut c_void,
    len: size_t,
    flags: c_int,
    from: *mut sockaddr,
    from_len: *mut socklen_t,
) -> Outcome<ssize_t> {
    let part = iovec {
        iov_base: into,
        iov_len: len,
    };
    // SAFETY: the caller keeps to the contract.
    let room = unsafe { from_len.as_ref() }.copied().unwrap_or(0);
    let mut header = message::header_of(&part, from, room);
    // SAFETY: the header holds what the caller gave.
    let received = socket::receive(fd, &mut unsafe { Incoming::new(&mut header, flags) })?;
    // SAFETY: the caller keeps to the contract.
    let from_len = unsafe { from_len.as_mut() }.filter(|_| received.is_ok() && !from.is_null());
    if let Some(from_len) = from_len {
        *from_len = header.msg_namelen;
    }
    Some(received)
}

/// `recv` on a served fd.
///
/// # Safety
/// As for `recv`.
unsafe fn receive_into(
    fd: c_int,
    into: *mut c_void,
    len: size_t,
    flags: c_int,
) -> Outcome<ssize_t> {
    let nowhere = core::ptr::null_mut();
    // SAFETY: the caller keeps to the contract; a null address is not written.
    unsafe { receive_from(fd, into, len, flags, nowhere, core::ptr::null_mut()) }
}
