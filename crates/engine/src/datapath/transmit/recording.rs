//! What a capture shows of packets on their way out.

use std::ops::Range;
use std::sync::Arc;

use udco_core::{DropReason, PeerId, View, framing, outbound};
use udco_crypto::DirectionKey;
use udco_ipc::capture::Way;

use super::{Records, halves};
use crate::device::capture::{Recorder, Seen, stream};
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
    let records = bytes.clone().map(|bytes| bytes.len().div_ceil(record));
    let mut sent = records.sum::<usize>().saturating_sub(lost);
    for bytes in bytes {
        let (passed, dropped) = bytes.split_at(bytes.len().min(sent.saturating_mul(record)));
        sent -= passed.len().div_ceil(record);
        for (bytes, reason) in [(passed, None), (dropped, Some(reason))] {
            let seen = Seen::outer(Way::OuterOut, peer, Some(ends), bytes);
            recorder.run(&seen.run(record.min(bytes.len()), 0), reason);
        }
    }
}

/// Shows a capture what was written to a stream. The last `dropped` packets found no room.
#[cold]
pub(super) fn stream<I: Io>(recorder: &Recorder, peer: &Peer<I>, records: &[u8], dropped: u64) {
    let remote = peer.transport.stream_remote();
    let ends = remote.map(|remote| peer.transport.ends(remote, None));
    let dropped = usize::try_from(dropped).unwrap_or(usize::MAX);
    let sent = stream::packets(records).count().saturating_sub(dropped);
    let bytes = stream::packets(records)
        .take(sent)
        .map(|len| framing::PREFIX + len);
    let (sent, dropped) = records.split_at(bytes.sum());
    for (bytes, reason) in [(sent, None), (dropped, Some(DropReason::TxTransportFull))] {
        let seen = Seen::outer(Way::OuterOut, Some(peer.id), ends, &[]);
        stream::runs(seen, bytes).for_each(|run| recorder.run(&run, reason));
    }
}
