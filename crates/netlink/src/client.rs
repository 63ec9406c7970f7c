//! The client side: encodes requests to either family, decodes what comes back.
//!
//! It also talks to the kernel's own driver: the numbers of families and groups are looked up by name.

mod command;
pub mod link;
mod received;

pub use command::{Command, Unsupported};
pub use received::{Failure, Received};

use alloc::borrow::ToOwned;
use alloc::vec::Vec;

use crate::message::{Header, Messages, Request, stated_length};
use crate::numbers::{
    CTRL_ATTR_FAMILY_ID, CTRL_ATTR_FAMILY_NAME, CTRL_ATTR_MCAST_GROUPS, CTRL_ATTR_MCAST_GRP_ID,
    CTRL_CMD_GETFAMILY, GENL_ID_CTRL, NLM_F_ACK, NLM_F_ACK_TLVS, NLM_F_CAPPED, NLM_F_DUMP,
    NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR, NLMSG_HDRLEN, NLMSGERR_ATTR_MISS_TYPE,
    NLMSGERR_ATTR_MSG,
};
use crate::tlv::{self, Attributes, Members};
use crate::{Api, Errno, dco_v2, ovpn};

/// Room for the largest request. A request never moves while it is written: it may hold a key (promises H1).
const ROOM: usize = 1024;

/// Version in `genlmsghdr` of requests; no family checks it.
const VERSION: u8 = 1;

/// A family, as `nlctrl` reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Family {
    /// Which of the two APIs it is.
    pub api: Api,
    /// Its number, which is the type of its messages.
    pub id: u16,
    /// Id of its group `peers`, for `NETLINK_ADD_MEMBERSHIP`.
    pub peers: u32,
}

/// Encodes `CTRL_CMD_GETFAMILY`, which looks up a family by its name. [`family`] reads the answer.
pub fn family_request(api: Api, sequence: u32) -> Vec<u8> {
    let header = Header {
        kind: GENL_ID_CTRL,
        flags: NLM_F_REQUEST | NLM_F_ACK,
        sequence,
        port: 0,
    };
    let name = match api {
        Api::Ovpn => ovpn::FAMILY.name,
        Api::DcoV2 => dco_v2::FAMILY.name,
    };
    header.write_generic(CTRL_CMD_GETFAMILY, VERSION, |message| {
        message.string(CTRL_ATTR_FAMILY_NAME, name);
    })
}

/// Reads the answer to [`family_request`]; `None` if this message is not it.
pub fn family(api: Api, message: &[u8]) -> Option<Family> {
    let answer = Request::of(message)?;
    (answer.header.kind == GENL_ID_CTRL).then_some(())?;
    let members = Members::of(answer.attributes());
    let group = members.find(CTRL_ATTR_MCAST_GROUPS)?.members().next()?;
    let group = Members::of(group.members()).find(CTRL_ATTR_MCAST_GRP_ID)?;
    Some(Family {
        api,
        id: members.find(CTRL_ATTR_FAMILY_ID)?.u16()?,
        peers: group.u32()?,
    })
}

/// Encodes a request about the device with this index.
///
/// # Errors
/// [`Unsupported`]: `ovpn-dco-v2` lacks the command or one of its attributes.
pub fn request(
    family: &Family,
    ifindex: u32,
    sequence: u32,
    command: &Command<'_>,
) -> Result<Vec<u8>, Unsupported> {
    let flags = match command {
        Command::Peers => NLM_F_REQUEST | NLM_F_DUMP,
        _ => NLM_F_REQUEST | NLM_F_ACK,
    };
    let number = match family.api {
        Api::Ovpn => ovpn::client::number(command),
        Api::DcoV2 => dco_v2::client::number(command)?,
    };
    let header = Header {
        kind: family.id,
        flags,
        sequence,
        port: 0,
    };
    let buffer = Vec::with_capacity(ROOM);
    let generic = [number, VERSION, 0, 0];
    Ok(
        header.write_into(buffer, &generic, |message| match family.api {
            Api::Ovpn => ovpn::client::write(message, ifindex, command),
            Api::DcoV2 => dco_v2::client::write(message, ifindex, command),
        }),
    )
}

/// Decodes the messages of a datagram, each with its sequence number; that of notifications is 0.
pub fn decode(families: &[Family], datagram: &[u8]) -> Vec<(u32, Received)> {
    Messages::of(datagram)
        .filter_map(|message| {
            let header = Header::of(message)?;
            Some((header.sequence, read(families, &header, message)))
        })
        .collect()
}

fn read(families: &[Family], header: &Header, message: &[u8]) -> Received {
    if matches!(header.kind, NLMSG_ERROR | NLMSG_DONE) {
        return ended(header, message).map_or(Received::Other, Received::Ended);
    }
    let family = families.iter().find(|family| family.id == header.kind);
    let received = family
        .zip(Request::of(message))
        .and_then(|(family, request)| {
            let members = Members::of(request.attributes());
            match family.api {
                Api::Ovpn => ovpn::client::read(request.command, &members),
                Api::DcoV2 => dco_v2::client::read(request.command, header.sequence, &members),
            }
        });
    received.unwrap_or(Received::Other)
}

/// The outcome in `NLMSG_ERROR` or `NLMSG_DONE`.
fn ended(header: &Header, message: &[u8]) -> Option<Result<(), Failure>> {
    let errno = i32::from_ne_bytes(*message.get(NLMSG_HDRLEN..)?.first_chunk()?);
    if errno == 0 {
        return Some(Ok(()));
    }
    let echo = message.get(NLMSG_HDRLEN + 4..)?;
    let echoed = match (header.kind, header.flags & NLM_F_CAPPED) {
        (NLMSG_DONE, _) => 0,
        (_, 0) => tlv::align(stated_length(echo)?),
        _ => NLMSG_HDRLEN,
    };
    let extack = (header.flags & NLM_F_ACK_TLVS != 0)
        .then(|| Members::of(Attributes::of(message, NLMSG_HDRLEN + 4 + echoed)));
    Some(Err(Failure {
        errno: Errno(errno.saturating_neg()),
        text: extack.and_then(|extack| Some(extack.find(NLMSGERR_ATTR_MSG)?.text()?.to_owned())),
        missing: extack.and_then(|extack| {
            let number = extack.find(NLMSGERR_ATTR_MISS_TYPE)?.u32()?;
            u16::try_from(number).ok()
        }),
    }))
}

#[cfg(test)]
mod tests;
