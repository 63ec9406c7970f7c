//! Segmentation offloads: probing, opting out, giving up at run time (design decision 6, users C19).

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use udco_core::offload::{Enabled, Transport};
use udco_sys::tun::{self, offload};

/// An offload is given up after this many refusals in a row.
const REFUSALS: u32 = 3;

/// An offload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offload {
    /// The device hands out TCP segments as super-packets, and checksums not yet computed.
    DeviceTcp,
    /// The device hands out UDP datagrams as super-packets.
    DeviceUdp,
    /// The device takes super-packets.
    Merge,
    /// The kernel cuts one send into many datagrams (`UDP_SEGMENT`).
    Segment,
    /// The kernel hands over many datagrams as one (`UDP_GRO`).
    Coalesce,
}

/// Which offloads are not to be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Forbidden(u8);

/// An offload in use until the kernel has refused it [`REFUSALS`] times in a row.
#[derive(Debug)]
pub(crate) struct InUse {
    on: AtomicBool,
    refusals: AtomicU32,
}

/// Whether the device takes super-packets: each kind by itself, as a kernel may take one and refuse the other
/// (faults B4).
#[derive(Debug)]
pub(crate) struct Merging {
    pub(crate) tcp: InUse,
    pub(crate) udp: InUse,
}

impl Offload {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::DeviceTcp,
        Self::DeviceUdp,
        Self::Merge,
        Self::Segment,
        Self::Coalesce,
    ];

    /// Its name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::DeviceTcp => "device-tcp",
            Self::DeviceUdp => "device-udp",
            Self::Merge => "merge",
            Self::Segment => "segment",
            Self::Coalesce => "coalesce",
        }
    }
}

impl fmt::Display for Offload {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(self.name())
    }
}

impl Forbidden {
    /// Whether it is allowed.
    #[must_use]
    pub const fn permits(self, offload: Offload) -> bool {
        self.0 & 1 << offload as u8 == 0
    }
}

impl FromIterator<Offload> for Forbidden {
    fn from_iter<I: IntoIterator<Item = Offload>>(offloads: I) -> Self {
        let bits = offloads.into_iter().map(|offload| 1 << offload as u8);
        Self(bits.fold(0, |all, bit| all | bit))
    }
}

impl InUse {
    pub(crate) const fn new(on: bool) -> Self {
        Self {
            on: AtomicBool::new(on),
            refusals: AtomicU32::new(0),
        }
    }

    pub(crate) fn is_on(&self) -> bool {
        self.on.load(Ordering::Relaxed)
    }

    /// The kernel has taken it.
    pub(crate) fn taken(&self) {
        // Nearly always 0: then the cache line stays shared between cores.
        if self.refusals.load(Ordering::Relaxed) != 0 {
            self.refusals.store(0, Ordering::Relaxed);
        }
    }

    /// The kernel has refused it; returns whether it is given up now.
    pub(crate) fn refused(&self) -> bool {
        let refusals = self.refusals.fetch_add(1, Ordering::Relaxed) + 1;
        refusals >= REFUSALS && self.on.swap(false, Ordering::Relaxed)
    }
}

impl Merging {
    pub(crate) const fn new(tcp: bool, udp: bool) -> Self {
        Self {
            tcp: InUse::new(tcp),
            udp: InUse::new(udp),
        }
    }

    /// For a device with this queue. Super-packets of UDP are only for a kernel that knows them: one before Linux 6.2
    /// refuses each.
    pub(crate) fn probe(queue: &tun::Queue, forbidden: Forbidden) -> Self {
        use offload::{CSUM, USO4, USO6};
        let is_wanted = forbidden.permits(Offload::Merge);
        Self::new(
            is_wanted,
            is_wanted && queue.set_offload(CSUM | USO4 | USO6).is_ok(),
        )
    }

    pub(crate) fn enabled(&self) -> Enabled {
        Enabled {
            tcp: self.tcp.is_on(),
            udp: self.udp.is_on(),
        }
    }

    pub(crate) const fn of(&self, transport: Transport) -> &InUse {
        match transport {
            Transport::Tcp => &self.tcp,
            Transport::Udp => &self.udp,
        }
    }
}

/// Offers to do part of the kernel's work: split super-packets, compute checksums. What the kernel does not know, it does
/// itself. Returns what it has accepted.
pub(crate) fn offer(queue: &tun::Queue, forbidden: Forbidden) -> u32 {
    use offload::{CSUM, TSO_ECN, TSO4, TSO6, USO4, USO6};
    let tcp = match forbidden.permits(Offload::DeviceTcp) {
        true => CSUM | TSO4 | TSO6 | TSO_ECN,
        false => 0,
    };
    // UDP segmentation is known since Linux 6.2.
    let udp = match forbidden.permits(Offload::DeviceUdp) {
        true => CSUM | USO4 | USO6,
        false => 0,
    };
    let wanted = [tcp | udp, tcp, CSUM & tcp, 0];
    let mut left = wanted.into_iter();
    left.find(|flags| queue.set_offload(*flags).is_ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_forbidden_is_not_permitted() {
        let forbidden: Forbidden = [Offload::Merge, Offload::Coalesce].into_iter().collect();
        let permitted: Vec<_> = Offload::ALL
            .into_iter()
            .filter(|offload| forbidden.permits(*offload))
            .collect();
        assert_eq!(
            permitted,
            [Offload::DeviceTcp, Offload::DeviceUdp, Offload::Segment]
        );
        assert!(
            Offload::ALL
                .iter()
                .all(|it| Forbidden::default().permits(*it))
        );
    }

    #[test]
    fn one_kind_of_super_packets_is_given_up_without_the_other() {
        let merging = Merging::new(true, true);
        for _ in 0..REFUSALS {
            merging.of(Transport::Udp).refused();
            merging.of(Transport::Tcp).taken();
        }
        let left = Enabled {
            tcp: true,
            udp: false,
        };
        assert_eq!(merging.enabled(), left);
    }

    #[test]
    fn only_refusals_in_a_row_end_an_offload_and_only_once() {
        let offload = InUse::new(true);
        for _ in 0..10 {
            assert!(!offload.refused());
            assert!(!offload.refused());
            offload.taken();
        }
        assert!(offload.is_on());
        let given_up = (0..10).filter(|_| offload.refused()).count();
        assert_eq!(given_up, 1);
        assert!(!offload.is_on());
    }
}
