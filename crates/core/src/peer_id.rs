//! The number by which a packet names its peer (dco-behaviour 1.1).

use core::fmt;

/// A peer id: 24 bits, as many as a packet has room for. No code that compiles makes a longer one:
///
/// ```
/// assert!(udco_core::PeerId::new(1 << 24).is_none());
/// ```
/// ```compile_fail,E0423
/// let id = udco_core::PeerId(1 << 24);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct PeerId(u32);

impl PeerId {
    /// "Undefined": a packet with it belongs to the peer at its source address. It is the largest one, and the API
    /// accepts it like any other.
    pub const UNDEFINED: Self = Self(0xff_ffff);

    /// A peer id; `None` if it has more than 24 bits, so that no packet can carry it.
    #[must_use]
    pub const fn new(id: u32) -> Option<Self> {
        if id <= Self::UNDEFINED.0 {
            Some(Self(id))
        } else {
            None
        }
    }

    /// The id in the first word of a `DATA_V2` packet, behind opcode and key id.
    #[must_use]
    pub(crate) const fn in_word(word: u32) -> Self {
        Self(word & Self::UNDEFINED.0)
    }

    /// The number, below 2^24.
    #[must_use]
    pub const fn value(self) -> u32 {
        self.0
    }
}

impl From<u16> for PeerId {
    fn from(id: u16) -> Self {
        Self(u32::from(id))
    }
}

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_peer_id_has_24_bits() {
        assert_eq!(PeerId::new(0), Some(PeerId::from(0)));
        assert_eq!(PeerId::new(0xff_ffff), Some(PeerId::UNDEFINED));
        assert_eq!(PeerId::new(0x100_0000), None);
        assert_eq!(PeerId::new(u32::MAX), None);
        assert_eq!(size_of::<PeerId>(), 4);
    }

    proptest! {
        #[test]
        fn no_packet_names_an_id_that_cannot_be_made(word: u32) {
            let id = PeerId::in_word(word);
            prop_assert_eq!(PeerId::new(id.value()), Some(id));
            prop_assert_eq!(id.value(), word % (1 << 24));
        }

        #[test]
        fn an_id_has_the_number_it_was_made_from(number: u16) {
            let id = PeerId::from(number);
            prop_assert_eq!(id.value(), u32::from(number));
            prop_assert_eq!(id.to_string(), number.to_string());
        }
    }
}
