//! Hand-off of packets from the worker that read them to the one that sends them.
//!
//! All packets of a peer leave through one queue's worker, in the order of their packet ids: a stock OpenVPN at the other
//! end accepts nothing that is 64 packets late, and the kernel driver nothing that is 2,048 late. The kernel chooses the
//! queue by flow, mostly the one through which the flow's other direction was delivered. A packet that comes through a
//! queue other than its peer's is handed off, without a lock and without a copy.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam_queue::ArrayQueue;
use udco_core::offload::virtio;

use crate::io::Waker;

/// Packets that wait for the worker of one queue.
const WAITING: usize = 64;

/// Buffers that a device has for each queue's handed-off packets.
const SPARE: usize = 32;

/// The longest packet that a TUN device can hand out, behind its virtio header.
const BUFFER: usize = virtio::LEN + 65_535;

/// A handed-off packet, behind its virtio header.
pub(crate) struct HandedOff {
    pub(crate) buffer: Box<[u8]>,
    pub(crate) len: usize,
}

/// The hand-off rings between the queues of a device; none if it has one queue.
pub(crate) struct Handoffs<W> {
    ways: Vec<Handoff<W>>,
    /// Empty buffers: a worker that hands off a packet with its buffer continues with one of these.
    spare: ArrayQueue<Box<[u8]>>,
}

/// The way to one queue's worker.
pub(crate) struct Handoff<W> {
    waiting: ArrayQueue<HandedOff>,
    /// Its worker was woken, and has not looked since.
    rung: AtomicBool,
    pub(crate) waker: W,
}

/// How many bytes the buffers of these queues take.
pub(crate) const fn memory(queues: usize) -> usize {
    match queues {
        0 | 1 => 0,
        queues => queues * SPARE * BUFFER,
    }
}

impl<W: Waker> Handoffs<W> {
    /// For a device without queues.
    pub(crate) fn none() -> Self {
        Self {
            ways: Vec::new(),
            spare: ArrayQueue::new(1),
        }
    }

    /// For a device with this many queues.
    ///
    /// # Errors
    /// If file descriptors are short.
    pub(crate) fn new(queues: usize) -> io::Result<Self> {
        if queues < 2 {
            return Ok(Self::none());
        }
        let spare = ArrayQueue::new(queues * SPARE);
        for _ in 0..queues * SPARE {
            // The kernel allocates its memory when it is first used.
            let _ = spare.push(packet_buffer());
        }
        let ways = (0..queues)
            .map(|_| Handoff::new())
            .collect::<io::Result<_>>()?;
        Ok(Self { ways, spare })
    }

    /// The way to the worker of a queue, if there are several queues.
    pub(crate) fn to(&self, queue: usize) -> Option<&Handoff<W>> {
        self.ways.get(queue)
    }

    /// Hands off the packet in `place` and puts an empty buffer there; `false` if there is no room: then it stays.
    pub(crate) fn hand_off(&self, queue: usize, place: &mut Box<[u8]>, len: usize) -> bool {
        let Some(way) = self.to(queue) else {
            return false;
        };
        let Some(spare) = self.spare.pop() else {
            return false;
        };
        let buffer = std::mem::replace(place, spare);
        match way.waiting.push(HandedOff { buffer, len }) {
            Ok(()) => {
                way.ring();
                true
            }
            Err(refused) => {
                // The caller needs the packet to count the drop.
                let spare = std::mem::replace(place, refused.buffer);
                let _ = self.spare.push(spare);
                false
            }
        }
    }

    /// Returns the buffer of a packet that was sent.
    pub(crate) fn give_back(&self, handed_off: HandedOff) {
        let _ = self.spare.push(handed_off.buffer);
    }
}

impl<W: Waker> Handoff<W> {
    fn new() -> io::Result<Self> {
        Ok(Self {
            waiting: ArrayQueue::new(WAITING),
            rung: AtomicBool::new(false),
            waker: W::new()?,
        })
    }

    /// The next packet, for the worker that has the queue.
    pub(crate) fn take(&self) -> Option<HandedOff> {
        self.waiting.pop()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The worker looks now: wake it for packets that come from here on.
    pub(crate) fn answer(&self) {
        self.waker.clear();
        self.rung.store(false, Ordering::SeqCst);
    }

    /// Wakes the worker, unless it was just woken.
    pub(crate) fn ring(&self) {
        if !self.rung.swap(true, Ordering::SeqCst) {
            self.waker.wake();
        }
    }
}

/// Room for a packet of the device.
pub(crate) fn packet_buffer() -> Box<[u8]> {
    vec![0; BUFFER].into()
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::{Duration, Instant};

    use super::*;

    type Handoffs = super::Handoffs<udco_sys::wake::Waker>;

    const LEN: usize = 16;

    fn packet(sender: u64, number: u64) -> [u8; LEN] {
        let mut bytes = [0; LEN];
        bytes[..8].copy_from_slice(&sender.to_ne_bytes());
        bytes[8..].copy_from_slice(&number.to_ne_bytes());
        bytes
    }

    #[test]
    fn a_device_with_one_queue_hands_nothing_off() {
        let handoffs = Handoffs::new(1).unwrap();
        assert!(handoffs.to(0).is_none());
        assert!(!handoffs.hand_off(0, &mut packet_buffer(), LEN));
    }

    #[test]
    fn what_finds_no_room_is_refused_and_costs_no_buffer() {
        let handoffs = Handoffs::new(2).unwrap();
        let mut buffer = packet_buffer();
        let mut taken = 0;
        while handoffs.hand_off(1, &mut buffer, LEN) {
            taken += 1;
        }
        assert_eq!((taken, buffer.len()), (WAITING.min(2 * SPARE), BUFFER));
        let way = handoffs.to(1).unwrap();
        handoffs.give_back(way.take().unwrap());
        assert!(handoffs.hand_off(1, &mut buffer, LEN));
        assert!(handoffs.to(0).unwrap().take().is_none());
    }

    #[test]
    fn a_packet_that_is_refused_stays_where_it_is() {
        // More buffers than packets may wait.
        let handoffs = Handoffs::new(4).unwrap();
        let mut buffer = packet_buffer();
        for number in 0..WAITING as u64 {
            buffer[..LEN].copy_from_slice(&packet(1, number));
            assert!(handoffs.hand_off(1, &mut buffer, LEN));
        }
        buffer[..LEN].copy_from_slice(&packet(2, 7));
        assert!(!handoffs.hand_off(1, &mut buffer, LEN));
        assert_eq!(buffer[..LEN], packet(2, 7));
    }

    #[test]
    fn packets_of_each_sender_arrive_once_and_in_order() {
        const SENDERS: u64 = 3;
        const PACKETS: u64 = 20_000;
        let handoffs = Handoffs::new(2).unwrap();
        thread::scope(|scope| {
            for sender in 0..SENDERS {
                let handoffs = &handoffs;
                scope.spawn(move || {
                    let mut buffer = packet_buffer();
                    for number in 0..PACKETS {
                        loop {
                            buffer[..LEN].copy_from_slice(&packet(sender, number));
                            if handoffs.hand_off(1, &mut buffer, LEN) {
                                break;
                            }
                            thread::yield_now();
                        }
                    }
                });
            }
            let way = handoffs.to(1).unwrap();
            let (mut next, mut taken) = ([0; SENDERS as usize], 0);
            let begin = Instant::now();
            while taken < SENDERS * PACKETS {
                // It looks only when it is woken: no wakeup may be lost.
                if !way.waker.clear() {
                    assert!(begin.elapsed() < Duration::from_secs(60), "{taken} came");
                    thread::yield_now();
                    continue;
                }
                way.answer();
                while let Some(handed_off) = way.take() {
                    let sender = u64::from_ne_bytes(handed_off.buffer[..8].try_into().unwrap());
                    assert_eq!(
                        handed_off.buffer[..LEN],
                        packet(sender, next[sender as usize])
                    );
                    next[sender as usize] += 1;
                    taken += 1;
                    handoffs.give_back(handed_off);
                }
            }
        });
    }
}
