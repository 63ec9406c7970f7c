//! The family `ovpn-dco-v2` of the out-of-tree module and OpenVPN 2.6 (dco-behaviour 3.1).
//!
//! The module refuses with error numbers only, without a text.

pub(crate) mod client;
pub(crate) mod notification;
mod reply;
mod request;
mod schema;
mod sockaddr;

pub(crate) use schema::FAMILY;

use alloc::vec::Vec;
use core::net::IpAddr;

use crate::answer::Answers;
use crate::message::Request;
use crate::numbers::NLM_F_MULTI;
use crate::rejection::Rejection;
use crate::requester::Requester;
use crate::tlv::Members;
use crate::{Api, Errno, Mode, NoDevice, Refused, Service};

use self::schema::{command, del_key, del_peer, get_peer, top};

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
            .map(|nest| Members::of(nest.members()))
            .ok_or_else(invalid)
    };
    match request.command {
        command::NEW_PEER => {
            let peer = request::new_peer(&nest(top::NEW_PEER)?, mode)?;
            service.peer_new(ifindex, &peer).map_err(refused)
        }
        command::SET_PEER => match request::set_peer(&nest(top::SET_PEER)?)? {
            Some(peer) => service.peer_set(ifindex, &peer).map_err(refused),
            None => Ok(()),
        },
        command::DEL_PEER => {
            let id = request::peer_id(&nest(top::DEL_PEER)?, del_peer::PEER_ID)?;
            service.peer_del(ifindex, id).map_err(refused)
        }
        command::GET_PEER => {
            let id = request::peer_id(&nest(top::GET_PEER)?, get_peer::PEER_ID)?;
            let peer = service.peer_get(ifindex, id).map_err(refused)?;
            answers.push(reply::peer(requester, request, 0, &peer));
            Ok(())
        }
        command::NEW_KEY => {
            let key = request::new_key(&nest(top::NEW_KEY)?)?;
            service.key_new(ifindex, &key).map_err(refused)
        }
        command::SWAP_KEYS => {
            let id = request::peer_id(&nest(top::SWAP_KEYS)?, schema::swap_keys::PEER_ID)?;
            service.key_swap(ifindex, id).map_err(refused)
        }
        command::DEL_KEY => {
            let nest = nest(top::DEL_KEY)?;
            let id = request::peer_id(&nest, del_key::PEER_ID)?;
            service
                .key_del(ifindex, id, request::slot(&nest, del_key::KEY_SLOT)?)
                .map_err(refused)
        }
        _ => Err(Rejection::bare(Errno::EOPNOTSUPP)),
    }
}

/// Answers a validated dump, which can only be one of GET_PEER, with a message for each peer; empty in P2P mode
/// (dco-behaviour 3.1).
pub(crate) fn dump(
    requester: &Requester,
    request: &Request<'_>,
    service: &mut dyn Service,
) -> Result<Vec<Vec<u8>>, Rejection> {
    let members = Members::of(request.attributes());
    match device(&members, service)? {
        (_, Mode::P2p) => Ok(Vec::new()),
        (ifindex, Mode::Mp) => {
            let peers = service.peers(ifindex).map_err(refused)?;
            Ok(peers
                .iter()
                .map(|peer| reply::peer(requester, request, NLM_F_MULTI, peer))
                .collect())
        }
    }
}

fn device(members: &Members<'_>, service: &mut dyn Service) -> Result<(u32, Mode), Rejection> {
    let ifindex = u32_of(members, top::IFINDEX)?;
    match service.mode(Api::DcoV2, ifindex) {
        Ok(mode) => Ok((ifindex, mode)),
        Err(NoDevice::Unknown) => Err(Rejection::bare(Errno::ENODEV)),
        Err(NoDevice::NotOurs) => Err(invalid()),
        Err(NoDevice::Forbidden) => Err(Rejection::bare(Errno::EPERM)),
    }
}

fn u32_of(members: &Members<'_>, member: u16) -> Result<u32, Rejection> {
    members
        .find(member)
        .and_then(|found| found.u32())
        .ok_or_else(invalid)
}

/// An address of 4 or 16 bytes; v4-mapped ones are folded to IPv4.
fn address(bytes: &[u8]) -> Result<IpAddr, Rejection> {
    if let Ok(octets) = <[u8; 4]>::try_from(bytes) {
        return Ok(IpAddr::from(octets));
    }
    let octets = <[u8; 16]>::try_from(bytes).map_err(|_| invalid())?;
    Ok(IpAddr::from(octets).to_canonical())
}

fn invalid() -> Rejection {
    Rejection::bare(Errno::EINVAL)
}

fn refused(refused: Refused) -> Rejection {
    Rejection::bare(refused.errno)
}

#[cfg(test)]
mod tests;
