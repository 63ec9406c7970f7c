//! The capture of a device's packets: workers copy them, and the thread of the client that asked passes them on.
//!
//! While there is none, it costs a worker one load for each batch. While there is one, a worker copies each packet into
//! one of a few buffers of fixed size, and makes no system call. It waits for no lock: a packet that finds every buffer
//! full, or taken, is missing from the capture, which counts it, and goes its way all the same.

pub(crate) mod stream;

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::{iter, mem};

use arc_swap::ArcSwapOption;
use udco_core::{DropReason, PeerId};
use udco_ipc::capture::{Captured, Ends, HEADER, Wanted, Way};

use crate::io::Moment;

/// Buffers of a capture: two workers meet in one only if they are many.
const LANES: usize = 8;

/// Bytes of each.
pub(crate) const LANE: usize = 512 << 10;

/// The most bytes of a run behind one header.
const RUN: usize = 65_535;

/// Where a capture is attached to an interface.
pub(crate) struct Tap {
    is_on: AtomicBool,
    capture: ArcSwapOption<Capture>,
}

/// A capture.
pub(crate) struct Capture {
    filter: Filter,
    lanes: [Mutex<Vec<u8>>; LANES],
    /// Packets that found no room.
    lost: AtomicU64,
    /// The device is gone.
    is_over: AtomicBool,
}

/// What a capture shows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Filter {
    pub(crate) wanted: Wanted,
    /// Only this peer's packets.
    pub(crate) peer: Option<PeerId>,
    /// The most bytes of each packet.
    pub(crate) snap: usize,
}

/// A packet as a worker has it.
#[derive(Clone, Copy)]
pub(crate) struct Seen<'a> {
    pub(crate) way: Way,
    pub(crate) peer: Option<PeerId>,
    /// The addresses of an outer packet.
    pub(crate) ends: Option<Ends>,
    pub(crate) bytes: &'a [u8],
    /// Of the whole packet: not all of it may be worth showing.
    pub(crate) length: usize,
}

/// Packets of one length, which lie one after the other; the last may be shorter.
#[derive(Clone, Copy)]
pub(crate) struct Run<'a> {
    /// What they have in common, and their bytes.
    pub(crate) seen: Seen<'a>,
    /// Bytes of each.
    pub(crate) each: usize,
    /// Bytes before each that are no part of it.
    pub(crate) before: usize,
}

/// A worker's hold of a capture during one batch.
pub(crate) struct Recorder {
    capture: Option<Arc<Capture>>,
    /// The buffer that it tries first.
    lane: usize,
    /// That of the last packet: what was seen at one time stays in order, since no later one goes to a buffer before.
    current: Cell<usize>,
    at: u64,
}

impl Tap {
    pub(crate) const fn new() -> Self {
        Self {
            is_on: AtomicBool::new(false),
            capture: ArcSwapOption::const_empty(),
        }
    }

    /// Attaches a capture; `false` if there is one.
    pub(crate) fn attach(&self, capture: &Arc<Capture>) -> bool {
        if self.is_on.swap(true, Ordering::AcqRel) {
            return false;
        }
        self.capture.store(Some(Arc::clone(capture)));
        true
    }

    /// Detaches the capture: only for the one that has attached it.
    pub(crate) fn detach(&self) {
        self.capture.store(None);
        self.is_on.store(false, Ordering::Release);
    }

    /// The device is gone: the capture ends.
    pub(crate) fn close(&self) {
        if let Some(capture) = &*self.capture.load() {
            capture.is_over.store(true, Ordering::Relaxed);
        }
    }

    fn present(&self) -> Option<Arc<Capture>> {
        if !self.is_on.load(Ordering::Relaxed) {
            return None;
        }
        self.capture.load_full()
    }
}

impl Capture {
    pub(crate) fn new(filter: Filter) -> Self {
        // Without a byte of each, packets of a run could not be told apart.
        let snap = filter.snap.max(1);
        Self {
            filter: Filter { snap, ..filter },
            // The kernel gives memory for it when it is first used.
            lanes: std::array::from_fn(|_| Mutex::new(Vec::with_capacity(LANE))),
            lost: AtomicU64::new(0),
            is_over: AtomicBool::new(false),
        }
    }

    /// Whether the device is gone.
    pub(crate) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    /// Packets that the capture has lost so far.
    pub(crate) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Gives away a buffer with packets for an empty one of [`LANE`] bytes; `false` if none has any. Begins with the one
    /// that `lane` names, and leaves the next one there.
    pub(crate) fn swap(&self, lane: &mut usize, empty: &mut Vec<u8>) -> bool {
        while let Some(next) = self.lanes.get(*lane) {
            *lane += 1;
            // A worker that has it now fills it: it comes next time.
            if let Ok(mut full) = next.try_lock()
                && !full.is_empty()
            {
                mem::swap(&mut *full, empty);
                return true;
            }
        }
        false
    }

    /// Copies a packet, which may lie in pieces. Never waits.
    #[cold]
    #[inline(never)]
    fn take<'a>(
        &self,
        recorder: &Recorder,
        seen: &Seen<'_>,
        dropped: Option<DropReason>,
        pieces: impl Iterator<Item = &'a [u8]> + Clone,
    ) {
        if !self.filter.takes(seen, dropped) {
            return;
        }
        let mut room = self.filter.snap;
        let pieces = pieces.map_while(move |piece| {
            let taken = piece.get(..room).unwrap_or(piece);
            let is_room = room > 0;
            room -= taken.len();
            is_room.then_some(taken)
        });
        let captured = number(pieces.clone().map(<[u8]>::len).sum());
        let length = number(seen.length);
        let packet = recorder.captured(seen, dropped);
        self.put(
            recorder,
            (1, captured),
            &Captured {
                length,
                last_length: length,
                each: captured,
                ..packet
            },
            pieces,
        );
    }

    /// Copies the packets of a run. Never waits.
    #[cold]
    #[inline(never)]
    fn take_run(&self, recorder: &Recorder, run: &Run<'_>, dropped: Option<DropReason>) {
        if !self.filter.takes(&run.seen, dropped) {
            return;
        }
        let (stride, snap) = (run.before + run.each, self.filter.snap);
        let each = run.each.min(snap);
        // As many as fit behind one header.
        let most = (RUN / each.max(1)).max(1);
        for part in run.seen.bytes.chunks(stride.saturating_mul(most).max(1)) {
            let packets = part.chunks(stride.max(1));
            let count = packets.len();
            let packets = packets.map(|packet| packet.get(run.before..).unwrap_or_default());
            let last = packets.clone().next_back().unwrap_or_default().len();
            let run = Captured {
                length: number(run.each),
                last_length: number(last),
                each: number(each),
                ..recorder.captured(&run.seen, dropped)
            };
            let captured = number((count - 1) * each + last.min(snap));
            let packets = packets.map(|packet| packet.get(..snap).unwrap_or(packet));
            self.put(recorder, (count as u64, captured), &run, packets);
        }
    }

    /// Adds `count` packets, whose `captured` bytes lie in these pieces, to a buffer with room for all.
    fn put<'a>(
        &self,
        recorder: &Recorder,
        (count, captured): (u64, u32),
        packets: &Captured<'_>,
        pieces: impl Iterator<Item = &'a [u8]>,
    ) {
        for _ in 0..LANES {
            let lane = self.lanes.get(recorder.current.get());
            // Another worker fills it, or the client's thread takes it.
            if let Some(Ok(mut lane)) = lane.map(Mutex::try_lock)
                && lane.len() + HEADER + captured as usize <= LANE
            {
                lane.extend_from_slice(&packets.header(captured));
                pieces.for_each(|piece| lane.extend_from_slice(piece));
                return;
            }
            recorder.current.set((recorder.current.get() + 1) % LANES);
        }
        self.lost.fetch_add(count, Ordering::Relaxed);
    }
}

impl Filter {
    fn takes(&self, seen: &Seen<'_>, dropped: Option<DropReason>) -> bool {
        let is_wanted = match (dropped, seen.way) {
            (Some(_), _) => self.wanted.drops,
            (None, Way::InnerOut | Way::InnerIn) => self.wanted.inner,
            (None, Way::OuterOut | Way::OuterIn) => self.wanted.outer,
        };
        is_wanted && self.peer.is_none_or(|peer| seen.peer == Some(peer))
    }
}

impl Recorder {
    /// One that tries this buffer first.
    pub(crate) const fn new(lane: usize) -> Self {
        Self {
            capture: None,
            lane: lane % LANES,
            current: Cell::new(lane % LANES),
            at: 0,
        }
    }

    /// A batch begins at this time, of the device with this tap.
    pub(crate) fn begin(&mut self, tap: &Tap, now: Moment) {
        self.capture = tap.present();
        if self.at != now.as_nanos() {
            self.at = now.as_nanos();
            self.current.set(self.lane);
        }
    }

    /// It ends: the capture is not kept any longer.
    pub(crate) fn end(&mut self) {
        self.capture = None;
    }

    /// Whether there is a capture.
    pub(crate) const fn is_on(&self) -> bool {
        self.capture.is_some()
    }

    /// A packet goes its way.
    pub(crate) fn passed<'a>(&self, seen: impl FnOnce() -> Seen<'a>) {
        if let Some(capture) = &self.capture {
            let seen = seen();
            capture.take(self, &seen, None, iter::once(seen.bytes));
        }
    }

    /// A packet in pieces goes its way.
    pub(crate) fn passed_in_pieces<'a>(
        &self,
        seen: &Seen<'_>,
        pieces: impl Iterator<Item = &'a [u8]> + Clone,
    ) {
        if let Some(capture) = &self.capture {
            capture.take(self, seen, None, pieces);
        }
    }

    /// A packet is dropped.
    pub(crate) fn dropped<'a>(&self, reason: DropReason, seen: impl FnOnce() -> Seen<'a>) {
        if let Some(capture) = &self.capture {
            let seen = seen();
            capture.take(self, &seen, Some(reason), iter::once(seen.bytes));
        }
    }

    /// The packets of a run go their way, or are dropped.
    pub(crate) fn run(&self, run: &Run<'_>, dropped: Option<DropReason>) {
        if let Some(capture) = &self.capture {
            capture.take_run(self, run, dropped);
        }
    }

    /// What a header says of packets, but for their lengths.
    fn captured(&self, seen: &Seen<'_>, dropped: Option<DropReason>) -> Captured<'static> {
        Captured {
            at: self.at,
            way: seen.way,
            peer: seen.peer.map(PeerId::value),
            ends: seen.ends,
            dropped: dropped.map(|reason| reason as u16),
            length: 0,
            last_length: 0,
            each: 0,
            bytes: &[],
        }
    }
}

fn number(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

impl<'a> Seen<'a> {
    /// A packet inside the tunnel.
    pub(crate) const fn inner(way: Way, peer: Option<PeerId>, bytes: &'a [u8]) -> Self {
        Self {
            way,
            peer,
            ends: None,
            bytes,
            length: bytes.len(),
        }
    }

    /// A packet of a transport socket.
    pub(crate) const fn outer(
        way: Way,
        peer: Option<PeerId>,
        ends: Option<Ends>,
        bytes: &'a [u8],
    ) -> Self {
        Self {
            way,
            peer,
            ends,
            bytes,
            length: bytes.len(),
        }
    }

    /// Of these bytes, packets with `each` bytes, behind `before` that are no part of them.
    pub(crate) const fn run(self, each: usize, before: usize) -> Run<'a> {
        Run {
            seen: self,
            each,
            before,
        }
    }
}

#[cfg(test)]
mod tests;
