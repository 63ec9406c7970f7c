//! What the attributes of a message may be: one table a family, which validates requests, words the
//! refusals and answers `CTRL_CMD_GETPOLICY`.

use crate::Errno;
use crate::answer::{Extack, Rejection};
use crate::tlv::{ATTRIBUTE_HEADER, Attribute, Attributes, Writer};

/// A generic Netlink family.
pub(crate) struct Family {
    pub(crate) name: &'static str,
    pub(crate) version: u8,
    /// As told by GETFAMILY; 0 for families whose commands have policies of their own.
    pub(crate) max_attribute: u32,
    pub(crate) commands: &'static [Command],
    /// Name of the multicast group.
    pub(crate) group: &'static str,
}

impl Family {
    /// The command with this number, notifications excluded.
    pub(crate) fn command(&self, number: u8) -> Option<&'static Command> {
        self.commands
            .iter()
            .find(|command| command.number == number)
    }
}

/// A command, with what its request may hold.
pub(crate) struct Command {
    pub(crate) number: u8,
    /// Of the plain request, if there is one.
    pub(crate) plain: Option<&'static Policy>,
    /// Of the dump, if there is one.
    pub(crate) dump: Option<&'static Policy>,
    /// Whether it takes `CAP_NET_ADMIN`.
    pub(crate) admin: bool,
}

impl Command {
    /// `OP_FLAGS` of GETFAMILY (dco-behaviour 2.1).
    pub(crate) fn flags(&self) -> u32 {
        let (admin, plain, dump, has_policy) = (1, 2, 4, 8);
        let mut flags = has_policy;
        for (set, flag) in [
            (self.admin, admin),
            (self.plain.is_some(), plain),
            (self.dump.is_some(), dump),
        ] {
            flags |= if set { flag } else { 0 };
        }
        flags
    }
}

/// The attributes of a message or nest. A `static` each: GETPOLICY tells them apart by address.
pub(crate) struct Policy {
    /// The highest number; above is "Unknown", below and not listed "Unsupported".
    pub(crate) max: u16,
    pub(crate) attributes: &'static [(u16, Kind)],
}

impl Policy {
    fn kind(&self, number: u16) -> Option<Kind> {
        let found = self
            .attributes
            .iter()
            .find(|(listed, _)| *listed == number)?;
        Some(found.1)
    }
}

/// What one attribute may be.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    /// A byte from 0 to this.
    U8(u8),
    /// A 16 bit integer from 0 to this.
    U16(u16),
    /// A 32 bit integer from 0 to this.
    U32(u32),
    /// A signed 32 bit integer.
    S32,
    /// An unsigned integer of 4 or 8 bytes.
    Uint,
    /// 16 bits in network order, not below this.
    Be16 { min: u16 },
    /// 32 bits in network order.
    Be32,
    /// Exactly so many bytes.
    Exactly(u16),
    /// At most so many bytes.
    AtMost(u16),
    /// At least so many bytes.
    AtLeast(u16),
    /// A string of at most so many bytes, which ends with a NUL.
    NulString(u16),
    /// A string of at most so many bytes.
    String(u16),
    /// Further attributes.
    Nest(&'static Policy),
}

/// How much of what is wrong is refused.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Strictness {
    /// Everything: all commands of our families.
    Strict,
    /// Only what can't be read: rtnetlink, and nlctrl's GETFAMILY.
    Lax,
}

/// `NL_POLICY_TYPE_ATTR_*`.
mod told {
    pub(super) const TYPE: u16 = 1;
    pub(super) const MIN_SIGNED: u16 = 2;
    pub(super) const MAX_SIGNED: u16 = 3;
    pub(super) const MIN: u16 = 4;
    pub(super) const MAX: u16 = 5;
    pub(super) const MIN_LENGTH: u16 = 6;
    pub(super) const MAX_LENGTH: u16 = 7;
    pub(super) const NEST_INDEX: u16 = 8;
    pub(super) const NEST_MAX: u16 = 9;
}

impl Kind {
    /// Whether the kernel tells what it is, in errors and in GETPOLICY; not the big-endian ones
    /// (golden).
    pub(crate) fn is_told(&self) -> bool {
        !matches!(self, Self::Be16 { .. } | Self::Be32)
    }

    /// Writes what it is; `index` is that of a nest's policy in a GETPOLICY dump.
    pub(crate) fn describe(&self, to: &mut Writer, index: Option<u32>) {
        if let Some(max) = self.max() {
            to.u64(told::MIN, 0);
            to.u64(told::MAX, max);
        }
        match self {
            Self::S32 => {
                to.put(told::MIN_SIGNED, &i64::from(i32::MIN).to_ne_bytes());
                to.put(told::MAX_SIGNED, &i64::from(i32::MAX).to_ne_bytes());
            }
            // A bound on one side only isn't told (golden: CIPHER_KEY).
            Self::Exactly(length) => {
                to.u32(told::MIN_LENGTH, (*length).into());
                to.u32(told::MAX_LENGTH, (*length).into());
            }
            Self::NulString(length) | Self::String(length) => {
                to.u32(told::MAX_LENGTH, (*length).into())
            }
            Self::Nest(policy) => {
                if let Some(index) = index {
                    to.u32(told::NEST_INDEX, index);
                    to.u32(told::NEST_MAX, policy.max.into());
                }
            }
            _ => {}
        }
        to.u32(told::TYPE, self.told_type());
    }

    /// `NL_ATTR_TYPE_*`.
    fn told_type(&self) -> u32 {
        match self {
            Self::U8(_) => 2,
            Self::U16(_) | Self::Be16 { .. } => 3,
            Self::U32(_) | Self::Be32 => 4,
            Self::S32 => 8,
            Self::Exactly(_) | Self::AtMost(_) | Self::AtLeast(_) => 10,
            Self::String(_) => 11,
            Self::NulString(_) => 12,
            Self::Nest(_) => 13,
            Self::Uint => 17,
        }
    }

    /// The greatest value of an unsigned integer.
    fn max(&self) -> Option<u64> {
        match *self {
            Self::U8(max) => Some(max.into()),
            Self::U16(max) => Some(max.into()),
            Self::U32(max) => Some(max.into()),
            Self::Uint => Some(u64::MAX),
            _ => None,
        }
    }

    /// Length of an integer that has just one.
    fn length(&self) -> Option<usize> {
        match self {
            Self::U8(_) => Some(1),
            Self::U16(_) | Self::Be16 { .. } => Some(2),
            Self::U32(_) | Self::S32 | Self::Be32 => Some(4),
            _ => None,
        }
    }
}

/// Checks attributes against a policy.
///
/// The checks and their order are the kernel's, as far as they show (dco-behaviour 2.4, golden
/// `validation_peer_new`).
pub(crate) fn validate(
    policy: &'static Policy,
    mut attributes: Attributes<'_>,
    how: Strictness,
) -> Result<(), Rejection> {
    for attribute in attributes.by_ref() {
        let number = attribute.number();
        if number == 0 || number > policy.max {
            if how == Strictness::Strict {
                return Err(wrong(
                    &attribute,
                    None,
                    Errno::EINVAL,
                    "Unknown attribute type",
                ));
            }
            continue;
        }
        match policy.kind(number) {
            Some(kind) => validate_one(kind, &attribute, how)?,
            None if how == Strictness::Strict => {
                return Err(wrong(
                    &attribute,
                    None,
                    Errno::EINVAL,
                    "Unsupported attribute",
                ));
            }
            None => {}
        }
    }
    if attributes.leftover() && how == Strictness::Strict {
        return Err(Rejection::text(Errno::EINVAL, LEFTOVER));
    }
    Ok(())
}

/// What strict validation refuses bytes behind the attributes with, and lax validation warns with.
pub(crate) const LEFTOVER: &str = "bytes leftover after parsing attributes";

/// What lax validation accepts with a warning, which goes into the ACK.
pub(crate) fn warning(mut attributes: Attributes<'_>) -> Extack {
    attributes.by_ref().for_each(drop);
    Extack {
        text: attributes.leftover().then_some(LEFTOVER.into()),
        ..Extack::default()
    }
}

fn validate_one(kind: Kind, attribute: &Attribute<'_>, how: Strictness) -> Result<(), Rejection> {
    let wrong = |errno, text| Err(wrong(attribute, Some(kind), errno, text));
    let length = attribute.payload.len();
    if how == Strictness::Strict {
        if kind.length().is_some_and(|only| length != only) {
            return wrong(Errno::EINVAL, "invalid attribute length");
        }
        match (kind, attribute.is_nested()) {
            (Kind::Nest(_), false) => return wrong(Errno::EINVAL, "NLA_F_NESTED is missing"),
            (Kind::Nest(_), true) | (_, false) => {}
            (_, true) => return wrong(Errno::EINVAL, "NLA_F_NESTED not expected"),
        }
    }
    match kind {
        Kind::Nest(policy) => {
            // An empty nest is one; a header cut short isn't.
            if length == 0 {
                return Ok(());
            }
            if length < ATTRIBUTE_HEADER {
                return wrong(Errno::ERANGE, UNREADABLE);
            }
            validate(policy, attribute.members(), how)
        }
        Kind::Uint if length != 4 && length != 8 => {
            wrong(Errno::EINVAL, "invalid attribute length")
        }
        Kind::NulString(max) | Kind::String(max) => validate_string(kind, max.into(), attribute),
        Kind::Exactly(only) if length != usize::from(only) => wrong(Errno::ERANGE, BINARY_SIZE),
        Kind::AtMost(max) if length > usize::from(max) => wrong(Errno::ERANGE, BINARY_SIZE),
        Kind::AtLeast(min) if length < usize::from(min) => wrong(Errno::ERANGE, BINARY_SIZE),
        _ if kind.length().is_some_and(|least| length < least) => wrong(Errno::ERANGE, UNREADABLE),
        _ if !in_range(kind, attribute) => wrong(Errno::ERANGE, "integer out of range"),
        _ => Ok(()),
    }
}

const UNREADABLE: &str = "Attribute failed policy validation";
const BINARY_SIZE: &str = "binary attribute size out of range";

/// The NUL counts against the length of neither kind, but it must come within it for
/// [`Kind::NulString`].
fn validate_string(kind: Kind, max: usize, attribute: &Attribute<'_>) -> Result<(), Rejection> {
    let bytes = attribute.payload;
    let nul = bytes.iter().take(max + 1).any(|&byte| byte == 0);
    if matches!(kind, Kind::NulString(_)) && !nul {
        return Err(wrong(attribute, Some(kind), Errno::EINVAL, UNREADABLE));
    }
    let text = bytes.strip_suffix(&[0]).unwrap_or(bytes);
    if bytes.is_empty() || text.len() > max {
        return Err(wrong(attribute, Some(kind), Errno::ERANGE, UNREADABLE));
    }
    Ok(())
}

fn in_range(kind: Kind, attribute: &Attribute<'_>) -> bool {
    match kind {
        Kind::U8(max) => attribute.u8().is_some_and(|value| value <= max),
        Kind::U16(max) => attribute.u16().is_some_and(|value| value <= max),
        Kind::U32(max) => attribute.u32().is_some_and(|value| value <= max),
        Kind::Be16 { min } => attribute
            .array()
            .is_some_and(|bytes| u16::from_be_bytes(bytes) >= min),
        _ => true,
    }
}

fn wrong(
    attribute: &Attribute<'_>,
    policy: Option<Kind>,
    errno: Errno,
    text: &'static str,
) -> Rejection {
    let extack = Extack {
        text: Some(text.into()),
        offset: Some(attribute.offset),
        policy,
        ..Extack::default()
    };
    Rejection::with(errno, extack)
}

#[cfg(test)]
mod tests;
