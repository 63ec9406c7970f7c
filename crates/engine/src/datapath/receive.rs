//! A packet's way in: from a transport socket to the TUN device, or to OpenVPN.

mod found;
mod retry;
mod stream;

use std::io;
use std::sync::Arc;

use udco_core::inbound::{self, Inbound, Origin, Payload};
use udco_core::{DropReason, Endpoint, Time};
use udco_crypto::DirectionKey;
use udco_ipc::capture::Way;

use self::found::Found;
use crate::datapath::coalesce::Moved;
use crate::datapath::deliver::{Delivery, queue_for, write_alone};
use crate::datapath::early_data::EarlyData;
use crate::device::Device;
use crate::device::capture::{Recorder, Seen};
use crate::device::peer::Peer;
use crate::device::transport::{Socket, Transport, relay_header, relay_scratch};
use crate::io::{Datagrams, Inbox, Io, Moment};

/// Datagrams, or runs of coalesced ones, in one batch: where the link does not coalesce, as many as a super-packet has.
const BATCH: usize = 64;

/// Bytes for each: the kernel coalesces up to this size.
const MAX_DATAGRAM: usize = 65_535;

/// Bytes of a stream in one batch; there is room for the longest packet behind the beginning of another.
const STREAM_BUFFER: usize = 256 << 10;

/// Batches before the worker's other sources get their turn.
const TURNS: usize = 4;

/// A worker's buffers for packets on their way in.
pub(crate) struct Receiver<I: Io> {
    inbox: <I::Datagrams as Datagrams>::Inbox,
    relay_scratch: Vec<u8>,
    early_data: EarlyData<I>,
    delivery: Delivery<I>,
    stream_buffer: Box<[u8]>,
    moved: Moved,
    recorder: Recorder,
}

impl<I: Io> Receiver<I> {
    /// Buffers whose captures begin with this one's buffer.
    pub(crate) fn new(lane: usize) -> Self {
        Self {
            inbox: Inbox::new(BATCH, MAX_DATAGRAM),
            relay_scratch: relay_scratch(),
            early_data: EarlyData::new(),
            delivery: Delivery::new(),
            stream_buffer: vec![0; STREAM_BUFFER].into(),
            moved: Moved::default(),
            recorder: Recorder::new(lane),
        }
    }

    /// The datagrams, runs of coalesced ones, and pieces of streams that have been received.
    pub(crate) const fn moved(&self) -> Moved {
        self.moved
    }

    /// Whether packets wait for their key: then [`Receiver::run`] is due from time to time.
    pub(crate) fn is_waiting(&mut self) -> bool {
        self.early_data.forget_gone();
        !self.early_data.is_empty()
    }

    /// Receives from a socket, at most [`TURNS`] batches.
    ///
    /// # Errors
    /// If the socket itself fails; peers cannot cause it.
    pub(crate) fn run(
        &mut self,
        device: &Device<I>,
        transport: &Arc<Transport<I>>,
        now: Moment,
    ) -> io::Result<()> {
        let Socket::Udp(socket, _) = transport.socket() else {
            return Ok(());
        };
        self.retry(device, transport, now);
        for _ in 0..TURNS {
            let received = self.inbox.receive(socket)?;
            self.batch(device, transport, received, now);
            if received < BATCH {
                break;
            }
        }
        Ok(())
    }

    fn batch(
        &mut self,
        device: &Device<I>,
        transport: &Arc<Transport<I>>,
        received: usize,
        at: Moment,
    ) {
        let snapshot = device.snapshot();
        let view = snapshot.view(device.mode);
        let now = at.time();
        self.recorder.begin(&device.interface.tap, at);
        for index in 0..received {
            let mut end = self.inbox.offset(index);
            let Some(datagram) = self.inbox.datagram(index) else {
                continue;
            };
            self.moved.count(datagram.bytes.len());
            if datagram.truncated {
                device.interface.drops.count(DropReason::RxOversize);
                let ends = transport.ends(datagram.source, datagram.local);
                self.recorder.dropped(DropReason::RxOversize, || {
                    Seen::outer(Way::OuterIn, None, Some(ends), datagram.bytes)
                });
                continue;
            }
            if transport.is_idle() {
                self.relay_all(device, transport, index);
                continue;
            }
            if datagram.bytes.is_empty() {
                device.interface.drops.count(DropReason::RxShort);
                let ends = transport.ends(datagram.source, datagram.local);
                self.recorder.dropped(DropReason::RxShort, || {
                    Seen::outer(Way::OuterIn, None, Some(ends), &[])
                });
                continue;
            }
            let origin = Origin {
                remote: datagram.source,
                local: datagram.local,
            };
            let header = relay_header(&datagram);
            if self.recorder.is_on() {
                // Before they are opened in place.
                let came = (&*datagram.bytes, datagram.segment);
                found::record(&self.recorder, &view, came, origin, transport);
            }
            for datagram in datagram.into_segments() {
                end += datagram.len();
                let dropped = match inbound::receive(&view, datagram, origin, now) {
                    Inbound::Control => {
                        let is_relayed =
                            transport.relay(&header, datagram, &mut self.relay_scratch);
                        (!is_relayed).then_some(DropReason::RxRelayFull)
                    }
                    Inbound::Dropped {
                        reason: DropReason::RxUnknownKeyId,
                        ..
                    } => {
                        let is_held = self.early_data.hold(transport, datagram, Some(origin), now);
                        (!is_held).then_some(DropReason::RxUnknownKeyId)
                    }
                    Inbound::Data {
                        peer,
                        payload: Payload::Packet(packet),
                        floated,
                    } => {
                        follow(device, peer, floated, now);
                        // A packet is the tail of its record.
                        self.delivery.add(peer, end - packet.len()..end);
                        None
                    }
                    other => finish(device, other, now, &self.recorder),
                };
                if let Some(reason) = dropped {
                    device.interface.drops.count(reason);
                    self.recorder.dropped(reason, || {
                        Found::of(&view, datagram, origin, transport).dropped(reason, datagram)
                    });
                }
            }
        }
        self.delivery
            .flush(device, self.inbox.buffer(), &self.recorder, now);
        self.recorder.end();
    }

    /// Gives a datagram to OpenVPN, whatever it holds: the socket serves no peer.
    fn relay_all(&mut self, device: &Device<I>, transport: &Transport<I>, index: usize) {
        let Some(datagram) = self.inbox.datagram(index) else {
            return;
        };
        let header = relay_header(&datagram);
        let is_empty = datagram.bytes.is_empty();
        let ends = transport.ends(datagram.source, datagram.local);
        let mut relay = |packet: &[u8]| {
            if !transport.relay(&header, packet, &mut self.relay_scratch) {
                device.interface.drops.count(DropReason::RxRelayFull);
                self.recorder.dropped(DropReason::RxRelayFull, || {
                    Seen::outer(Way::OuterIn, None, Some(ends), packet)
                });
            }
        };
        if is_empty {
            relay(&[]);
        }
        for packet in datagram.into_segments() {
            relay(packet);
        }
    }
}

/// Concludes a datagram that is not delivered with its batch. Returns why it is dropped.
fn finish<I: Io>(
    device: &Device<I>,
    inbound: Inbound<'_, DirectionKey, Arc<Transport<I>>>,
    now: Time,
    recorder: &Recorder,
) -> Option<DropReason> {
    match inbound {
        Inbound::Data {
            peer,
            payload,
            floated,
        } => {
            follow(device, peer, floated, now);
            let Payload::Packet(packet) = payload else {
                return None;
            };
            recorder.passed(|| Seen::inner(Way::InnerIn, Some(peer.id), packet));
            let write = |tun: &I::Tun| write_alone(tun, packet).is_ok();
            if queue_for(device, peer.id).is_some_and(|queue| queue.deliver(packet, now, write)) {
                peer.activity.vpn_rx.count(packet.len());
                return None;
            }
            Some(DropReason::RxTunRefused)
        }
        Inbound::Dropped { reason, floated } => {
            if let Some((peer, endpoint)) = floated {
                follow(device, peer, Some(endpoint), now);
            }
            Some(reason)
        }
        Inbound::Control => None,
    }
}

/// Follows a peer to its new address, if it has moved.
fn follow<I: Io>(device: &Device<I>, peer: &Peer<I>, floated: Option<Endpoint>, now: Time) {
    if let Some(endpoint) = floated {
        device.float(peer, endpoint, now);
    }
}
