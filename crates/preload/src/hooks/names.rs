//! Host names: `getaddrinfo`.

use crate::{real, resolve, state};
use libc::{addrinfo, c_char, c_int};

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
