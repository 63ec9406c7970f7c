//! fd numbers that the program gives to files, takes away from them, or overwrites.

use crate::calls::{self, Errno};
use crate::marks;
use crate::state::{self, Entry, State};
use crate::tally::Tally;
use libc::c_int;
use udco_ipc::ToEngine;

/// Releases an fd number that the program closes or overwrites. By the time this returns, the engine has closed its
/// copy of a transport socket, so that the port is free (openvpn-integration 3.4).
///
/// # Errors
/// `EBADF` for an fd that is hidden from the program.
pub(crate) fn release(fd: c_int) -> Option<Result<c_int, Errno>> {
    if marks::has(fd, marks::HIDDEN) {
        // A real socket is closed with the program's own number of it.
        if state::is_owner() || state::lock().is_some_and(|state| is_behind_relay(&state, fd)) {
            return Some(Err(libc::EBADF));
        }
        marks::remove(fd, marks::HIDDEN);
        return None;
    }
    let mut state = state::lock()?;
    state.epolls.forget(fd);
    if let Some(Entry::Transport(_transport)) = state.forget(fd)
        && state::is_owner()
    {
        let _ = state.request_errno(&ToEngine::SocketClosed { fd });
    }
    None
}

/// A new file got this number: any state kept for it is stale (a file can be closed inside libc).
pub(crate) fn renew(fd: c_int) -> Option<Result<c_int, Errno>> {
    let mut state = state::lock()?;
    state.epolls.forget(fd);
    state.forget(fd);
    None
}

/// A new TCP socket got this number: count the bytes read from it.
pub(crate) fn count(fd: c_int) -> Option<Result<c_int, Errno>> {
    let option = |name| calls::option(fd, libc::SOL_SOCKET, name).ok();
    let is_inet = matches!(option(libc::SO_DOMAIN)?, libc::AF_INET | libc::AF_INET6);
    if is_inet && option(libc::SO_TYPE)? == libc::SOCK_STREAM {
        let mut state = state::lock()?;
        if state.may_have_engine() && !state.has_own_tun {
            state.serve(fd, Entry::Stream(Tally::default()));
        }
    }
    None
}

/// Frees the number `fd` for a `dup2`.
///
/// # Errors
/// `EMFILE` if a file of this library has the number, and no other is free for it.
pub(crate) fn make_way(fd: c_int) -> Result<(), Errno> {
    if !marks::has(fd, marks::HIDDEN) {
        release(fd);
        return Ok(());
    }
    let Some(mut state) = state::lock() else {
        return Ok(());
    };
    if let Some(connection) = &mut state.connection {
        connection.move_from(fd)?;
    }
    for entry in state.sockets.values_mut() {
        if let Entry::Transport(transport) = entry {
            transport.move_from(fd)?;
        }
    }
    Ok(())
}

/// Whether this is the number of a real socket behind a relay.
fn is_behind_relay(state: &State, fd: c_int) -> bool {
    let mut entries = state.sockets.values();
    entries.any(|entry| matches!(entry, Entry::Transport(it) if it.real.raw() == fd))
}
