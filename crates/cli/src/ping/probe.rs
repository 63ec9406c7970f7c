//! The socket of a ping, and what is known of the requests that it has sent.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use udco_sys::icmp::{EchoSocket, Sent};

use super::message::{self, HEADER};
use super::target::Target;

/// Sends requests and receives answers.
pub(super) struct Probe {
    socket: EchoSocket,
    is_ipv6: bool,
    identifier: u16,
    mark: [u8; 8],
    /// Requests sent so far.
    sent: u64,
    /// When each was sent, by the number in its message: only the last 65,536 can be told apart.
    times: HashMap<u16, (u64, Instant)>,
    buffer: Vec<u8>,
}

/// An answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// The number of its request, from 1.
    pub(super) number: u64,
    /// Bytes of ICMP.
    pub(super) bytes: usize,
    /// How long after its request it has come.
    pub(super) after: Duration,
}

impl Probe {
    /// # Errors
    /// If there is no right to send ICMP, with the cure, or no way to the address.
    pub(super) fn open(target: &Target) -> Result<Self> {
        let socket = EchoSocket::open(target.address, target.ifindex);
        let socket = socket.map_err(|error| match error.kind() {
            io::ErrorKind::PermissionDenied => anyhow!(
                "no right to send ICMP: run it as root, give udco CAP_NET_RAW, or put your group into sysctl \
                 net.ipv4.ping_group_range"
            ),
            io::ErrorKind::NetworkUnreachable => {
                anyhow!(
                    "no way there: is the device up, and does it have an address of this family?"
                )
            }
            _ => anyhow::Error::new(error).context("cannot open a socket"),
        })?;
        let random = RandomState::new().hash_one(std::process::id());
        Ok(Self {
            socket,
            is_ipv6: target.address.is_ipv6(),
            identifier: std::process::id() as u16,
            mark: random.to_ne_bytes(),
            sent: 0,
            times: HashMap::new(),
            buffer: vec![0; 1 << 16],
        })
    }

    /// Sends a request with this much payload, and returns its number: `None` if it is too long for the device.
    ///
    /// # Errors
    /// If nothing can be sent.
    pub(super) fn send(&mut self, payload: usize, now: Instant) -> Result<Option<u64>> {
        let number = self.sent + 1;
        let (identifier, sequence) = (self.identifier, number as u16);
        let request = message::request(self.is_ipv6, identifier, sequence, payload, self.mark);
        let sent = self.socket.send(&request);
        let sent = sent.map_err(|why| anyhow!("cannot send: {why}; is the device up?"))?;
        if sent == Sent::TooLong {
            return Ok(None);
        }
        self.sent = number;
        self.times.insert(sequence, (number, now));
        Ok(Some(number))
    }

    /// The next answer to a request of ours, if there is one.
    pub(super) fn receive(&mut self) -> Option<Answer> {
        let identifier = self.socket.is_raw().then_some(self.identifier);
        loop {
            let message = self.socket.receive(&mut self.buffer)?;
            let answer = message::answer(self.is_ipv6, identifier, self.mark, message);
            if let Some((sequence, payload)) = answer
                && let Some((number, at)) = self.times.get(&sequence)
            {
                return Some(Answer {
                    number: *number,
                    bytes: HEADER + payload,
                    after: at.elapsed(),
                });
            }
        }
    }

    /// Bytes of the packet with this much payload.
    pub(super) const fn packet(&self, payload: usize) -> usize {
        payload + HEADER + self.ip_header()
    }

    /// Bytes of payload in a packet of this size.
    pub(super) const fn payload(&self, packet: usize) -> usize {
        packet.saturating_sub(HEADER + self.ip_header())
    }

    /// The longest packet that may leave, in bytes.
    ///
    /// # Errors
    /// The kernel's.
    pub(super) fn mtu(&self) -> Result<usize> {
        self.socket.mtu().context("cannot read the device's MTU")
    }

    const fn ip_header(&self) -> usize {
        if self.is_ipv6 { 40 } else { 20 }
    }
}

impl AsFd for Probe {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
