//! The refusal of a request: an error number and the attributes of an extended ACK.

use alloc::borrow::Cow;
use alloc::boxed::Box;

use crate::Errno;
use crate::numbers::{
    NLMSGERR_ATTR_MISS_NEST, NLMSGERR_ATTR_MISS_TYPE, NLMSGERR_ATTR_MSG, NLMSGERR_ATTR_OFFS,
    NLMSGERR_ATTR_POLICY,
};
use crate::schema::Kind;
use crate::tlv::Writer;

/// The extended part of an ACK or error.
#[derive(Clone, Default)]
pub(crate) struct Extack {
    /// Text for people.
    pub(crate) text: Option<Cow<'static, str>>,
    /// Offset of the offending attribute in the request.
    pub(crate) offset: Option<usize>,
    /// The type and range that the attribute violates.
    pub(crate) policy: Option<Kind>,
    /// Number of the missing attribute.
    pub(crate) missing: Option<u16>,
    /// Offset of the nest that lacks it.
    pub(crate) missing_in: Option<usize>,
}

impl Extack {
    /// Writes its attributes in the kernel's order (golden: MSG, OFFS, POLICY; MISS_TYPE, MISS_NEST).
    pub(crate) fn write(&self, to: &mut Writer) {
        if let Some(text) = &self.text {
            to.string(NLMSGERR_ATTR_MSG, text);
        }
        if let Some(offset) = self.offset {
            to.u32(
                NLMSGERR_ATTR_OFFS,
                u32::try_from(offset).unwrap_or(u32::MAX),
            );
        }
        if let Some(policy) = self.policy.filter(Kind::is_reported) {
            to.nest(NLMSGERR_ATTR_POLICY, |nest| policy.describe(nest, None));
        }
        if let Some(missing) = self.missing {
            to.u32(NLMSGERR_ATTR_MISS_TYPE, missing.into());
        }
        if let Some(nest) = self.missing_in {
            to.u32(
                NLMSGERR_ATTR_MISS_NEST,
                u32::try_from(nest).unwrap_or(u32::MAX),
            );
        }
    }

    /// Whether there is nothing to write.
    pub(crate) fn is_empty(&self) -> bool {
        self.text.is_none()
            && self.offset.is_none()
            && self.missing.is_none()
            && self.missing_in.is_none()
    }
}

/// The refusal of a request: all that the answer reports.
#[derive(Clone)]
pub(crate) struct Rejection {
    pub(crate) errno: Errno,
    pub(crate) extack: Box<Extack>,
}

impl Rejection {
    /// An error number without an extended ACK.
    pub(crate) fn bare(errno: Errno) -> Self {
        Self::with(errno, Extack::default())
    }

    /// An error number and an extended ACK.
    pub(crate) fn with(errno: Errno, extack: Extack) -> Self {
        Self {
            errno,
            extack: Box::new(extack),
        }
    }

    /// An error number and a text.
    pub(crate) fn text(errno: Errno, text: impl Into<Cow<'static, str>>) -> Self {
        let text = Some(text.into());
        Self::with(
            errno,
            Extack {
                text,
                ..Extack::default()
            },
        )
    }

    /// A missing attribute, at the top level or in the nest at this offset.
    pub(crate) fn missing(number: u16, nest: Option<usize>) -> Self {
        let (missing, missing_in) = (Some(number), nest);
        Self::with(
            Errno::EINVAL,
            Extack {
                missing,
                missing_in,
                ..Extack::default()
            },
        )
    }
}
