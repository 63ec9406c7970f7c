//! The schema of a family: its commands and the attributes that each takes. One table drives validation, the texts of
//! refusals and the answer to `CTRL_CMD_GETPOLICY`.

use crate::numbers::{
    GENL_ADMIN_PERM, GENL_CMD_CAP_DO, GENL_CMD_CAP_DUMP, GENL_CMD_CAP_HASPOL, NL_ATTR_TYPE_BINARY,
    NL_ATTR_TYPE_NESTED, NL_ATTR_TYPE_NUL_STRING, NL_ATTR_TYPE_S32, NL_ATTR_TYPE_STRING,
    NL_ATTR_TYPE_U8, NL_ATTR_TYPE_U16, NL_ATTR_TYPE_U32, NL_ATTR_TYPE_UINT,
    NL_POLICY_TYPE_ATTR_MAX_LENGTH, NL_POLICY_TYPE_ATTR_MAX_VALUE_S,
    NL_POLICY_TYPE_ATTR_MAX_VALUE_U, NL_POLICY_TYPE_ATTR_MIN_LENGTH,
    NL_POLICY_TYPE_ATTR_MIN_VALUE_S, NL_POLICY_TYPE_ATTR_MIN_VALUE_U,
    NL_POLICY_TYPE_ATTR_POLICY_IDX, NL_POLICY_TYPE_ATTR_POLICY_MAXTYPE, NL_POLICY_TYPE_ATTR_TYPE,
};
use crate::tlv::Writer;

/// A generic Netlink family.
pub(crate) struct Family {
    pub(crate) name: &'static str,
    pub(crate) version: u8,
    /// As GETFAMILY reports it; 0 for families whose commands each have their own policy.
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

/// A command, with the policies of its requests.
pub(crate) struct Command {
    pub(crate) number: u8,
    /// Policy of the plain form, if there is one.
    pub(crate) plain: Option<&'static Policy>,
    /// Policy of the dump, if there is one.
    pub(crate) dump: Option<&'static Policy>,
    /// Whether it requires `CAP_NET_ADMIN`.
    pub(crate) admin: bool,
}

impl Command {
    /// `OP_FLAGS` of GETFAMILY (dco-behaviour 2.1).
    pub(crate) fn flags(&self) -> u32 {
        let mut flags = GENL_CMD_CAP_HASPOL;
        for (set, flag) in [
            (self.admin, GENL_ADMIN_PERM),
            (self.plain.is_some(), GENL_CMD_CAP_DO),
            (self.dump.is_some(), GENL_CMD_CAP_DUMP),
        ] {
            flags |= if set { flag } else { 0 };
        }
        flags
    }
}

/// The attributes of a message or nest. Each is a `static`, because GETPOLICY distinguishes them by address.
pub(crate) struct Policy {
    /// The highest number. A higher one is "Unknown"; a lower one that is not listed is "Unsupported".
    pub(crate) max: u16,
    pub(crate) attributes: &'static [(u16, Kind)],
}

impl Policy {
    /// The kind of the attribute with this number.
    pub(crate) fn kind(&self, number: u16) -> Option<Kind> {
        let found = self
            .attributes
            .iter()
            .find(|(listed, _)| *listed == number)?;
        Some(found.1)
    }
}

/// The type and range of an attribute.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    /// A byte from 0 to this.
    U8(u8),
    /// A 16-bit integer from 0 to this.
    U16(u16),
    /// A 32-bit integer from 0 to this.
    U32(u32),
    /// A signed 32-bit integer.
    S32,
    /// An unsigned integer of 4 or 8 bytes.
    Uint,
    /// 16 bits in network order, not below this.
    Be16 { min: u16 },
    /// 32 bits in network order.
    Be32,
    /// Exactly this many bytes.
    Exactly(u16),
    /// At most this many bytes.
    AtMost(u16),
    /// At least this many bytes.
    AtLeast(u16),
    /// A string of at most this many bytes before its NUL, which is required.
    NulString(u16),
    /// A string of at most this many bytes; a NUL at its end is optional.
    String(u16),
    /// A nest with attributes of this policy.
    Nest(&'static Policy),
}

impl Kind {
    /// Whether the kernel reports it, in errors and in GETPOLICY; it leaves out big-endian integers (golden).
    pub(crate) fn is_reported(&self) -> bool {
        !matches!(self, Self::Be16 { .. } | Self::Be32)
    }

    /// Writes the members that describe it; `index` is that of a nest's policy in a GETPOLICY dump.
    pub(crate) fn describe(&self, to: &mut Writer, index: Option<u32>) {
        if let Some(max) = self.max() {
            to.u64(NL_POLICY_TYPE_ATTR_MIN_VALUE_U, 0);
            to.u64(NL_POLICY_TYPE_ATTR_MAX_VALUE_U, max);
        }
        match self {
            Self::S32 => {
                to.put(
                    NL_POLICY_TYPE_ATTR_MIN_VALUE_S,
                    &i64::from(i32::MIN).to_ne_bytes(),
                );
                to.put(
                    NL_POLICY_TYPE_ATTR_MAX_VALUE_S,
                    &i64::from(i32::MAX).to_ne_bytes(),
                );
            }
            // A bound on one side only is not reported (golden: CIPHER_KEY).
            Self::Exactly(length) => {
                to.u32(NL_POLICY_TYPE_ATTR_MIN_LENGTH, (*length).into());
                to.u32(NL_POLICY_TYPE_ATTR_MAX_LENGTH, (*length).into());
            }
            Self::NulString(length) | Self::String(length) => {
                to.u32(NL_POLICY_TYPE_ATTR_MAX_LENGTH, (*length).into())
            }
            Self::Nest(policy) => {
                if let Some(index) = index {
                    to.u32(NL_POLICY_TYPE_ATTR_POLICY_IDX, index);
                    to.u32(NL_POLICY_TYPE_ATTR_POLICY_MAXTYPE, policy.max.into());
                }
            }
            _ => {}
        }
        to.u32(NL_POLICY_TYPE_ATTR_TYPE, self.reported_type());
    }

    /// `NL_ATTR_TYPE_*`.
    fn reported_type(&self) -> u32 {
        match self {
            Self::U8(_) => NL_ATTR_TYPE_U8,
            Self::U16(_) | Self::Be16 { .. } => NL_ATTR_TYPE_U16,
            Self::U32(_) | Self::Be32 => NL_ATTR_TYPE_U32,
            Self::S32 => NL_ATTR_TYPE_S32,
            Self::Exactly(_) | Self::AtMost(_) | Self::AtLeast(_) => NL_ATTR_TYPE_BINARY,
            Self::String(_) => NL_ATTR_TYPE_STRING,
            Self::NulString(_) => NL_ATTR_TYPE_NUL_STRING,
            Self::Nest(_) => NL_ATTR_TYPE_NESTED,
            Self::Uint => NL_ATTR_TYPE_UINT,
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

    /// Length of an integer of fixed size.
    pub(crate) fn length(&self) -> Option<usize> {
        match self {
            Self::U8(_) => Some(1),
            Self::U16(_) | Self::Be16 { .. } => Some(2),
            Self::U32(_) | Self::S32 | Self::Be32 => Some(4),
            _ => None,
        }
    }
}
