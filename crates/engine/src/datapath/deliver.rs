//! The last step of a packet's way in: received packets are merged into super-packets for the TUN device.
//!
//! The kernel's stack costs the same for a packet of 1.4 KiB as for one of 64, so packets of one flow that came in one
//! batch are handed over as one, with their payloads where they lie.

use std::io::{self, IoSlice};
use std::ops::Range;
use std::sync::Arc;

use udco_core::offload::{Group, MergeError, Merger, merge, virtio};
use udco_core::{DropReason, PeerId, Time};
use udco_ipc::capture::Way;
use udco_ipc::message_id;

use crate::device::Device;
use crate::device::capture::{Recorder, Seen};
use crate::device::peer::Peer;
use crate::device::queues::Queue;
use crate::io::{Io, Tun};

/// Packets in a batch, usually: each received run has at most 64.
const PACKETS: usize = 1024;

/// The virtio header of an ordinary packet.
const PLAIN: [u8; virtio::LEN] = [0; virtio::LEN];

/// The packets of a batch that are to be delivered.
pub(crate) struct Delivery<I: Io> {
    merger: Merger,
    packets: Vec<Packet>,
    /// The senders; each packet names its own by index, neighbours share one.
    peers: Vec<Arc<Peer<I>>>,
}

struct Packet {
    /// Where it lies in the batch's buffer.
    range: Range<usize>,
    peer: usize,
}

/// The part of a group that the device took.
#[derive(Default)]
struct Taken {
    packets: u64,
    bytes: u64,
}

impl<I: Io> Delivery<I> {
    pub(crate) fn new() -> Self {
        Self {
            merger: Merger::new(PACKETS),
            packets: Vec::with_capacity(PACKETS),
            peers: Vec::with_capacity(PACKETS),
        }
    }

    /// Adds a packet; packets are added in the order in which they lie in the buffer.
    pub(crate) fn add(&mut self, peer: &Arc<Peer<I>>, range: Range<usize>) {
        if !self
            .peers
            .last()
            .is_some_and(|last| Arc::ptr_eq(last, peer))
        {
            self.peers.push(Arc::clone(peer));
        }
        let peer = self.peers.len() - 1;
        self.packets.push(Packet { range, peer });
    }

    /// Delivers everything. `batch` is the buffer that holds the packets.
    pub(crate) fn flush(
        &mut self,
        device: &Device<I>,
        batch: &[u8],
        recorder: &Recorder,
        now: Time,
    ) {
        self.merger
            .enable(device.interface.offloads.merge.enabled());
        let mut added = 0;
        while added < self.packets.len() {
            let from = added;
            while let Some(packet) = self.packets.get(added) {
                match self.merger.add(batch, packet.range.clone()) {
                    Ok(()) => added += 1,
                    Err(MergeError::Full) if added > from => break,
                    // It is of another buffer, which cannot happen; the merger has not numbered it.
                    Err(_) => {
                        self.packets.remove(added);
                        device.interface.drops.count(DropReason::RxTunRefused);
                    }
                }
            }
            for group in self.merger.groups() {
                // Its packets are of one flow, and so of one peer.
                let first = self.packets.get(from + group.first);
                let peer = first.and_then(|packet| self.peers.get(packet.peer));
                let first = first.and_then(|packet| batch.get(packet.range.clone()));
                let mut taken = Taken::default();
                if recorder.is_on()
                    && let Some(peer) = peer
                {
                    record(recorder, peer.id, batch, &group);
                }
                if let Some(peer) = peer
                    && let Some(queue) = queue_for(device, peer.id)
                {
                    let refused = |packet: &[u8]| {
                        recorder.dropped(DropReason::RxTunRefused, || {
                            Seen::inner(Way::InnerIn, Some(peer.id), packet)
                        });
                    };
                    queue.deliver(first.unwrap_or_default(), now, |tun| {
                        taken = write(device, tun, batch, &group, refused);
                        taken.packets > 0
                    });
                    peer.activity.vpn_rx.count_many(taken.packets, taken.bytes);
                }
                let refused = group.packets as u64 - taken.packets;
                if refused > 0 {
                    device
                        .interface
                        .drops
                        .count_many(DropReason::RxTunRefused, refused);
                }
            }
            self.merger.clear();
        }
        self.packets.clear();
        self.peers.clear();
    }
}

/// The queue for packets from a peer: the kernel hands out packets of the other direction through the same one, so most
/// need no hand-off (see [`crate::device::handoff`]).
pub(crate) fn queue_for<I: Io>(device: &Device<I>, peer: PeerId) -> Option<&Queue<I>> {
    device.interface.queues.get(device.interface.queue_of(peer))
}

/// Shows a capture a packet, or a super-packet, as the device will have it.
#[cold]
fn record(recorder: &Recorder, peer: PeerId, batch: &[u8], group: &Group<'_>) {
    let head = group.head.get(virtio::LEN..).unwrap_or_default();
    let payloads = group.payloads().filter_map(|range| batch.get(range));
    let pieces = std::iter::once(head)
        .filter(|head| !head.is_empty())
        .chain(payloads);
    let seen = Seen {
        length: pieces.clone().map(<[u8]>::len).sum(),
        ..Seen::inner(Way::InnerIn, Some(peer), &[])
    };
    recorder.passed_in_pieces(&seen, pieces);
}

/// Delivers a single packet, outside a batch.
pub(crate) fn write_alone(queue: &impl Tun, packet: &[u8]) -> io::Result<()> {
    queue
        .write_vectored(&[IoSlice::new(&PLAIN), IoSlice::new(packet)])
        .map(drop)
}

/// Writes a group; `refused` learns of each packet that the device does not take.
fn write<I: Io>(
    device: &Device<I>,
    queue: &I::Tun,
    batch: &[u8],
    group: &Group<'_>,
    refused: impl Fn(&[u8]),
) -> Taken {
    let mut pieces = [IoSlice::new(&[]); merge::MAX_SEGMENTS + 1];
    let payloads = group.payloads().filter_map(|range| batch.get(range));
    let parts = std::iter::once(group.head).chain(payloads);
    let mut count = 0;
    for (piece, part) in pieces.iter_mut().zip(parts) {
        *piece = IoSlice::new(part);
        count += 1;
    }
    match queue.write_vectored(pieces.get(..count).unwrap_or_default()) {
        Ok(_) => {
            if let Some(transport) = group.transport {
                device.interface.offloads.merge.of(transport).taken();
            }
            Taken {
                packets: group.packets as u64,
                bytes: group.bytes as u64,
            }
        }
        // Either the super-packet or every packet is refused: one by one it shows (design decision 6).
        Err(error) if group.packets > 1 => {
            let mut taken = Taken::default();
            for range in group.originals() {
                let packet = batch.get(range).unwrap_or_default();
                if write_alone(queue, packet).is_ok() {
                    taken.packets += 1;
                    taken.bytes += packet.len() as u64;
                } else {
                    refused(packet);
                }
            }
            if let Some(transport) = group.transport
                && taken.packets == group.packets as u64
                && device.interface.offloads.merge.of(transport).refused()
            {
                tracing::warn!(
                    message_id = message_id::SEGMENTATION_REFUSED,
                    device = device.interface.name,
                    "{}: the kernel refuses {transport:?} super-packets ({error}); continuing without them",
                    device.interface.name
                );
            }
            taken
        }
        Err(_) => {
            for range in group.originals() {
                refused(batch.get(range).unwrap_or_default());
            }
            Taken::default()
        }
    }
}
