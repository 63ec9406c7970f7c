//! rtnetlink sockets: real ones, whose requests to create, delete or show a link go to the engine first.

mod receive;

pub(crate) use receive::receive;

use crate::addresses;
use crate::answer::{self, Header};
use crate::calls;
use crate::calls::Errno;
use crate::connection::Lost;
use crate::exchange::Exchange;
use crate::journal;
use crate::left;
use crate::message::Outgoing;
use crate::route;
use crate::route_socket::Pending;
use crate::state::{Entry, State};
use alloc::format;
use alloc::vec;
use alloc::vec::Vec;
use libc::c_int;
use udco_ipc::client;
use udco_ipc::{MAX_MESSAGE, ToClient, ToEngine, message_id};

/// The requests that the engine may handle.
const WATCHED: [u16; 4] = [
    libc::RTM_NEWLINK,
    libc::RTM_DELLINK,
    libc::RTM_GETLINK,
    libc::RTM_SETLINK,
];

/// Requests that a program makes as it exits: after the engine's death they would let packets out in the clear. The
/// last one restores the default route that a `redirect-gateway` without `def1` replaced (faults A2).
const CLEAN_UP: [u16; 4] = [
    libc::RTM_DELLINK,
    libc::RTM_DELADDR,
    libc::RTM_DELROUTE,
    libc::RTM_NEWROUTE,
];

/// The requests in which a client's metric differs from a server's.
const ROUTES: [u16; 2] = [libc::RTM_NEWROUTE, libc::RTM_DELROUTE];

/// Other requests that this library may change.
const OTHERS: [u16; 2] = [libc::RTM_GETROUTE, libc::RTM_NEWADDR];

/// The common prefix of both kinds of our links.
const OUR_KIND: &[u8] = b"ovpn";

/// Offset of the interface index in a request about a link: after the header, family and type.
const LINK_INDEX: usize = answer::HEADER + 4;

/// `sendmsg`. `None`: the kernel handles it.
pub(crate) fn send(
    state: &mut State,
    fd: c_int,
    outgoing: &Outgoing<'_>,
) -> Option<Result<usize, Errno>> {
    state.forget_closed();
    let datagram = outgoing.gather();
    if let Some(Entry::Route(socket)) = state.sockets.get_mut(&fd) {
        socket.ask(&datagram);
    }
    match answer::only_kind(&datagram) {
        Some(kind) => send_one(state, fd, kind, &datagram),
        None => send_each(state, fd, &datagram),
    }
}

/// Several requests in one datagram: each goes by itself if any of them concerns this library. The kernel handles and answers
/// them one by one, too.
fn send_each(state: &mut State, fd: c_int, datagram: &[u8]) -> Option<Result<usize, Errno>> {
    let lists = [&WATCHED[..], &CLEAN_UP, &ROUTES, &OTHERS];
    let concerns = |kind| lists.iter().any(|list| list.contains(&kind));
    if !answer::each(datagram).any(|(header, _)| concerns(header.kind)) {
        return None;
    }
    for (header, message) in answer::each(datagram) {
        let sent = send_one(state, fd, header.kind, message)
            .unwrap_or_else(|| calls::send(fd, message, &[]).map(|()| message.len()));
        if let Err(errno) = sent {
            return Some(Err(errno));
        }
    }
    Some(Ok(datagram.len()))
}

/// One request. `None`: the kernel handles it.
fn send_one(
    state: &mut State,
    fd: c_int,
    kind: u16,
    datagram: &[u8],
) -> Option<Result<usize, Errno>> {
    if would_open(state, kind, datagram) && state.is_orphaned() {
        return Some(Ok(keep_in_place(state, fd, datagram)));
    }
    state.old_routes.set(datagram);
    if matches!(
        kind,
        libc::RTM_GETROUTE | libc::RTM_NEWROUTE | libc::RTM_DELROUTE
    ) && let Some(changed) = left::rewritten(state, kind, datagram)
    {
        return Some(calls::send(fd, &changed, &[]).map(|()| datagram.len()));
    }
    if kind == libc::RTM_NEWADDR {
        take_over_own(state, datagram);
    }
    if kind == libc::RTM_NEWADDR
        && let Some(sent) = state.stale.replace(fd, datagram)
    {
        return Some(sent.map(|()| datagram.len()));
    }
    if state.is_client
        && ROUTES.contains(&kind)
        && let Some(changed) = route::without_default_metric(datagram)
    {
        return Some(calls::send(fd, &changed, &[]).map(|()| datagram.len()));
    }
    if is_new_link_of_ours(kind, datagram) && state.has_lost_engine() {
        let request = Header::first(datagram).unwrap_or_default();
        let refusal = answer::error(&request, port_of(fd), libc::ENODEV);
        put(state, fd, request.seq, refusal);
        return Some(Ok(datagram.len()));
    }
    if !WATCHED.contains(&kind) || !is_reachable(state, kind, datagram) {
        return None;
    }
    state.become_owner();
    let mut is_claimed = false;
    let outcome = consult(state, fd, datagram, &mut is_claimed);
    let answer = match state.record(outcome) {
        Ok(None) => {
            forget(state, kind, datagram);
            return None;
        }
        Ok(Some(answer)) => answer,
        // A silent engine is only needed for new links of ours. If its silence kept other requests from the kernel,
        // OpenVPN could not set up a TUN device of its own, and a device due for deletion would stay in its
        // successor's way once the engine finally releases it.
        Err(Lost::Silent) if !is_claimed && !is_new_link_of_ours(kind, datagram) => {
            forget(state, kind, datagram);
            return None;
        }
        Err(Lost::TooLong) => return None,
        // The engine died just now.
        Err(Lost::Dead) if would_open(state, kind, datagram) && state.is_orphaned() => {
            return Some(Ok(keep_in_place(state, fd, datagram)));
        }
        // If an engine dies before it has done anything, the kernel handles everything but a new link of ours: for
        // the name of a device left behind it returns "File exists", which OpenVPN takes for success (faults A5).
        Err(Lost::Dead) if !is_claimed && !is_new_link_of_ours(kind, datagram) => return None,
        Err(lost) => {
            let request = Header::first(datagram).unwrap_or_default();
            answer::error(&request, port_of(fd), lost.errno())
        }
    };
    if is_new_link_of_ours(kind, datagram) && !answer::is_refusal(&answer) {
        state.left.clear();
        state.is_client = has_channel(state) && !route::is_for_many_peers(datagram);
    }
    if !answer.is_empty() {
        let seq = Header::first(datagram).unwrap_or_default().seq;
        put(state, fd, seq, answer);
    }
    Some(Ok(datagram.len()))
}

/// Before the program's first address of a device that it has opened itself: one left behind by a killed run is taken
/// over.
fn take_over_own(state: &mut State, request: &[u8]) {
    if state.has_own_tun
        && let Some(ifindex) = addresses::device(request)
        && !state.own_devices.contains(&ifindex)
    {
        state.own_devices.push(ifindex);
        if left::is_ours(ifindex) {
            state.take_over(ifindex);
        }
    }
}

/// Whether the program drives a data channel. One without, like `ip`, makes links for others.
fn has_channel(state: &State) -> bool {
    let is_channel = |entry: &Entry| matches!(entry, Entry::Channel(_));
    state.sockets.values().any(is_channel)
}

/// Whether a request may divert packets for the tunnel: those that a program makes as it exits, and changes of our
/// device, which loses its routes if it is set down.
fn would_open(state: &State, kind: u16, datagram: &[u8]) -> bool {
    let changes = [libc::RTM_NEWLINK, libc::RTM_SETLINK].contains(&kind);
    let is_ours = || link_of(datagram).is_some_and(|link| state.devices.contains(&link));
    CLEAN_UP.contains(&kind) || (changes && is_ours())
}

/// The interface index in a request about a link.
fn link_of(datagram: &[u8]) -> Option<c_int> {
    let index = datagram.get(LINK_INDEX..)?.first_chunk()?;
    Some(c_int::from_ne_bytes(*index))
}

/// Whether there is an engine for this request. OpenVPN connects when it opens its generic-netlink socket; a program
/// like `ip` makes and deletes links without one.
fn is_reachable(state: &mut State, kind: u16, datagram: &[u8]) -> bool {
    let may_be_ours = kind == libc::RTM_DELLINK || is_new_link_of_ours(kind, datagram);
    state.connection.is_some() || (may_be_ours && state.connect())
}

fn is_new_link_of_ours(kind: u16, datagram: &[u8]) -> bool {
    kind == libc::RTM_NEWLINK && datagram.windows(OUR_KIND.len()).any(|it| it == OUR_KIND)
}

/// The kernel is to delete a link: forget it, it is no longer one of our devices.
fn forget(state: &mut State, kind: u16, datagram: &[u8]) {
    if kind == libc::RTM_DELLINK {
        let link = link_of(datagram);
        state.devices.retain(|device| Some(*device) != link);
    }
}

/// Queues an answer as the next one for the program to read.
fn put(state: &mut State, fd: c_int, seq: u32, answer: Vec<u8>) {
    let has_place = calls::send(fd, &answer::no_operation(seq), &[]).is_ok();
    if let Some(Entry::Route(socket)) = state.sockets.get_mut(&fd) {
        socket.pending.push_back(Pending {
            answer,
            seq,
            has_place,
        });
    }
}

/// The socket's port id, which the kernel assigns at the first use at the latest.
fn port_of(fd: c_int) -> u32 {
    let port = || answer::port(&calls::local_address(fd).ok()?);
    if port() == Some(0) {
        let _ = calls::bind(fd, &answer::address(0));
    }
    port().unwrap_or(0)
}

/// The engine has died, and the program cleans up before it exits. Without the device and its routes, or with its old
/// default route, packets for the tunnel would leave by another route in the clear (promises I1, faults A2): so
/// everything stays as it is, and the program gets an acknowledgement.
fn keep_in_place(state: &mut State, fd: c_int, datagram: &[u8]) -> usize {
    let request = Header::first(datagram).unwrap_or_default();
    if request.kind == libc::RTM_DELLINK {
        let device = link_of(datagram).and_then(|it| u32::try_from(it).ok());
        let device = device.map(left::name).filter(|it| !it.is_empty());
        let shown = device.as_deref().unwrap_or("the tunnel's device");
        journal::say_of(
            message_id::ENGINE_ENDED,
            device.as_deref(),
            &format!(
                "udco: the engine died: {shown} stays, with its routes, so that nothing leaves in the clear; the next start \
                 takes it over; to go on without a tunnel, delete it (`ip link del`)\n"
            ),
        );
    }
    let done = answer::error(&request, port_of(fd), 0);
    put(state, fd, request.seq, done);
    datagram.len()
}

/// Forwards a request to the engine, and makes the device that it needs. `None`: the kernel handles it. `is_claimed`
/// is set once the engine has requested a device: then the request must not reach the kernel any more.
fn consult(
    state: &mut State,
    fd: c_int,
    datagram: &[u8],
    is_claimed: &mut bool,
) -> Result<Option<Vec<u8>>, Lost> {
    let is_on = |name| calls::option(fd, libc::SOL_NETLINK, name).is_ok_and(|on| on != 0);
    let message = ToEngine::LinkRequest {
        port: port_of(fd),
        admin: calls::is_admin(),
        ext_ack: is_on(libc::NETLINK_EXT_ACK),
        cap_ack: is_on(libc::NETLINK_CAP_ACK),
        datagram,
    };
    let mut exchange = Exchange::new(state);
    let mut buffer = vec![0; MAX_MESSAGE];
    let outcome = client::request(&mut exchange, &message, &mut buffer);
    *is_claimed = exchange.is_claimed;
    // If this fails, the device is dropped and so removed again.
    let device = exchange.device.take();
    match outcome? {
        ToClient::Pass => Ok(None),
        ToClient::Answer { datagram } => {
            if !answer::is_refusal(datagram)
                && let Some(device) = device
            {
                let made = device.made;
                state.devices.extend(c_int::try_from(made.ifindex));
                if made.was_left && has_channel(state) {
                    state.take_over(made.ifindex);
                }
                device.keep();
            }
            Ok(Some(datagram.to_vec()))
        }
        _ => Err(Lost::Dead),
    }
}
