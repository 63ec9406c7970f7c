//! rtnetlink's link requests, decoded as far as they concern us: creation, change, deletion and look-up (dco-behaviour
//! 2.15, 4.2).
//!
//! Validation is lax here, as in the kernel: nests need no mark, and unknown attributes are ignored.

use alloc::vec::Vec;

use crate::answer;
use crate::fixed_header::LinkHeader;
use crate::message::Header;
use crate::numbers::{
    IFF_UP, IFLA_IFNAME, IFLA_INFO_DATA, IFLA_INFO_KIND, IFLA_LINKINFO, IFLA_MTU, IFLA_OVPN_MODE,
    IFNAME_LEN, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE, NLM_F_REQUEST, RTM_DELLINK, RTM_GETLINK,
    RTM_NEWLINK, RTM_SETLINK,
};
use crate::rejection::Rejection;
use crate::requester::Requester;
use crate::schema::{Kind, Policy};
use crate::tlv::{Attributes, Members};
use crate::validate::{self, Strictness};
use crate::{Api, Errno, Mode};

/// Only the attributes that are read here.
static LINK: Policy = Policy {
    max: IFLA_LINKINFO,
    attributes: &[
        (IFLA_IFNAME, Kind::String(IFNAME_LEN)),
        (IFLA_MTU, Kind::U32(u32::MAX)),
        (IFLA_LINKINFO, Kind::Nest(&LINKINFO)),
    ],
};
static LINKINFO: Policy = Policy {
    max: IFLA_INFO_DATA,
    attributes: &[],
};
static INFO_DATA: Policy = Policy {
    max: IFLA_OVPN_MODE,
    attributes: &[(IFLA_OVPN_MODE, Kind::U8(1))],
};

/// A message to rtnetlink, as far as it concerns us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkRequest<'a> {
    /// It concerns the kernel only.
    NotOurs,
    /// Create or change a link of one of our kinds.
    New(LinkNew<'a>),
    /// Set the MTU of a link of any kind, in bytes: ours have a smaller maximum than the TUN device underneath (faults
    /// F1).
    SetMtu(LinkTarget<'a>, u32),
    /// Delete a link, which is ours if the target is.
    Delete(LinkTarget<'a>),
    /// Report a link, which is ours if the target is.
    Show(LinkTarget<'a>),
    /// An invalid request for one of our kinds: the answer.
    Refused(Vec<u8>),
}

/// RTM_NEWLINK of the kind `ovpn` or `ovpn-dco`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkNew<'a> {
    /// The API of the kind: `ovpn-dco`, without "-v2", is [`Api::DcoV2`].
    pub api: Api,
    /// Name and index; without a name the kernel takes the first free `ovpn%d`.
    pub target: LinkTarget<'a>,
    /// Mode; P2P by default.
    pub mode: Mode,
    /// Whether it has `IFLA_INFO_DATA`, even an empty one: for an existing link that gives `EOPNOTSUPP`.
    pub has_data: bool,
    /// Whether to create it if it does not exist, instead of `ENODEV`.
    pub create: bool,
    /// Whether to fail with `EEXIST` if it exists.
    pub exclusive: bool,
    /// Whether to replace it, which gives `EOPNOTSUPP` if it exists.
    pub replace: bool,
    /// MTU in bytes; `None`: the default of its API.
    pub mtu: Option<u32>,
    /// Whether to set it up.
    pub up: bool,
}

/// The link that a request is about; if it has both index and name, the index counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkTarget<'a> {
    /// Interface index.
    pub ifindex: Option<u32>,
    /// Interface name, at most 15 bytes.
    pub name: Option<&'a str>,
}

/// Decodes one message sent to rtnetlink; [`crate::Messages`] splits a datagram.
///
/// [`crate::acknowledgement`] and [`crate::refusal`] encode the answers.
pub fn link_request<'a>(requester: &Requester, message: &'a [u8]) -> LinkRequest<'a> {
    let read = match Header::of(message) {
        Some(header) if header.flags & NLM_F_REQUEST != 0 => read(requester, &header, message),
        _ => Ok(LinkRequest::NotOurs),
    };
    read.unwrap_or_else(|Rejection { errno, extack }| {
        LinkRequest::Refused(answer::error_message(requester, message, errno, &extack))
    })
}

fn read<'a>(
    requester: &Requester,
    header: &Header,
    message: &'a [u8],
) -> Result<LinkRequest<'a>, Rejection> {
    let Some(link) = LinkHeader::of(message) else {
        return Ok(LinkRequest::NotOurs);
    };
    if header.kind < RTM_NEWLINK || header.kind > RTM_SETLINK {
        return Ok(LinkRequest::NotOurs);
    }
    let attributes = Attributes::of(message, LinkHeader::END);
    let members = Members::of(attributes);
    let target = LinkTarget {
        ifindex: Some(link.ifindex).filter(|index| *index != 0),
        name: members
            .find(IFLA_IFNAME)
            .and_then(|found| found.text())
            .filter(|name| !name.is_empty()),
    };
    match header.kind {
        // The kernel answers dumps of all links.
        RTM_GETLINK if header.is_dump() || target == LinkTarget::default() => {
            Ok(LinkRequest::NotOurs)
        }
        RTM_GETLINK => Ok(LinkRequest::Show(target)),
        RTM_DELLINK if target == LinkTarget::default() => Ok(LinkRequest::NotOurs),
        RTM_DELLINK => Ok(LinkRequest::Delete(target)),
        RTM_SETLINK => Ok(set_mtu(requester, &members, target)),
        _ => read_new(requester, header, message, &members, target),
    }
}

/// A change of the MTU, if the request has one. If the requester lacks the privilege, refusing is left to the kernel.
fn set_mtu<'a>(
    requester: &Requester,
    members: &Members<'_>,
    target: LinkTarget<'a>,
) -> LinkRequest<'a> {
    match members.find(IFLA_MTU).and_then(|found| found.u32()) {
        Some(mtu) if requester.admin => LinkRequest::SetMtu(target, mtu),
        _ => LinkRequest::NotOurs,
    }
}

fn read_new<'a>(
    requester: &Requester,
    header: &Header,
    message: &'a [u8],
    members: &Members<'a>,
    target: LinkTarget<'a>,
) -> Result<LinkRequest<'a>, Rejection> {
    let info = members
        .find(IFLA_LINKINFO)
        .map(|found| Members::of(found.members()));
    let kind = info.and_then(|info| info.find(IFLA_INFO_KIND)?.text());
    let api = match kind {
        Some("ovpn") => Api::Ovpn,
        Some("ovpn-dco") => Api::DcoV2,
        None => return Ok(set_mtu(requester, members, target)),
        Some(_) => return Ok(LinkRequest::NotOurs),
    };
    if !requester.admin {
        return Err(Rejection::bare(Errno::EPERM));
    }
    validate::attributes(
        &LINK,
        Attributes::of(message, LinkHeader::END),
        Strictness::Lax,
    )?;
    // An empty name counts as absent. A name that is not UTF-8 is invalid, because the engine cannot represent it.
    let named = members.find(IFLA_IFNAME).and_then(|found| found.u8());
    let bad = match target.name {
        Some(name) => !is_name(name),
        None => named.is_some_and(|first| first != 0),
    };
    if bad {
        return Err(Rejection::bare(Errno::EINVAL));
    }
    let data = info.and_then(|info| info.find(IFLA_INFO_DATA));
    let mut mode = Mode::P2p;
    if let Some(data) = data {
        validate::attributes(&INFO_DATA, data.members(), Strictness::Lax)?;
        let given = Members::of(data.members())
            .find(IFLA_OVPN_MODE)
            .and_then(|found| found.u8());
        if given == Some(1) {
            mode = Mode::Mp;
        }
    }
    Ok(LinkRequest::New(LinkNew {
        api,
        target,
        mode,
        has_data: data.is_some(),
        create: header.flags & NLM_F_CREATE != 0,
        exclusive: header.flags & NLM_F_EXCL != 0,
        replace: header.flags & NLM_F_REPLACE != 0,
        mtu: members.find(IFLA_MTU).and_then(|found| found.u32()),
        up: LinkHeader::of(message).is_some_and(|link| link.flags & IFF_UP != 0),
    }))
}

/// Whether the kernel accepts this as an interface name.
fn is_name(name: &str) -> bool {
    let bad = |c: char| c == '/' || c == ':' || c.is_ascii_whitespace() || c == '\x0b';
    name != "." && name != ".." && !name.contains(bad)
}

#[cfg(test)]
mod tests;
