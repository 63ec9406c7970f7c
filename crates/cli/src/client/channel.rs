//! A channel: generic netlink with a driver, an engine's or the kernel's own.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use udco_ipc::MAX_MESSAGE;
use udco_netlink::client::{self, Command, Family, Received};
use udco_netlink::{Api, Notification};
use zeroize::Zeroizing;

use super::io::{EngineIo, Io, KernelIo};
use super::{ANSWER, Client, LONGEST, Offer, nonsense};
use crate::output::complain;
use crate::refusal::Refusal;

/// Netlink options, of `<linux/netlink.h>`.
const NETLINK_ADD_MEMBERSHIP: i32 = 1;
const NETLINK_CAP_ACK: i32 = 10;
const NETLINK_EXT_ACK: i32 = 11;

/// Limits of a whole answer.
struct Limits {
    time: Duration,
    bytes: u64,
}

/// Far more than a dump of 100,000 peers takes. An engine of another user may send without end.
const WHOLE: Limits = Limits {
    time: Duration::from_secs(60),
    bytes: LONGEST,
};

/// What serves a device.
pub(crate) enum Driver {
    /// The engine behind this connection.
    Engine(Client),
    /// The kernel's own driver.
    Kernel,
}

/// A channel.
pub(crate) struct Channel {
    io: Box<dyn Io>,
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
    pub(crate) fn open(driver: Driver, apis: &[Api]) -> Result<Self> {
        let io: Box<dyn Io> = match driver {
            Driver::Engine(client) => Box::new(EngineIo::open(client)?),
            Driver::Kernel => Box::new(KernelIo::open()?),
        };
        let mut channel = Self {
            io,
            families: Vec::new(),
            sequence: 0,
            buffer: vec![0; MAX_MESSAGE],
            pending: VecDeque::new(),
        };
        channel.io.set(NETLINK_EXT_ACK, 1)?;
        // Keeps the key out of the refusal of a key.
        channel.io.set(NETLINK_CAP_ACK, 1)?;
        for api in apis {
            let request = client::family_request(*api, channel.next_sequence());
            let datagrams = channel.transact(&request, None)?;
            let messages = datagrams.iter();
            let family = messages.filter_map(|it| client::family(*api, it)).next();
            let family = family.with_context(|| channel.io.lacks(*api))?;
            channel.families.push(family);
        }
        Ok(channel)
    }

    /// Subscribes to all notifications of its families.
    pub(crate) fn join(&mut self) -> Result<()> {
        let groups: Vec<u32> = self.families.iter().map(|it| it.peers).collect();
        groups
            .into_iter()
            .try_for_each(|group| self.io.set(NETLINK_ADD_MEMBERSHIP, group.cast_signed()))
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
            let cure = match command {
                Command::KeyGet(..) => "`udco show` shows them",
                _ => "use one of kind ovpn",
            };
            let kind = family.api.link_kind();
            anyhow::anyhow!("a device of kind {kind} cannot {what}: {cure}")
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
                        bail!(Refusal::new(command, &failure))
                    }
                    received if number == sequence => all.push(received),
                    _ => {}
                }
            }
        }
        Ok(all)
    }

    /// Makes an engine close its copy of a transport socket, which it knows by this number: its peers end.
    pub(crate) fn close_socket(&mut self, number: i32) -> Result<()> {
        self.io.close_socket(number)
    }

    /// The next notification; never blocks.
    pub(crate) fn receive(&mut self) -> Result<Event> {
        loop {
            if let Some(notification) = self.pending.pop_front() {
                return Ok(Event::Notification(notification));
            }
            let len = match self.io.receive(&mut self.buffer) {
                Ok(len) => len,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(Event::Nothing);
                }
                Err(error) if is_overrun(&error) => {
                    complain!("events came faster than they were read, and some are lost");
                    continue;
                }
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

    /// Sends a request, provides what the driver needs for it, and receives up to the last message of the answer.
    fn transact(&mut self, request: &[u8], offer: Option<Offer<'_>>) -> Result<Vec<Vec<u8>>> {
        self.io.send(request, offer)?;
        self.collect(&WHOLE)
    }

    /// Reads up to the end of an answer. Includes notifications that arrive before it.
    fn collect(&mut self, limits: &Limits) -> Result<Vec<Vec<u8>>> {
        let mut datagrams = Vec::new();
        let end = Instant::now() + limits.time;
        let mut bytes = 0;
        loop {
            // A long dump takes time, but its messages keep coming.
            let left = end.saturating_duration_since(Instant::now());
            let len = match self.io.receive_within(&mut self.buffer, left.min(ANSWER)) {
                // Only notifications were lost: an answer always finds room.
                Err(error) if is_overrun(&error) => continue,
                received => received.map_err(super::lost)?,
            };
            bytes += len as u64;
            if bytes > limits.bytes || Instant::now() > end {
                return Err(nonsense());
            }
            let datagram = self.buffer.get(..len).unwrap_or_default();
            match datagram {
                [] => bail!("the engine has ended"),
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
        self.io.fd()
    }
}

/// Whether the kernel had no room for notifications.
fn is_overrun(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::NOBUFS.raw_os_error())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An engine that never comes to the end of an answer: it sends this again and again.
    struct Endless(Vec<u8>);

    impl Io for Endless {
        fn set(&mut self, _name: i32, _value: i32) -> Result<()> {
            Ok(())
        }

        fn send(&mut self, _request: &[u8], _offer: Option<Offer<'_>>) -> Result<()> {
            Ok(())
        }

        fn receive(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let len = self.0.len();
            into[..len].copy_from_slice(&self.0);
            Ok(len)
        }

        fn receive_within(&mut self, into: &mut [u8], _limit: Duration) -> io::Result<usize> {
            self.receive(into)
        }

        fn close_socket(&mut self, _number: i32) -> Result<()> {
            Ok(())
        }

        fn lacks(&self, _api: Api) -> String {
            String::new()
        }

        fn fd(&self) -> BorrowedFd<'_> {
            unreachable!()
        }
    }

    #[test]
    fn an_answer_without_end_is_given_up() {
        for (time, bytes) in [(60, 1 << 20), (0, u64::MAX)] {
            let mut channel = Channel {
                io: Box::new(Endless(vec![0; 1000])),
                families: Vec::new(),
                sequence: 1,
                buffer: vec![0; MAX_MESSAGE],
                pending: VecDeque::new(),
            };
            let time = Duration::from_secs(time);
            let failed = channel.collect(&Limits { time, bytes }).unwrap_err();
            assert!(failed.to_string().contains("unexpected reply"), "{failed}");
        }
    }
}
