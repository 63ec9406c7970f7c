//! The datagrams of a batch leave in one call. A message that fails is sent again in pieces, or counted as dropped.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use udco_core::{DropReason, Endpoint, PeerId};
use udco_ipc::message_id;

use crate::datapath::transmit::recording;
use crate::datapath::transmit::runs::Run;
use crate::device::Device;
use crate::device::capture::Recorder;
use crate::device::transport::{Socket, Transport};
use crate::io::{Datagrams, Io, Message, Outbox, Outcome};

/// What a batch is sent with: its device, the bytes of its records, and who captures them.
type Batch<'b, I> = (&'b Device<I>, &'b [u8], &'b Recorder);

/// Messages that wait for the end of their batch, all for one socket.
pub(super) struct Messages<I: Io> {
    outbox: <I::Datagrams as Datagrams>::Outbox,
    /// The peer of each message in the outbox, by id.
    owners: Vec<PeerId>,
    /// The socket by which they leave; a record for another one sends them first.
    transport: Option<Arc<Transport<I>>>,
}

impl<I: Io> Messages<I> {
    /// Makes room for this many messages.
    pub(super) fn new(most: usize) -> Self {
        Self {
            outbox: Outbox::new(most),
            owners: Vec::with_capacity(most),
            transport: None,
        }
    }

    /// Adds the records of a run, which lie in these ranges, as one message to this address.
    pub(super) fn push(
        &mut self,
        batch: Batch<'_, I>,
        run: &Run<I>,
        ranges: impl Iterator<Item = Range<usize>>,
        endpoint: Endpoint,
    ) {
        let mut is_begun = false;
        for range in ranges {
            // What an outbox does not add to a message needs another one.
            if !(is_begun && self.outbox.extend(range.clone())) {
                self.begin(batch, run, range, endpoint);
                is_begun = true;
            }
        }
    }

    /// Adds a message with the records of a run from this range on.
    fn begin(
        &mut self,
        batch: Batch<'_, I>,
        run: &Run<I>,
        range: Range<usize>,
        endpoint: Endpoint,
    ) {
        let (device, ..) = batch;
        let transport = &run.peer.transport;
        let is_other = |other: &Arc<Transport<I>>| !Arc::ptr_eq(other, transport);
        if self.outbox.is_full() || self.transport.as_ref().is_some_and(is_other) {
            self.send(batch);
        }
        self.transport = Some(Arc::clone(transport));
        let records = range.len().div_ceil(run.record.max(1));
        let message = Message {
            range,
            destination: endpoint.remote,
            local: endpoint.local,
            segment: (run.records > 1).then(|| u16::try_from(run.record).unwrap_or(u16::MAX)),
            traffic_class: run.traffic_class,
        };
        if self.outbox.push(message) {
            self.owners.push(run.peer.id);
        } else {
            device
                .interface
                .drops
                .count_many(DropReason::TxTransportFull, records as u64);
        }
    }

    /// Sends the messages collected so far.
    pub(super) fn send(&mut self, (device, arena, recorder): Batch<'_, I>) {
        let Some(transport) = self.transport.take() else {
            return;
        };
        // Only datagrams wait here.
        let Socket::Udp(socket, _) = transport.socket() else {
            return;
        };
        let sent = self.outbox.send(socket, arena);
        let outcomes = self.outbox.outcomes();
        let is_recorded = recorder.is_on();
        if sent.failed + sent.not_sent > 0
            || outcomes.contains(&Outcome::SentWithoutLocal)
            || is_recorded
        {
            for index in 0..self.outbox.messages().len() {
                let lost = self.account(device, arena, (&transport, socket), index);
                if is_recorded && let Some(message) = self.outbox.messages().get(index) {
                    let owner = self.owners.get(index).copied();
                    let ranges = self.outbox.pieces(index);
                    recording::message(
                        recorder,
                        &transport,
                        (message, owner),
                        (arena, ranges),
                        lost,
                    );
                }
            }
        }
        self.outbox.clear();
        self.owners.clear();
    }

    /// Handles the outcome of a message: it may have failed, or left without its local address. Returns how many of its
    /// records are lost, and why.
    fn account(
        &mut self,
        device: &Device<I>,
        arena: &[u8],
        (transport, socket): (&Transport<I>, &I::Datagrams),
        index: usize,
    ) -> (usize, DropReason) {
        let (Some(outcome), Some(message)) = (
            self.outbox.outcomes().get(index).copied(),
            self.outbox.messages().get(index),
        ) else {
            return (0, DropReason::TxTransportError);
        };
        let record = usize::from(message.segment.unwrap_or(u16::MAX)).max(1);
        let bytes: usize = self.outbox.pieces(index).map(|range| range.len()).sum();
        let records = bytes.div_ceil(record);
        let lost = if records > 1 && outcome.refuses_segments() {
            // The path is narrower than we think, or the device cannot segment: try one by one (design decision 6).
            let sent = self.outbox.send_singly(socket, arena, index).min(records);
            if outcome.is_too_long() {
                device
                    .interface
                    .fragmented
                    .fetch_add(sent as u64, Ordering::Relaxed);
                device.doubt_paths();
            } else if sent == records
                && outcome.cannot_segment()
                && transport.segmentation.refused()
            {
                tracing::warn!(
                    message_id = message_id::SEGMENTATION_REFUSED,
                    device = device.interface.name,
                    "{}: the kernel refuses segmentation of datagrams (UDP_SEGMENT); continuing without it",
                    device.interface.name
                );
            }
            records - sent
        } else if outcome.is_sent() {
            if records > 1 {
                transport.segmentation.taken();
            }
            0
        } else {
            records
        };
        let reason = match outcome {
            Outcome::NotSent => DropReason::TxTransportFull,
            _ => DropReason::TxTransportError,
        };
        device.interface.drops.count_many(reason, lost as u64);
        self.report_lost_local(device, index);
        (lost, reason)
    }

    /// If a message has left without its local address, makes the device forget that address (promises D8): each further
    /// try would cost a call per message.
    fn report_lost_local(&self, device: &Device<I>, index: usize) {
        if self.outbox.outcomes().get(index) == Some(&Outcome::SentWithoutLocal)
            && let Some(message) = self.outbox.messages().get(index)
            && let Some(owner) = self.owners.get(index)
        {
            let gone = Endpoint {
                remote: message.destination,
                local: message.local,
            };
            device.forget_local(*owner, gone);
        }
    }
}
