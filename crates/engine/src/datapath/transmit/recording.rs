//! What a capture shows of packets on their way out.

use std::ops::Range;
use std::sync::Arc;

use udco_core::{DropReason, PeerId, View, framing, outbound};
use udco_crypto::DirectionKey;
use udco_ipc::capture::Way;

use super::{Records, halves};
use crate::device::capture::{Recorder, Seen};
use crate::device::peer::Peer;
use crate::device::transport::Transport;
use crate::io::{Io, Message};

impl<I: Io> Records<I> {
    /// Shows a capture a packet of the device, or a super-packet, that is dropped before it is sealed.
    pub(super) fn record_drop(
        &self,
        view: &View<'_, DirectionKey, Arc<Transport<I>>>,
        buffer: &[u8],
        len: usize,
        reason: DropReason,
    ) {
        self.recorder.dropped(reason, || {
            let packet = halves(buffer, len).map_or(&[][..], |(_, packet)| packet);
            let peer = outbound::select(view, packet).ok().map(|peer| peer.id);
            Seen::inner(Way::InnerOut, peer, packet)
        });
    }
}

/// Shows a capture the records of a message. The last `lost` of them did not leave.
#[cold]
pub(super) fn message<I: Io>(
    recorder: &Recorder,
    transport: &Transport<I>,
    (message, peer): (&Message, Option<PeerId>),
    (arena, ranges): (&[u8], impl Iterator<Item = Range<usize>> + Clone),
    (lost, reason): (usize, DropReason),
) {
    let ends = transport.ends(message.destination, message.local);
    let record = usize::from(message.segment.unwrap_or(u16::MAX)).max(1);
    let bytes = ranges.map(|range| arena.get(range).unwrap_or_default());
    let records = || bytes.clone().flat_map(|bytes| bytes.chunks(record));
    let sent = records().count().saturating_sub(lost);
    for (at, record) in records().enumerate() {
        let seen = || Seen::outer(Way::OuterOut, peer, Some(ends), record);
        match at < sent {
            true => recorder.passed(seen),
            false => recorder.dropped(reason, seen),
        }
    }
}

/// Shows a capture what was written to a stream. The last `dropped` packets found no room.
#[cold]
pub(super) fn stream<I: Io>(recorder: &Recorder, peer: &Peer<I>, records: &[u8], dropped: u64) {
    let remote = peer.transport.stream_remote();
    let ends = remote.map(|remote| peer.transport.ends(remote, None));
    let packets = || {
        let mut rest = records;
        std::iter::from_fn(move || {
            let (prefix, packets) = rest.split_first_chunk::<{ framing::PREFIX }>()?;
            let packet;
            (packet, rest) = packets.split_at_checked(u16::from_be_bytes(*prefix).into())?;
            Some(packet)
        })
    };
    let dropped = usize::try_from(dropped).unwrap_or(usize::MAX);
    let sent = packets().count().saturating_sub(dropped);
    for (at, packet) in packets().enumerate() {
        let seen = || Seen::outer(Way::OuterOut, Some(peer.id), ends, packet);
        match at < sent {
            true => recorder.passed(seen),
            false => recorder.dropped(DropReason::TxTransportFull, seen),
        }
    }
}
