//! A packet's way out: from a TUN queue to the transport socket of its peer.
//!
//! The device hands out super-packets of up to 64 KiB where it can. Each is split into packets, laid out one after the
//! other in one buffer with room for a header in front, and sealed in place. Records of one size for one peer leave in one
//! call, also if those of other peers lie between ([`runs`]), and the kernel cuts them into datagrams ([`messages`]). Over
//! TCP each has its length in front, and lengths may differ.
//!
//! The way of a packet: [`Transmitter::batch`] reads it, [`select`] finds its peer, [`Records::take`] splits and seals it,
//! [`Records::append`] adds each record to a run, and [`Records::flush`] sends what is left.

mod messages;
mod recording;
mod records;
mod runs;
mod turns;

use std::io;
use std::sync::Arc;

use udco_core::offload::{Header, Splitter, virtio};
use udco_core::outbound;
use udco_core::recursion;
use udco_core::sparse::{Class, Precedence, Reads};
use udco_core::{DropReason, Time, View};
use udco_crypto::DirectionKey;

use crate::datapath::coalesce::Moved;
use crate::datapath::transmit::records::Records;
use crate::datapath::transmit::turns::Turns;
use crate::device::Device;
use crate::device::handoff::packet_buffer;
use crate::device::peer::Peer;
use crate::device::queues::Queue;
use crate::device::transport::Transport;
use crate::io::{Io, Moment, Tun};

/// Packets read before their records are sent.
const BATCH: usize = 128;

/// Batches before the worker's other sources get their turn.
const TURNS: usize = 4;

/// A worker's buffers for packets on their way out.
pub(crate) struct Transmitter<I: Io> {
    /// The packet read last, behind its virtio header.
    packet: Box<[u8]>,
    /// What the flow of the packet read last had in a row.
    reads: Reads,
    records: Records<I>,
    moved: Moved,
}

impl<I: Io> Transmitter<I> {
    /// Buffers whose captures begin with this one's buffer.
    pub(crate) fn new(lane: usize) -> Self {
        Self {
            packet: packet_buffer(),
            reads: Reads::default(),
            records: Records::new(lane),
            moved: Moved::default(),
        }
    }

    /// The packets, and super-packets, that have been read.
    pub(crate) const fn moved(&self) -> Moved {
        self.moved
    }

    /// Sends the packets of a queue, at most [`TURNS`] batches, after an event of the kernel's queue for flows of this class.
    /// Returns the stream that the rest has to wait for: only if it is that of the device's only peer, so that no other peer
    /// waits.
    ///
    /// # Errors
    /// If the queue cannot be read: the device is gone.
    pub(crate) fn run(
        &mut self,
        device: &Device<I>,
        number: usize,
        woken: Class,
        now: Moment,
    ) -> io::Result<Option<Arc<Transport<I>>>> {
        self.records.full = None;
        let Some(queue) = device.interface.queues.get(number) else {
            return Ok(None);
        };
        let mut turns = Turns::beginning_with(woken, queue.sparse().is_some());
        let mut outcome = Ok(true);
        for _ in 0..TURNS {
            if !matches!(outcome, Ok(true)) {
                break;
            }
            outcome = self.batch(device, (number, queue), &mut turns, now);
        }
        queue.rest(&mut self.reads);
        outcome.map(|_| self.records.full.take())
    }

    /// One batch: read, find the peer, split, seal, send. Returns whether there may be more.
    fn batch(
        &mut self,
        device: &Device<I>,
        (number, queue): (usize, &Queue<I>),
        turns: &mut Turns,
        at: Moment,
    ) -> io::Result<bool> {
        let snapshot = device.snapshot();
        let view = snapshot.view(device.mode);
        let now = at.time();
        self.records.tuning = snapshot.tuning;
        self.records.recorder.begin(&device.interface.tap, at);
        let mut outcome = Ok(true);
        let mut are_sparse = false;
        for _ in 0..BATCH {
            let Some((from, order)) = queue.next(|order| turns.next(order)) else {
                outcome = Ok(false);
                break;
            };
            match self.read(queue, (from, order), now) {
                Ok(Some(len)) => {
                    turns.took(from, len);
                    if from == Class::Sparse {
                        are_sparse = true;
                    } else if std::mem::take(&mut are_sparse) {
                        // They don't wait for what is bulk.
                        self.records.flush(device);
                    }
                    self.take(device, &view, number, len, now);
                    if self.is_full(&view) {
                        break;
                    }
                }
                // Another worker is changing a flow's queue. It is soon done, if it has a processor, and the poller says if
                // there is more.
                Ok(None) if order.first() == Some(from) && order.is_pending() => {
                    std::thread::yield_now();
                    outcome = Ok(false);
                    break;
                }
                Ok(None) => turns.emptied(from),
                Err(error) => {
                    outcome = Err(error);
                    break;
                }
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

    /// Reads the next packet of this class from the kernel; `None` if there is none.
    fn read(
        &mut self,
        queue: &Queue<I>,
        (from, order): (Class, Precedence),
        now: Time,
    ) -> io::Result<Option<usize>> {
        match queue.of(from).read(&mut self.packet) {
            Ok(len) => {
                self.moved.count(len);
                let packet = self.packet.get(virtio::LEN..len).unwrap_or_default();
                queue.was_read(&mut self.reads, (from, order), packet, now);
                Ok(Some(len))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                queue.was_empty(from, order);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Whether the stream of the only peer is full; with several peers, the others would have to wait.
    fn is_full(&self, view: &View<'_, DirectionKey, Arc<Transport<I>>>) -> bool {
        self.records.full.is_some() && view.peers.len() == 1
    }

    /// Sends the packet read last, or counts why not.
    fn take(
        &mut self,
        device: &Device<I>,
        view: &View<'_, DirectionKey, Arc<Transport<I>>>,
        number: usize,
        len: usize,
        now: Time,
    ) {
        if let Err(reason) = self.one(device, view, number, len, now) {
            device
                .interface
                .drops
                .count_many(reason, packets_in(&self.packet, len));
            self.records.record_drop(view, &self.packet, len, reason);
        }
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
