//! The capture of a device's packets: workers copy them, and the thread of the client that asked passes them on.
//!
//! While there is none, it costs a worker one load for each batch. While there is one, a worker copies each packet into
//! one of a few buffers of fixed size, and makes no system call. It waits for no lock: a packet that finds every buffer
//! full, or taken, is missing from the capture, which counts it, and goes its way all the same.

use std::mem;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwapOption;
use udco_core::{DropReason, PeerId};
use udco_ipc::capture::{Captured, Ends, Wanted, Way};

use crate::io::Moment;

/// Buffers of a capture: two workers meet in one only if they are many.
const LANES: usize = 8;

/// Bytes of each.
pub(crate) const LANE: usize = 512 << 10;

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
pub(crate) struct Seen<'a> {
    pub(crate) way: Way,
    pub(crate) peer: Option<PeerId>,
    /// The addresses of an outer packet.
    pub(crate) ends: Option<Ends>,
    pub(crate) bytes: &'a [u8],
    /// Of the whole packet: not all of it may be worth showing.
    pub(crate) length: usize,
}

/// A worker's hold of a capture during one batch.
pub(crate) struct Recorder {
    capture: Option<Arc<Capture>>,
    /// The buffer that it tries first.
    lane: usize,
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
        Self {
            filter,
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

    /// Copies a packet. Never waits.
    #[cold]
    #[inline(never)]
    fn take(&self, recorder: &Recorder, seen: &Seen<'_>, dropped: Option<DropReason>) {
        if !self.filter.takes(seen, dropped) {
            return;
        }
        let packet = Captured {
            at: recorder.at,
            way: seen.way,
            peer: seen.peer.map(PeerId::value),
            ends: seen.ends,
            dropped: dropped.map(|reason| reason as u16),
            length: u32::try_from(seen.length).unwrap_or(u32::MAX),
            bytes: seen.bytes.get(..self.filter.snap).unwrap_or(seen.bytes),
        };
        let Ok(header) = packet.header() else {
            return;
        };
        for step in 0..LANES {
            let lane = self.lanes.get((recorder.lane + step) % LANES);
            // Another worker fills it, or the client's thread takes it.
            let Some(Ok(mut lane)) = lane.map(Mutex::try_lock) else {
                continue;
            };
            if lane.len() + packet.len() <= LANE {
                lane.extend_from_slice(&header);
                lane.extend_from_slice(packet.bytes);
                return;
            }
        }
        self.lost.fetch_add(1, Ordering::Relaxed);
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
            lane,
            at: 0,
        }
    }

    /// A batch begins at this time, of the device with this tap.
    pub(crate) fn begin(&mut self, tap: &Tap, now: Moment) {
        self.capture = tap.present();
        self.at = now.as_nanos();
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
            capture.take(self, &seen(), None);
        }
    }

    /// A packet is dropped.
    pub(crate) fn dropped<'a>(&self, reason: DropReason, seen: impl FnOnce() -> Seen<'a>) {
        if let Some(capture) = &self.capture {
            capture.take(self, &seen(), Some(reason));
        }
    }
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
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERYTHING: Wanted = Wanted {
        inner: true,
        outer: true,
        drops: true,
    };

    fn capture(wanted: Wanted, peer: Option<u16>, snap: usize) -> Arc<Capture> {
        let peer = peer.map(PeerId::from);
        Arc::new(Capture::new(Filter { wanted, peer, snap }))
    }

    fn inner(peer: u16, bytes: &[u8]) -> Seen<'_> {
        Seen::inner(Way::InnerOut, Some(PeerId::from(peer)), bytes)
    }

    /// What lies in the buffers: peers, reasons, lengths and bytes.
    fn taken(capture: &Capture) -> Vec<(Option<u32>, Option<u16>, u32, usize)> {
        let (mut lane, mut packets) = (0, Vec::new());
        let mut buffer = Vec::with_capacity(LANE);
        while capture.swap(&mut lane, &mut buffer) {
            let mut rest = &buffer[..];
            while let Ok((packet, next)) = Captured::decode(rest) {
                packets.push((
                    packet.peer,
                    packet.dropped,
                    packet.length,
                    packet.bytes.len(),
                ));
                rest = next;
            }
            assert!(rest.is_empty());
            buffer = Vec::with_capacity(LANE);
        }
        packets
    }

    #[test]
    fn a_tap_has_one_capture_at_a_time_and_none_costs_nothing() {
        let tap = Tap::new();
        let mut recorder = Recorder::new(0);
        recorder.begin(&tap, Moment::default());
        assert!(!recorder.is_on());
        recorder.passed(|| unreachable!("nobody looks"));
        let capture = capture(EVERYTHING, None, 100);
        assert!(tap.attach(&capture));
        assert!(!tap.attach(&capture));
        recorder.begin(&tap, Moment::from_nanos(5));
        recorder.passed(|| inner(1, b"packet"));
        recorder.end();
        tap.close();
        assert!(capture.is_over());
        tap.detach();
        recorder.begin(&tap, Moment::default());
        assert!(!recorder.is_on());
        assert!(tap.attach(&capture), "again");
        assert_eq!(taken(&capture), [(Some(1), None, 6, 6)]);
        assert_eq!(taken(&capture), []);
    }

    #[test]
    fn only_what_is_wanted_is_taken_and_no_more_of_it() {
        let drops = Wanted {
            drops: true,
            ..Wanted::default()
        };
        let (all, drops) = (capture(EVERYTHING, Some(2), 4), capture(drops, None, 4));
        let reason = DropReason::TxNoKey;
        for capture in [&all, &drops] {
            let recorder = Recorder {
                capture: Some(Arc::clone(capture)),
                ..Recorder::new(3)
            };
            recorder.passed(|| inner(1, b"of another"));
            recorder.passed(|| inner(2, b"of this"));
            recorder.dropped(reason, || inner(2, b"a drop"));
            recorder.dropped(reason, || Seen::inner(Way::InnerOut, None, b"nobody's"));
        }
        let dropped = Some(reason as u16);
        assert_eq!(
            taken(&all),
            [(Some(2), None, 7, 4), (Some(2), dropped, 6, 4)]
        );
        assert_eq!(
            taken(&drops),
            [(Some(2), dropped, 6, 4), (None, dropped, 8, 4)]
        );
        assert_eq!(
            DropReason::ALL[usize::from(reason as u16)],
            reason,
            "its number is its place"
        );
    }

    #[test]
    fn what_finds_no_room_is_counted_and_nothing_grows() {
        let capture = capture(EVERYTHING, None, usize::MAX);
        let recorder = Recorder {
            capture: Some(Arc::clone(&capture)),
            ..Recorder::new(5)
        };
        let packet = vec![7; 60_000];
        let fit = LANES * (LANE / (60_000 + udco_ipc::capture::HEADER));
        for _ in 0..fit + 10 {
            recorder.passed(|| inner(1, &packet));
        }
        assert_eq!(capture.lost(), 10);
        for lane in &capture.lanes {
            assert_eq!(lane.lock().unwrap().capacity(), LANE);
        }
        assert_eq!(taken(&capture).len(), fit);
        recorder.passed(|| inner(1, &packet));
        assert_eq!((capture.lost(), taken(&capture).len()), (10, 1));
    }

    #[test]
    fn a_buffer_that_another_has_is_passed_over() {
        let capture = capture(EVERYTHING, None, 100);
        let recorder = Recorder {
            capture: Some(Arc::clone(&capture)),
            ..Recorder::new(1)
        };
        let held = capture.lanes[1].lock().unwrap();
        recorder.passed(|| inner(1, b"packet"));
        assert_eq!((taken(&capture).len(), capture.lost()), (1, 0));
        drop(held);
        let held: Vec<_> = capture.lanes.iter().map(|it| it.lock().unwrap()).collect();
        recorder.passed(|| inner(1, b"packet"));
        assert_eq!(capture.lost(), 1);
        drop(held);
    }
}
