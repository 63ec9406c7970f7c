//! A TUN interface: a device stands over it, and it stays when the device gets another API or mode.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use udco_core::{DropCounters, PeerId};
use udco_sys::Netns;

use crate::device::capture::Tap;
use crate::device::handoff::Handoffs;
use crate::device::offload::Merging;
use crate::device::queues::Queue;
use crate::device::totals::Totals;
use crate::io::{Io, Tun};
use crate::linux::Linux;

/// A TUN interface of the engine.
pub(crate) struct Interface<I: Io = Linux> {
    pub(crate) ifindex: u32,
    /// The kernel's number of the network namespace in which it has this index; 0 if unknown.
    pub(crate) netns: Netns,
    /// Its name when it was handed over.
    pub(crate) name: String,
    pub(crate) queues: Vec<Queue<I>>,
    /// Between the workers that have the queues.
    pub(crate) handoffs: Handoffs<I::Waker>,
    pub(crate) offloads: Offloads,
    pub(crate) drops: DropCounters,
    /// Where a capture of its packets is attached.
    pub(crate) tap: Arc<Tap>,
    /// Datagrams larger than the path MTU, which the kernel has fragmented.
    pub(crate) fragmented: AtomicU64,
    /// Totals of peers that have ended.
    pub(crate) totals: Totals,
    /// Whether it has a carrier, as it has at first.
    carrier: AtomicBool,
    /// It was moved to another network namespace (faults A7).
    is_away: AtomicBool,
}

/// Segmentation offloads of an interface.
pub(crate) struct Offloads {
    /// The work that the kernel leaves to us in packets that it hands out: flags of [`udco_sys::tun::offload`].
    pub(crate) from_device: u32,
    /// Whether it takes super-packets.
    pub(crate) merge: Merging,
}

impl Interface {
    /// An interface that a client has handed over.
    ///
    /// # Errors
    /// If file descriptors are short.
    pub(crate) fn new(
        place: (Netns, u32),
        name: String,
        queues: Vec<Queue<Linux>>,
        offloads: Offloads,
    ) -> io::Result<Self> {
        Self::over(place, name, queues, offloads)
    }
}

impl<I: Io> Interface<I> {
    /// An interface with these queues, by its namespace and index.
    ///
    /// # Errors
    /// If wakers cannot be made.
    pub(crate) fn over(
        (netns, ifindex): (Netns, u32),
        name: String,
        queues: Vec<Queue<I>>,
        offloads: Offloads,
    ) -> io::Result<Self> {
        Ok(Self {
            ifindex,
            netns,
            name,
            handoffs: Handoffs::new(queues.len())?,
            queues,
            offloads,
            drops: DropCounters::new(),
            tap: Arc::new(Tap::new()),
            fragmented: AtomicU64::new(0),
            totals: Totals::default(),
            carrier: AtomicBool::new(true),
            is_away: AtomicBool::new(false),
        })
    }

    /// The same without queues, for the sockets of its device: the kernel may then remove the interface.
    pub(crate) fn without_queues(&self) -> Self {
        Self {
            ifindex: self.ifindex,
            netns: self.netns,
            name: self.name.clone(),
            queues: Vec::new(),
            handoffs: Handoffs::none(),
            offloads: Offloads {
                from_device: 0,
                merge: Merging::new(false, false),
            },
            drops: DropCounters::new(),
            tap: Arc::new(Tap::new()),
            fragmented: AtomicU64::new(0),
            totals: Totals::default(),
            carrier: AtomicBool::new(true),
            is_away: AtomicBool::new(self.is_away()),
        }
    }

    /// Its present name, in its present namespace, as the kernel reports it.
    ///
    /// # Errors
    /// If the interface is gone.
    pub(crate) fn current_name(&self) -> io::Result<String> {
        let gone = || io::Error::from(io::ErrorKind::NotFound);
        let queue = self.queues.first().ok_or_else(gone)?;
        queue.bulk().current_name()
    }

    /// Whether it was moved away: then an interface with its name or index may be another one.
    pub(crate) fn is_away(&self) -> bool {
        self.is_away.load(Ordering::Relaxed)
    }

    /// It was moved away; `false` if that was known.
    pub(crate) fn set_away(&self) -> bool {
        !self.is_away.swap(true, Ordering::Relaxed)
    }

    /// Sets whether it has a carrier.
    pub(crate) fn set_carrier(&self, carrier: bool) {
        if self.carrier.swap(carrier, Ordering::Relaxed) != carrier
            && let Some(queue) = self.queues.first()
        {
            // Fails only if the interface is gone, or the kernel lacks the call.
            let _ = queue.bulk().set_carrier(carrier);
        }
    }

    /// The queue through which all packets of a peer leave.
    pub(crate) fn queue_of(&self, peer: PeerId) -> usize {
        match self.queues.len() {
            0 | 1 => 0,
            count => peer.value() as usize % count,
        }
    }

    /// Lets it go with its last queue.
    pub(crate) fn let_go(&self) {
        for queue in &self.queues {
            // Fails only if it has gone already.
            let _ = queue.bulk().set_persist(false);
        }
    }
}
