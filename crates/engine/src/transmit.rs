//! A packet's way out: from a TUN queue to the transport socket of its peer.
//!
//! Inner packets are read one behind the other into one buffer, each with room for its header, and sealed where they
//! lie. Records of one size for one peer then lie next to each other and leave in one call, which the kernel cuts
//! into datagrams.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use udco_core::wire::OVERHEAD;
use udco_core::{DropReason, Time, outbound};
use udco_sys::clock;
use udco_sys::udp::{MAX_SEGMENTS, Message, Outbox, Outcome};

use crate::device::{Device, Peer};
use crate::transport::Transport;

/// The longest inner packet that a TUN device can hand out.
const MAX_PACKET: usize = 65_535;

/// Bytes of records in one batch: what fits a core's cache, and at least one packet of any size.
const ARENA: usize = 4 * (OVERHEAD + MAX_PACKET);

/// Records in one batch.
const BATCH: usize = 128;

/// Batches before other sources of the worker have their turn.
const TURNS: usize = 4;

/// The most bytes of UDP payload that one send takes, segmented or not.
const MAX_SEND: usize = 65_507;

/// Buffers of a worker for packets on their way out.
pub(crate) struct Transmitter {
    arena: Box<[u8]>,
    /// Messages of the present batch.
    outbox: Outbox,
    /// The socket by which they leave; a record for another one begins a new batch.
    transport: Option<Arc<Transport>>,
    /// Records that will make the next message.
    run: Option<Run>,
}

/// Records that lie next to each other and go to one peer.
struct Run {
    peer: Arc<Peer>,
    range: Range<usize>,
    /// Length of each record; only the last may be shorter.
    record: usize,
    records: usize,
    /// Nothing more can be added: a shorter record was the last, or they cannot leave together.
    closed: bool,
}

impl Transmitter {
    pub(crate) fn new() -> Self {
        let outbox = Outbox::new(BATCH);
        Self {
            arena: vec![0; ARENA].into(),
            outbox,
            transport: None,
            run: None,
        }
    }

    /// Sends what lies in a queue, up to some batches.
    ///
    /// # Errors
    /// Of reading the queue: the device is gone.
    pub(crate) fn run(&mut self, device: &Device, queue: usize) -> io::Result<()> {
        for _ in 0..TURNS {
            if !self.batch(device, queue)? {
                break;
            }
        }
        Ok(())
    }

    /// One batch: read, find the peer, seal, send. Returns whether there may be more.
    fn batch(&mut self, device: &Device, queue: usize) -> io::Result<bool> {
        let Some(queue) = device.queues.get(queue) else {
            return Ok(false);
        };
        let snapshot = device.snapshot();
        let view = snapshot.view(device.mode);
        let now = Time::from_millis(clock::milliseconds());
        let mut at = 0;
        let mut more = true;
        for _ in 0..BATCH {
            let Some(room) = self.arena.get_mut(at..at + OVERHEAD + MAX_PACKET) else {
                break;
            };
            let len = match queue.read(&mut room[OVERHEAD..]) {
                Ok(len) => len,
                Err(error) => {
                    more = false;
                    if error.kind() == io::ErrorKind::WouldBlock || at > 0 {
                        break;
                    }
                    return Err(error);
                }
            };
            let record = &mut room[..OVERHEAD + len];
            match outbound::seal(&view, record, now) {
                Ok(peer) => {
                    let range = at..at + record.len();
                    at = range.end;
                    let joins = record.len() <= OVERHEAD + view.inner_limit(peer);
                    self.append(device, peer, range, joins);
                }
                Err(reason) => device.drops.count(reason),
            }
        }
        self.close_run(device);
        self.flush(device);
        Ok(more)
    }

    /// Adds a sealed record to the batch. `joins` tells whether its datagram fits the path unfragmented: only such
    /// ones can leave together.
    fn append(&mut self, device: &Device, peer: &Arc<Peer>, range: Range<usize>, joins: bool) {
        let len = range.len();
        if let Some(run) = &mut self.run
            && joins
            && run.takes(peer, &range)
        {
            run.range.end = range.end;
            run.records += 1;
            run.closed |= len < run.record;
            return;
        }
        self.close_run(device);
        let closed = !(joins && peer.transport.segmentation);
        self.run = Some(Run {
            peer: Arc::clone(peer),
            range,
            record: len,
            records: 1,
            closed,
        });
    }

    /// Makes a message of the records collected so far.
    fn close_run(&mut self, device: &Device) {
        let Some(run) = self.run.take() else { return };
        let Some(endpoint) = run.peer.endpoint else {
            device
                .drops
                .count_many(DropReason::TxNoEndpoint, run.records as u64);
            return;
        };
        let transport = &run.peer.transport;
        if self
            .transport
            .as_ref()
            .is_some_and(|other| !Arc::ptr_eq(other, transport))
        {
            self.flush(device);
        }
        self.transport = Some(Arc::clone(transport));
        let message = Message {
            range: run.range,
            destination: endpoint.remote,
            local: endpoint.local,
            segment: (run.records > 1).then(|| u16::try_from(run.record).unwrap_or(u16::MAX)),
        };
        if !self.outbox.push(message) {
            device
                .drops
                .count_many(DropReason::TxTransportFull, run.records as u64);
        }
    }

    /// Sends the messages collected so far.
    fn flush(&mut self, device: &Device) {
        let Some(transport) = self.transport.take() else {
            return;
        };
        let sent = self.outbox.send(transport.socket(), &self.arena);
        if sent.failed + sent.not_sent > 0 {
            for index in 0..self.outbox.len() {
                self.account(device, &transport, index);
            }
        }
        self.outbox.clear();
    }

    /// Sees to a message that may not have left.
    fn account(&mut self, device: &Device, transport: &Transport, index: usize) {
        let (Some(outcome), Some(message)) = (
            self.outbox.outcomes().get(index).copied(),
            self.outbox.messages().get(index),
        ) else {
            return;
        };
        let record = usize::from(message.segment.unwrap_or(u16::MAX)).max(1);
        let records = message.range.len().div_ceil(record);
        let lost = if records > 1 && outcome.refuses_segments() {
            // The path is narrower than we think, or the device cannot cut: one by one it may go (design decision 6).
            records
                - self
                    .outbox
                    .send_singly(transport.socket(), &self.arena, index)
                    .min(records)
        } else if outcome.is_sent() {
            0
        } else {
            records
        };
        let reason = match outcome {
            Outcome::NotSent => DropReason::TxTransportFull,
            _ => DropReason::TxTransportError,
        };
        device.drops.count_many(reason, lost as u64);
    }
}

impl Run {
    /// Whether a record can leave together with these.
    fn takes(&self, peer: &Arc<Peer>, range: &Range<usize>) -> bool {
        !self.closed
            && Arc::ptr_eq(&self.peer, peer)
            && self.range.end == range.start
            && range.len() <= self.record
            && self.records < MAX_SEGMENTS
            && range.end - self.range.start <= MAX_SEND
    }
}
