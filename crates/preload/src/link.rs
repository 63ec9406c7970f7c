//! rtnetlink sockets: real ones, on which requests that create, delete or show a link are shown to the engine first.

use crate::answer::{self, Header};
use crate::calls;
use crate::calls::Errno;
use crate::connection::Lost;
use crate::message::{Incoming, Outgoing};
use crate::state::{self, Entry, State};
use crate::tun::Device;
use libc::c_int;
use udco_front::{MAX_MESSAGE, ToEngine, ToFront};

/// The requests of which the engine may want to know.
const WATCHED: [u16; 3] = [libc::RTM_NEWLINK, libc::RTM_DELLINK, libc::RTM_GETLINK];

/// What a program does at its end, and what would let packets out in clear if the engine had died before.
const DELETIONS: [u16; 3] = [libc::RTM_DELLINK, libc::RTM_DELADDR, libc::RTM_DELROUTE];

/// Offset of the interface index in a request about a link: after the header, family and type.
const LINK_INDEX: usize = answer::HEADER + 4;

/// An rtnetlink socket.
#[derive(Default)]
pub(crate) struct RouteSocket {
    /// The engine's answer, which the program reads next.
    pending: Option<Vec<u8>>,
}

impl RouteSocket {
    /// `recvmsg`: the pending answer if there is one.
    pub(crate) fn receive(&mut self, incoming: &mut Incoming<'_>) -> Option<Result<usize, Errno>> {
        let answer = self.pending.as_ref()?;
        let len = incoming.deliver(answer, &answer::address(0));
        if !incoming.is_peek() {
            self.pending = None;
        }
        Some(Ok(len))
    }
}

/// `sendmsg`. `None`: it is the kernel's business.
pub(crate) fn send(
    state: &mut State,
    fd: c_int,
    outgoing: &Outgoing<'_>,
) -> Option<Result<usize, Errno>> {
    let datagram = outgoing.gather();
    let kind = answer::only_kind(&datagram)?;
    let port = calls::local_address(fd)
        .ok()
        .and_then(|address| answer::port(&address))
        .unwrap_or(0);
    if state.is_orphaned() && DELETIONS.contains(&kind) {
        return Some(Ok(keep_in_place(state, fd, port, &datagram)));
    }
    state.connection.as_ref()?;
    if !WATCHED.contains(&kind) {
        return None;
    }
    state::become_owner();
    let mut was_asked = false;
    let outcome = route(state, port, &datagram, &mut was_asked);
    let answer = match state.settle(outcome) {
        Ok(None) => {
            let index = datagram
                .get(LINK_INDEX..)
                .and_then(|rest| rest.first_chunk());
            let index = index.map(|bytes| c_int::from_ne_bytes(*bytes));
            if kind == libc::RTM_DELLINK && index == state.device {
                state.device = None;
            }
            return None;
        }
        Ok(Some(answer)) => answer,
        Err(Lost::TooLong) => return None,
        // An engine that died before it has done anything leaves everything to the kernel.
        Err(Lost::Dead) if !was_asked => return None,
        Err(lost) => {
            let request = Header::first(&datagram).unwrap_or_default();
            answer::error(&request, port, lost.errno())
        }
    };
    if let Some(Entry::Route(socket)) = state.sockets.get_mut(&fd)
        && !answer.is_empty()
    {
        socket.pending = Some(answer);
    }
    Some(Ok(datagram.len()))
}

/// The engine has died, and the program cleans up before it exits. Without the device and its routes packets for the
/// tunnel would leave by another route in clear (promises I1), so they stay, and the program is told that they are gone.
fn keep_in_place(state: &mut State, fd: c_int, port: u32, datagram: &[u8]) -> usize {
    let request = Header::first(datagram).unwrap_or_default();
    if request.kind == libc::RTM_DELLINK {
        calls::say(
            "udco: the engine died: the tunnel's device and routes stay, so that nothing leaves in clear; \
             delete the device to be without\n",
        );
    }
    if let Some(Entry::Route(socket)) = state.sockets.get_mut(&fd) {
        socket.pending = Some(answer::error(&request, port, 0));
    }
    datagram.len()
}

/// Asks the engine, and makes the device that it wants. `None`: it is the kernel's business. `was_asked` is set once
/// the engine has wanted something, so that the kernel mustn't be asked any more.
fn route(
    state: &mut State,
    port: u32,
    datagram: &[u8],
    was_asked: &mut bool,
) -> Result<Option<Vec<u8>>, Lost> {
    let connection = state.connection()?;
    let mut question = connection.ask(&ToEngine::Route { port, datagram }, &[])?;
    let mut device: Option<Device> = None;
    let mut buffer = vec![0; MAX_MESSAGE];
    loop {
        // A device still held when this fails is removed again.
        match connection.answer(&question, &mut buffer)? {
            ToFront::Pass => return Ok(None),
            ToFront::Answer { datagram } => {
                if !answer::is_refusal(datagram)
                    && let Some(device) = device.take()
                {
                    state.device = c_int::try_from(device.ifindex).ok();
                    Device::keep(device);
                }
                return Ok(Some(datagram.to_vec()));
            }
            ToFront::NeedTun { queues, name } => {
                *was_asked = true;
                let made = Device::create(name, queues);
                let (reply, fds) = match &made {
                    Ok(made) => (
                        ToEngine::Tun {
                            errno: 0,
                            ifindex: made.ifindex,
                            name: &made.name,
                        },
                        made.fds(),
                    ),
                    Err(errno) => (
                        ToEngine::Tun {
                            errno: *errno,
                            ifindex: 0,
                            name,
                        },
                        Vec::new(),
                    ),
                };
                connection.reply(&mut question, &reply, &fds)?;
                device = made.ok();
            }
            _ => return Err(Lost::Dead),
        }
    }
}
