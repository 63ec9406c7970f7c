//! A pending request: this client's system calls for the conversation, and the resources that the engine may need.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use anyhow::anyhow;
use udco_ipc::client::{Beside, Conversation, Host, Lost};
use udco_ipc::{MAX_MESSAGE, Made, Partial, ToEngine, Wanted};
use udco_sys::seqpacket::Connection;
use zeroize::{Zeroize, Zeroizing};

use super::{ANSWER, Trouble, TunDevice, lost, nonsense};
use crate::interface;

/// A transport socket on offer to the engine: the socket, then the engine's end of its relay.
pub(crate) type Offer<'a> = [BorrowedFd<'a>; 2];

/// A connection.
pub(super) struct Line {
    pub(super) connection: Connection,
    conversation: Conversation,
    /// The send buffer, wiped at once: it may have held a key (promises H1).
    outgoing: Zeroizing<Vec<u8>>,
}

/// The descriptors that this client offers the engine, beside the request or when asked.
#[derive(Default)]
pub(crate) struct Supplies<'a> {
    /// The descriptors beside the request.
    pub(crate) fds: &'a [BorrowedFd<'a>],
    /// The socket of a new peer.
    pub(crate) offer: Option<Offer<'a>>,
    /// Receives the device that the engine requests, or the error of making it. If `None`, no device is made: another
    /// user's engine could request any.
    pub(crate) device: Option<&'a mut Option<io::Result<TunDevice>>>,
}

/// A pending request.
pub(super) struct Exchange<'a> {
    pub(super) line: &'a mut Line,
    pub(super) supplies: Supplies<'a>,
}

/// Why there is no answer.
pub(super) struct Failure(pub(super) anyhow::Error);

impl Line {
    pub(super) fn new(connection: Connection) -> Self {
        Self {
            connection,
            conversation: Conversation::new(ANSWER),
            outgoing: Zeroizing::new(vec![0; MAX_MESSAGE]),
        }
    }
}

impl Host for Exchange<'_> {
    type Error = Failure;
    type Time = Instant;

    fn conversation(&mut self) -> Result<&mut Conversation, Failure> {
        Ok(&mut self.line.conversation)
    }

    fn now(&self) -> Instant {
        Instant::now()
    }

    fn send(
        &mut self,
        seq: u32,
        message: &ToEngine<'_>,
        beside: Beside,
        _until: Instant,
    ) -> Result<(), Failure> {
        let fds = match (beside, &self.supplies.device, &self.supplies.offer) {
            (Beside::Request, ..) => self.supplies.fds.to_vec(),
            (Beside::Device, Some(Some(Ok(device))), _) => device.fds(),
            (Beside::Socket, _, Some(offer)) => offer.to_vec(),
            _ => Vec::new(),
        };
        let Line {
            connection,
            outgoing,
            ..
        } = &mut *self.line;
        let len = message
            .encode(seq, outgoing)
            .map_err(|udco_ipc::TooLong| Failure(anyhow!("the message is too long")))?;
        let message = outgoing.get_mut(..len).unwrap_or_default();
        let sent = connection.send(message, &fds);
        message.zeroize();
        sent.map_err(|error| Failure(lost(error)))
    }

    fn receive(&mut self, into: &mut [u8], until: Instant) -> Result<Option<usize>, Failure> {
        let left: Duration = until.saturating_duration_since(Instant::now());
        match self.line.connection.receive_within(into, left) {
            Ok(received) => Ok(Some(received.len)),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => Ok(None),
            Err(error) => Err(Failure(lost(error))),
        }
    }

    fn is_link(&mut self, ifindex: u32) -> bool {
        interface::name(ifindex).is_some()
    }

    fn make_device(&mut self, wanted: &Wanted<'_>) -> Result<Made, i32> {
        let Some(place) = self.supplies.device.as_deref_mut() else {
            return Err(rustix::io::Errno::OPNOTSUPP.raw_os_error());
        };
        match place.insert(TunDevice::create(wanted)) {
            Ok(device) => Ok(device.made),
            Err(error) => Err(super::device::errno(error)),
        }
    }

    fn hand_over(&mut self, _fd: i32) -> Result<Partial, i32> {
        match self.supplies.offer {
            Some(_) => Ok(Partial::Nothing),
            None => Err(rustix::io::Errno::BADF.raw_os_error()),
        }
    }
}

impl From<Lost> for Failure {
    fn from(why: Lost) -> Self {
        Self(match why {
            Lost::Silent => Trouble::Silent.into(),
            Lost::Ended => Trouble::Ended.into(),
            Lost::Nonsense => nonsense(),
        })
    }
}
