//! Notifications: written by the driver, read by clients.

use alloc::vec::Vec;

use super::schema::{FAMILY, command, del_peer, top};
use crate::message;
use crate::tlv::Members;
use crate::{DeleteReason, Notification};

/// Encodes a notification of the family with this id; `None` for all but the deletion of a peer, which the API lacks.
pub(crate) fn encode(family: u16, notification: &Notification) -> Option<Vec<u8>> {
    let Notification::PeerDeleted {
        ifindex,
        peer,
        reason,
    } = notification
    else {
        return None;
    };
    Some(message::multicast(
        family,
        FAMILY.version,
        command::DEL_PEER,
        |message| {
            message.u32(top::IFINDEX, *ifindex);
            message.nest(top::DEL_PEER, |nest| {
                nest.u8(del_peer::REASON, *reason as u8);
                nest.u32(del_peer::PEER_ID, *peer);
            });
        },
    ))
}

/// Reads a notification; `None` if the command with this number is not one.
pub(super) fn read(number: u8, members: &Members<'_>) -> Option<Notification> {
    if number != command::DEL_PEER {
        return None;
    }
    let peer = Members::of(members.find(top::DEL_PEER)?.members());
    let reason = peer.find(del_peer::REASON)?.u8()?;
    Some(Notification::PeerDeleted {
        ifindex: members.find(top::IFINDEX)?.u32()?,
        peer: peer.find(del_peer::PEER_ID)?.u32()?,
        reason: DeleteReason::of(reason.into())?,
    })
}
