//! Sees when OpenVPN has set up everything, and then names the routes that a takeover has kept (`old_routes`).

use crate::fib::Route;
use crate::journal;
use crate::left;
use crate::state::{self, State};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::ffi::CStr;
use libc::{c_char, c_int};
use udco_ipc::message_id;

/// What OpenVPN logs once it has set its routes, in 2.6 and 2.7. A release with another wording names no routes.
const COMPLETED: &[u8] = b"Initialization Sequence Completed";

/// It logs that, and much else, with a format that begins like this.
const FORMAT: &[u8] = b"%s";

/// The most routes that are named.
const NAMED: usize = 8;

/// Names the routes that the program has not set, once.
fn report(state: &mut State) {
    let mut old = state.old_routes.take();
    while let Some(ifindex) = old.first().map(|route| route.ifindex) {
        let of_device: Vec<_> = old.extract_if(.., |it| it.ifindex == ifindex).collect();
        let name = left::name(ifindex);
        let line = line(&name, &of_device);
        let device = Some(name.as_str());
        journal::say_of(message_id::ROUTES_LEFT, device, &line);
    }
}

fn line(device: &str, routes: &[Route]) -> String {
    let named: Vec<_> = routes.iter().take(NAMED).map(prefix).collect();
    let first = named.first().map_or("", String::as_str);
    let more = match routes.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(
            " and {more} more (see `ip route show dev {device}` and `ip -6 route show dev {device}`)"
        ),
    };
    format!(
        "udco: {device} was left by a killed run, with routes that OpenVPN itself has not set again: {}{more}; their packets \
         go into the tunnel; if no script needs a route, `ip route del {first} dev {device}` removes it, and its packets then \
         leave in the clear\n",
        named.join(", ")
    )
}

/// A route's destination as text.
fn prefix(route: &Route) -> String {
    let len = if c_int::from(route.family) == libc::AF_INET {
        4
    } else {
        16
    };
    let mut address = route.destination.clone();
    address.resize(len, 0);
    format!("{}/{}", left::display(&address), route.prefix)
}

/// Whether a format may be that of the line.
///
/// # Safety
/// `format` is null or a C string.
pub(crate) unsafe fn may_be_completed(format: *const c_char) -> bool {
    if format.is_null() {
        return false;
    }
    // SAFETY: the caller says so.
    let format = unsafe { CStr::from_ptr(format) }.to_bytes();
    format.starts_with(FORMAT) || format.starts_with(COMPLETED)
}

/// Checks a line that OpenVPN is about to log: the first bytes of `line`, of which `len` may be more than the room.
///
/// # Safety
/// `vsnprintf` has written to `line`, with this room and this result.
pub(crate) unsafe fn notice(line: *const c_char, room: usize, len: c_int) {
    let Some(written) = usize::try_from(len).ok().filter(|_| !line.is_null()) else {
        return;
    };
    let written = written.min(room.saturating_sub(1));
    // SAFETY: that many bytes have been written.
    let line = unsafe { core::slice::from_raw_parts(line.cast::<u8>(), written) };
    if line.starts_with(COMPLETED)
        && let Some(mut state) = state::lock().filter(|_| state::is_owner())
    {
        report(&mut state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer;
    use crate::fib;

    const V4: u8 = libc::AF_INET as u8;
    const V6: u8 = libc::AF_INET6 as u8;

    fn route(family: u8, prefix: u8, destination: &[u8]) -> Route {
        let mut fixed = [0; fib::ROUTE];
        fixed[0] = family;
        fixed[1] = prefix;
        let attributes = [(libc::RTA_DST, destination)];
        fib::read(&answer::request(libc::RTM_NEWROUTE, 0, &fixed, &attributes)).unwrap()
    }

    #[test]
    fn the_line_names_some_routes_and_how_to_remove_them() {
        let few = [route(V4, 0, &[]), route(V6, 3, &[0x20])];
        let said = line("tun7", &few);
        assert!(
            said.contains("not set again: 0.0.0.0/0, 2000::/3;"),
            "{said}"
        );
        assert!(said.contains("`ip route del 0.0.0.0/0 dev tun7`"), "{said}");
        let many: Vec<_> = (0..20).map(|it| route(V4, 24, &[10, 0, it, 0])).collect();
        let said = line("tun7", &many);
        assert!(said.contains("10.0.7.0/24 and 12 more"), "{said}");
    }

    #[test]
    fn only_a_line_that_may_be_the_one_is_read() {
        let may = |format: &CStr| {
            // SAFETY: it is a C string.
            unsafe { may_be_completed(format.as_ptr()) }
        };
        assert!(may(c"%s"));
        assert!(may(c"Initialization Sequence Completed"));
        assert!(!may(c"net_route_v4_add: %s"));
        // SAFETY: null is allowed.
        assert!(!unsafe { may_be_completed(core::ptr::null()) });
    }
}
