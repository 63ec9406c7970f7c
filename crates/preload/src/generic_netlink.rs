//! Calls on the program's generic-netlink sockets, which are channels to the engine.

use crate::answer;
use crate::calls::{self, Errno};
use crate::channel::Channel;
use crate::clock::Instant;
use crate::connection::{self, Lost};
use crate::dispenser::PATIENCE;
use crate::exchange::Exchange;
use crate::hand_over;
use crate::journal;
use crate::message::{Incoming, Outgoing};
use crate::secret::Secret;
use crate::state::{self, Entry, Guard, State};
use alloc::format;
use alloc::vec;
use libc::c_int;
use udco_ipc::client;
use udco_ipc::{MAX_MESSAGE, NO_MEMORY, REQUEST_MARK, ToClient, ToEngine, message_id};

/// Receive buffer: as much as OpenVPN sets on its own end, and room for a dump of many peers.
const BUFFER: c_int = 4 << 20;

/// Opens a channel in place of a generic-netlink socket. `None` without an engine.
pub(crate) fn open(state: &mut State, kind: c_int) -> Option<Result<c_int, Errno>> {
    let is_connected = state.connect();
    // Child processes have no use for the engine.
    connection::withdraw();
    if !is_connected {
        return None;
    }
    state.part();
    state.become_owner();
    let (program, engine) = match calls::pair(libc::SOCK_SEQPACKET) {
        Ok(pair) => pair,
        Err(errno) => return Some(Err(errno)),
    };
    for fd in [program.raw(), engine.raw()] {
        calls::raise_buffer(fd, libc::SO_SNDBUF, BUFFER);
        calls::raise_buffer(fd, libc::SO_RCVBUF, BUFFER);
    }
    let prepared = calls::set_nonblocking(engine.raw()).and_then(|()| {
        if kind & libc::SOCK_NONBLOCK != 0 {
            calls::set_nonblocking(program.raw())?;
        }
        if kind & libc::SOCK_CLOEXEC == 0 {
            calls::set_flags(program.raw(), libc::F_SETFD, 0)?;
        }
        Ok(())
    });
    if let Err(errno) = prepared {
        return Some(Err(errno));
    }
    let mut buffer = vec![0; MAX_MESSAGE];
    let mut is_short = false;
    let outcome = state.connection().and_then(|connection| {
        match connection.request(&ToEngine::OpenChannel, &[engine.raw()], &mut buffer)? {
            ToClient::Channel { channel } => Ok(channel),
            answer => {
                is_short = matches!(answer, ToClient::Done { errno, .. } if errno == libc::ENOMEM);
                Err(Lost::Dead)
            }
        }
    });
    let Ok(number) = state.record(outcome) else {
        if is_short {
            let line = format!("udco: {NO_MEMORY}; OpenVPN uses its own data path\n");
            journal::say(message_id::OFFLOAD_UNAVAILABLE, &line);
        } else {
            let line = "udco: the engine has ended: OpenVPN uses its own data path\n";
            journal::say(message_id::ENGINE_ENDED, line);
        }
        return None;
    };
    let channel = Channel::new(number);
    state
        .serve(program.raw(), Entry::Channel(channel))
        .then(|| Ok(program.into_raw()))
}

/// `setsockopt(SOL_NETLINK)`.
pub(crate) fn set_option(
    state: &mut State,
    fd: c_int,
    name: c_int,
    value: c_int,
) -> Result<c_int, Errno> {
    let known = [
        libc::NETLINK_ADD_MEMBERSHIP,
        libc::NETLINK_DROP_MEMBERSHIP,
        libc::NETLINK_EXT_ACK,
        libc::NETLINK_CAP_ACK,
    ];
    if !known.contains(&name) {
        return Ok(0);
    }
    let Some(Entry::Channel(channel)) = state.sockets.get(&fd) else {
        return Err(libc::EBADF);
    };
    let message = ToEngine::SetOption {
        channel: channel.number,
        name,
        value,
    };
    state.become_owner();
    match state.request_errno(&message) {
        Ok(0) => Ok(0),
        Ok(errno) => Err(errno),
        Err(lost) => Err(lost.errno()),
    }
}

/// `sendmsg`: returns once the whole answer is readable, or has been made up. OpenVPN spins on EAGAIN otherwise
/// (openvpn-integration 3.2).
pub(crate) fn send(state: &mut State, fd: c_int, outgoing: &Outgoing<'_>) -> Result<usize, Errno> {
    let datagram = outgoing.gather();
    let Some(Entry::Channel(channel)) = state.sockets.get_mut(&fd) else {
        return Err(libc::EBADF);
    };
    channel.begin(fd, &datagram);
    let message = ToEngine::Request {
        channel: channel.number,
        port: channel.port,
        room: channel.room,
        admin: channel.admin && calls::is_admin(),
        datagram: &datagram,
    };
    state.become_owner();
    let outcome = request(state, &message);
    let outcome = state.record(outcome);
    if outcome == Err(Lost::TooLong) {
        return Err(libc::EMSGSIZE);
    }
    if let Some(Entry::Channel(channel)) = state.sockets.get_mut(&fd) {
        match outcome {
            Ok(more) => {
                channel.awaits_final = more;
                channel.awaits_mark = true;
            }
            Err(lost) => channel.give_up(lost.errno()),
        }
    }
    Ok(datagram.len())
}

/// Sends a request, and hands over the transport sockets that the engine needs. Returns whether more of the answer
/// follows.
fn request(state: &mut State, message: &ToEngine<'_>) -> Result<bool, Lost> {
    let mut exchange = Exchange::new(state);
    let mut buffer = vec![0; MAX_MESSAGE];
    let outcome = match client::request(&mut exchange, message, &mut buffer) {
        Ok(ToClient::Done {
            replace_fd, more, ..
        }) => Ok((replace_fd, more)),
        Ok(_) => Err(Lost::Dead),
        Err(lost) => Err(lost),
    };
    match (outcome, exchange.into_offer()) {
        (Ok((true, more)), Some(offer)) => {
            hand_over::swap(state, offer);
            Ok(more)
        }
        (Err(Lost::Silent), Some(offer)) => {
            // The engine may still take the socket after this timeout: it reads this message next and closes its
            // copy. Do not wait for the answer.
            let closed = ToEngine::SocketClosed { fd: offer.fd() };
            let _ = state.connection()?.notify(&closed);
            Err(Lost::Silent)
        }
        (outcome, _) => outcome.map(|(_, more)| more),
    }
}

/// `recvmsg`.
pub(crate) fn receive(
    mut state: Guard,
    fd: c_int,
    incoming: &mut Incoming<'_>,
) -> Result<usize, Errno> {
    let kernel = answer::address(0);
    if let Some(Entry::Channel(channel)) = state.sockets.get_mut(&fd) {
        channel.room = channel.room.max(incoming.room());
    }
    let may_wait = !incoming.must_not_wait() && !calls::is_nonblocking(fd);
    loop {
        let Some(Entry::Channel(channel)) = state.sockets.get_mut(&fd) else {
            return Err(libc::EBADF);
        };
        if let Some(made_up) = &channel.pending {
            let len = incoming.deliver(made_up, &kernel);
            if !incoming.is_peek() {
                channel.pending = None;
            }
            return Ok(len);
        }
        match peek(fd) {
            // The engine has closed its end, so every call fails from now on. ENODEV makes OpenVPN exit; a plain end
            // of file would make it spin (openvpn-integration 3.3).
            Ok(None) => {
                state.connection = None;
                let Some(Entry::Channel(channel)) = state.sockets.get(&fd) else {
                    return Err(libc::EBADF);
                };
                let made_up = answer::error(&channel.last, channel.port, libc::ENODEV);
                return Ok(incoming.deliver(&made_up, &kernel));
            }
            Ok(Some(datagram)) if *datagram == *REQUEST_MARK => {
                discard(fd);
                channel.awaits_mark = false;
            }
            Ok(Some(datagram)) if channel.is_stale(&datagram) => discard(fd),
            Ok(Some(datagram)) if channel.awaits_mark => {
                // Older than the request: OpenVPN 2.6 would drop it while it waits for the answer.
                discard(fd);
                let channel = channel.number;
                let back = ToEngine::Return {
                    channel,
                    datagram: &datagram,
                };
                let _ = state.connection().and_then(|engine| engine.notify(&back));
            }
            Ok(Some(datagram)) => {
                if !incoming.is_peek() {
                    discard(fd);
                    if answer::is_final(&datagram) {
                        channel.awaits_final = false;
                    }
                }
                return Ok(incoming.deliver(&datagram, &kernel));
            }
            Err(libc::EAGAIN) if channel.awaits_final || channel.awaits_mark => {
                drop(state);
                let arrived = wait_for_engine(fd)?;
                state = state::lock().ok_or(libc::EAGAIN)?;
                if let Some(Entry::Channel(channel)) = state.sockets.get_mut(&fd)
                    && !arrived
                {
                    channel.give_up(libc::EBUSY);
                }
            }
            Err(libc::EAGAIN) if may_wait => {
                drop(state);
                match calls::await_datagram(fd) {
                    // The next look sees it, too.
                    Ok(()) | Err(libc::ECONNRESET) => {}
                    Err(errno) => return Err(errno),
                }
                state = state::lock().ok_or(libc::EAGAIN)?;
            }
            Err(errno) => return Err(errno),
        }
    }
}

/// Waits for more of an answer; `false` if the engine is silent.
fn wait_for_engine(fd: c_int) -> Result<bool, Errno> {
    for _ in 0..=client::MOST_OVERSLEPT {
        let until = Instant::now() + PATIENCE;
        let has_arrived = calls::wait(fd, libc::POLLIN, until)?;
        if has_arrived || !client::has_overslept(until, Instant::now()) {
            return Ok(has_arrived);
        }
    }
    Ok(false)
}

/// Peeks at the next datagram in the channel; `None` at the end. A refusal contains the request, and so perhaps a
/// key.
fn peek(fd: c_int) -> Result<Option<Secret>, Errno> {
    let flags = libc::MSG_PEEK | libc::MSG_TRUNC | libc::MSG_DONTWAIT;
    let len = match calls::receive(fd, &mut [], flags) {
        Ok(0) | Err(libc::ECONNRESET | libc::EPIPE) => return Ok(None),
        other => other?,
    };
    let mut datagram = Secret::zeroed(len);
    let len = calls::receive(fd, &mut datagram, flags)?;
    datagram.truncate(len);
    Ok(Some(datagram))
}

fn discard(fd: c_int) {
    let _ = calls::receive(fd, &mut [], libc::MSG_DONTWAIT);
}
