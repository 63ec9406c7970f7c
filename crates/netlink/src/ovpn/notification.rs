//! Notifications: written by the driver, read by clients (dco-behaviour 2.14).

use alloc::vec::Vec;

use super::schema::{FAMILY, command, keyconf, peer, top};
use super::{endpoint, u32_of};
use crate::message;
use crate::tlv::Members;
use crate::{DeleteReason, Notification};

/// Encodes a notification of the family with this id.
pub(crate) fn encode(family: u16, notification: &Notification) -> Vec<u8> {
    let (number, ifindex) = match notification {
        Notification::PeerDeleted { ifindex, .. } => (command::PEER_DEL_NTF, ifindex),
        Notification::PeerFloated { ifindex, .. } => (command::PEER_FLOAT_NTF, ifindex),
        Notification::KeySwap { ifindex, .. } => (command::KEY_SWAP_NTF, ifindex),
    };
    message::multicast(family, FAMILY.version, number, |message| {
        message.u32(top::IFINDEX, *ifindex);
        match notification {
            Notification::PeerDeleted {
                peer: id, reason, ..
            } => message.nest(top::PEER, |nest| {
                nest.u32(peer::DEL_REASON, *reason as u32);
                nest.u32(peer::ID, *id);
            }),
            Notification::PeerFloated {
                peer: id, remote, ..
            } => message.nest(top::PEER, |nest| {
                nest.u32(peer::ID, *id);
                endpoint::write_remote(nest, remote);
            }),
            // 2 bytes, although the id has 4 everywhere else: OpenVPN reads 2.
            Notification::KeySwap {
                peer: id, key_id, ..
            } => message.nest(top::KEYCONF, |nest| {
                nest.u32(keyconf::PEER_ID, *id);
                nest.u16(keyconf::KEY_ID, (*key_id).into());
            }),
        }
    })
}

/// Reads a notification; `None` if the command with this number is not one.
pub(super) fn read(number: u8, members: &Members<'_>) -> Option<Notification> {
    let nest = |number| Some(Members::of(members.find(number)?.members()));
    let ifindex = members.find(top::IFINDEX)?.u32()?;
    Some(match number {
        command::PEER_DEL_NTF => {
            let peer = nest(top::PEER)?;
            Notification::PeerDeleted {
                ifindex,
                peer: u32_of(&peer, peer::ID)?,
                reason: DeleteReason::of(u32_of(&peer, peer::DEL_REASON)?)?,
            }
        }
        command::PEER_FLOAT_NTF => {
            let peer = nest(top::PEER)?;
            Notification::PeerFloated {
                ifindex,
                peer: u32_of(&peer, peer::ID)?,
                remote: endpoint::read_remote(&peer)?,
            }
        }
        command::KEY_SWAP_NTF => {
            let key = nest(top::KEYCONF)?;
            // 2 bytes here, 4 everywhere else (dco-behaviour 2.14).
            let key_id = key.find(keyconf::KEY_ID)?.u16()?;
            Notification::KeySwap {
                ifindex,
                peer: u32_of(&key, keyconf::PEER_ID)?,
                key_id: u8::try_from(key_id).ok()?,
            }
        }
        _ => return None,
    })
}
