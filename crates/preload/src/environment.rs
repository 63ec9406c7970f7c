//! The program's environment.

use alloc::borrow::ToOwned;
use alloc::ffi::CString;
use core::ffi::CStr;

/// A variable that is not empty.
pub(crate) fn variable(name: &str) -> Option<CString> {
    let name = CString::new(name).ok()?;
    // SAFETY: the name is a C string.
    let value = unsafe { libc::getenv(name.as_ptr()) };
    if value.is_null() {
        return None;
    }
    // SAFETY: getenv's answer is a C string; it is copied before anything can change the environment.
    Some(unsafe { CStr::from_ptr(value) }.to_owned()).filter(|value| !value.is_empty())
}

/// Removes a variable.
pub(crate) fn unset(name: &str) {
    if let Ok(name) = CString::new(name) {
        // SAFETY: the name is a C string. Called at the program's first generic netlink socket, when OpenVPN has
        // one thread.
        unsafe { libc::unsetenv(name.as_ptr()) };
    }
}
