//! The client's side of the conversation, without system calls: sequence numbers, deadlines, matching answers to
//! requests, and providing what the engine needs before it can answer. It has two [`Host`]s: the preload library and
//! the command line.

use core::fmt;
use core::ops::Add;
use core::time::Duration;

use crate::{Made, OtherVersion, Partial, ToClient, ToEngine, VERSION, Wanted};

/// How long the engine may take while it already owes an answer: an OpenVPN that exits sends several requests, and
/// should not wait the full time for each.
const IMPATIENCE: Duration = Duration::from_millis(100);

/// How long it may take to continue with a new device: a machine that was slow to make the device is slow here, too
/// (faults B3). The reliable sign of a lost engine is the end of the connection.
const TAKE_OVER: Duration = Duration::from_secs(60);

/// A client that wakes this much after its deadline did not run meanwhile, and so, most likely, neither did the engine: the
/// machine was suspended or starved, or a service manager froze both.
const OVERSLEPT: Duration = Duration::from_millis(100);

/// How often a client that has overslept gives the engine its time again.
pub const MOST_OVERSLEPT: u8 = 4;

/// How many things an engine may need before it answers a request; a real one needs a link and a device, or a socket. A
/// hostile one could otherwise ask for ever, as each of its questions restarts its deadline.
const MOST_NEEDS: usize = 16;

/// State of the conversation on one connection.
#[derive(Debug)]
pub struct Conversation {
    seq: u32,
    /// How long the engine may take to answer.
    patience: Duration,
    /// Whether it still owes an answer for which this client has stopped waiting.
    is_overdue: bool,
}

/// The descriptors that go along with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beside {
    /// None.
    Nothing,
    /// Those that belong to the request.
    Request,
    /// The queues of the device that [`Host::make_device`] made, then the monitor.
    Device,
    /// The socket requested from [`Host::hand_over`], then the engine's end of its relay.
    Socket,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// None arrived in time.
    Silent,
    /// The engine has closed the connection.
    Ended,
    /// The message received is not of this protocol, or does not answer this request.
    Nonsense,
}

/// The client around a conversation: its system calls, and the resources the engine may need.
pub trait Host {
    /// Why a request gets no answer.
    type Error: From<Lost>;
    /// A monotonic clock.
    type Time: Copy + PartialOrd + Add<Duration, Output = Self::Time>;

    /// The conversation.
    ///
    /// # Errors
    /// If its connection is gone.
    fn conversation(&mut self) -> Result<&mut Conversation, Self::Error>;

    /// The time.
    fn now(&self) -> Self::Time;

    /// Sends a message, encoded with this sequence number. It may contain a key: leave no copy of it (promises H1).
    ///
    /// # Errors
    /// If it cannot be sent by `until`.
    fn send(
        &mut self,
        seq: u32,
        message: &ToEngine<'_>,
        beside: Beside,
        until: Self::Time,
    ) -> Result<(), Self::Error>;

    /// Receives a message and returns its length: 0 if the engine has ended, `None` if none arrived by `until`.
    ///
    /// # Errors
    /// The connection's.
    fn receive(&mut self, into: &mut [u8], until: Self::Time)
    -> Result<Option<usize>, Self::Error>;

    /// Whether there is an interface with this index.
    fn is_link(&mut self, _ifindex: u32) -> bool {
        false
    }

    /// Makes a TUN device ([`crate::make`]).
    ///
    /// # Errors
    /// Why there is none, as an errno.
    fn make_device(&mut self, _wanted: &Wanted<'_>) -> Result<Made, i32> {
        Err(crate::errno::EOPNOTSUPP)
    }

    /// Prepares to hand over the transport socket that the client knows by this number. Returns how far the client has
    /// read into a packet of its stream.
    ///
    /// # Errors
    /// Why there is no such socket, as an errno (see [`ToEngine::Socket`]).
    fn hand_over(&mut self, _fd: i32) -> Result<Partial, i32> {
        Err(crate::errno::EBADF)
    }
}

/// Sends a request, provides what the engine needs before it can answer, and returns the answer.
///
/// # Errors
/// The host's, or why there is no answer.
pub fn request<'b, H: Host>(
    host: &mut H,
    message: &ToEngine<'_>,
    buffer: &'b mut [u8],
) -> Result<ToClient<'b>, H::Error> {
    let mut pending = Pending::begin(host, message)?;
    for _ in 0..=MOST_NEEDS {
        let len = pending.receive(host, buffer)?;
        let (reply, beside) = match decode(buffer, len)?.1 {
            ToClient::NeedLink { ifindex } => {
                let exists = host.is_link(ifindex);
                (ToEngine::Link { exists }, Beside::Nothing)
            }
            ToClient::NeedSocket { fd } => match host.hand_over(fd) {
                Ok(partial) => (ToEngine::Socket { errno: 0, partial }, Beside::Socket),
                Err(errno) => {
                    let partial = Partial::Nothing;
                    (ToEngine::Socket { errno, partial }, Beside::Nothing)
                }
            },
            ToClient::NeedTun(wanted) => {
                let made = host.make_device(&wanted);
                pending.reply_with_device(host, &wanted, made)?;
                continue;
            }
            _ => return Ok(decode(buffer, len)?.1),
        };
        pending.reply(host, &reply, beside)?;
    }
    Err(Lost::Nonsense.into())
}

/// Whether a client that has waited until this time woke so late that the engine could not run either. Its silence then
/// says nothing.
pub fn has_overslept<T: PartialOrd + Add<Duration, Output = T>>(until: T, now: T) -> bool {
    now > until + OVERSLEPT
}

/// Sends a message without waiting for an answer.
///
/// # Errors
/// The host's.
pub fn notify<H: Host>(host: &mut H, message: &ToEngine<'_>) -> Result<(), H::Error> {
    Pending::begin(host, message).map(drop)
}

/// How an engine answered a client's hello.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Greeted {
    /// The conversation may begin.
    Welcome,
    /// It speaks another version of the protocol, and serves nothing.
    OtherVersion(OtherVersion),
}

/// Says hello: the first message on a connection.
///
/// # Errors
/// As [`request`].
pub fn greet<H: Host>(
    host: &mut H,
    pid: u32,
    program: &[u8],
    buffer: &mut [u8],
) -> Result<Greeted, H::Error> {
    let hello = ToEngine::Hello {
        version: VERSION,
        pid,
        program,
    };
    match request(host, &hello, buffer)? {
        ToClient::Welcome { version: VERSION } => Ok(Greeted::Welcome),
        ToClient::Welcome { version } => Ok(Greeted::OtherVersion(OtherVersion::Engine(version))),
        _ => Err(Lost::Nonsense.into()),
    }
}

impl Conversation {
    /// A conversation on a new connection; the engine has `patience` for each answer.
    #[must_use]
    pub const fn new(patience: Duration) -> Self {
        Self {
            seq: 0,
            patience,
            is_overdue: false,
        }
    }

    fn patience(&self) -> Duration {
        if self.is_overdue {
            IMPATIENCE.min(self.patience)
        } else {
            self.patience
        }
    }
}

/// A pending request.
struct Pending<T> {
    seq: u32,
    until: T,
    overslept: u8,
}

impl<T: Copy + PartialOrd + Add<Duration, Output = T>> Pending<T> {
    fn begin<H: Host<Time = T>>(host: &mut H, message: &ToEngine<'_>) -> Result<Self, H::Error> {
        let now = host.now();
        let conversation = host.conversation()?;
        conversation.seq = conversation.seq.wrapping_add(1);
        let pending = Self {
            seq: conversation.seq,
            until: now + conversation.patience(),
            overslept: 0,
        };
        host.send(pending.seq, message, Beside::Request, pending.until)?;
        Ok(pending)
    }

    /// Gives the engine what it needed, and restarts its deadline.
    fn reply<H: Host<Time = T>>(
        &mut self,
        host: &mut H,
        reply: &ToEngine<'_>,
        beside: Beside,
    ) -> Result<(), H::Error> {
        self.until = host.now() + host.conversation()?.patience();
        host.send(self.seq, reply, beside, self.until)
    }

    /// Gives it a device, or the reason why there is none. Adopting a device can take the engine a while, so its
    /// deadline is later.
    fn reply_with_device<H: Host<Time = T>>(
        &mut self,
        host: &mut H,
        wanted: &Wanted<'_>,
        made: Result<Made, i32>,
    ) -> Result<(), H::Error> {
        let (errno, beside, ifindex, netns) = match &made {
            Ok(made) => (0, Beside::Device, made.ifindex, made.netns),
            Err(errno) => (*errno, Beside::Nothing, 0, 0),
        };
        let name = made.as_ref().map_or(wanted.name, |made| made.name());
        let reply = ToEngine::Tun {
            errno,
            ifindex,
            netns,
            name,
        };
        self.reply(host, &reply, beside)?;
        if made.is_ok() {
            self.until = host.now() + TAKE_OVER;
        }
        Ok(())
    }

    /// The length of the engine's next message about this request. Late answers to earlier requests are discarded;
    /// they show that the engine is back, and restore its full deadline.
    fn receive<H: Host<Time = T>>(
        &mut self,
        host: &mut H,
        buffer: &mut [u8],
    ) -> Result<usize, H::Error> {
        loop {
            let received = host.receive(buffer, self.until)?;
            let now = host.now();
            let conversation = host.conversation()?;
            let Some(len) = received else {
                if self.overslept < MOST_OVERSLEPT && has_overslept(self.until, now) {
                    self.overslept += 1;
                    self.until = now + conversation.patience();
                    continue;
                }
                conversation.is_overdue = true;
                return Err(Lost::Silent.into());
            };
            if len == 0 {
                return Err(Lost::Ended.into());
            }
            if conversation.is_overdue {
                conversation.is_overdue = false;
                self.until = now + conversation.patience;
            }
            if decode(buffer, len)?.0 == self.seq {
                return Ok(len);
            }
            // Messages that are already waiting are received even after the deadline.
            if now > self.until {
                conversation.is_overdue = true;
                return Err(Lost::Silent.into());
            }
        }
    }
}

fn decode(buffer: &[u8], len: usize) -> Result<(u32, ToClient<'_>), Lost> {
    let message = buffer.get(..len).ok_or(Lost::Nonsense)?;
    ToClient::decode(message).map_err(|crate::Malformed| Lost::Nonsense)
}

impl fmt::Display for Lost {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(match self {
            Self::Silent => "the engine does not answer",
            Self::Ended => "the engine is gone",
            Self::Nonsense => "the engine's answer cannot be read: install engine and client from the same release",
        })
    }
}

impl core::error::Error for Lost {}

#[cfg(test)]
mod tests;
