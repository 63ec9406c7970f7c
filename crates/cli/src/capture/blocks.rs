//! Enhanced Packet Blocks of pcapng. At a million packets a second, the crate's writer would cost more than all else.

use udco_core::DropReason;
use udco_ipc::capture::{Captured, Way};

use super::headers::Headers;

/// Directions, as `epb_flags` has them.
const INBOUND: u32 = 1;
const OUTBOUND: u32 = 2;

/// An Enhanced Packet Block, the bytes before its packet, and its options.
const ENHANCED_PACKET: u32 = 6;
const HEAD: usize = 28;
const END: u16 = 0;
const COMMENT: u16 = 1;
const FLAGS: u16 = 2;

/// Blocks of packets, one after the other.
#[derive(Debug, Default)]
pub(super) struct Blocks {
    bytes: Vec<u8>,
    headers: Headers,
}

/// The last block.
#[derive(Clone, Copy)]
struct Last {
    /// The whole length of its packet.
    packet: u32,
    /// How much of it was captured.
    captured: usize,
    /// Where that lies in the block, behind headers that are made up.
    at: usize,
    len: usize,
}

impl Blocks {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn clear(&mut self) {
        self.bytes.clear();
    }

    /// Adds the first `count` packets of a run that was seen at this time, in nanoseconds since 1970, on an interface of the
    /// file; returns how many there were.
    pub(super) fn add(&mut self, run: &Captured<'_>, interface: u32, at: u64, count: usize) -> u64 {
        // The sequence numbers of a stream's packets differ.
        let is_stream = run.ends.is_some_and(|ends| ends.is_stream);
        let mut last: Option<Last> = None;
        let mut added = 0;
        for packet in run.packets().take(count) {
            let is_like =
                |last: &Last| (last.packet, last.captured) == (packet.length, packet.bytes.len());
            match last.filter(|last| !is_stream && is_like(last)) {
                Some(last) => self.add_like(last, packet.bytes),
                None => last = Some(self.add_packet(&packet, interface, at)),
            }
            added += 1;
        }
        added
    }

    /// Adds the last block again, with the bytes of another packet.
    fn add_like(&mut self, last: Last, bytes: &[u8]) {
        let begin = self.bytes.len();
        let before = begin.saturating_sub(last.len);
        self.bytes.extend_from_within(before..);
        let place = self.bytes.get_mut(begin + last.at..).unwrap_or_default();
        if let Some(place) = place.get_mut(..bytes.len()) {
            place.copy_from_slice(bytes);
        }
    }

    fn add_packet(&mut self, packet: &Captured<'_>, interface: u32, at: u64) -> Last {
        let begin = self.bytes.len();
        self.bytes.extend_from_slice(&[0; HEAD]);
        if matches!(packet.way, Way::OuterIn | Way::OuterOut) {
            self.headers.put(packet, &mut self.bytes);
        }
        let made_up = self.bytes.len() - begin - HEAD;
        self.bytes.extend_from_slice(packet.bytes);
        let captured = made_up + packet.bytes.len();
        self.pad(captured);
        let direction = match packet.way {
            Way::InnerIn | Way::OuterIn => INBOUND,
            Way::InnerOut | Way::OuterOut => OUTBOUND,
        };
        self.bytes.extend_from_slice(&option(FLAGS, 4));
        self.bytes.extend_from_slice(&direction.to_ne_bytes());
        if let Some(reason) = packet.dropped {
            let comment = comment(packet, reason);
            let len = u16::try_from(comment.len()).unwrap_or_default();
            self.bytes.extend_from_slice(&option(COMMENT, len));
            self.bytes.extend_from_slice(comment.as_bytes());
            self.pad(comment.len());
        }
        self.bytes.extend_from_slice(&option(END, 0));
        let len = self.bytes.len() - begin + 4;
        self.bytes.extend_from_slice(&(len as u32).to_ne_bytes());
        let head = [
            ENHANCED_PACKET,
            len as u32,
            interface,
            (at >> 32) as u32,
            at as u32,
            captured as u32,
            (made_up as u32).saturating_add(packet.length.max(packet.bytes.len() as u32)),
        ];
        let place = self.bytes.get_mut(begin..).unwrap_or_default();
        for (place, field) in place.chunks_exact_mut(4).zip(head) {
            place.copy_from_slice(&field.to_ne_bytes());
        }
        Last {
            packet: packet.length,
            captured: packet.bytes.len(),
            at: HEAD + made_up,
            len,
        }
    }

    /// Fills up to four bytes after this many.
    fn pad(&mut self, len: usize) {
        let len = self.bytes.len() + len.next_multiple_of(4) - len;
        self.bytes.resize(len, 0);
    }
}

/// The beginning of an option: its code, and the length of its value.
fn option(code: u16, len: u16) -> [u8; 4] {
    let ([a, b], [c, d]) = (code.to_ne_bytes(), len.to_ne_bytes());
    [a, b, c, d]
}

/// The comment of a dropped packet.
fn comment(packet: &Captured<'_>, reason: u16) -> String {
    let reason = DropReason::ALL.get(usize::from(reason));
    let reason = reason.map_or("unknown", |reason| reason.name());
    match packet.peer {
        Some(peer) => format!("dropped: {reason} (peer {peer})"),
        None => format!("dropped: {reason}"),
    }
}
