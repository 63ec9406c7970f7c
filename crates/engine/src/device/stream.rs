//! A TCP transport: one stream, one peer (dco-behaviour 5.10).
//!
//! Data packets come from the worker of the device's queue, OpenVPN's control packets from its relay, keepalives from a
//! thread of their own. All of them go through one writer, packet by packet with its length in front, so that none ever
//! lands inside another. What the socket does not take at once waits here, as little as possible: the socket holds few
//! unsent bytes, and reading more from the device stops where that harms no other peer.

mod events;
mod reader;
mod writer;

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard};

use udco_core::PeerId;
use udco_core::framing::boundary;
use udco_ipc::{Partial, STREAM_ERROR};

use crate::device::registration::Registration;
use crate::device::stream::reader::Reader;
use crate::device::stream::writer::{DATA_ROOM, MAX_MESSAGE, Receiving, Sending, Writer, taken};
use crate::io::{ByteStream, Io, Relay, Source};
use crate::linux::Linux;
use crate::sync::lock;

/// Unsent bytes that the socket may hold: enough for a burst, but the next packet has to wait for them.
const UNSENT: u32 = 128 << 10;

/// Reads in a row whose bytes are discarded: more than a socket's buffer ever holds.
const DESYNCED_TURNS: usize = 256;

/// Bytes of an ordinary stream in one message.
pub(crate) const RAW_PIECE: usize = 16 << 10;

/// The peer id of a stream that has had no peer yet: more than 24 bits.
const NO_PEER: u32 = u32::MAX;

/// A stream that the engine owns.
pub(crate) struct Stream<I: Io = Linux> {
    socket: I::Stream,
    /// The engine's end of the pair that stands in OpenVPN's fd table in place of the socket.
    relay: I::Relay,
    writer: Mutex<Writer<I>>,
    reader: Mutex<Reader>,
    /// The id of its peer, or [`NO_PEER`].
    peer: AtomicU32,
    /// Its peer is to be removed.
    has_failed: AtomicBool,
}

/// The outcome of a write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Written {
    /// How many packets were dropped.
    pub(crate) dropped: u64,
    /// Some bytes wait for the socket.
    pub(crate) is_full: bool,
}

/// The outcome of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// This many bytes are there, including those kept from before.
    Bytes(usize),
    /// Nothing more, for now or for good.
    Nothing,
    /// The call has failed, but not the stream: read again after a pause.
    Failed(i32),
}

impl<I: Io> Stream<I> {
    pub(crate) fn new(socket: I::Stream, relay: I::Relay, partial: Partial) -> Self {
        socket.limit_unsent(UNSENT);
        // A short last segment that waits for others to arrive delays its packet. With bbr it does worse: a segment that
        // leaves alone is a sample of the path's rate, and bbr then paces all that follows by it (docs/lab/loads.md).
        socket.disable_nagle();
        Self {
            socket,
            relay,
            writer: Mutex::default(),
            reader: Mutex::new(Reader {
                kept: Vec::new(),
                partial,
                is_desynced: false,
            }),
            peer: AtomicU32::new(NO_PEER),
            has_failed: AtomicBool::new(false),
        }
    }

    /// Attaches it to this peer.
    pub(crate) fn attach(&self, peer: PeerId) {
        self.peer.store(peer.value(), Ordering::Relaxed);
        self.has_failed.store(false, Ordering::Relaxed);
        lock(&self.writer).peers += 1;
    }

    /// Its peer has gone: no queue waits for it any longer, or from now on.
    pub(crate) fn detach(&self) {
        let mut writer = lock(&self.writer);
        writer.peers = writer.peers.saturating_sub(1);
        if let Some(waiting) = writer.waiting.take() {
            waiting.resume();
        }
        self.watch(&mut writer);
    }

    /// The id of the peer that it belongs, or belonged, to.
    pub(crate) fn peer(&self) -> Option<PeerId> {
        PeerId::new(self.peer.load(Ordering::Relaxed))
    }

    /// Reads into `buffer`, behind what was kept from the last read.
    pub(crate) fn receive(&self, buffer: &mut [u8]) -> Progress {
        let mut reader = lock(&self.reader);
        let kept = reader.kept.len();
        let Some((front, rest)) = buffer.split_at_mut_checked(kept) else {
            return Progress::Nothing;
        };
        front.copy_from_slice(&reader.kept);
        let mut received = self.socket.receive(rest);
        if reader.is_desynced {
            let mut turns = 0..DESYNCED_TURNS;
            while matches!(received, Ok(1..)) && turns.next().is_some() {
                received = self.socket.receive(rest);
            }
            if matches!(received, Ok(1..)) {
                return Progress::Nothing;
            }
        }
        if matches!(&received, Err(error) if error.kind() == io::ErrorKind::WouldBlock) {
            return Progress::Nothing;
        }
        if let Err(error) = &received
            && !I::Stream::has_ended(error)
        {
            return Progress::Failed(error.raw_os_error().unwrap_or_default());
        }
        // At the end of the stream, the rest of a packet never comes.
        reader.kept.clear();
        match received {
            Ok(0) => {
                drop(reader);
                self.stop_reading();
                self.relay.finish();
                Progress::Nothing
            }
            Ok(read) => {
                let total = kept + read;
                let remainder = reader.take_remainder(buffer.get(..total).unwrap_or_default());
                for piece in buffer
                    .get(..remainder)
                    .unwrap_or_default()
                    .chunks(RAW_PIECE)
                {
                    // This is the first message in the relay, so there is room.
                    self.relay(piece);
                }
                buffer.copy_within(remainder..total, 0);
                Progress::Bytes(total - remainder)
            }
            Err(error) => {
                drop(reader);
                self.stop_reading();
                report_error(&self.relay, &error);
                self.relay.finish();
                Progress::Nothing
            }
        }
    }

    /// Keeps the beginning of a packet for the next read.
    pub(crate) fn keep(&self, rest: &[u8]) {
        lock(&self.reader).kept.extend_from_slice(rest);
    }

    /// An impossible length has come, so the start of the next packet is unknown. As with the kernel driver, the peer stays,
    /// OpenVPN gets an error, and nothing more is read (dco-behaviour 5.10, golden `ntf_tcp_error`).
    pub(crate) fn desync(&self) {
        const EINVAL: i32 = 22;
        lock(&self.reader).is_desynced = true;
        self.stop_reading();
        report_error(&self.relay, &io::Error::from_raw_os_error(EINVAL));
    }

    /// Has the peer removed, reason TRANSPORT_ERROR: not here, on the packet path, but by its worker a moment later.
    pub(crate) fn fail(&self) {
        self.fail_once(&lock(&self.writer));
    }

    /// Writes packets, each with its length in front. Those that find no room are dropped, from the end.
    pub(crate) fn write(&self, packets: &[u8]) -> Written {
        self.write_within(packets, DATA_ROOM)
    }

    fn write_within(&self, packets: &[u8], room: usize) -> Written {
        let mut writer = lock(&self.writer);
        let _ = writer.flush(&self.socket);
        let mut sent = 0;
        if writer.is_flushed() && writer.sending == Sending::Open {
            match self.socket.send(packets) {
                Ok(taken) => sent = taken,
                Err(error) if I::Stream::has_ended(&error) => writer.sending = Sending::Broken,
                // There is no room; if it is anything else, the worker finds out ([`Stream::go_on`]).
                Err(_) => {}
            }
        }
        if writer.sending == Sending::Broken {
            self.fail_once(&writer);
            return Written {
                dropped: boundary(packets, packets.len()).0 as u64,
                is_full: false,
            };
        }
        if sent == packets.len() {
            return Written::default();
        }
        let until = taken(packets, sent, room.saturating_sub(writer.waiting_bytes()));
        writer.append(packets.get(sent..until).unwrap_or_default());
        let dropped = boundary(packets, packets.len()).0 - boundary(packets, until).0;
        self.watch(&mut writer);
        Written {
            dropped: dropped as u64,
            is_full: !writer.is_flushed(),
        }
    }

    /// Whether this queue has to wait for room, to be resumed then; `false` if there is room by now.
    pub(crate) fn wait(&self, queue: Registration<I>) -> bool {
        let mut writer = lock(&self.writer);
        let has_to = !writer.is_flushed()
            && writer.sending == Sending::Open
            && writer.watch.registered().is_some()
            && writer.peers > 0;
        if has_to {
            writer.waiting = Some(queue);
            self.watch(&mut writer);
        }
        has_to
    }

    fn stop_reading(&self) {
        let mut writer = lock(&self.writer);
        if writer.receiving == Receiving::Open {
            writer.receiving = Receiving::Ended;
        }
        self.watch(&mut writer);
    }

    /// Gives OpenVPN a packet with its length in front, unchanged; `false` if the relay is full or gone.
    pub(crate) fn relay(&self, packet: &[u8]) -> bool {
        self.relay.send(packet).is_ok()
    }

    /// Requests the peer's removal. If the stream is not registered yet, [`Stream::register`] does it.
    fn fail_once(&self, writer: &MutexGuard<'_, Writer<I>>) {
        if !self.has_failed.swap(true, Ordering::Relaxed)
            && let Some(registered) = writer.watch.registered()
        {
            registered.registration.fail();
        }
    }
}

impl<I: Io> Drop for Stream<I> {
    fn drop(&mut self) {
        self.socket.clear_linger();
    }
}

impl<I: Io> Source<I> for Stream<I> {
    fn handle(&self) -> I::Handle<'_> {
        self.socket.handle()
    }
}

/// A buffer that fits any message of OpenVPN.
pub(crate) fn control_scratch() -> Box<[u8]> {
    vec![0; MAX_MESSAGE].into()
}

/// The message that makes OpenVPN's next receive call fail with this errno.
fn report_error(relay: &impl Relay, error: &io::Error) {
    const EIO: u8 = 5;
    let errno = error.raw_os_error().and_then(|it| u8::try_from(it).ok());
    let [first, second] = STREAM_ERROR;
    let _ = relay.send(&[first, second, errno.unwrap_or(EIO)]);
}

#[cfg(test)]
mod tests;
