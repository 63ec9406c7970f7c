//! The I/O seam: what devices and the data path need of the outside.
//!
//! `Linux` implements it with TUN queues, sockets and epoll; a simulation implements it in memory
//! (`crates/sim`), and so could AF_XDP or io_uring. Everything is monomorphised: no `dyn`, no allocation per packet.
//! Nothing here reads a clock: the worker loop passes the time with each event ([`Moment`]).
//!
//! Calls never block. `WouldBlock` means "nothing there" or "no room"; a [`Poller`] says when to try again.

use std::io::{self, IoSlice};
use std::ops::Range;
use std::time::Duration;

use udco_core::Time;
pub use udco_sys::epoll::{Event, Interest};
pub use udco_sys::udp::{Datagram, MAX_SEGMENTS, Message, Outcome, Sent};

/// One implementation of the seam, named by a marker type.
pub trait Io: Copy + Default + 'static {
    /// A source, as a [`Poller`] knows it.
    type Handle<'a>: Copy;
    /// A queue of a TUN interface.
    type Tun: Tun + Source<Self>;
    /// A UDP socket.
    type Datagrams: Datagrams + Source<Self>;
    /// A connected TCP socket.
    type Stream: ByteStream + Source<Self>;
    /// The engine's end of the pair by which OpenVPN gets its control packets.
    type Relay: Relay + Source<Self>;
    /// Wakes a worker that waits.
    type Waker: Waker + Source<Self>;
    /// Waits for all of them.
    type Poller: Poller<Self>;
}

/// Something that a [`Poller`] can wait for.
pub trait Source<I: Io> {
    /// Its handle for the poller.
    fn handle(&self) -> I::Handle<'_>;
}

/// A queue of a TUN interface: whole packets, each behind a virtio-net header of
/// [`LEN`](udco_core::offload::virtio::LEN) bytes.
pub trait Tun {
    /// Reads one packet, or super-packet, behind its header. One longer than `into` is cut.
    ///
    /// # Errors
    /// `WouldBlock`: none is there. By [`Tun::is_gone`]: the interface is gone for good.
    fn read(&self, into: &mut [u8]) -> io::Result<usize>;

    /// Writes one packet, or super-packet, in pieces; the first begins with its header.
    ///
    /// # Errors
    /// The packet, or its header, is refused.
    fn write_vectored(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize>;

    /// Whether this error of [`Tun::read`] means that the interface is gone, not that one call has failed.
    fn is_gone(error: &io::Error) -> bool;

    /// The interface's present name.
    ///
    /// # Errors
    /// The interface is gone.
    fn current_name(&self) -> io::Result<String>;

    /// Sets whether the interface has a carrier.
    ///
    /// # Errors
    /// It cannot be set.
    fn set_carrier(&self, carrier: bool) -> io::Result<()>;

    /// Sets whether the interface outlives its last queue.
    ///
    /// # Errors
    /// The interface is gone.
    fn set_persist(&self, persist: bool) -> io::Result<()>;
}

/// A UDP socket: batches in, batches out.
pub trait Datagrams: Sized {
    /// Receives batches.
    type Inbox: Inbox<Self>;
    /// Sends batches.
    type Outbox: Outbox<Self>;

    /// Discards pending ICMP errors; the socket stays ready until then (promises A9).
    fn drain_errors(&self);
}

/// A batch of received datagrams in one contiguous buffer. Nothing is allocated after [`Inbox::new`].
pub trait Inbox<S> {
    /// Room for `slots` datagrams of `slot_len` bytes each.
    fn new(slots: usize, slot_len: usize) -> Self;

    /// Replaces the batch with what has arrived; 0 if nothing has.
    ///
    /// # Errors
    /// If the socket itself fails. Errors that peers cause are not reported.
    fn receive(&mut self, socket: &S) -> io::Result<usize>;

    /// A datagram of the batch, or several that were coalesced ([`Datagram::segment`]).
    fn datagram(&mut self, index: usize) -> Option<Datagram<'_>>;

    /// Where [`Datagram::bytes`] begins in [`Inbox::buffer`].
    fn offset(&self, index: usize) -> usize;

    /// The buffer that holds the whole batch.
    fn buffer(&self) -> &[u8];
}

/// A batch of messages to be sent, each with an outcome of its own. Nothing is allocated after [`Outbox::new`].
pub trait Outbox<S> {
    /// An empty batch with room for `capacity` messages.
    fn new(capacity: usize) -> Self;

    /// Adds a message; `false` if the batch is full.
    #[must_use = "a full outbox drops the message"]
    fn push(&mut self, message: Message) -> bool;

    /// Adds bytes to the message pushed last, behind those that it has: whole segments, but for the message's last. `false`:
    /// it takes no more, so they need a message of their own.
    #[must_use = "bytes that the message does not take are left out"]
    fn extend(&mut self, _range: Range<usize>) -> bool {
        false
    }

    /// Where the bytes of the message at `index` lie in the arena, in their order.
    fn pieces(&self, index: usize) -> impl Iterator<Item = Range<usize>> + Clone + '_ {
        let message = self.messages().get(index);
        message.map(|message| message.range.clone()).into_iter()
    }

    /// Whether the batch is full.
    fn is_full(&self) -> bool;

    /// The messages of the batch, in order.
    fn messages(&self) -> &[Message];

    /// The outcome of each message in the last send.
    fn outcomes(&self) -> &[Outcome];

    /// Sends the batch, whose bytes lie in `arena`: each message at most once.
    fn send(&mut self, socket: &S, arena: &[u8]) -> Sent;

    /// Sends the segments of one message one by one until one fails, and returns how many left; the outcome is that of
    /// the last.
    fn send_singly(&mut self, socket: &S, arena: &[u8], index: usize) -> usize;

    /// Starts a new batch.
    fn clear(&mut self);
}

/// A connected byte stream.
pub trait ByteStream {
    /// Reads what is there; 0 is the end of the stream.
    ///
    /// # Errors
    /// `WouldBlock`: nothing is there. By [`ByteStream::has_ended`]: the connection has ended.
    fn receive(&self, into: &mut [u8]) -> io::Result<usize>;

    /// Writes as much as there is room for, and returns how much that was.
    ///
    /// # Errors
    /// `WouldBlock`: there is no room. By [`ByteStream::has_ended`]: the connection has ended.
    fn send(&self, bytes: &[u8]) -> io::Result<usize>;

    /// Whether the connection has ended by this error; any other means that one call has failed.
    fn has_ended(error: &io::Error) -> bool;

    /// Clears the socket's pending error.
    fn clear_error(&self);

    /// Makes the socket count as full with this many unsent bytes. A hint.
    fn limit_unsent(&self, bytes: u32);

    /// Sends segments that are not full at once, too. A hint.
    fn disable_nagle(&self);

    /// Makes closing return at once.
    fn clear_linger(&self);
}

/// The engine's end of a message socket to OpenVPN.
pub trait Relay {
    /// Sends one message.
    ///
    /// # Errors
    /// It is full, or OpenVPN has closed its end.
    fn send(&self, message: &[u8]) -> io::Result<()>;

    /// Receives one message; 0 if OpenVPN has closed its end.
    ///
    /// # Errors
    /// `WouldBlock`: none is there. `ConnectionReset`: OpenVPN has closed its end.
    fn receive(&self, into: &mut [u8]) -> io::Result<usize>;

    /// Sends no more: OpenVPN reads the end of the stream.
    fn finish(&self);
}

/// Wakes the worker that waits for it.
pub trait Waker: Sized {
    /// A waker that nobody has woken yet.
    ///
    /// # Errors
    /// The system is short of resources.
    fn new() -> io::Result<Self>;

    /// Makes it readable. Never blocks.
    fn wake(&self);

    /// Makes it unreadable again; returns whether it was readable. Clear it before looking at what it announces.
    fn clear(&self) -> bool;
}

/// A level-triggered set of sources.
pub trait Poller<I: Io>: Sized {
    /// The events of one wait.
    type Events: Events;

    /// An empty set.
    ///
    /// # Errors
    /// The system is short of resources.
    fn new() -> io::Result<Self>;

    /// Waits for a source, whether it is in the set already or not.
    ///
    /// # Errors
    /// The system is short of resources.
    fn set(&self, source: I::Handle<'_>, token: u64, interest: Interest) -> io::Result<()>;

    /// Changes what a source in the set is waited for.
    ///
    /// # Errors
    /// It is not in the set.
    fn modify(&self, source: I::Handle<'_>, token: u64, interest: Interest) -> io::Result<()>;

    /// Takes a source out of the set.
    ///
    /// # Errors
    /// It is not in the set.
    fn remove(&self, source: I::Handle<'_>) -> io::Result<()>;

    /// Waits for at least one event, or for `timeout` (`None`: for ever, zero: not at all), and returns how many came.
    ///
    /// # Errors
    /// Waiting is impossible.
    fn wait(&self, events: &mut Self::Events, timeout: Option<Duration>) -> io::Result<usize>;
}

/// Room for the events of one wait.
pub trait Events {
    /// Room for `capacity` events.
    fn with_capacity(capacity: usize) -> Self;

    /// The events of the last wait.
    fn iter(&self) -> impl Iterator<Item = Event> + '_;
}

/// A time of the worker's clock, in nanoseconds since an origin of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(u64);

impl Moment {
    /// This many nanoseconds after the origin.
    #[must_use]
    pub const fn from_nanos(nanoseconds: u64) -> Self {
        Self(nanoseconds)
    }

    /// Nanoseconds since the origin.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// The time as the core counts it.
    #[must_use]
    pub const fn time(self) -> Time {
        Time::from_millis(self.0 / 1_000_000)
    }

    /// This time and `duration` more.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        let nanoseconds = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(nanoseconds))
    }

    /// How long after `earlier` it is; zero if it is before.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}
