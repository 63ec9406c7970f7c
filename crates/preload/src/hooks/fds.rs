//! fd numbers: calls that open files, close fds or copy them, and epoll sets, which go by the numbers.

use crate::marks::{self, FRESH, HIDDEN, POLLED, SERVED};
use crate::{calls, fds, real, state, tun};
use core::ffi::CStr;
use libc::{Ioctl, c_char, c_int, c_void, epoll_event, mode_t};

// `open` takes its third argument only sometimes, in the same register.
openers! {
    open(path: *const c_char, flags: c_int, mode: mode_t), |new| opened(new, path);
    open64(path: *const c_char, flags: c_int, mode: mode_t), |new| opened(new, path);
    openat(directory: c_int, path: *const c_char, flags: c_int, mode: mode_t), |new| opened(new, path);
    openat64(directory: c_int, path: *const c_char, flags: c_int, mode: mode_t), |new| opened(new, path);
    __open_2(path: *const c_char, flags: c_int), |new| opened(new, path);
    __open64_2(path: *const c_char, flags: c_int), |new| opened(new, path);
}

hooks! {
    close(fd: c_int) -> c_int, if marks::has(fd, SERVED | POLLED | HIDDEN) => fds::release(fd);
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

/// Defines hooks in front of `ioctl`, whose argument is in the place of a named one on every Linux architecture.
macro_rules! controllers {
    ($($name:ident)*) => {$(
        /// In front of libc's function: a program on its own data path gets a device that an engine has left behind, too.
        ///
        /// # Safety
        /// As for libc's function of that name.
        #[cfg_attr(not(test), unsafe(no_mangle))]
        pub unsafe extern "C" fn $name(fd: c_int, what: Ioctl, argument: *mut c_void) -> c_int {
            // SAFETY: the caller keeps to libc's contract.
            let result = unsafe { real::$name(fd, what, argument) };
            if what == libc::TUNSETIFF && state::is_configured() {
                // SAFETY: the same.
                let own = || unsafe { tun::own_attached(fd, argument.cast(), calls::checked(result)) };
                if let Some(Ok(result)) = state::enter(own) {
                    return result;
                }
            }
            result
        }
    )*};
}

controllers! { ioctl }

// The same in programs with 64-bit times.
#[cfg(target_pointer_width = "32")]
controllers! { __ioctl_time64 }

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
        fds::make_way(new)?;
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

/// A new file has this number.
pub(super) fn fresh(fd: c_int) {
    marks::remove(fd, FRESH);
    if marks::has(fd, SERVED | POLLED) {
        state::enter(|| fds::renew(fd));
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
