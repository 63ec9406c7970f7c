//! The hooks: the functions OpenVPN and libnl import (openvpn-integration 1.1), and the variants of the same calls in
//! glibc's headers. Each calls libc's function of that name unless its own part has an answer.

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
                match $crate::state::enter(|| -> $crate::socket::Outcome<$ret> { $own }) {
                    Some(Ok(result)) => return result,
                    Some(Err(_)) => return -1,
                    None => {}
                }
            }
            // SAFETY: the caller keeps to libc's contract.
            unsafe { $crate::real::$name($($arg),*) }
        }
    )*};
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
            let $fd = unsafe { $crate::real::$name($($arg),*) };
            $after;
            $fd
        }
    )*};
}

pub mod fds;
pub mod log;
pub mod messages;
pub mod names;
pub mod processes;
pub mod sockets;
