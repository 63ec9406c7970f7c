//! Packets that come over TCP: each has its length in front.

use std::io;
use std::sync::Arc;

use udco_core::framing::{Frames, PREFIX};
use udco_core::inbound::{self, Inbound, Payload};
use udco_core::wire::{Datagram as Packet, classify};
use udco_core::{DropReason, View};
use udco_crypto::DirectionKey;

use super::found::Found;
use super::{Receiver, TURNS, finish};
use crate::device::Device;
use crate::device::capture;
use crate::device::peer::Peer;
use crate::device::stream::{Progress, RAW_PIECE, Stream};
use crate::device::transport::Transport;
use crate::io::{Io, Moment};

impl<I: Io> Receiver<I> {
    /// Receives from a stream, at most [`TURNS`] batches.
    ///
    /// # Errors
    /// If a call fails although the stream goes on.
    pub(crate) fn run_stream(
        &mut self,
        device: &Device<I>,
        transport: &Arc<Transport<I>>,
        stream: &Stream<I>,
        now: Moment,
    ) -> io::Result<()> {
        self.retry(device, transport, now);
        for _ in 0..TURNS {
            let received = match stream.receive(&mut self.stream_buffer) {
                Progress::Bytes(received) => received,
                Progress::Nothing => break,
                Progress::Failed(errno) => return Err(io::Error::from_raw_os_error(errno)),
            };
            self.moved.count(received);
            self.stream_batch(device, (transport, stream), received, now);
            if received < self.stream_buffer.len() {
                break;
            }
        }
        Ok(())
    }

    /// Handles the packets in the first `received` bytes of the buffer.
    fn stream_batch(
        &mut self,
        device: &Device<I>,
        (transport, stream): (&Arc<Transport<I>>, &Stream<I>),
        received: usize,
        at: Moment,
    ) {
        let snapshot = device.snapshot();
        let view = snapshot.view(device.mode);
        let now = at.time();
        let bytes = self.stream_buffer.get_mut(..received).unwrap_or_default();
        let Some(peer) = owner(&view, transport, stream) else {
            // It serves no peer: an ordinary stream, OpenVPN's.
            for piece in bytes.chunks(RAW_PIECE) {
                if !stream.relay(piece) {
                    device.interface.drops.count(DropReason::RxRelayFull);
                }
            }
            return;
        };
        self.recorder.begin(&device.interface.tap, at);
        let found = Found::of_stream(Some(peer.id), transport);
        if self.recorder.is_on() {
            // Before they are opened in place.
            capture::stream::runs(found.outer(&[]), bytes)
                .for_each(|run| self.recorder.run(&run, None));
        }
        let mut frames = Frames::of(bytes);
        let mut is_sound = true;
        while let Some(frame) = frames.next() {
            let end = received - frames.unparsed();
            let Ok(frame) = frame else {
                stream.desync();
                is_sound = false;
                break;
            };
            if matches!(classify(frame.peek()), Ok(Packet::Control)) {
                let packet = frame.with_prefix();
                if !stream.relay(packet) {
                    device.interface.drops.count(DropReason::RxRelayFull);
                    let packet = packet.get(PREFIX..).unwrap_or_default();
                    self.recorder
                        .dropped(DropReason::RxRelayFull, || found.outer(packet));
                }
                continue;
            }
            let packet = frame.packet();
            let dropped = match inbound::receive_stream(&view, peer, packet, now) {
                Inbound::Dropped {
                    reason: DropReason::RxUnknownKeyId,
                    ..
                } => {
                    let is_held = self.early_data.hold(transport, packet, None, now);
                    (!is_held).then_some(DropReason::RxUnknownKeyId)
                }
                Inbound::Data {
                    payload: Payload::Packet(packet),
                    ..
                } => {
                    self.delivery.add(peer, end - packet.len()..end);
                    None
                }
                other => {
                    if let Inbound::Dropped {
                        reason: DropReason::RxShort | DropReason::RxDataV1,
                        ..
                    } = other
                    {
                        // The other end does not speak the protocol (dco-behaviour 5.10).
                        stream.fail();
                        is_sound = false;
                    }
                    finish(device, other, now, &self.recorder)
                }
            };
            if let Some(reason) = dropped {
                device.interface.drops.count(reason);
                self.recorder
                    .dropped(reason, || found.dropped(reason, packet));
            }
            if !is_sound {
                break;
            }
        }
        let kept = received - frames.unparsed();
        self.delivery
            .flush(device, &self.stream_buffer, &self.recorder, now);
        self.recorder.end();
        if is_sound {
            stream.keep(self.stream_buffer.get(kept..received).unwrap_or_default());
        }
    }
}

/// The peer of a stream.
pub(super) fn owner<'v, I: Io>(
    view: &View<'v, DirectionKey, Arc<Transport<I>>>,
    transport: &Arc<Transport<I>>,
    stream: &Stream<I>,
) -> Option<&'v Arc<Peer<I>>> {
    let peer = view.peers.by_id(stream.peer()?)?;
    Arc::ptr_eq(&peer.transport, transport).then_some(peer)
}
