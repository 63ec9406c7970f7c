//! A channel: what a program believes to be its generic-netlink socket.

use std::io;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex};
use std::thread::ThreadId;

use udco_ipc::REQUEST_MARK;
use udco_netlink::{Api, FamilyIds, Notification};
use udco_sys::epoll::{Interest, Poller};
use udco_sys::seqpacket::Connection;

use crate::client::{Client, ClientId};
use crate::control::account::{Account, Kind};
use crate::control::backlog::{Backlog, Subject};
use crate::control::namespace;
use crate::sync::lock;

/// The generic-netlink ids that the engine announces. The kernel gives such ids from 0x10 on; ours are far above, so
/// that a message which went astray is not taken for another family's.
pub(crate) const FAMILIES: FamilyIds = FamilyIds {
    ovpn: 0x7d0,
    ovpn_peers: 0x7d1,
    dco_v2: 0x7d2,
    dco_v2_peers: 0x7d3,
};

/// The engine's end of a channel, shared by the connection's thread (answers) and all that notify.
pub(crate) struct Channel {
    socket: Connection,
    /// The kernel's number of the program's network namespace; 0 if unknown.
    pub(crate) netns: u64,
    /// Whose it is, and its user.
    pub(crate) client: ClientId,
    pub(crate) uid: u32,
    /// Where the connection's thread waits, to be told of room when something waits for it.
    poller: Arc<Poller>,
    token: u64,
    account: Arc<Account>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// What did not fit yet.
    waiting: Backlog,
    /// The thread that answers a request on this channel just now.
    answering: Option<ThreadId>,
    /// Notifications of other threads that came meanwhile.
    held: Backlog,
    /// What of both is charged to the user's account.
    charged: usize,
    /// So much has come that the program has not read that nothing more is kept.
    is_lost: bool,
    /// The families whose notifications it wants.
    joined: Vec<Api>,
    ext_ack: bool,
    cap_ack: bool,
}

impl Channel {
    /// Takes the engine's end of a channel. The poller reports under `token` that the program has closed its end, and
    /// that there is room for what waits: see [`Channel::flush`].
    pub(crate) fn new(
        socket: Connection,
        (program, account): (Client, Arc<Account>),
        poller: &Arc<Poller>,
        token: u64,
    ) -> io::Result<Self> {
        poller.add(&socket, token, Interest::NONE)?;
        Ok(Self {
            netns: namespace::of(socket.as_fd(), &program),
            client: program.id,
            uid: program.uid,
            socket,
            poller: Arc::clone(poller),
            token,
            account,
            state: Mutex::default(),
        })
    }

    /// `NETLINK_EXT_ACK` and `NETLINK_CAP_ACK`, as set by the program.
    pub(crate) fn acknowledgement_options(&self) -> (bool, bool) {
        let state = lock(&self.state);
        (state.ext_ack, state.cap_ack)
    }

    /// Sets `NETLINK_EXT_ACK`.
    pub(crate) fn set_ext_ack(&self, on: bool) {
        lock(&self.state).ext_ack = on;
    }

    /// Sets `NETLINK_CAP_ACK`.
    pub(crate) fn set_cap_ack(&self, on: bool) {
        lock(&self.state).cap_ack = on;
    }

    /// Joins or leaves the notifications of a family.
    pub(crate) fn set_member(&self, api: Api, member: bool) {
        let joined = &mut lock(&self.state).joined;
        joined.retain(|other| *other != api);
        if member {
            joined.push(api);
        }
    }

    /// Queues a notification if the program has joined the family's group. Those that a request on this channel causes
    /// come before its answer, all others behind it.
    pub(crate) fn notify(&self, api: Api, notification: &Notification) {
        let mut state = lock(&self.state);
        if !state.joined.contains(&api) {
            return;
        }
        let Some(datagram) = udco_netlink::notification(api, &FAMILIES, notification) else {
            return;
        };
        let subject = Subject::of(notification);
        match state.answering {
            Some(thread) if thread != std::thread::current().id() => {
                state.held.push(datagram, Some(subject));
                self.settle(&mut state);
            }
            _ => self.put(&mut state, datagram, Some(subject)),
        }
    }

    /// Queues a notification that the front has given back.
    pub(crate) fn put_back(&self, datagram: Vec<u8>) {
        self.put(&mut lock(&self.state), datagram, None);
    }

    /// The calling thread begins to answer a request on this channel.
    pub(crate) fn begin_answer(&self) {
        let mut state = lock(&self.state);
        state.answering = Some(std::thread::current().id());
        self.put(&mut state, REQUEST_MARK.to_vec(), None);
    }

    /// Queues the answer; returns whether it is readable as a whole.
    pub(crate) fn end_answer(&self, datagrams: Vec<Vec<u8>>) -> bool {
        let mut state = lock(&self.state);
        for datagram in datagrams {
            self.put(&mut state, datagram, None);
        }
        let complete = state.waiting.is_empty();
        state.answering = None;
        for (datagram, subject) in state.held.take() {
            self.put(&mut state, datagram, subject);
        }
        self.settle(&mut state);
        complete
    }

    /// Sends what waits, as far as it fits.
    pub(crate) fn flush(&self) {
        let mut state = lock(&self.state);
        while let Some(datagram) = state.waiting.first() {
            match self.socket.send(datagram, &[]) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return self.settle(&mut state);
                }
                // Sent, or the program is gone and nobody waits for it.
                _ => state.waiting.pop(),
            };
        }
        self.settle(&mut state);
        let _ = self.poller.modify(&self.socket, self.token, Interest::NONE);
    }

    /// Charges what waits to the user's account. If it is too much, the program that does not read loses its channel, as
    /// a socket of the kernel would lose datagrams (faults D3).
    fn settle(&self, state: &mut State) {
        let bytes = state.waiting.bytes() + state.held.bytes();
        if bytes <= state.charged {
            self.account
                .subtract(Kind::WaitingBytes, state.charged - bytes);
            state.charged = bytes;
        } else if self.account.add(Kind::WaitingBytes, bytes - state.charged) {
            state.charged = bytes;
        } else {
            state.is_lost = true;
            state.waiting = Backlog::default();
            state.held = Backlog::default();
            self.account.subtract(Kind::WaitingBytes, state.charged);
            state.charged = 0;
            self.account.line(|| {
                tracing::warn!("closing the channel of a client that does not read its answers");
            });
            // Its thread finds the end of it, and so does the program.
            let _ = rustix::net::shutdown(&self.socket, rustix::net::Shutdown::Both);
        }
    }

    fn put(&self, state: &mut State, datagram: Vec<u8>, subject: Option<Subject>) {
        if state.is_lost {
            return;
        }
        if state.waiting.is_empty() {
            match self.socket.send(&datagram, &[]) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                _ => return,
            }
            let _ = self
                .poller
                .modify(&self.socket, self.token, Interest::WRITE);
        }
        state.waiting.push(datagram, subject);
        self.settle(state);
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        self.account
            .subtract(Kind::WaitingBytes, lock(&self.state).charged);
        let _ = self.poller.remove(&self.socket);
    }
}
