//! The family `ovpn` of Linux 6.16 and OpenVPN 2.7 (dco-behaviour 2.1 to 2.16).

pub(crate) mod client;
mod endpoint;
pub(crate) mod notification;
mod reply;
mod request;
mod schema;

pub(crate) use schema::FAMILY;

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::answer::Answers;
use crate::message::Request;
use crate::numbers::NLM_F_MULTI;
use crate::rejection::{Extack, Rejection};
use crate::requester::Requester;
use crate::tlv::{Attribute, Members};
use crate::{Api, Errno, Mode, NoDevice, Refused, Service};

use self::schema::{command, top};

/// Carries out a validated plain request; [`crate::serve()`] adds the ACK.
pub(crate) fn plain(
    requester: &Requester,
    request: &Request<'_>,
    service: &mut dyn Service,
    answers: &mut Answers,
) -> Result<(), Rejection> {
    let members = Members::of(request.attributes());
    let (ifindex, mode) = device(&members, service)?;
    let nest = |number| {
        members
            .find(number)
            .ok_or_else(|| Rejection::missing(number, None))
    };
    match request.command {
        command::PEER_NEW => {
            let peer = request::peer_new(&nest(top::PEER)?, mode)?;
            service.peer_new(ifindex, &peer).map_err(refused)
        }
        command::PEER_SET => {
            let peer = request::peer_set(&nest(top::PEER)?, mode)?;
            service.peer_set(ifindex, &peer).map_err(refused)
        }
        command::PEER_GET => {
            let id = request::peer_get(&nest(top::PEER)?)?;
            let peer = service.peer_get(ifindex, id).map_err(refused)?;
            answers.push(reply::peer(requester, request, 0, &peer));
            Ok(())
        }
        command::PEER_DEL => {
            let id = request::peer_del(&nest(top::PEER)?)?;
            service.peer_del(ifindex, id).map_err(refused)
        }
        command::KEY_NEW => {
            let key = request::key_new(&nest(top::KEYCONF)?)?;
            service.key_new(ifindex, &key).map_err(refused)
        }
        command::KEY_GET => {
            let (peer, slot) = request::key_get(&nest(top::KEYCONF)?)?;
            let key = service.key_get(ifindex, peer, slot).map_err(refused)?;
            answers.push(reply::key(requester, request, &key));
            Ok(())
        }
        command::KEY_SWAP => {
            let peer = request::key_swap(&nest(top::KEYCONF)?)?;
            service.key_swap(ifindex, peer).map_err(refused)
        }
        command::KEY_DEL => {
            let (peer, slot) = request::key_del(&nest(top::KEYCONF)?)?;
            service.key_del(ifindex, peer, slot).map_err(refused)
        }
        _ => Err(Rejection::bare(Errno::EOPNOTSUPP)),
    }
}

/// Answers a validated dump, which can only be one of PEER_GET, with a message for each peer.
pub(crate) fn dump(
    requester: &Requester,
    request: &Request<'_>,
    service: &mut dyn Service,
) -> Result<Vec<Vec<u8>>, Rejection> {
    let members = Members::of(request.attributes());
    let (ifindex, _) = device(&members, service)?;
    let peers = service.peers(ifindex).map_err(refused)?;
    Ok(peers
        .iter()
        .map(|peer| reply::peer(requester, request, NLM_F_MULTI, peer))
        .collect())
}

/// Finds the device that a request is for (dco-behaviour 2.5).
fn device(members: &Members<'_>, service: &mut dyn Service) -> Result<(u32, Mode), Rejection> {
    let missing = || Rejection::missing(top::IFINDEX, None);
    let attribute = members.find(top::IFINDEX).ok_or_else(missing)?;
    let ifindex = attribute.u32().ok_or_else(missing)?;
    match service.mode(Api::Ovpn, ifindex) {
        Ok(mode) => Ok((ifindex, mode)),
        Err(NoDevice::Unknown) => Err(own_text(
            Errno::ENODEV,
            "ifindex does not match any interface",
        )),
        Err(NoDevice::NotOurs) => Err(not_ours(&attribute)),
        Err(NoDevice::Forbidden) => Err(Rejection::bare(Errno::EPERM)),
    }
}

fn not_ours(attribute: &Attribute<'_>) -> Rejection {
    let extack = Extack {
        text: Some(prefixed("specified interface is not ovpn").into()),
        offset: Some(attribute.offset),
        ..Extack::default()
    };
    Rejection::with(Errno::EINVAL, extack)
}

fn invalid(text: &str) -> Rejection {
    own_text(Errno::EINVAL, text)
}

fn u32_of(members: &Members<'_>, member: u16) -> Option<u32> {
    members.find(member)?.u32()
}

/// A refusal with a text of the module itself, not of the kernel's Netlink core.
fn own_text(errno: Errno, text: &str) -> Rejection {
    Rejection::text(errno, prefixed(text))
}

fn refused(refused: Refused) -> Rejection {
    match refused.text {
        Some(text) => own_text(refused.errno, &text),
        None => Rejection::bare(refused.errno),
    }
}

/// The text, prefixed with the module's name like all of the module's texts (dco-behaviour 2.5).
fn prefixed(text: &str) -> String {
    format!("ovpn: {text}")
}

#[cfg(test)]
mod tests;
