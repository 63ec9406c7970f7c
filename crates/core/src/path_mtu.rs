//! The MTU of the path to a peer.

use core::sync::atomic::{AtomicU16, Ordering};

/// The MTU of a path until it is known: Ethernet's.
pub const ASSUMED: u16 = 1500;

/// Outer IPv4: what every host must be able to receive (RFC 791). The kernel validates what ICMP says about a path;
/// this limits the harm of a forgery that passes.
const LEAST_V4: u16 = 576;

/// Outer IPv6: the least MTU of any link (RFC 8200, section 5).
const LEAST_V6: u16 = 1280;

/// A path MTU in bytes of the outer packet. All snapshots of a peer share it, so that it changes without a new one.
#[derive(Debug)]
pub struct PathMtu(AtomicU16);

impl PathMtu {
    /// The length of the longest outer packet that need not be fragmented.
    #[must_use]
    pub fn bytes(&self) -> u16 {
        self.0.load(Ordering::Relaxed)
    }

    /// Sets it to the kernel's value, within sane limits; `None` if the kernel has none.
    pub fn set(&self, known: Option<u32>, outer_is_v6: bool) {
        let least = if outer_is_v6 { LEAST_V6 } else { LEAST_V4 };
        let mtu = known.map_or(ASSUMED, |mtu| {
            u16::try_from(mtu).unwrap_or(u16::MAX).max(least)
        });
        self.0.store(mtu, Ordering::Relaxed);
    }
}

impl Default for PathMtu {
    fn default() -> Self {
        Self(AtomicU16::new(ASSUMED))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sane_values_are_kept() {
        let path = PathMtu::default();
        assert_eq!(path.bytes(), 1500);
        for (known, v4, v6) in [
            (Some(1400), 1400, 1400),
            (Some(0), 576, 1280),
            (Some(1279), 1279, 1280),
            (Some(65_536), 65_535, 65_535),
            (None, 1500, 1500),
        ] {
            path.set(known, false);
            assert_eq!(path.bytes(), v4);
            path.set(known, true);
            assert_eq!(path.bytes(), v6);
        }
    }
}
