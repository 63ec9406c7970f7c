//! Validation of requests, with the kernel's checks in the kernel's order.

use crate::Errno;
use crate::message::Request;
use crate::numbers::{NLA_HDRLEN, NLM_F_ACK, NLM_F_DUMP, NLM_F_ECHO, NLM_F_REQUEST};
use crate::rejection::{Extack, Rejection};
use crate::schema::{Kind, Policy};
use crate::tlv::{Attribute, Attributes};

/// The strictness of validation.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Strictness {
    /// Refuses everything that the policy does not list: all commands of our families.
    Strict,
    /// Refuses only what cannot be read: rtnetlink, and nlctrl's GETFAMILY.
    Lax,
}

/// Checks the two headers; the kernel does that before it looks up the command (Linux 6.18).
pub(crate) fn header(request: &Request<'_>) -> Result<(), Rejection> {
    if request.reserved != 0 {
        return Err(Rejection::text(
            Errno::EINVAL,
            "genlmsghdr.reserved field is not 0",
        ));
    }
    let mut flags = request.header.flags;
    if request.header.is_dump() {
        flags &= !NLM_F_DUMP;
    }
    if flags & !(NLM_F_REQUEST | NLM_F_ACK | NLM_F_ECHO) != 0 {
        return Err(Rejection::text(
            Errno::EINVAL,
            "ambiguous or reserved bits set in nlmsg_flags",
        ));
    }
    Ok(())
}

/// Checks attributes against a policy.
///
/// The checks and their order are the kernel's, as far as they are visible (dco-behaviour 2.4, golden
/// `validation_peer_new`).
pub(crate) fn attributes(
    policy: &'static Policy,
    mut list: Attributes<'_>,
    how: Strictness,
) -> Result<(), Rejection> {
    for attribute in list.by_ref() {
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
    if list.leftover() && how == Strictness::Strict {
        return Err(Rejection::text(Errno::EINVAL, LEFTOVER));
    }
    Ok(())
}

/// Text about bytes after the attributes: strict validation refuses them, lax validation warns of them.
pub(crate) const LEFTOVER: &str = "bytes leftover after parsing attributes";

/// The warning of lax validation, which goes into the ACK.
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
            // An empty nest is valid; one that is shorter than a header is not.
            if length == 0 {
                return Ok(());
            }
            if length < NLA_HDRLEN {
                return wrong(Errno::ERANGE, UNREADABLE);
            }
            attributes(policy, attribute.members(), how)
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

/// Checks a string. The NUL does not count towards its length, but [`Kind::NulString`] requires one, no later than
/// right after the longest string.
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
