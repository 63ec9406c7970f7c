//! The sealed records of a batch, on their way from one buffer to the sockets of their peers.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use udco_core::offload::{Header, Splitter, virtio};
use udco_core::outbound::Sealer;
use udco_core::wire::OVERHEAD;
use udco_core::{DropReason, Time, framing};
use udco_ipc::capture::Way;

use crate::datapath::transmit::messages::Messages;
use crate::datapath::transmit::runs::{Run, Runs, STREAM_RUN, lane};
use crate::datapath::transmit::{BATCH, recording};
use crate::device::Device;
use crate::device::capture::{Recorder, Seen};
use crate::device::peer::Peer;
use crate::device::snapshot::Tuning;
use crate::device::transport::Transport;
use crate::io::Io;

/// Bytes of records in one batch: half of a core's cache, and room for a packet of any size.
const ARENA: usize = 8 * (OVERHEAD + 65_535);

/// The sealed records of a batch, and the messages in which they will leave.
pub(super) struct Records<I: Io> {
    arena: Box<[u8]>,
    /// Where the next record begins.
    at: usize,
    /// Records that will make a peer's next message, or its next write to a stream.
    runs: Runs<I>,
    messages: Messages<I>,
    /// The records of one stream that do not lie next to each other, for one write.
    gathered: Vec<u8>,
    /// A stream that has become full.
    pub(super) full: Option<Arc<Transport<I>>>,
    /// The device's options.
    pub(super) tuning: Tuning,
    pub(super) recorder: Recorder,
}

impl<I: Io> Records<I> {
    /// Buffers whose captures begin with this one's buffer.
    pub(super) fn new(lane: usize) -> Self {
        Self {
            arena: vec![0; ARENA].into(),
            at: 0,
            runs: Runs::new(BATCH),
            messages: Messages::new(BATCH),
            gathered: Vec::with_capacity(STREAM_RUN + framing::MAX_PACKET + framing::PREFIX),
            full: None,
            tuning: Tuning::default(),
            recorder: Recorder::new(lane),
        }
    }

    /// Splits a packet of the device into records for its peer, and seals them.
    pub(super) fn take(
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
        if packets > 1 {
            // As it is: the device's own headers are worth as much as those of each packet, and cheaper to copy.
            let whole = || Seen::inner(Way::InnerOut, Some(peer.id), packet);
            self.recorder.passed(whole);
        }
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
            if packets == 1 {
                // With the checksum that the splitter has completed.
                self.recorder.passed(|| {
                    let packet = record.get(inner.clone()).unwrap_or_default();
                    Seen::inner(Way::InnerOut, Some(peer.id), packet)
                });
            }
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
        if before > 0 && self.runs.get(lane(peer.id)).is_some_and(Run::is_ample) {
            self.close(device, lane(peer.id));
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
        if joins && self.runs.add(peer, &range, traffic_class) {
            return;
        }
        let lane = lane(peer.id);
        self.close(device, lane);
        self.runs
            .open(lane, Run::new(peer, range, joins, traffic_class));
    }

    /// Ends the run of a lane, if there is one; before a long one, all short ones.
    fn close(&mut self, device: &Device<I>, lane: u32) {
        let Some(run) = self.runs.close(lane) else {
            return;
        };
        while !run.is_short()
            && let Some(short) = self.runs.close_short()
        {
            self.end(device, short);
        }
        self.end(device, run);
    }

    /// Writes the records of a run to their stream, or makes a message of them.
    fn end(&mut self, device: &Device<I>, run: Run<I>) {
        if let Some(stream) = run.peer.transport.as_stream() {
            let arena = &self.arena;
            let bytes = |range| arena.get(range).unwrap_or_default();
            let records = if run.is_contiguous() {
                bytes(run.range)
            } else {
                // Cheaper than a call for each, and than one that takes many pieces and may take half of one.
                self.gathered.clear();
                let pieces = self.runs.ranges(&run);
                pieces.for_each(|range| self.gathered.extend_from_slice(bytes(range)));
                &self.gathered
            };
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
            for range in self.runs.ranges(&run) {
                let records = self.arena.get(range).unwrap_or_default();
                let seen = Seen::outer(Way::OuterOut, Some(run.peer.id), None, records);
                self.recorder
                    .run(&seen.run(run.record, 0), Some(DropReason::TxNoEndpoint));
            }
            return;
        };
        let batch = (device, &*self.arena, &self.recorder);
        self.messages
            .push(batch, &run, self.runs.ranges(&run), endpoint);
    }

    /// Sends everything, which empties the buffer.
    pub(super) fn flush(&mut self, device: &Device<I>) {
        while let Some(run) = self.runs.close_next() {
            self.end(device, run);
        }
        self.runs.clear();
        self.messages.send((device, &self.arena, &self.recorder));
        self.at = 0;
    }
}
