//! Notices that OpenVPN refuses, with offload, the compression that its server pushes: it reconnects and gets the same again,
//! for ever (faults E6).
//!
//! From outside such a restart looks like any other; but OpenVPN writes a line into its log each time. Each of its lines
//! goes through `vsnprintf`, so that is where the cause can be seen, and no other is taken for it. A release that words it
//! otherwise is not noticed.

use crate::socket::Outcome;
use crate::state;
use libc::{c_char, c_int};
use std::ffi::CStr;
use std::sync::atomic::{AtomicU32, Ordering};
use udco_ipc::ToEngine;

/// What the line begins with, in 2.6 and 2.7.
const REFUSAL: &[u8] =
    b"Compression or compression stub framing is not allowed since data-channel offload";

/// At this one it is said what to do: the first may belong to a server that is about to change.
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

/// OpenVPN writes a line with this format, which is none of our business otherwise.
///
/// # Safety
/// As for [`is_refusal`].
pub(crate) unsafe fn notice(format: *const c_char) -> Outcome<c_int> {
    // SAFETY: the caller says so.
    if unsafe { is_refusal(format) } && REFUSALS.fetch_add(1, Ordering::Relaxed) + 1 == TELLING {
        let mut state = state::lock()?;
        if state::is_owner() && state.connection.is_some() {
            let _ = state.request_errno(&ToEngine::CompressionRefused);
        }
    }
    None
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
        assert!(!unsafe { is_refusal(std::ptr::null()) });
    }
}
