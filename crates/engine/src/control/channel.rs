//! A channel: the socket that a client believes to be generic netlink.

use std::io;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex};
use std::thread::ThreadId;

use udco_ipc::REQUEST_MARK;
use udco_netlink::{Api, FamilyIds, Notification};
use udco_sys::Netns;
use udco_sys::epoll::{Interest, Poller};
use udco_sys::seqpacket::Connection;

use crate::client::{Client, ClientId};
use crate::control::account::{Account, Kind};
use crate::control::backlog::{Backlog, Subject};
use crate::control::namespace;
use crate::sync::lock;

/// The generic-netlink ids that the engine announces. The kernel assigns such ids from 0x10 up; ours are far above, so
/// a stray message cannot reach another family.
pub(crate) const FAMILIES: FamilyIds = FamilyIds {
    ovpn: 0x7d0,
    ovpn_peers: 0x7d1,
    dco_v2: 0x7d2,
    dco_v2_peers: 0x7d3,
};

/// The engine's end of a channel, shared by the connection's thread (answers) and all threads that notify.
pub(crate) struct Channel {
    socket: Connection,
    /// The kernel's number of the client's network namespace; 0 if unknown.
    pub(crate) netns: Netns,
    /// The client, and its user.
    pub(crate) client: ClientId,
    pub(crate) uid: u32,
    /// Where the connection's thread waits: reports room in the socket while datagrams are queued.
    poller: Arc<Poller>,
    token: u64,
    account: Arc<Account>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Datagrams that did not fit yet.
    waiting: Backlog,
    /// The thread that is answering a request on this channel.
    answering: Option<ThreadId>,
    /// Notifications that other threads sent meanwhile.
    held: Backlog,
    /// How much of both is charged to the user's account.
    charged: usize,
    /// The client has left so much unread that the channel queues nothing any more.
    is_lost: bool,
    /// The families that it has joined for notifications.
    joined: Vec<Api>,
    ext_ack: bool,
    cap_ack: bool,
}

impl Channel {
    /// Takes over the engine's end of a channel. The poller reports under `token` that the client has closed its end,
    /// or that there is room for queued datagrams: see [`Channel::flush`].
    pub(crate) fn new(
        socket: Connection,
        (client, account): (Client, Arc<Account>),
        poller: &Arc<Poller>,
        token: u64,
    ) -> io::Result<Self> {
        poller.add(&socket, token, Interest::NONE)?;
        Ok(Self {
            netns: namespace::of(socket.as_fd(), &client),
            client: client.id,
            uid: client.uid,
            socket,
            poller: Arc::clone(poller),
            token,
            account,
            state: Mutex::default(),
        })
    }

    /// `NETLINK_EXT_ACK` and `NETLINK_CAP_ACK`, as the client has set them.
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

    /// Joins or leaves a family's notifications.
    pub(crate) fn set_member(&self, api: Api, member: bool) {
        let joined = &mut lock(&self.state).joined;
        joined.retain(|other| *other != api);
        if member {
            joined.push(api);
        }
    }

    /// Queues a notification if the client has joined the family's group. Those that a request on this channel causes
    /// precede its answer; all others follow it. The older API reports only deletions: a client that has joined both
    /// groups, as `udco monitor` does, gets all else in the form of the newer one.
    pub(crate) fn notify(&self, api: Api, notification: &Notification) {
        let mut state = lock(&self.state);
        if !state.joined.contains(&api) {
            return;
        }
        let encoded = |api| udco_netlink::notification(api, &FAMILIES, notification);
        let newer = || encoded(Api::Ovpn).filter(|_| state.joined.contains(&Api::Ovpn));
        let Some(datagram) = encoded(api).or_else(newer) else {
            return;
        };
        let subject = Subject::of(notification);
        match state.answering {
            Some(thread) if thread != std::thread::current().id() => {
                state.held.push(datagram, Some(subject));
                self.charge(&mut state);
            }
            _ => self.put(&mut state, datagram, Some(subject)),
        }
    }

    /// Queues a notification that the client has handed back.
    pub(crate) fn put_back(&self, datagram: Vec<u8>) {
        self.put(&mut lock(&self.state), datagram, None);
    }

    /// The calling thread begins to answer a request on this channel.
    pub(crate) fn begin_answer(&self) {
        let mut state = lock(&self.state);
        state.answering = Some(std::thread::current().id());
        self.put(&mut state, REQUEST_MARK.to_vec(), None);
    }

    /// Queues the answer; returns whether all of it is readable.
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
        self.charge(&mut state);
        complete
    }

    /// Sends as much of the queue as fits.
    pub(crate) fn flush(&self) {
        let mut state = lock(&self.state);
        while let Some(datagram) = state.waiting.first() {
            match self.socket.send(datagram, &[]) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return self.charge(&mut state);
                }
                // Sent, or the client is gone.
                _ => state.waiting.pop(),
            };
        }
        self.charge(&mut state);
        let _ = self.poller.modify(&self.socket, self.token, Interest::NONE);
    }

    /// Charges the queue to the user's account. Beyond the limit, the client that does not read loses its channel, as
    /// it would lose datagrams on a kernel socket (faults D3).
    fn charge(&self, state: &mut State) {
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
            // Both the connection's thread and the client see it end.
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
        self.charge(state);
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        self.account
            .subtract(Kind::WaitingBytes, lock(&self.state).charged);
        let _ = self.poller.remove(&self.socket);
    }
}
