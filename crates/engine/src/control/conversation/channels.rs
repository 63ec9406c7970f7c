//! A client's channels: sockets of generic netlink, as it sees them.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Instant;

use udco_ipc::{COMMAND, ToClient, message_id};
use udco_netlink::{Answers, Requester, membership, serve};
use udco_sys::seqpacket::Connection;

use super::EINVAL;
use crate::client::Client;
use crate::control::account::Kind;
use crate::control::channel::{Channel, FAMILIES};
use crate::control::memory;
use crate::control::requests::Requests;
use crate::control::session::{Session, malformed};

/// Netlink options that a client passes on, of `<linux/netlink.h>`.
const NETLINK_ADD_MEMBERSHIP: i32 = 1;
const NETLINK_DROP_MEMBERSHIP: i32 = 2;
const NETLINK_CAP_ACK: i32 = 10;
const NETLINK_EXT_ACK: i32 = 11;

const ENOMEM: i32 = 12;

impl Session {
    /// Whether there is memory for a client that begins. Later is too late: an OpenVPN that is refused a device ends, but
    /// one without a driver uses its own data path. A command may want to look, or to free memory.
    pub(super) fn may_have_device(&self) -> bool {
        if self.next_channel > 1 || self.is_command() {
            return true;
        }
        let Err(error) = memory::for_device(1) else {
            return true;
        };
        let program = &self.name;
        self.about_no_room(|| {
            tracing::error!(
                message_id = message_id::OFFLOAD_UNAVAILABLE,
                program,
                "{program} is not served: {error}"
            );
        });
        false
    }

    /// Whether there is memory for one that listens, and stays: a command leaves room for others.
    fn may_listen(&self) -> bool {
        let error = match memory::for_listener() {
            Err(error) if self.is_command() => error,
            _ => return true,
        };
        self.no_room(&error);
        false
    }

    /// Logs why this client is not served; returns the errno that it gets.
    pub(super) fn no_room(&self, error: &io::Error) -> i32 {
        let program = &self.name;
        self.about_no_room(|| tracing::error!(program, "{program} is not served: {error}"));
        ENOMEM
    }

    fn is_command(&self) -> bool {
        self.program.as_bytes() == COMMAND
    }

    /// Writes a line about this client, unless there was one about its program not long ago.
    fn about_no_room(&self, write: impl FnOnce()) {
        let about = format!("{} for which there is no room", self.program);
        self.account.repeated_line(&about, Instant::now(), write);
    }

    /// Opens a channel with this end; returns its number.
    pub(super) fn open_channel(&mut self, end: Option<OwnedFd>) -> io::Result<u32> {
        let end = end.ok_or_else(|| malformed("a channel without an fd"))?;
        let channel = self.next_channel;
        let end = Connection::adopt_pair_end(end)?;
        let Some(charge) = self.account.charge(Kind::Channels) else {
            return Err(io::Error::other(
                "its user has reached the limit on channels",
            ));
        };
        let client = self.client;
        let account = Arc::clone(&self.account);
        let opened = Channel::new(end, (client, account), &self.poller, u64::from(channel))?;
        self.next_channel += 1;
        self.resources.end_with_client();
        self.channels.insert(channel, (Arc::new(opened), charge));
        Ok(channel)
    }

    /// Sets a netlink option; returns the errno of the answer.
    pub(super) fn set_option(&self, channel: u32, name: i32, value: i32) -> i32 {
        let Some((channel, _)) = self.channels.get(&channel) else {
            return EINVAL;
        };
        match name {
            NETLINK_ADD_MEMBERSHIP | NETLINK_DROP_MEMBERSHIP => {
                let group = u32::try_from(value).unwrap_or(0);
                let Some(api) = membership(&FAMILIES, group) else {
                    return EINVAL;
                };
                if name == NETLINK_ADD_MEMBERSHIP && !self.may_listen() {
                    return ENOMEM;
                }
                channel.set_member(api, name == NETLINK_ADD_MEMBERSHIP);
                self.engine.registry().listeners().add(channel);
            }
            NETLINK_EXT_ACK => channel.set_ext_ack(value != 0),
            NETLINK_CAP_ACK => channel.set_cap_ack(value != 0),
            _ => {}
        }
        0
    }

    /// Serves a datagram of generic netlink. Of the client: its port, whether it is an administrator, and for how many bytes
    /// of answers it has room.
    pub(super) fn request(
        &mut self,
        seq: u32,
        channel: u32,
        (port, admin, room): (u32, bool, usize),
        datagram: &[u8],
    ) -> io::Result<()> {
        let channel = self.channels.get(&channel);
        let Some(channel) = channel.map(|(channel, _)| Arc::clone(channel)) else {
            return self.done(seq, EINVAL);
        };
        let (ext_ack, cap_ack) = channel.acknowledgement_options();
        let requester = Requester {
            port,
            ext_ack,
            cap_ack,
            admin,
        };
        let mut answers = Answers::for_reader(room);
        channel.begin_answer();
        let mut requests = Requests {
            client: Client {
                netns: channel.netns,
                ..self.client
            },
            session: self,
            seq,
            replace_fd: false,
            room: None,
        };
        serve(&FAMILIES, &requester, datagram, &mut requests, &mut answers);
        let replace_fd = requests.replace_fd;
        let more = !channel.end_answer(answers.into_datagrams());
        self.send(
            seq,
            ToClient::Done {
                errno: 0,
                replace_fd,
                more,
            },
        )
    }

    /// A channel has room again, or the client has closed it.
    pub(super) fn tend_channel(&mut self, number: u32, closed: bool) {
        if closed {
            self.channels.remove(&number);
        } else if let Some((channel, _)) = self.channels.get(&number) {
            channel.flush();
        }
    }
}
