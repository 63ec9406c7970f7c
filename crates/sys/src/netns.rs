//! The number of a network namespace.

use std::num::NonZeroU64;

/// A network namespace by its number, or an unknown one: before Linux 5.14 the kernel does not number them.
///
/// There is no `==`, since two unknown namespaces need not be the same one. Each comparison states what an unknown one
/// means, with [`Netns::is`] or [`Netns::may_be`]:
///
/// ```
/// let (one, unknown) = (udco_sys::Netns::numbered(7), udco_sys::Netns::UNKNOWN);
/// assert!(!one.is(unknown) && one.may_be(unknown));
/// ```
/// ```compile_fail,E0369
/// let (one, other) = (udco_sys::Netns::UNKNOWN, udco_sys::Netns::UNKNOWN);
/// let is_same = one == other;
/// ```
#[derive(Clone, Copy, Debug, Default)]
#[repr(transparent)]
pub struct Netns(Option<NonZeroU64>);

impl Netns {
    /// A namespace about which nothing is known.
    pub const UNKNOWN: Self = Self(None);

    /// The namespace with this number; 0 stands for an unknown one, as in udco's messages and output.
    #[must_use]
    pub const fn numbered(number: u64) -> Self {
        Self(NonZeroU64::new(number))
    }

    /// Its number; 0 if it is unknown.
    #[must_use]
    pub const fn number(self) -> u64 {
        match self.0 {
            Some(number) => number.get(),
            None => 0,
        }
    }

    /// Whether it is known.
    #[must_use]
    pub const fn is_known(self) -> bool {
        self.0.is_some()
    }

    /// Whether both are known to be the same namespace.
    #[must_use]
    pub const fn is(self, other: Self) -> bool {
        self.is_known() && self.number() == other.number()
    }

    /// Whether nothing shows that they are different namespaces.
    #[must_use]
    pub const fn may_be(self, other: Self) -> bool {
        !self.is_known() || !other.is_known() || self.is(other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_namespace_may_be_any_and_is_none() {
        let numbers = [0, 1, 2, u64::MAX];
        for (one, other) in numbers
            .iter()
            .flat_map(|one| numbers.map(|other| (*one, other)))
        {
            let (left, right) = (Netns::numbered(one), Netns::numbered(other));
            assert_eq!(left.is(right), one == other && one != 0, "{one} {other}");
            let may_be = one == other || one == 0 || other == 0;
            assert_eq!(left.may_be(right), may_be, "{one} {other}");
            assert_eq!((left.number(), left.is_known()), (one, one != 0));
        }
        assert!(!Netns::UNKNOWN.is(Netns::UNKNOWN));
        assert!(!Netns::default().is_known());
    }
}
