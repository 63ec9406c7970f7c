//! libc's own functions, behind ours.
//!
//! Each is looked up at its first call: another library's constructor may call `close` before this library's own
//! constructors have run (openvpn-integration 3.1).

use crate::symbols;
use core::ffi::CStr;
use core::sync::atomic::{AtomicPtr, Ordering};
use libc::{
    Ioctl, addrinfo, c_char, c_int, c_void, epoll_event, iovec, mode_t, msghdr, size_t, sockaddr,
    socklen_t, ssize_t,
};

/// Declares the next definition of a libc function, which fails with `ENOSYS` if there is none.
macro_rules! next {
    ($($symbol:literal $name:ident($($arg:ident: $ty:ty),*);)*) => {$(
        /// The function of that name which this library hides.
        ///
        /// # Safety
        /// As for libc's function of that name.
        pub(crate) unsafe fn $name($($arg: $ty),*) {
            type Function = unsafe extern "C" fn($($ty),*);
            static AT: AtomicPtr<c_void> = AtomicPtr::new(core::ptr::null_mut());
            let at = find(&AT, $symbol);
            if at.is_null() {
                return;
            }
            // SAFETY: the symbol of this name in libc is a function of this type.
            let function = unsafe { core::mem::transmute::<*mut c_void, Function>(at) };
            // SAFETY: the caller keeps to libc's contract.
            unsafe { function($($arg),*) }
        }
    )*};
    ($($symbol:literal $name:ident($($arg:ident: $ty:ty),*) -> $ret:ty;)*) => {$(
        /// The function of that name which this library hides.
        ///
        /// # Safety
        /// As for libc's function of that name.
        pub(crate) unsafe fn $name($($arg: $ty),*) -> $ret {
            type Function = unsafe extern "C" fn($($ty),*) -> $ret;
            static AT: AtomicPtr<c_void> = AtomicPtr::new(core::ptr::null_mut());
            let at = find(&AT, $symbol);
            if at.is_null() {
                crate::calls::set_errno(libc::ENOSYS);
                return -1;
            }
            // SAFETY: the symbol of this name in libc is a function of this type.
            let function = unsafe { core::mem::transmute::<*mut c_void, Function>(at) };
            // SAFETY: the caller keeps to libc's contract.
            unsafe { function($($arg),*) }
        }
    )*};
}

#[cfg(target_pointer_width = "32")]
next! {
    c"__ioctl_time64" __ioctl_time64(fd: c_int, what: Ioctl, argument: *mut c_void) -> c_int;
}

next! {
    c"ioctl" ioctl(fd: c_int, what: Ioctl, argument: *mut c_void) -> c_int;
    c"socket" socket(domain: c_int, kind: c_int, protocol: c_int) -> c_int;
    c"bind" bind(fd: c_int, address: *const sockaddr, len: socklen_t) -> c_int;
    c"connect" connect(fd: c_int, address: *const sockaddr, len: socklen_t) -> c_int;
    c"accept" accept(fd: c_int, address: *mut sockaddr, len: *mut socklen_t) -> c_int;
    c"accept4" accept4(fd: c_int, address: *mut sockaddr, len: *mut socklen_t, flags: c_int) -> c_int;
    c"shutdown" shutdown(fd: c_int, how: c_int) -> c_int;
    c"getsockname" getsockname(fd: c_int, address: *mut sockaddr, len: *mut socklen_t) -> c_int;
    c"getpeername" getpeername(fd: c_int, address: *mut sockaddr, len: *mut socklen_t) -> c_int;
    c"getsockopt" getsockopt(fd: c_int, level: c_int, name: c_int, value: *mut c_void, len: *mut socklen_t) -> c_int;
    c"setsockopt" setsockopt(fd: c_int, level: c_int, name: c_int, value: *const c_void, len: socklen_t) -> c_int;
    c"sendmsg" sendmsg(fd: c_int, message: *const msghdr, flags: c_int) -> ssize_t;
    c"sendto" sendto(fd: c_int, data: *const c_void, len: size_t, flags: c_int, to: *const sockaddr, to_len: socklen_t) -> ssize_t;
    c"send" send(fd: c_int, data: *const c_void, len: size_t, flags: c_int) -> ssize_t;
    c"write" write(fd: c_int, data: *const c_void, len: size_t) -> ssize_t;
    c"writev" writev(fd: c_int, parts: *const iovec, count: c_int) -> ssize_t;
    c"recvmsg" recvmsg(fd: c_int, message: *mut msghdr, flags: c_int) -> ssize_t;
    c"recvfrom" recvfrom(fd: c_int, into: *mut c_void, len: size_t, flags: c_int, from: *mut sockaddr, from_len: *mut socklen_t) -> ssize_t;
    c"recv" recv(fd: c_int, into: *mut c_void, len: size_t, flags: c_int) -> ssize_t;
    c"read" read(fd: c_int, into: *mut c_void, len: size_t) -> ssize_t;
    c"readv" readv(fd: c_int, parts: *const iovec, count: c_int) -> ssize_t;
    c"__recvfrom_chk" __recvfrom_chk(fd: c_int, into: *mut c_void, len: size_t, room: size_t, flags: c_int, from: *mut sockaddr, from_len: *mut socklen_t) -> ssize_t;
    c"__recv_chk" __recv_chk(fd: c_int, into: *mut c_void, len: size_t, room: size_t, flags: c_int) -> ssize_t;
    c"__read_chk" __read_chk(fd: c_int, into: *mut c_void, len: size_t, room: size_t) -> ssize_t;
    c"close" close(fd: c_int) -> c_int;
    c"dup2" dup2(old: c_int, new: c_int) -> c_int;
    c"dup3" dup3(old: c_int, new: c_int, flags: c_int) -> c_int;
    c"epoll_ctl" epoll_ctl(epoll: c_int, operation: c_int, fd: c_int, event: *mut epoll_event) -> c_int;
    c"open" open(path: *const c_char, flags: c_int, mode: mode_t) -> c_int;
    c"open64" open64(path: *const c_char, flags: c_int, mode: mode_t) -> c_int;
    c"openat" openat(directory: c_int, path: *const c_char, flags: c_int, mode: mode_t) -> c_int;
    c"openat64" openat64(directory: c_int, path: *const c_char, flags: c_int, mode: mode_t) -> c_int;
    c"__open_2" __open_2(path: *const c_char, flags: c_int) -> c_int;
    c"__open64_2" __open64_2(path: *const c_char, flags: c_int) -> c_int;
    c"getaddrinfo" getaddrinfo(node: *const c_char, service: *const c_char, hints: *const addrinfo, result: *mut *mut addrinfo) -> c_int;
    c"vsnprintf" vsnprintf(into: *mut c_char, room: size_t, format: *const c_char, arguments: *mut c_void) -> c_int;
    c"__vsnprintf_chk" __vsnprintf_chk(into: *mut c_char, room: size_t, flag: c_int, size: size_t, format: *const c_char, arguments: *mut c_void) -> c_int;
    c"daemon" daemon(stay: c_int, keep_open: c_int) -> c_int;
}

next! {
    c"openlog" openlog(ident: *const c_char, option: c_int, facility: c_int);
    c"closelog" closelog();
}

fn find(at: &AtomicPtr<c_void>, symbol: &CStr) -> *mut c_void {
    let known = at.load(Ordering::Acquire);
    if !known.is_null() {
        return known;
    }
    let found = symbols::next(symbol);
    at.store(found, Ordering::Release);
    found
}
