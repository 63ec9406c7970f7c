//! The sending side of a stream: the packets that wait for its socket, and the events that its worker waits for.

use std::io;

use udco_core::framing::{PREFIX, boundary};

use crate::device::registration::Registration;
use crate::io::{ByteStream, Interest, Io};

/// The most bytes of data packets that wait for the socket: all that a stuck peer costs (promises F3).
pub(super) const DATA_ROOM: usize = 160 << 10;

/// Room for OpenVPN's packets even when data has filled its own.
pub(super) const CONTROL_ROOM: usize = DATA_ROOM + (64 << 10);

/// The longest message of OpenVPN: a packet with its length.
pub(super) const MAX_MESSAGE: usize = PREFIX + 65_535;

/// The sending side, and the events to wait for.
#[derive(Default)]
pub(super) struct Writer<I: Io> {
    /// Whole packets, except for the first: the socket may have taken part of it.
    pub(super) pending: Vec<u8>,
    /// Where the socket continues.
    pub(super) sent: usize,
    pub(super) sending: Sending,
    pub(super) receiving: Receiving,
    pub(super) relay: RelayEnd,
    /// How the worker that has the stream waits for it.
    pub(super) watch: Watch<I>,
    /// A queue that is not read until there is room.
    pub(super) waiting: Option<Registration<I>>,
    /// How many peers it has: one, or for a moment two.
    pub(super) peers: u32,
}

/// The sending direction of the connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Sending {
    #[default]
    Open,
    /// It takes no more bytes.
    Broken,
}

/// The receiving direction of the connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Receiving {
    #[default]
    Open,
    /// There is nothing more to read.
    Ended,
    /// The other direction has ended as well: do not wait for the socket, which would always be ready.
    HungUp,
}

/// OpenVPN's end of the relay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum RelayEnd {
    #[default]
    Open,
    Closed,
}

/// Whether a worker waits for a stream and its relay.
#[derive(Default)]
pub(super) enum Watch<I: Io> {
    /// No worker has it.
    #[default]
    Unregistered,
    Active(Registered<I>),
    /// A call has failed: it rests.
    Resting(Registered<I>),
}

/// A worker's interest in a stream; `None` waits for nothing, not even the end.
pub(super) struct Registered<I: Io> {
    pub(super) registration: Registration<I>,
    pub(super) socket: Option<Interest>,
    pub(super) relay: Option<Interest>,
}

impl<I: Io> Writer<I> {
    /// Writes waiting packets to the socket.
    pub(super) fn flush(&mut self, socket: &I::Stream) -> io::Result<()> {
        while !self.is_flushed() && self.sending == Sending::Open {
            match socket.send(self.pending.get(self.sent..).unwrap_or_default()) {
                Ok(taken) => self.sent += taken,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if I::Stream::has_ended(&error) => self.sending = Sending::Broken,
                Err(error) => return Err(error),
            }
        }
        self.pending.clear();
        self.sent = 0;
        Ok(())
    }

    /// Adds packets to those that wait for the socket.
    pub(super) fn append(&mut self, packets: &[u8]) {
        if self.pending.capacity() == 0 {
            // As much as it ever needs: growing leaves holes behind, and untouched pages take no memory.
            self.pending.reserve_exact(CONTROL_ROOM);
        }
        if self.pending.len() + packets.len() > CONTROL_ROOM {
            // A slow reader may never take everything.
            self.pending.drain(..self.sent);
            self.sent = 0;
        }
        self.pending.extend_from_slice(packets);
    }

    pub(super) fn is_flushed(&self) -> bool {
        self.sent >= self.pending.len()
    }

    pub(super) fn waiting_bytes(&self) -> usize {
        self.pending.len() - self.sent
    }

    pub(super) fn has_control_room(&self) -> bool {
        self.waiting_bytes() <= CONTROL_ROOM - MAX_MESSAGE
    }
}

impl<I: Io> Watch<I> {
    pub(super) const fn registered(&self) -> Option<&Registered<I>> {
        match self {
            Self::Unregistered => None,
            Self::Active(registered) | Self::Resting(registered) => Some(registered),
        }
    }

    pub(super) fn take(&mut self) -> Option<Registered<I>> {
        match std::mem::take(self) {
            Self::Unregistered => None,
            Self::Active(registered) | Self::Resting(registered) => Some(registered),
        }
    }
}

/// How many bytes of `packets` to keep, if the socket has taken `sent` of them and there is `room` for the rest: whole
/// packets, and always the rest of one that the socket has taken in part (promises F3).
pub(super) fn taken(packets: &[u8], sent: usize, room: usize) -> usize {
    if packets.len() - sent <= room {
        return packets.len();
    }
    let (_, fits) = boundary(packets, sent + room);
    if fits >= sent {
        return fits;
    }
    let (_, partial) = boundary(packets, sent);
    let end = packets.get(partial..).and_then(|rest| rest.first_chunk());
    end.map_or(sent, |len| {
        partial + PREFIX + usize::from(u16::from_be_bytes(*len))
    })
}
