//! Processes: `daemon`, which leaves the program to a child.

use crate::{lines, real, state};
use libc::c_int;

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
