//! How this process gets its own connection to the engine that an ancestor started (faults C1).

use crate::calls::{self, Errno, Fd};
use crate::clock::Instant;
use alloc::format;
use alloc::string::String;
use core::ffi::CStr;
use core::time::Duration;
use libc::c_int;
use udco_ipc::{FD_VARIABLE, ToEngine};

/// Room for a connection request, or for a notice that there will be none.
const ROOM: usize = 64;

/// How long the engine may take for an answer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(1);

/// The inherited fd, if it is the kind of socket that an engine hands out.
pub(crate) fn inherited(number: &CStr) -> Result<c_int, String> {
    let text = number.to_string_lossy();
    let is_ours = |fd: &c_int| {
        calls::option(*fd, libc::SOL_SOCKET, libc::SO_DOMAIN) == Ok(libc::AF_UNIX)
            && calls::option(*fd, libc::SOL_SOCKET, libc::SO_TYPE) == Ok(libc::SOCK_SEQPACKET)
    };
    let fd = text.parse().ok().filter(is_ours);
    fd.ok_or_else(|| {
        format!(
            "{FD_VARIABLE}={text} is not an engine's socket (a program before this one may have closed it)"
        )
    })
}

/// Makes a connection and gives the engine its end. Reads nothing from `dispenser`, which other processes share.
pub(crate) fn draw(dispenser: c_int) -> Result<Fd, String> {
    let (ours, engines) = calls::pair(libc::SOCK_SEQPACKET)
        .map_err(|errno| format!("cannot make a pair of sockets: {}", reason(errno)))?;
    match notify(dispenser, &ToEngine::Connect, &[engines.raw()]) {
        Ok(()) => above_standard(ours).map_err(reason),
        Err(libc::ETIMEDOUT) => Err("the engine does not answer".into()),
        Err(_) => Err("no engine at the other end".into()),
    }
}

/// Sends a message that has no answer.
pub(crate) fn notify(fd: c_int, message: &ToEngine<'_>, fds: &[c_int]) -> Result<(), Errno> {
    let mut buffer = [0; ROOM + crate::output::MAX_IDENT];
    let len = message.encode(0, &mut buffer).map_err(|_| libc::EMSGSIZE)?;
    let message = buffer.get(..len).unwrap_or_default();
    let deadline = Instant::now() + PATIENCE;
    loop {
        match calls::send(fd, message, fds) {
            Err(libc::EINTR) => {}
            Err(libc::EAGAIN) => {
                if !calls::wait(fd, libc::POLLOUT, deadline)? {
                    return Err(libc::ETIMEDOUT);
                }
            }
            result => return result,
        }
    }
}

/// Moves an fd away from the numbers of the standard streams, which may be closed.
pub(crate) fn above_standard(fd: Fd) -> Result<Fd, Errno> {
    if fd.raw() < 3 {
        calls::duplicate(fd.raw())
    } else {
        Ok(fd)
    }
}

/// An errno in words.
pub(crate) fn reason(errno: Errno) -> String {
    let mut text = [0_u8; 128];
    // SAFETY: pointer and length describe the array, which ends with a zero.
    unsafe { libc::strerror_r(errno, text.as_mut_ptr().cast(), text.len() - 1) };
    let text = CStr::from_bytes_until_nul(&text).unwrap_or_default();
    text.to_string_lossy().into_owned()
}
