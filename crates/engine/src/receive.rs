//! A packet's way in: from a transport socket to the TUN device, or to OpenVPN.

use std::io;
use std::sync::Arc;

use udco_core::inbound::{self, Inbound, Origin, Payload};
use udco_core::{DropReason, Time};
use udco_front::RelayHeader;
use udco_sys::clock;
use udco_sys::udp::Inbox;

use crate::device::{Device, Snapshot};
use crate::transport::{Transport, relay_header, relay_scratch};

/// Datagrams, or runs of coalesced ones, in one batch.
const BATCH: usize = 16;

/// Bytes for each: the kernel coalesces up to this size.
const MAX_DATAGRAM: usize = 65_535;

/// Batches before other sources of the worker have their turn.
const TURNS: usize = 4;

/// Buffers of a worker for packets on their way in.
pub(crate) struct Receiver {
    inbox: Inbox,
    relay_scratch: Vec<u8>,
}

impl Receiver {
    pub(crate) fn new() -> Self {
        Self {
            inbox: Inbox::new(BATCH, MAX_DATAGRAM),
            relay_scratch: relay_scratch(),
        }
    }

    /// Takes what lies in a socket, up to some batches.
    ///
    /// # Errors
    /// Of the socket itself; errors that peers cause are none.
    pub(crate) fn run(&mut self, device: &Device, transport: &Arc<Transport>) -> io::Result<()> {
        for _ in 0..TURNS {
            let received = self.inbox.receive(transport.socket())?;
            self.batch(device, transport, received);
            if received < BATCH {
                break;
            }
        }
        Ok(())
    }

    fn batch(&mut self, device: &Device, transport: &Transport, received: usize) {
        let snapshot = device.snapshot();
        let now = Time::from_millis(clock::milliseconds());
        for index in 0..received {
            let Some(datagram) = self.inbox.datagram(index) else {
                continue;
            };
            if datagram.truncated {
                device.drops.count(DropReason::RxOversize);
                continue;
            }
            if datagram.bytes.is_empty() {
                device.drops.count(DropReason::RxShort);
                continue;
            }
            let origin = Origin {
                remote: datagram.source,
                local: datagram.local,
            };
            let header = relay_header(&datagram);
            for datagram in datagram.into_segments() {
                let way = Way {
                    device,
                    snapshot: &snapshot,
                    transport,
                    now,
                };
                way.take(datagram, origin, &header, &mut self.relay_scratch);
            }
        }
    }
}

/// What one datagram meets on its way.
struct Way<'w> {
    device: &'w Device,
    snapshot: &'w Snapshot,
    transport: &'w Transport,
    now: Time,
}

impl Way<'_> {
    /// Takes one datagram to where it belongs.
    fn take(
        &self,
        datagram: &mut [u8],
        origin: Origin,
        header: &RelayHeader,
        scratch: &mut Vec<u8>,
    ) {
        let device = self.device;
        let view = self.snapshot.view(device.mode);
        match inbound::receive(&view, datagram, origin, self.now) {
            Inbound::Data {
                peer,
                payload,
                floated,
            } => {
                if let Some(endpoint) = floated {
                    device.float(peer.id, endpoint);
                }
                let Payload::Packet(packet) = payload else {
                    return;
                };
                let tun = device.queues.first();
                if tun.is_some_and(|tun| tun.write(packet).is_ok()) {
                    peer.activity.vpn_rx.count(packet.len());
                } else {
                    device.drops.count(DropReason::RxTunRefused);
                }
            }
            Inbound::Dropped { reason, floated } => {
                device.drops.count(reason);
                if let Some((peer, endpoint)) = floated {
                    device.float(peer, endpoint);
                }
            }
            Inbound::Control => {
                // `datagram` is borrowed by the other arms only: nothing of a control packet was touched.
                if !self.transport.relay(header, datagram, scratch) {
                    device.drops.count(DropReason::RxRelayFull);
                }
            }
        }
    }
}
