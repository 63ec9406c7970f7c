//! Runs of records that leave in one call, as they go to one peer.
//!
//! Over UDP a run is one message, which the kernel cuts into datagrams of one size; over TCP it is one write. Each peer has
//! at most one open run, so its records keep their order, and those of many peers that come in turns still leave together.

use std::iter;
use std::ops::Range;
use std::sync::Arc;

use udco_core::PeerId;

use crate::device::peer::Peer;
use crate::io::{Io, MAX_SEGMENTS};

/// The most bytes of UDP payload that one send takes, segmented or not.
const MAX_SEND: usize = 65_507;

/// The most bytes written to a stream at once, before checking whether it has room for more.
pub(super) const STREAM_RUN: usize = 64 << 10;

/// How many runs are open at most. More peers than that in turns send few records each in one batch.
const LANES: u32 = u64::BITS;

/// A run of at most this many records leaves before longer ones: its peer sends little, and would wait for them.
const SHORT: usize = 4;

/// The open runs of a batch. A peer's lane follows from its id; a run that finds another peer's there ends it.
pub(super) struct Runs<I: Io> {
    lanes: Box<[Option<Run<I>>]>,
    /// A bit for each lane that has a run.
    open: u64,
    /// The lane of the batch's first run: its peer's records leave first.
    first: u32,
    /// The ranges behind the first one of each run.
    pieces: Vec<Piece>,
}

/// Records that go to one peer.
pub(super) struct Run<I: Io> {
    pub(super) peer: Arc<Peer<I>>,
    /// The records from the first on that lie next to each other.
    pub(super) range: Range<usize>,
    /// Length of each record; only the last may be shorter.
    pub(super) record: usize,
    pub(super) records: usize,
    /// The traffic class of their datagrams, one for a message; 0 is the socket's own.
    pub(super) traffic_class: u8,
    /// Bytes in all.
    bytes: usize,
    /// Where the record added last ends.
    end: usize,
    /// The first and the last of its [`Runs::pieces`].
    pieces: Option<(usize, usize)>,
    /// Each has its length in front, so lengths may differ.
    is_stream: bool,
    /// Nothing more can be added: a shorter record was the last, or they cannot leave together.
    closed: bool,
}

/// Records that lie next to each other, and which of the pieces is their run's next.
struct Piece {
    range: Range<usize>,
    next: Option<usize>,
}

/// The lane of a peer.
pub(super) const fn lane(peer: PeerId) -> u32 {
    peer.value() % LANES
}

impl<I: Io> Runs<I> {
    /// Room for this many pieces in all, beside the runs' first ones.
    pub(super) fn new(pieces: usize) -> Self {
        Self {
            lanes: (0..LANES).map(|_| None).collect(),
            open: 0,
            first: 0,
            pieces: Vec::with_capacity(pieces),
        }
    }

    /// The open run in a lane.
    pub(super) fn get(&self, lane: u32) -> Option<&Run<I>> {
        self.lanes.get(lane as usize)?.as_ref()
    }

    /// Opens a run in an empty lane.
    pub(super) fn open(&mut self, lane: u32, run: Run<I>) {
        if let Some(slot) = self.lanes.get_mut(lane as usize) {
            *slot = Some(run);
            if self.open == 0 {
                self.first = lane;
            }
            self.open |= 1 << lane;
        }
    }

    /// Adds a record to the open run of its peer; `false` if it cannot leave together with that.
    pub(super) fn add(&mut self, peer: &Arc<Peer<I>>, range: &Range<usize>, class: u8) -> bool {
        let slot = self.lanes.get_mut(lane(peer.id) as usize);
        let Some(run) = slot.and_then(Option::as_mut) else {
            return false;
        };
        let has_room = self.pieces.len() < self.pieces.capacity();
        if !run.takes(peer, range, class, has_room) {
            return false;
        }
        if run.end != range.start {
            let at = self.pieces.len();
            self.pieces.push(Piece {
                range: range.clone(),
                next: None,
            });
            let (first, last) = run.pieces.unwrap_or((at, at));
            if let Some(before) = self.pieces.get_mut(last).filter(|_| last != at) {
                before.next = Some(at);
            }
            run.pieces = Some((first, at));
        } else if let Some((_, last)) = run.pieces {
            if let Some(piece) = self.pieces.get_mut(last) {
                piece.range.end = range.end;
            }
        } else {
            run.range.end = range.end;
        }
        run.grow(range);
        true
    }

    /// Takes the run out of a lane.
    pub(super) fn close(&mut self, lane: u32) -> Option<Run<I>> {
        self.open &= !(1 << lane);
        self.lanes.get_mut(lane as usize)?.take()
    }

    /// Takes out a run: a short one if there is one, and of those the next from the batch's first record on.
    pub(super) fn close_next(&mut self) -> Option<Run<I>> {
        let any = || self.open_lanes().next();
        let lane = self.short_lanes().next().or_else(any)?;
        self.close(lane)
    }

    /// Takes out a short run, if there is one.
    pub(super) fn close_short(&mut self) -> Option<Run<I>> {
        let lane = self.short_lanes().next()?;
        self.close(lane)
    }

    fn short_lanes(&self) -> impl Iterator<Item = u32> + '_ {
        let is_short = |lane: &u32| self.get(*lane).is_some_and(Run::is_short);
        self.open_lanes().filter(is_short)
    }

    /// The lanes that have a run.
    fn open_lanes(&self) -> impl Iterator<Item = u32> + '_ {
        let mut ahead = self.open.rotate_right(self.first);
        iter::from_fn(move || {
            let lane = (ahead != 0).then(|| (self.first + ahead.trailing_zeros()) % LANES)?;
            ahead &= ahead - 1;
            Some(lane)
        })
    }

    /// Where the bytes of a run lie, in their order.
    pub(super) fn ranges(&self, run: &Run<I>) -> impl Iterator<Item = Range<usize>> + '_ {
        let first = run.pieces.and_then(|(first, _)| self.pieces.get(first));
        let more = iter::successors(first, |piece| self.pieces.get(piece.next?));
        iter::once(run.range.clone()).chain(more.map(|piece| piece.range.clone()))
    }

    /// Starts a new batch, once no run is open.
    pub(super) fn clear(&mut self) {
        self.pieces.clear();
    }
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
            records: 1,
            traffic_class,
            bytes: range.len(),
            end: range.end,
            range,
            pieces: None,
            is_stream,
            closed: !(is_stream || joins && peer.transport.segmentation.is_on()),
        }
    }

    /// Whether a record can leave together with these. `has_room`: it may lie elsewhere than behind the last one.
    fn takes(
        &self,
        peer: &Arc<Peer<I>>,
        range: &Range<usize>,
        traffic_class: u8,
        has_room: bool,
    ) -> bool {
        let is_open = !self.closed && Arc::ptr_eq(&self.peer, peer);
        let is_open = is_open && (has_room || self.end == range.start);
        if self.is_stream {
            return is_open && !self.is_ample();
        }
        is_open
            && self.traffic_class == traffic_class
            && range.len() <= self.record
            && self.records < MAX_SEGMENTS
            && self.bytes + range.len() <= MAX_SEND
    }

    /// Counts a record that [`Run::takes`] has accepted.
    fn grow(&mut self, range: &Range<usize>) {
        self.end = range.end;
        self.bytes += range.len();
        self.records += 1;
        self.closed |= !self.is_stream && range.len() < self.record;
    }

    /// Whether its peer sends little.
    pub(super) const fn is_short(&self) -> bool {
        self.records <= SHORT
    }

    /// Whether its records lie next to each other.
    pub(super) const fn is_contiguous(&self) -> bool {
        self.pieces.is_none()
    }

    /// Whether it is long enough for a write to a stream.
    pub(super) const fn is_ample(&self) -> bool {
        self.bytes >= STREAM_RUN
    }
}
