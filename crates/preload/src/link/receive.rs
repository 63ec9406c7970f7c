//! What the program reads from an rtnetlink socket: the engine's answers in their places, and the kernel's, with our links as
//! the engine shows them, and without routes through devices that were left behind.

use crate::answer;
use crate::calls::{self, Errno};
use crate::connection::Lost;
use crate::left;
use crate::message::Incoming;
use crate::state::{self, Entry, Guard, State};
use alloc::vec;
use alloc::vec::Vec;
use libc::c_int;
use udco_ipc::{MAX_MESSAGE, ToClient, ToEngine};

/// `recvmsg`. `None`: the kernel's next datagram is passed on unchanged.
pub(crate) fn receive(
    mut state: Guard,
    fd: c_int,
    incoming: &mut Incoming<'_>,
) -> Option<Result<usize, Errno>> {
    let may_wait = !incoming.must_not_wait() && !calls::is_nonblocking(fd);
    loop {
        let may_be_shown = state.may_have_engine();
        let Some(Entry::Route(socket)) = state.sockets.get_mut(&fd) else {
            return None;
        };
        let first = socket.pending.front();
        if first.is_none() && !may_be_shown {
            return None;
        }
        let is_next = first.is_some_and(|pending| !pending.has_place);
        let datagram = match calls::peek(fd, incoming.room() as usize) {
            _ if is_next => Vec::new(),
            Ok(datagram) => datagram,
            Err(libc::EAGAIN) if may_wait => {
                drop(state);
                if let Err(errno) = calls::await_datagram(fd) {
                    return Some(Err(errno));
                }
                state = state::lock()?;
                continue;
            }
            Err(errno) => return Some(Err(errno)),
        };
        let place = answer::acknowledged_no_operation(&datagram);
        let answer = if is_next || place.is_some_and(|seq| socket.find_place(seq)) {
            let answer = socket.pending.front()?.answer.clone();
            if !incoming.is_peek() {
                socket.pending.pop_front();
            }
            answer
        } else {
            if let Some(shown) = answer_about_routes(&mut state, fd, incoming, &datagram) {
                if shown.is_empty() {
                    let _ = calls::receive(fd, &mut [], libc::MSG_DONTWAIT);
                    continue;
                }
                return Some(Ok(incoming.deliver_in_place(fd, &shown)));
            }
            // Rewritten by the engine, if it is about a link of ours.
            rewritten(&mut state, fd, &datagram)?
        };
        return Some(Ok(if is_next {
            incoming.deliver(&answer, &answer::address(0))
        } else {
            incoming.deliver_in_place(fd, &answer)
        }));
    }
}

/// The kernel's datagram without routes through devices left behind, if it answers a question of the program.
fn answer_about_routes(
    state: &mut State,
    fd: c_int,
    incoming: &Incoming<'_>,
    datagram: &[u8],
) -> Option<Vec<u8>> {
    let State { sockets, left, .. } = state;
    let Entry::Route(socket) = sockets.get_mut(&fd)? else {
        return None;
    };
    if !socket.has_asked() {
        return None;
    }
    let port = answer::port(&calls::local_address(fd).ok()?)?;
    let shown = left::without_left(left, socket, port, datagram);
    if !incoming.is_peek() {
        socket.answered(datagram, port);
    }
    shown
}

/// The kernel's datagram, with our links as the engine shows them; `None` if it can hold none.
fn rewritten(state: &mut State, fd: c_int, datagram: &[u8]) -> Option<Vec<u8>> {
    let links: Vec<_> = answer::shown_links(datagram).collect();
    // The first such link makes a program like `ip` connect.
    if links.is_empty() || !state.connect() {
        return None;
    }
    let netns = calls::network_namespace(fd);
    let mut answer = Vec::new();
    let mut done = 0;
    for place in links {
        answer.extend_from_slice(datagram.get(done..place.start)?);
        let message = datagram.get(place.clone())?;
        let shown = show(state, &ToEngine::Shown { netns, message });
        answer.extend_from_slice(shown.as_deref().unwrap_or(message));
        answer.resize(answer.len().next_multiple_of(4), 0);
        done = place.end.next_multiple_of(4);
    }
    answer.extend_from_slice(datagram.get(done..).unwrap_or_default());
    Some(answer)
}

fn show(state: &mut State, message: &ToEngine<'_>) -> Result<Vec<u8>, Lost> {
    let outcome = state.connection().and_then(|connection| {
        match connection.request(message, &[], &mut vec![0; MAX_MESSAGE])? {
            ToClient::Answer { datagram } => Ok(datagram.to_vec()),
            _ => Err(Lost::Dead),
        }
    });
    state.record(outcome)
}
