//! A packet's way out: from a TUN queue to the transport socket of its peer.
//!
//! The device hands out super-packets of up to 64 KiB where it can. Each is split into packets, laid out one after the
//! other in one buffer with room for a header in front, and sealed in place. So records of one size for one peer lie next
//! to each other and leave in one call ([`run`]), which the kernel cuts into datagrams ([`messages`]). Over TCP each has
//! its length in front, and all that lie next to each other leave in one call.
//!
//! The way of a packet: [`Transmitter::batch`] reads it, [`select`] finds its peer, [`Records::take`] splits and seals it,
//! [`Records::append`] adds each record to a run, and [`Records::flush`] sends what is left.

mod messages;
mod recording;
mod run;

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use udco_core::offload::{Header, Splitter, virtio};
use udco_core::outbound::{self, Sealer};
use udco_core::recursion;
use udco_core::wire::OVERHEAD;
use udco_core::{DropReason, Time, View, framing};
use udco_crypto::DirectionKey;
use udco_ipc::capture::Way;

use crate::datapath::transmit::messages::Messages;
use crate::datapath::transmit::run::Run;
use crate::device::Device;
use crate::device::capture::{Recorder, Seen};
use crate::device::handoff::packet_buffer;
use crate::device::peer::Peer;
use crate::device::snapshot::Tuning;
use crate::device::transport::Transport;
use crate::io::{Io, Moment, Tun};

/// Bytes of records in one batch: half of a core's cache, and room for a packet of any size.
const ARENA: usize = 8 * (OVERHEAD + 65_535);

/// Packets read before their records are sent.
const BATCH: usize = 128;

/// Batches before the worker's other sources get their turn.
const TURNS: usize = 4;

/// A worker's buffers for packets on their way out.
pub(crate) struct Transmitter<I: Io> {
    /// The packet read last, behind its virtio header.
    packet: Box<[u8]>,
    records: Records<I>,
    taken: u64,
}

/// The sealed records of a batch, and the messages in which they will leave.
struct Records<I: Io> {
    arena: Box<[u8]>,
    /// Where the next record begins.
    at: usize,
    /// Records that will make the next message, or the next write to a stream.
    run: Option<Run<I>>,
    messages: Messages<I>,
    /// A stream that has become full.
    full: Option<Arc<Transport<I>>>,
    /// The device's options.
    tuning: Tuning,
    recorder: Recorder,
}

impl<I: Io> Transmitter<I> {
    /// Buffers whose captures begin with this one's buffer.
    pub(crate) fn new(lane: usize) -> Self {
        let records = Records {
            arena: vec![0; ARENA].into(),
            at: 0,
            run: None,
            messages: Messages::new(BATCH),
            full: None,
            tuning: Tuning::default(),
            recorder: Recorder::new(lane),
        };
        Self {
            packet: packet_buffer(),
            records,
            taken: 0,
        }
    }

    /// How many packets, or super-packets, have been read.
    pub(crate) const fn taken(&self) -> u64 {
        self.taken
    }

    /// Sends the packets of a queue, at most [`TURNS`] batches. Returns the stream that the rest has to wait for: only if it
    /// is that of the device's only peer, so that no other peer waits.
    ///
    /// # Errors
    /// If the queue cannot be read: the device is gone.
    pub(crate) fn run(
        &mut self,
        device: &Device<I>,
        queue: usize,
        now: Moment,
    ) -> io::Result<Option<Arc<Transport<I>>>> {
        self.records.full = None;
        for _ in 0..TURNS {
            if !self.batch(device, queue, now)? {
                break;
            }
        }
        Ok(self.records.full.take())
    }

    /// One batch: read, find the peer, split, seal, send. Returns whether there may be more.
    fn batch(&mut self, device: &Device<I>, queue: usize, at: Moment) -> io::Result<bool> {
        let Some(source) = device.interface.queues.get(queue) else {
            return Ok(false);
        };
        let snapshot = device.snapshot();
        let view = snapshot.view(device.mode);
        let now = at.time();
        self.records.tuning = snapshot.tuning;
        self.records.recorder.begin(&device.interface.tap, at);
        let mut outcome = Ok(true);
        for _ in 0..BATCH {
            let len = match source.read(&mut self.packet) {
                Ok(len) => len,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    outcome = Ok(false);
                    break;
                }
                Err(error) => {
                    outcome = Err(error);
                    break;
                }
            };
            self.taken = self.taken.wrapping_add(1);
            if let Err(reason) = self.one(device, &view, queue, len, now) {
                device
                    .interface
                    .drops
                    .count_many(reason, packets_in(&self.packet, len));
                self.records.record_drop(&view, &self.packet, len, reason);
            }
            if self.records.full.is_some() && view.peers.len() == 1 {
                break;
            }
        }
        self.records.flush(device);
        self.records.recorder.end();
        if view.peers.len() != 1 {
            // Other peers would wait, too: drop what finds no room.
            self.records.full = None;
        }
        outcome.map(|may_be_more| may_be_more && self.records.full.is_none())
    }

    /// Sends the packet read last, from this queue; one for a peer of another queue is handed off.
    fn one(
        &mut self,
        device: &Device<I>,
        view: &View<'_, DirectionKey, Arc<Transport<I>>>,
        queue: usize,
        len: usize,
        now: Time,
    ) -> Result<(), DropReason> {
        let (header, packet) = halves(&self.packet, len)?;
        let peer = select(view, packet)?;
        let queue_of_peer = device.interface.queue_of(peer.id);
        if queue_of_peer == queue {
            return self.records.take(device, peer, header, packet, now);
        }
        if device
            .interface
            .handoffs
            .hand_off(queue_of_peer, &mut self.packet, len)
        {
            Ok(())
        } else {
            Err(DropReason::TxHandoffFull)
        }
    }

    /// Sends the packets that other workers have read for the peers of a queue.
    pub(crate) fn run_handed_off(&mut self, device: &Device<I>, queue: usize, at: Moment) {
        let Some(way) = device.interface.handoffs.to(queue) else {
            return;
        };
        way.answer();
        let snapshot = device.snapshot();
        let view = snapshot.view(device.mode);
        let now = at.time();
        self.records.tuning = snapshot.tuning;
        self.records.recorder.begin(&device.interface.tap, at);
        for _ in 0..BATCH {
            let Some(handed_off) = way.take() else {
                break;
            };
            let taken = halves(&handed_off.buffer, handed_off.len).and_then(|(header, packet)| {
                // By now the peer may be another one, even of another queue: too rare for its order to matter.
                let peer = select(&view, packet)?;
                self.records.take(device, peer, header, packet, now)
            });
            if let Err(reason) = taken {
                let packets = packets_in(&handed_off.buffer, handed_off.len);
                device.interface.drops.count_many(reason, packets);
                self.records
                    .record_drop(&view, &handed_off.buffer, handed_off.len, reason);
            }
            device.interface.handoffs.give_back(handed_off);
        }
        self.records.flush(device);
        self.records.recorder.end();
        // Nothing waits for room here: a packet that finds none is dropped.
        self.records.full = None;
        if !way.is_empty() {
            way.ring();
        }
    }
}

/// Finds the peer for a packet, unless it is for the peer's own outer address (faults A6).
fn select<'v, I: Io>(
    view: &View<'v, DirectionKey, Arc<Transport<I>>>,
    packet: &[u8],
) -> Result<&'v Arc<Peer<I>>, DropReason> {
    let peer = outbound::select(view, packet)?;
    if let Some(remote) = peer.transport.stream_remote()
        && recursion::is_for(packet, remote, recursion::TCP)
    {
        return Err(DropReason::TxRecursive);
    }
    Ok(peer)
}

/// A buffer's virtio header and packet.
fn halves(buffer: &[u8], len: usize) -> Result<(&[u8; virtio::LEN], &[u8]), DropReason> {
    let read = buffer.get(..len).unwrap_or_default();
    read.split_first_chunk().ok_or(DropReason::TxBadOffload)
}

/// How many packets of the tunnel are lost with this buffer: all that a super-packet would have become (faults E10).
#[cold]
fn packets_in(buffer: &[u8], len: usize) -> u64 {
    let splitter = halves(buffer, len)
        .ok()
        .and_then(|(header, packet)| Splitter::new(&Header::from_bytes(header), packet).ok());
    splitter.map_or(1, |splitter| splitter.count() as u64)
}

impl<I: Io> Records<I> {
    /// Splits a packet of the device into records for its peer, and seals them.
    fn take(
        &mut self,
        device: &Device<I>,
        peer: &Arc<Peer<I>>,
        header: &[u8; virtio::LEN],
        packet: &[u8],
        now: Time,
    ) -> Result<(), DropReason> {
        let mut splitter = Splitter::new(&Header::from_bytes(header), packet)
            .map_err(|_| DropReason::TxBadOffload)?;
        let (packets, longest) = (splitter.count(), splitter.longest());
        let mut sealer =
            Sealer::new(peer, packets, splitter.total(), now)?.with_mssfix(self.tuning.mssfix);
        let format = sealer.format();
        let limit = peer.inner_limit();
        let joins = longest <= limit;
        let traffic_class = self.tuning.outer_class(packet);
        let before = match peer.transport.as_stream() {
            Some(_) if longest > framing::MAX_PACKET - format.overhead() => {
                return Err(DropReason::TxTransportError);
            }
            Some(_) => framing::PREFIX,
            None => 0,
        };
        for sealed in 0..packets {
            if self.at + before + format.overhead() + longest > self.arena.len() {
                self.flush(device);
            }
            let Some((length, room)) = self
                .arena
                .get_mut(self.at..)
                .and_then(|room| room.split_at_mut_checked(before))
            else {
                break;
            };
            let Some(len) = room
                .get_mut(format.before()..)
                .and_then(|room| splitter.next(room))
            else {
                break;
            };
            let Some(record) = room.get_mut(..format.overhead() + len) else {
                break;
            };
            let inner = format.before()..format.before() + len;
            self.recorder.passed(|| {
                let packet = record.get(inner.clone()).unwrap_or_default();
                Seen::inner(Way::InnerOut, Some(peer.id), packet)
            });
            if let Err(reason) = sealer.seal(record) {
                device
                    .interface
                    .drops
                    .count_many(reason, (packets - sealed) as u64);
                self.recorder.dropped(reason, || {
                    let packet = record.get(inner).unwrap_or_default();
                    Seen::inner(Way::InnerOut, Some(peer.id), packet)
                });
                break;
            }
            if before > 0 {
                length.copy_from_slice(&framing::prefix(record.len()).unwrap_or_default());
            }
            if len > limit {
                device.interface.fragmented.fetch_add(1, Ordering::Relaxed);
            }
            let range = self.at..self.at + before + record.len();
            self.at = range.end;
            self.append(device, peer, range, (joins, traffic_class));
        }
        if before > 0 && self.run.as_ref().is_some_and(Run::is_ample) {
            self.close_run(device);
        }
        Ok(())
    }

    /// Adds a sealed record to the batch. `joins`: it may leave together with others, as its datagram fits the path
    /// unfragmented.
    fn append(
        &mut self,
        device: &Device<I>,
        peer: &Arc<Peer<I>>,
        range: Range<usize>,
        (joins, traffic_class): (bool, u8),
    ) {
        if let Some(run) = &mut self.run
            && joins
            && run.takes(peer, &range, traffic_class)
        {
            run.add(&range);
            return;
        }
        self.close_run(device);
        self.run = Some(Run::new(peer, range, joins, traffic_class));
    }

    /// Writes the records collected so far to their stream, or makes a message of them.
    fn close_run(&mut self, device: &Device<I>) {
        let Some(run) = self.run.take() else { return };
        if let Some(stream) = run.peer.transport.as_stream() {
            let records = self.arena.get(run.range).unwrap_or_default();
            let written = stream.write(records);
            device
                .interface
                .drops
                .count_many(DropReason::TxTransportFull, written.dropped);
            if self.recorder.is_on() {
                recording::stream(&self.recorder, &run.peer, records, written.dropped);
            }
            if written.is_full {
                self.full = Some(Arc::clone(&run.peer.transport));
            }
            return;
        }
        let Some(endpoint) = run.peer.endpoint() else {
            device
                .interface
                .drops
                .count_many(DropReason::TxNoEndpoint, run.records as u64);
            let records = self.arena.get(run.range).unwrap_or_default();
            for record in records.chunks(run.record.max(1)) {
                self.recorder.dropped(DropReason::TxNoEndpoint, || {
                    Seen::outer(Way::OuterOut, Some(run.peer.id), None, record)
                });
            }
            return;
        };
        let batch = (device, &*self.arena, &self.recorder);
        self.messages.push(batch, run, endpoint);
    }

    /// Sends everything, which empties the buffer.
    fn flush(&mut self, device: &Device<I>) {
        self.close_run(device);
        self.messages.send((device, &self.arena, &self.recorder));
        self.at = 0;
    }
}
