//! Messages: sending and receiving, with the calls for sockets and with those for any file.

use crate::marks::{self, FRESH, SERVED};
use crate::message::{self, Incoming, Outgoing};
use crate::socket::{self, Outcome};
use libc::{c_int, c_void, iovec, msghdr, size_t, sockaddr, socklen_t, ssize_t};

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
