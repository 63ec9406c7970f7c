//! Detects that OpenVPN, with offload, refuses the compression its server pushes: it reconnects and gets the same
//! options again, forever (faults E6).
//!
//! Such a restart looks like any other from outside, but OpenVPN logs a line each time. Every log line goes through
//! `vsnprintf`, so the hook there sees the cause, and mistakes no other restart for it. A release with different
//! wording goes unnoticed.

use crate::state;
use core::ffi::CStr;
use core::sync::atomic::{AtomicU32, Ordering};
use libc::c_char;
use udco_ipc::ToEngine;

/// Start of the line, in 2.6 and 2.7.
const REFUSAL: &[u8] =
    b"Compression or compression stub framing is not allowed since data-channel offload";

/// Advise the user at this occurrence: the first may come from a server that is about to change.
const TELLING: u32 = 2;

static REFUSALS: AtomicU32 = AtomicU32::new(0);

/// Whether a format is that of the line.
///
/// # Safety
/// `format` is null or a C string.
unsafe fn is_refusal(format: *const c_char) -> bool {
    if format.is_null() {
        return false;
    }
    // SAFETY: the caller says so.
    let format = unsafe { CStr::from_ptr(format) };
    format.to_bytes().starts_with(REFUSAL)
}

/// Checks a format with which OpenVPN writes a line.
///
/// # Safety
/// As for [`is_refusal`].
pub(crate) unsafe fn notice(format: *const c_char) {
    // SAFETY: the caller says so.
    if unsafe { is_refusal(format) } && REFUSALS.fetch_add(1, Ordering::Relaxed) + 1 == TELLING {
        let state = state::lock().filter(|_| state::is_owner());
        if let Some(mut state) = state.filter(|state| state.connection.is_some()) {
            let _ = state.request_errno(&ToEngine::CompressionRefused);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_refusal_is_one() {
        let is = |format: &CStr| {
            // SAFETY: it is a C string.
            unsafe { is_refusal(format.as_ptr()) }
        };
        assert!(is(
            c"Compression or compression stub framing is not allowed since data-channel offloading is enabled."
        ));
        assert!(!is(c"Compression"));
        assert!(!is(c""));
        // SAFETY: null is allowed.
        assert!(!unsafe { is_refusal(core::ptr::null()) });
    }
}
