//! The client side of the family: encodes requests, decodes replies and notifications.

use super::schema::{command, keyconf, peer, top};
use super::{notification, reply, request};
use crate::client::{Command, Received};
use crate::tlv::{Members, Writer};

/// Number of a command in the family.
pub(crate) const fn number(request: &Command<'_>) -> u8 {
    match request {
        Command::PeerNew(_) => command::PEER_NEW,
        Command::PeerSet(_) => command::PEER_SET,
        Command::PeerGet(_) | Command::Peers => command::PEER_GET,
        Command::PeerDel(_) => command::PEER_DEL,
        Command::KeyNew(_) => command::KEY_NEW,
        Command::KeyGet(..) => command::KEY_GET,
        Command::KeySwap(_) => command::KEY_SWAP,
        Command::KeyDel(..) => command::KEY_DEL,
    }
}

/// Writes the attributes of a request.
pub(crate) fn write(message: &mut Writer, ifindex: u32, request: &Command<'_>) {
    message.u32(top::IFINDEX, ifindex);
    match request {
        Command::PeerNew(new) => message.nest(top::PEER, |nest| request::write_peer_new(nest, new)),
        Command::PeerSet(set) => message.nest(top::PEER, |nest| request::write_peer_set(nest, set)),
        Command::PeerGet(id) | Command::PeerDel(id) => {
            message.nest(top::PEER, |nest| nest.u32(peer::ID, *id));
        }
        // The dump takes nothing else (dco-behaviour 2.4).
        Command::Peers => {}
        Command::KeyNew(key) => message.nest(top::KEYCONF, |nest| request::write_key(nest, key)),
        Command::KeySwap(id) => message.nest(top::KEYCONF, |nest| nest.u32(keyconf::PEER_ID, *id)),
        Command::KeyGet(id, slot) | Command::KeyDel(id, slot) => {
            message.nest(top::KEYCONF, |nest| request::write_slot(nest, *id, *slot));
        }
    }
}

/// Reads a reply or a notification; `None` if it is not one.
pub(crate) fn read(number: u8, members: &Members<'_>) -> Option<Received> {
    let nest = |number| Some(Members::of(members.find(number)?.members()));
    Some(match number {
        command::PEER_GET => Received::Peer(reply::read_peer(&nest(top::PEER)?)?),
        command::KEY_GET => Received::Key(reply::read_key(&nest(top::KEYCONF)?)?),
        _ => Received::Notification(notification::read(number, members)?),
    })
}
