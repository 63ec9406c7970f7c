//! Runs of records that leave in one call: they lie next to each other in the batch's buffer and go to one peer.
//!
//! Over UDP they are one message, which the kernel cuts into datagrams of one size; over TCP they are one write.

use std::ops::Range;
use std::sync::Arc;

use crate::device::peer::Peer;
use crate::io::{Io, MAX_SEGMENTS};

/// The most bytes of UDP payload that one send takes, segmented or not.
const MAX_SEND: usize = 65_507;

/// The most bytes written to a stream at once, before checking whether it has room for more.
const STREAM_RUN: usize = 64 << 10;

/// Records that lie next to each other and go to one peer.
pub(super) struct Run<I: Io> {
    pub(super) peer: Arc<Peer<I>>,
    pub(super) range: Range<usize>,
    /// Length of each record; only the last may be shorter.
    pub(super) record: usize,
    pub(super) records: usize,
    /// The traffic class of their datagrams, one for a message; 0 is the socket's own.
    pub(super) traffic_class: u8,
    /// Each has its length in front, so lengths may differ.
    is_stream: bool,
    /// Nothing more can be added: a shorter record was the last, or they cannot leave together.
    closed: bool,
}

impl<I: Io> Run<I> {
    /// A run of one record. `joins`: others may leave together with it, as its datagram fits the path unfragmented.
    pub(super) fn new(
        peer: &Arc<Peer<I>>,
        range: Range<usize>,
        joins: bool,
        traffic_class: u8,
    ) -> Self {
        let is_stream = peer.transport.as_stream().is_some();
        Self {
            peer: Arc::clone(peer),
            record: range.len(),
            range,
            records: 1,
            traffic_class,
            is_stream,
            closed: !(is_stream || joins && peer.transport.segmentation.is_on()),
        }
    }

    /// Whether a record can leave together with these.
    pub(super) fn takes(
        &self,
        peer: &Arc<Peer<I>>,
        range: &Range<usize>,
        traffic_class: u8,
    ) -> bool {
        let follows =
            !self.closed && Arc::ptr_eq(&self.peer, peer) && self.range.end == range.start;
        if self.is_stream {
            return follows && !self.is_ample();
        }
        follows
            && self.traffic_class == traffic_class
            && range.len() <= self.record
            && self.records < MAX_SEGMENTS
            && range.end - self.range.start <= MAX_SEND
    }

    /// Adds a record that [`Run::takes`] has accepted.
    pub(super) fn add(&mut self, range: &Range<usize>) {
        self.range.end = range.end;
        self.records += 1;
        self.closed |= !self.is_stream && range.len() < self.record;
    }

    /// Whether it is long enough for a write to a stream.
    pub(super) fn is_ample(&self) -> bool {
        self.range.len() >= STREAM_RUN
    }
}
