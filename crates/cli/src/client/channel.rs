//! A channel: generic netlink, with an engine in the kernel's place.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::thread::CapabilitySet;
use udco_ipc::{MAX_MESSAGE, REQUEST_MARK, ToClient, ToEngine};
use udco_netlink::client::{self, Command, Family, Received};
use udco_netlink::{Api, Notification};
use udco_sys::seqpacket::Connection;
use zeroize::Zeroizing;

use super::{ANSWER, Client, Offer, Supplies, nonsense};
use crate::refusal;

/// Netlink options, of `<linux/netlink.h>`.
const NETLINK_ADD_MEMBERSHIP: i32 = 1;
const NETLINK_CAP_ACK: i32 = 10;
const NETLINK_EXT_ACK: i32 = 11;

/// A channel, and its client.
pub(crate) struct Channel {
    client: Client,
    end: Connection,
    number: u32,
    families: Vec<Family>,
    sequence: u32,
    buffer: Vec<u8>,
    /// Notifications that arrived before the answer to a request.
    pending: VecDeque<Notification>,
}

/// The outcome of a receive on a channel.
pub(crate) enum Event {
    Notification(Notification),
    Nothing,
    /// The engine has ended.
    End,
}

impl Channel {
    /// Opens a channel, and resolves the families of these APIs.
    pub(crate) fn open(mut client: Client, apis: &[Api]) -> Result<Self> {
        let (end, engines) = Connection::pair().context("cannot create a channel")?;
        let opened = client.request(&ToEngine::OpenChannel, &[engines.as_fd()])?;
        let ToClient::Channel { channel: number } = opened else {
            return Err(nonsense());
        };
        let mut channel = Self {
            client,
            end,
            number,
            families: Vec::new(),
            sequence: 0,
            buffer: vec![0; MAX_MESSAGE],
            pending: VecDeque::new(),
        };
        channel.set(NETLINK_EXT_ACK, 1)?;
        // Keeps the key out of the refusal of a key.
        channel.set(NETLINK_CAP_ACK, 1)?;
        for api in apis {
            let request = client::family_request(*api, channel.next_sequence());
            let datagrams = channel.transact(&request, None)?;
            let messages = datagrams.iter();
            let family = messages.filter_map(|it| client::family(*api, it)).next();
            let family = family
                .with_context(|| format!("the engine does not support {}", api.link_kind()))?;
            channel.families.push(family);
        }
        Ok(channel)
    }

    /// Subscribes to all notifications of its families.
    pub(crate) fn join(&mut self) -> Result<()> {
        let groups: Vec<u32> = self.families.iter().map(|it| it.peers).collect();
        groups
            .into_iter()
            .try_for_each(|group| self.set(NETLINK_ADD_MEMBERSHIP, group.cast_signed()))
    }

    /// Sends a request about the device with this index, and returns the received messages. `offer` is the socket of
    /// a new peer.
    pub(crate) fn request(
        &mut self,
        ifindex: u32,
        command: &Command<'_>,
        offer: Option<Offer<'_>>,
    ) -> Result<Vec<Received>> {
        let family = *self.families.first().context("no family")?;
        let sequence = self.next_sequence();
        let request = client::request(&family, ifindex, sequence, command);
        let request = request.map_err(|client::Unsupported(what)| {
            anyhow::anyhow!(
                "a device of kind {} cannot {what}: use one of kind ovpn",
                family.api.link_kind()
            )
        })?;
        // It may hold a key.
        let request = Zeroizing::new(request);
        let datagrams = self.transact(&request, offer)?;
        let mut all = Vec::new();
        for datagram in &datagrams {
            for (number, received) in client::decode(&self.families, datagram) {
                match received {
                    Received::Notification(notification) => self.pending.push_back(notification),
                    Received::Ended(Err(failure)) if number == sequence => {
                        bail!(refusal::words(&failure))
                    }
                    received if number == sequence => all.push(received),
                    _ => {}
                }
            }
        }
        Ok(all)
    }

    /// Makes the engine close its copy of a transport socket, which it knows by this number: its peers end.
    pub(crate) fn close_socket(&mut self, number: i32) -> Result<()> {
        match self
            .client
            .request(&ToEngine::SocketClosed { fd: number }, &[])?
        {
            ToClient::Done { .. } => Ok(()),
            _ => Err(nonsense()),
        }
    }

    /// The next notification; never blocks.
    pub(crate) fn receive(&mut self) -> Result<Event> {
        loop {
            if let Some(notification) = self.pending.pop_front() {
                return Ok(Event::Notification(notification));
            }
            let len = match self.end.receive(&mut self.buffer) {
                Ok(received) => received.len,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(Event::Nothing);
                }
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => 0,
                Err(error) => return Err(error.into()),
            };
            if len == 0 {
                return Ok(Event::End);
            }
            let datagram = self.buffer.get(..len).unwrap_or_default();
            for (_, received) in client::decode(&self.families, datagram) {
                if let Received::Notification(notification) = received {
                    self.pending.push_back(notification);
                }
            }
        }
    }

    fn next_sequence(&mut self) -> u32 {
        self.sequence = self.sequence.wrapping_add(1).max(1);
        self.sequence
    }

    fn set(&mut self, name: i32, value: i32) -> Result<()> {
        let option = ToEngine::SetOption {
            channel: self.number,
            name,
            value,
        };
        match self.client.request(&option, &[])? {
            ToClient::Done { errno: 0, .. } => Ok(()),
            _ => Err(nonsense()),
        }
    }

    /// Sends a request, provides what the engine needs for it, and receives up to the last message of the answer.
    fn transact(&mut self, request: &[u8], offer: Option<Offer<'_>>) -> Result<Vec<Vec<u8>>> {
        let message = ToEngine::Request {
            channel: self.number,
            port: std::process::id(),
            room: MAX_MESSAGE as u32,
            admin: is_admin(),
            datagram: request,
        };
        let supplies = Supplies {
            offer,
            ..Supplies::default()
        };
        match self.client.exchange(&message, supplies)? {
            ToClient::Done { .. } => self.collect(),
            _ => Err(nonsense()),
        }
    }

    /// Reads up to the end of an answer. Includes notifications that arrive before it.
    fn collect(&mut self) -> Result<Vec<Vec<u8>>> {
        let mut datagrams = Vec::new();
        loop {
            // A long dump takes time, but keeps coming.
            let received = self.end.receive_within(&mut self.buffer, ANSWER);
            let len = received.map_err(super::lost)?.len;
            let datagram = self.buffer.get(..len).unwrap_or_default();
            match datagram {
                [] => bail!("the engine has ended"),
                _ if datagram == REQUEST_MARK => continue,
                _ => datagrams.push(datagram.to_vec()),
            }
            let received = client::decode(&self.families, datagram);
            let is_end = |(sequence, received): &(u32, Received)| {
                *sequence == self.sequence && matches!(received, Received::Ended(_))
            };
            if received.iter().any(is_end) {
                return Ok(datagrams);
            }
        }
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.end.as_fd()
    }
}

/// Waits until at least one is readable and returns which; none are at the timeout.
pub(crate) fn wait(fds: &[BorrowedFd<'_>], limit: Option<Duration>) -> io::Result<Vec<bool>> {
    let mut polled: Vec<PollFd<'_>> = fds
        .iter()
        .map(|fd| PollFd::new(fd, PollFlags::IN))
        .collect();
    let limit = limit.map(|limit| rustix::event::Timespec {
        tv_sec: limit.as_secs().try_into().unwrap_or(i64::MAX),
        tv_nsec: limit.subsec_nanos().into(),
    });
    match poll(&mut polled, limit.as_ref()) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(polled.iter().map(|fd| !fd.revents().is_empty()).collect())
}

/// Whether this program may configure the network here.
pub(crate) fn is_admin() -> bool {
    rustix::thread::capabilities(None)
        .is_ok_and(|sets| sets.effective.contains(CapabilitySet::NET_ADMIN))
}
