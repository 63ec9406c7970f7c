//! Early data: data packets that came before their key, and wait for it.
//!
//! A stock OpenVPN sends with a new key as soon as it has it, a moment before the other end has given it to its engine
//! (openvpn-integration 1.9). Dropping these packets would cost a ping or a retransmission at each rekey; here they wait
//! for a moment instead.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use udco_core::Time;
use udco_core::inbound::Origin;

use crate::device::transport::Transport;
use crate::io::Io;

/// How many packets a worker holds. Anybody who knows a peer id can fill it, so it is small.
const SLOTS: usize = 64;

/// The longest packet held: what an Ethernet link carries.
const SLOT_LEN: usize = 2048;

/// How long a packet waits, in milliseconds: as long as the last step of a handshake takes.
const PATIENCE: u64 = 500;

/// Packets that wait, oldest first.
pub(crate) struct EarlyData<I: Io> {
    waiting: VecDeque<EarlyPacket<I>>,
    free: Vec<Box<[u8]>>,
}

/// A packet that waits.
pub(crate) struct EarlyPacket<I: Io> {
    buffer: Box<[u8]>,
    len: usize,
    transport: Weak<Transport<I>>,
    /// Where it came from; `None` on a stream, whose peer is known.
    pub(crate) origin: Option<Origin>,
    since: Time,
}

impl<I: Io> EarlyData<I> {
    pub(crate) fn new() -> Self {
        let free = (0..SLOTS).map(|_| vec![0; SLOT_LEN].into()).collect();
        Self {
            waiting: VecDeque::with_capacity(SLOTS),
            free,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Holds a packet until its key is there; `false` if there is no room for it.
    pub(crate) fn hold(
        &mut self,
        transport: &Arc<Transport<I>>,
        packet: &[u8],
        origin: Option<Origin>,
        now: Time,
    ) -> bool {
        if packet.len() > SLOT_LEN {
            return false;
        }
        let Some(mut buffer) = self.free.pop() else {
            return false;
        };
        buffer[..packet.len()].copy_from_slice(packet);
        let (len, transport) = (packet.len(), Arc::downgrade(transport));
        self.waiting.push_back(EarlyPacket {
            buffer,
            len,
            transport,
            origin,
            since: now,
        });
        true
    }

    /// How many packets wait.
    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Takes out the packet that has waited longest.
    pub(crate) fn pop(&mut self) -> Option<EarlyPacket<I>> {
        self.waiting.pop_front()
    }

    /// Puts a packet back. Taking out all packets in turn and putting each back keeps their order.
    pub(crate) fn push(&mut self, early: EarlyPacket<I>) {
        self.waiting.push_back(early);
    }

    /// Frees the place of a packet.
    pub(crate) fn free(&mut self, early: EarlyPacket<I>) {
        self.free.push(early.buffer);
    }

    /// Forgets packets of sockets that are gone.
    pub(crate) fn forget_gone(&mut self) {
        while let Some(at) = self
            .waiting
            .iter()
            .position(|it| it.transport.strong_count() == 0)
        {
            if let Some(early) = self.waiting.remove(at) {
                self.free.push(early.buffer);
            }
        }
    }
}

impl<I: Io> EarlyPacket<I> {
    /// The packet.
    pub(crate) fn packet(&mut self) -> &mut [u8] {
        &mut self.buffer[..self.len]
    }

    /// Whether it came by this socket.
    pub(crate) fn is_from(&self, transport: &Arc<Transport<I>>) -> bool {
        self.transport.as_ptr() == Arc::as_ptr(transport)
    }

    /// Whether it has waited long enough.
    pub(crate) fn is_over(&self, now: Time) -> bool {
        now.as_millis() >= self.since.as_millis() + PATIENCE
    }
}
