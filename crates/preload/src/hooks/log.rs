//! OpenVPN's log: how its lines are formatted, and where they go.

use crate::socket::Outcome;
use crate::{completed, compression, lines, output, real, state};
use libc::{c_char, c_int, c_void, size_t};

// The `va_list` is a pointer, or passed as one, on every Linux architecture.
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
