//! The client side: encodes requests to either family, decodes what comes back.
//!
//! Made for the CLI, but true of any generic Netlink family of these names: the numbers are asked for, not known.

mod command;
pub mod link;
mod told;

pub use command::{Command, Unsupported};
pub use told::{Failure, Told};

use crate::message::{
    self, FLAG_ACK, FLAG_DUMP, FLAG_REQUEST, GENERIC_HEADER, HEADER, Header, Messages, Request,
};
use crate::tlv::{self, Attributes, Members, Writer};
use crate::{Api, Errno, FamilyIds, dco_v2, nlctrl, ovpn};

/// `NLMSG_ERROR` and `NLMSG_DONE`.
const TYPE_ERROR: u16 = 2;
const TYPE_DONE: u16 = 3;
/// In answers: the request is cut to its header; attributes follow.
const FLAG_CAPPED: u16 = 0x100;
const FLAG_ACK_TLVS: u16 = 0x200;
/// `NLMSGERR_ATTR_MSG` and `_MISS_TYPE`.
const EXTACK_TEXT: u16 = 1;
const EXTACK_MISSING: u16 = 5;

/// Room for the largest request. A request never moves while it is written: it may hold a key (promises H1).
const ROOM: usize = 1024;

/// A family, as `nlctrl` tells of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Family {
    /// Which it is.
    pub api: Api,
    /// Its message type.
    pub id: u16,
    /// Id of its group `peers`, for `NETLINK_ADD_MEMBERSHIP`.
    pub peers: u32,
}

/// Asks `nlctrl` for a family.
pub fn family_request(api: Api, sequence: u32) -> Vec<u8> {
    let flags = FLAG_REQUEST | FLAG_ACK;
    let name = match api {
        Api::Ovpn => ovpn::FAMILY.name,
        Api::DcoV2 => dco_v2::FAMILY.name,
    };
    generic(
        FamilyIds::NLCTRL,
        flags,
        sequence,
        nlctrl::GETFAMILY_NUMBER,
        |message| message.string(nlctrl::FAMILY_NAME, name),
    )
}

/// Reads the answer to [`family_request`]; `None` if this message is not it.
pub fn family(api: Api, message: &[u8]) -> Option<Family> {
    let request = Request::of(message)?;
    (request.header.kind == FamilyIds::NLCTRL).then_some(())?;
    let (id, peers) = nlctrl::read_family(&Members::of(request.attributes()))?;
    Some(Family { api, id, peers })
}

/// Encodes a request about the device with this index.
///
/// # Errors
/// [`Unsupported`]: `ovpn-dco-v2` has fewer commands and attributes.
pub fn request(
    family: &Family,
    ifindex: u32,
    sequence: u32,
    command: &Command<'_>,
) -> Result<Vec<u8>, Unsupported> {
    let flags = match command {
        Command::Peers => FLAG_REQUEST | FLAG_DUMP,
        _ => FLAG_REQUEST | FLAG_ACK,
    };
    let number = match family.api {
        Api::Ovpn => ovpn::client::number(command),
        Api::DcoV2 => dco_v2::client::number(command)?,
    };
    Ok(generic(
        family.id,
        flags,
        sequence,
        number,
        |message| match family.api {
            Api::Ovpn => ovpn::client::write(message, ifindex, command),
            Api::DcoV2 => dco_v2::client::write(message, ifindex, command),
        },
    ))
}

/// Reads the messages of a datagram, each with its sequence number.
pub fn told(families: &[Family], datagram: &[u8]) -> Vec<(u32, Told)> {
    Messages::of(datagram)
        .filter_map(|message| {
            let header = Header::of(message)?;
            Some((header.sequence, read(families, &header, message)))
        })
        .collect()
}

fn read(families: &[Family], header: &Header, message: &[u8]) -> Told {
    if matches!(header.kind, TYPE_ERROR | TYPE_DONE) {
        return ended(header, message).map_or(Told::Other, Told::Ended);
    }
    let family = families.iter().find(|family| family.id == header.kind);
    let told = family.zip(Request::of(message)).and_then(|(family, told)| {
        let members = Members::of(told.attributes());
        match family.api {
            Api::Ovpn => ovpn::client::read(told.command, &members),
            Api::DcoV2 => dco_v2::client::read(told.command, header.sequence, &members),
        }
    });
    told.unwrap_or(Told::Other)
}

/// The end of an answer: a positive or negative acknowledgement, or the end of a dump.
fn ended(header: &Header, message: &[u8]) -> Option<Result<(), Failure>> {
    let errno = i32::from_ne_bytes(*message.get(HEADER..)?.first_chunk()?);
    if errno == 0 {
        return Some(Ok(()));
    }
    let echo = message.get(HEADER + 4..)?;
    let echoed = match (header.kind, header.flags & FLAG_CAPPED) {
        (TYPE_DONE, _) => 0,
        (_, 0) => tlv::align(Header::of(echo)?.length),
        _ => HEADER,
    };
    let extack = (header.flags & FLAG_ACK_TLVS != 0)
        .then(|| Members::of(Attributes::of(message, HEADER + 4 + echoed)));
    Some(Err(Failure {
        errno: Errno(errno.saturating_neg()),
        text: extack.and_then(|extack| Some(extack.find(EXTACK_TEXT)?.text()?.to_owned())),
        missing: extack.and_then(|extack| {
            let number = extack.find(EXTACK_MISSING)?.u32()?;
            u16::try_from(number).ok()
        }),
    }))
}

fn generic(
    kind: u16,
    flags: u16,
    sequence: u32,
    command: u8,
    fill: impl FnOnce(&mut Writer),
) -> Vec<u8> {
    let mut message = Vec::with_capacity(ROOM);
    message.extend_from_slice(&message::start(kind, flags, sequence, 0));
    message.extend_from_slice(&[command, 1, 0, 0]);
    debug_assert_eq!(message.len(), GENERIC_HEADER);
    let mut writer = Writer::after(message);
    fill(&mut writer);
    let mut message = writer.into_bytes();
    message::set_length(&mut message);
    message
}

#[cfg(test)]
mod tests;
