//! The queues of a TUN interface, as the engine counts them: each may be a pair of the kernel's, one for bulk flows and one
//! for sparse flows (see [`udco_core::sparse`]).

use udco_core::Time;
use udco_core::sparse::{Class, Precedence, Reads, Steering};

use crate::io::Io;

/// One queue: its packets leave through one worker.
pub(crate) struct Queue<I: Io> {
    bulk: I::Tun,
    sparse: Option<Sparse<I>>,
}

struct Sparse<I: Io> {
    tun: I::Tun,
    steering: Steering,
}

impl<I: Io> Queue<I> {
    /// As many queues as are wanted, of the kernel's: what is left over makes pairs of the first ones. See [`Steering::new`]
    /// for the rest.
    pub(crate) fn pair(
        mut tuns: Vec<I::Tun>,
        wanted: usize,
        seed: u64,
        has_ipv6: bool,
    ) -> Vec<Self> {
        let count = wanted.max(1).min(tuns.len());
        let mut sparse = tuns.split_off(count).into_iter();
        let paired = |bulk| Self {
            bulk,
            sparse: sparse.next().map(|tun| Sparse {
                tun,
                steering: Steering::new(seed, has_ipv6),
            }),
        };
        tuns.into_iter().map(paired).collect()
    }

    /// The kernel's queue for flows of this class.
    pub(crate) fn of(&self, class: Class) -> &I::Tun {
        match (&self.sparse, class) {
            (Some(sparse), Class::Sparse) => &sparse.tun,
            _ => &self.bulk,
        }
    }

    /// Delivers a packet, or a super-packet that begins with it: `write` gets the kernel's queue for it, and returns whether
    /// any of it was taken, as this does.
    pub(crate) fn deliver(
        &self,
        packet: &[u8],
        now: Time,
        write: impl FnOnce(&I::Tun) -> bool,
    ) -> bool {
        let Some(sparse) = &self.sparse else {
            return write(&self.bulk);
        };
        let heading = sparse.steering.steer(packet, now);
        let is_taken = write(self.of(heading.to));
        sparse.steering.delivered(&heading, !is_taken, now);
        is_taken
    }

    /// Which of the kernel's queues to read: see [`Steering::next`].
    pub(crate) fn next(
        &self,
        mut choose: impl FnMut(Precedence) -> Option<Class>,
    ) -> Option<(Class, Precedence)> {
        match &self.sparse {
            Some(sparse) => sparse.steering.next(choose),
            None => choose(Precedence::NEITHER).map(|class| (class, Precedence::NEITHER)),
        }
    }

    /// A packet was read: see [`Steering::was_read`].
    pub(crate) fn was_read(
        &self,
        reads: &mut Reads,
        from: (Class, Precedence),
        packet: &[u8],
        now: Time,
    ) {
        if let Some(sparse) = &self.sparse {
            sparse.steering.was_read(reads, from, packet, now);
        }
    }

    /// There was none: see [`Steering::was_empty`].
    pub(crate) fn was_empty(&self, queue: Class, order: Precedence) {
        if let Some(sparse) = &self.sparse {
            sparse.steering.was_empty(queue, order);
        }
    }

    /// No more is read for now: see [`Steering::rest`].
    pub(crate) fn rest(&self, reads: &mut Reads) {
        if let Some(sparse) = &self.sparse {
            sparse.steering.rest(reads);
        }
    }

    /// The kernel's queue for sparse flows, if it has one of its own.
    pub(crate) fn sparse(&self) -> Option<&I::Tun> {
        self.sparse.as_ref().map(|sparse| &sparse.tun)
    }

    /// The kernel's queue for all others.
    pub(crate) const fn bulk(&self) -> &I::Tun {
        &self.bulk
    }
}

/// Whether the kernel tells IPv6 flows apart by their ports, also where they have a flow label: for sure from Linux 6.6 on.
pub(crate) fn has_ipv6_flows() -> bool {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease");
    release.is_ok_and(|release| is_since_6_6(&release))
}

fn is_since_6_6(release: &str) -> bool {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    let mut number = || numbers.next()?.parse::<u32>().ok();
    (number(), number()) >= (Some(6), Some(6))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_release_says_whether_ipv6_flows_have_ports() {
        for release in ["6.6.0", "6.18.44-generic\n", "7.0-rc1", "10.1"] {
            assert!(is_since_6_6(release), "{release}");
        }
        for release in ["6.1.0-37-amd64\n", "5.15.200", "6.5.13", "4.19", ""] {
            assert!(!is_since_6_6(release), "{release}");
        }
    }
}
