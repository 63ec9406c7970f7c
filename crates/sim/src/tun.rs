//! A TUN queue in memory.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::rc::Rc;

use udco_engine::io::{self as seam, Source};

use crate::ready::{ByReady, Ready};

/// `EIO`: the interface is down.
const DOWN: i32 = 5;

/// A queue. Clones are the same queue: the engine has one end, the host's stack the other.
#[derive(Clone, Debug, Default)]
pub struct Tun(Rc<Queue>);

#[derive(Debug, Default)]
struct Queue {
    ready: Ready,
    /// From the host, behind their virtio headers.
    waiting: RefCell<VecDeque<Vec<u8>>>,
    /// To the host, likewise; and whether through a queue for sparse flows. Both queues of a pair write here.
    written: Rc<RefCell<Vec<Written>>>,
    is_down: Cell<bool>,
    is_sparse: bool,
}

/// Whether a packet was written to a queue for sparse flows, and the packet.
type Written = (bool, Vec<u8>);

impl Tun {
    /// The queue for sparse flows that makes a pair with this one.
    #[must_use]
    pub fn paired(&self) -> Self {
        Self(Rc::new(Queue {
            written: Rc::clone(&self.0.written),
            is_sparse: true,
            ..Queue::default()
        }))
    }

    /// The host sends a packet, or super-packet, behind its virtio header.
    pub fn push(&self, packet: Vec<u8>) {
        self.0.waiting.borrow_mut().push_back(packet);
        self.0.ready.set_readable(true);
    }

    /// How many the engine has not read yet.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.0.waiting.borrow().len()
    }

    /// What the engine has written since the last call.
    #[must_use]
    pub fn take_written(&self) -> Vec<Vec<u8>> {
        let written = self.take_written_to_pair().into_iter();
        written.map(|(_, packet)| packet).collect()
    }

    /// What the engine has written to both queues of a pair since the last call, and whether to the one for sparse flows.
    #[must_use]
    pub fn take_written_to_pair(&self) -> Vec<Written> {
        self.0.written.take()
    }

    /// Sets whether it refuses what the engine writes.
    pub fn set_down(&self, is_down: bool) {
        self.0.is_down.set(is_down);
    }
}

impl seam::Tun for Tun {
    fn read(&self, into: &mut [u8]) -> io::Result<usize> {
        let mut waiting = self.0.waiting.borrow_mut();
        let packet = waiting.pop_front().ok_or(io::ErrorKind::WouldBlock)?;
        self.0.ready.set_readable(!waiting.is_empty());
        let len = packet.len().min(into.len());
        into[..len].copy_from_slice(&packet[..len]);
        Ok(len)
    }

    fn write_vectored(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        if self.0.is_down.get() {
            return Err(io::Error::from_raw_os_error(DOWN));
        }
        let packet: Vec<u8> = pieces
            .iter()
            .flat_map(|piece| piece.iter().copied())
            .collect();
        let len = packet.len();
        let written = (self.0.is_sparse, packet);
        self.0.written.borrow_mut().push(written);
        Ok(len)
    }

    fn is_gone(error: &io::Error) -> bool {
        error.kind() == io::ErrorKind::NotFound
    }

    fn current_name(&self) -> io::Result<String> {
        Ok("sim".into())
    }

    fn set_carrier(&self, _: bool) -> io::Result<()> {
        Ok(())
    }

    fn set_persist(&self, _: bool) -> io::Result<()> {
        Ok(())
    }
}

impl<I: ByReady> Source<I> for Tun {
    fn handle(&self) -> &Ready {
        &self.0.ready
    }
}
