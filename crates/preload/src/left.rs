//! Detours around a device left behind by a killed run (faults A4).
//!
//! The device stays, dead, with its routes, so that nothing leaves in the clear (promises I1). These routes also
//! catch the next run's own packets to its remotes and name servers until it takes the device over; but OpenVPN makes
//! its device only after it has connected. So each remote gets a host route by the best alternative, like the one
//! that OpenVPN's own `redirect-gateway` adds for the server, and names are resolved on sockets bound to that uplink
//! (`resolve`). All other packets still end in the device.

mod devices;

pub(crate) use devices::{interface, is_ours, name};

use crate::answer::{self, HEADER, Header};
use crate::calls;
use crate::fib::{self, ROUTE, Route};
use crate::journal;
use crate::route_socket::RouteSocket;
use crate::state::{self, State};
use alloc::format;
use alloc::string::String;
use alloc::string::ToString;
use alloc::vec::Vec;
use core::ffi::{c_int, c_void};
use core::net::IpAddr;
use core::ptr::null_mut;
use devices::{is_left, left_devices};
use udco_ipc::message_id;

/// The metrics of routes added here: none takes precedence over another program's route to the same destination. The
/// rest of the number is the process id, which identifies the routes of killed processes.
const LAST: u32 = 0xFF80_0000;

/// A routing table that no rule refers to: it keeps the default route that OpenVPN replaced by the tunnel's
/// (`redirect-gateway` without `def1`), for a run that finds no one left to restore it.
const KEPT: u32 = u32::from_be_bytes(*b"udco");

/// A detour for packets to an address whose route leads into a device left behind.
pub(crate) struct Detour {
    /// The route of the detour.
    pub(crate) route: Route,
    /// The name of the device left behind.
    pub(crate) device: String,
}

/// The detour for an address whose route leads into a device left behind. `None`: nothing is in the way. `Some(Err)`:
/// there is no detour; the name of the device.
pub(crate) fn detour(state: &mut State, address: &[u8]) -> Option<Result<Detour, String>> {
    let mut route = fib::route_to(address)?;
    if is_stale(&route) {
        // Its uplink may have changed since.
        let _ = route.delete();
        route = fib::route_to(address)?;
    }
    if !is_left(route.ifindex) {
        return None;
    }
    let device = name(route.ifindex);
    for stale in fib::main_routes(route.family)
        .iter()
        .filter(|route| is_stale(route))
    {
        let _ = stale.delete();
    }
    offer_default(state, route.family);
    let others = fib::main_routes(route.family).into_iter();
    let others = others.filter(|other| other.covers(address) && !is_left(other.ifindex));
    let best = others.max_by_key(|other| (other.prefix, u32::MAX - other.metric));
    Some(match best {
        Some(route) => Ok(Detour { route, device }),
        None => Err(device),
    })
}

/// Before the program sends or connects to an address of 4 or 16 bytes.
pub(crate) fn clear_way(state: &mut State, address: &[u8]) {
    if state.connection.is_none() {
        return;
    }
    // A new remote: an earlier route of our own would be mistaken for the way there.
    let earlier = state
        .detours
        .extract_if(.., |route| !(route.is_default() || route.covers(address)));
    for route in earlier {
        let _ = route.delete();
    }
    match detour(state, address) {
        None => {}
        Some(Ok(Detour { route, device })) => {
            let detour = route.in_main(address, last_metric(calls::process()));
            if detour.add().is_err() {
                advise(state, &device, address);
                return;
            }
            journal::say_of(
                message_id::DEVICE_IN_THE_WAY,
                Some(&device),
                &format!(
                    "udco: {device} was left behind by a killed run: until it is taken over, {} is reached through {}, and \
                 everything else stays blocked\n",
                    display(address),
                    name(route.ifindex)
                ),
            );
            remember(state, detour);
        }
        Some(Err(device)) => advise(state, &device, address),
    }
}

/// Reports how to fix it by hand, once for each address.
pub(crate) fn advise(state: &mut State, device: &str, address: &[u8]) {
    if state.advised.iter().any(|known| known == address) {
        return;
    }
    state.advised.push(address.to_vec());
    let shown = display(address);
    journal::say_of(
        message_id::DEVICE_IN_THE_WAY,
        Some(device),
        &format!(
            "udco: {device} was left behind by a killed run and swallows the packets for {shown}; no other route is known: add \
         one with `ip route add {shown} via GATEWAY dev UPLINK` (`ip link del {device}` would let everything out in the clear)\n"
        ),
    );
}

/// An rtnetlink request of the program as rewritten for the kernel; `None` if unchanged.
pub(crate) fn rewritten(state: &mut State, kind: u16, request: &[u8]) -> Option<Vec<u8>> {
    let route = || fib::read(request);
    match kind {
        libc::RTM_GETROUTE => return asked_around(state, request),
        // OpenVPN is replacing this default route by the tunnel's.
        libc::RTM_DELROUTE if state.is_client => {
            let deleted = route().filter(Route::is_default)?;
            keep(&deleted);
        }
        libc::RTM_NEWROUTE if state.is_client => {
            let added = route()?;
            if added.is_default() {
                // It has been restored.
                forget_kept(added.family, |kept| kept.has_gateway_of(&added));
            }
            let replaced = |detour: &mut Route| {
                detour.family == added.family
                    && detour.prefix == added.prefix
                    && detour.destination == added.destination
            };
            for detour in state.detours.extract_if(.., replaced) {
                let _ = detour.delete();
            }
        }
        _ => {}
    }
    None
}

/// A request for the best route, which OpenVPN takes for the uplink's: avoid devices left behind.
fn asked_around(state: &mut State, request: &[u8]) -> Option<Vec<u8>> {
    state.connection.as_ref()?;
    let header = Header::first(request)?;
    let family = *request.get(HEADER)?;
    if i32::from(header.flags) & libc::NLM_F_DUMP == libc::NLM_F_DUMP {
        state.left = left_devices();
        if !state.left.is_empty() {
            offer_default(state, family);
        }
        return None;
    }
    let destination = fib::read(request)?.destination;
    let Some(Ok(Detour { route, .. })) = detour(state, &destination) else {
        return None;
    };
    let place = answer::attributes(request, HEADER + ROUTE);
    let mut attributes: Vec<_> = place
        .filter_map(|(kind, at)| Some((kind, request.get(at)?)))
        .collect();
    let ifindex = route.ifindex.to_ne_bytes();
    attributes.push((libc::RTA_OIF, &ifindex));
    let fixed = request.get(HEADER..HEADER + ROUTE)?;
    let mut changed = answer::request(header.kind, header.flags.into(), fixed, &attributes);
    // Sequence number and port are the program's.
    changed
        .get_mut(8..HEADER)?
        .copy_from_slice(request.get(8..HEADER)?);
    Some(changed)
}

/// The kernel's answer to a question for routes, without those through devices left behind; `None` if there are none, or if
/// it is no answer: notifications stay as they are. `port` is that of the socket.
pub(crate) fn without_left(
    left: &[u32],
    socket: &RouteSocket,
    port: u32,
    datagram: &[u8],
) -> Option<Vec<u8>> {
    let question = |message: &[u8]| socket.question(&Header::first(message)?, port);
    let rest = answer::without(datagram, libc::RTM_NEWROUTE, |message| {
        let route = question(message).and_then(|_| fib::read(message));
        route.is_some_and(|route| left.contains(&route.ifindex))
    })?;
    let header = Header::first(datagram)?;
    if rest.is_empty() && c_int::from(header.flags) & libc::NLM_F_MULTI == 0 {
        // The only route to an address, and no end of a dump follows: the program would wait forever.
        return Some(answer::error(question(datagram)?, port, libc::ENETUNREACH));
    }
    Some(rest)
}

/// Removes the routes added here. If the device is gone in order, and the last default route with it, restores the
/// kept one: the run that took the device over did not delete it, and will not restore it.
pub(crate) fn tidy_up(state: &mut State) {
    for route in core::mem::take(&mut state.detours) {
        let is_wanted = route.is_default()
            && !fib::main_routes(route.family)
                .iter()
                .any(|other| other.is_default() && other.protocol != fib::PROTOCOL);
        if is_wanted && let Some(kept) = fib::routes(route.family, KEPT).first() {
            let _ = kept.in_main(&[], kept.metric).by_hand().add();
            forget_kept(route.family, |_| true);
        }
        let _ = route.delete();
    }
}

/// Whether it is a route of a killed process of ours.
fn is_stale(route: &Route) -> bool {
    route.protocol == fib::PROTOCOL
        && route.metric >= LAST
        && !calls::is_running(route.metric - LAST)
}

fn last_metric(process: u32) -> u32 {
    LAST | process & !LAST
}

/// Copies the default route that a request of OpenVPN deletes.
fn keep(deleted: &Route) {
    let gateway = |route: &Route| deleted.has_gateway_of(route);
    let present = fib::main_routes(deleted.family).into_iter();
    let mut present = present.filter(|route| route.is_default() && gateway(route));
    // The kept route, in the form in which it was offered, is already kept.
    if let Some(route) = present.next()
        && route.protocol != fib::PROTOCOL
        && !is_ours(route.ifindex)
    {
        forget_kept(route.family, |_| true);
        let _ = route.copy(&[], KEPT, route.metric).add();
    }
}

fn forget_kept(family: u8, which: impl Fn(&Route) -> bool) {
    for route in fib::routes(family, KEPT).into_iter().filter(which) {
        let _ = route.delete();
    }
}

/// Adds the kept default route with the lowest priority, if there is no other one.
fn offer_default(state: &mut State, family: u8) {
    let is_other = |route: &Route| route.is_default() && !is_left(route.ifindex);
    if fib::main_routes(family).iter().any(is_other) {
        return;
    }
    if let Some(kept) = fib::routes(family, KEPT).first() {
        let last = kept.in_main(&[], last_metric(calls::process()));
        if last.add().is_ok() {
            remember(state, last);
        }
    }
}

fn remember(state: &mut State, route: Route) {
    if state.detours.is_empty() {
        // SAFETY: a function of this library, which is not unloaded.
        unsafe { __cxa_atexit(at_exit, null_mut(), null_mut()) };
    }
    state.detours.push(route);
}

unsafe extern "C" {
    /// `atexit`, which glibc links into each program instead of exporting it.
    fn __cxa_atexit(
        function: extern "C" fn(*mut c_void),
        argument: *mut c_void,
        library: *mut c_void,
    ) -> c_int;
}

extern "C" fn at_exit(_: *mut c_void) {
    state::enter(|| {
        tidy_up(&mut *state::lock().filter(|_| state::is_owner())?);
        Some(Ok(()))
    });
}

/// An address as text.
pub(crate) fn display(address: &[u8]) -> String {
    let v4 = || Some(IpAddr::from(*address.first_chunk::<4>()?));
    let v6 = || Some(IpAddr::from(*address.first_chunk::<16>()?));
    let ip = if address.len() == 4 { v4() } else { v6() };
    ip.map_or_else(String::new, |ip| ip.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_only_route_to_an_address_is_answered_as_none() {
        let through = |ifindex: u32, flags| {
            let attributes = [(libc::RTA_OIF, &ifindex.to_ne_bytes()[..])];
            answer::request(libc::RTM_NEWROUTE, flags, &[0; ROUTE], &attributes)
        };
        let mut socket = RouteSocket::default();
        let shown =
            |socket: &_, left: &[u32], datagram: &[u8]| without_left(left, socket, 0, datagram);
        assert_eq!(shown(&socket, &[7], &through(7, 0)), None, "not asked");
        socket.ask(&answer::request(libc::RTM_GETROUTE, 0, &[0; ROUTE], &[]));
        assert_eq!(shown(&socket, &[7], &through(8, 0)), None);
        assert_eq!(shown(&socket, &[], &through(7, 0)), None);
        let dumped = through(7, libc::NLM_F_MULTI);
        assert_eq!(shown(&socket, &[7], &dumped), Some(Vec::new()));
        let refusal = shown(&socket, &[7], &through(7, 0)).unwrap();
        assert!(answer::is_refusal(&refusal));
    }
}
