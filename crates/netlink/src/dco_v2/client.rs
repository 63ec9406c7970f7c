//! The client side of the family: encodes requests, decodes replies and notifications.

use super::schema::{command, del_key, del_peer, get_peer, swap_keys, top};
use super::{notification, reply, request};
use crate::PeerSet;
use crate::client::{Command, Received, Unsupported};
use crate::tlv::{Members, Writer};

/// Number of a command in the family.
pub(crate) fn number(request: &Command<'_>) -> Result<u8, Unsupported> {
    Ok(match request {
        Command::PeerNew(new) if new.tx_id.is_some_and(|id| id != new.id) => {
            return Err(Unsupported("give a peer a separate TX id"));
        }
        Command::PeerNew(new) if new.keepalive.is_some() => {
            return Err(Unsupported("give a new peer keepalive (`peer set` can)"));
        }
        Command::PeerSet(set) if !has_only_keepalive(set) => {
            return Err(Unsupported("change anything but keepalive"));
        }
        Command::KeyGet(..) => return Err(Unsupported("report keys")),
        Command::PeerNew(_) => command::NEW_PEER,
        Command::PeerSet(_) => command::SET_PEER,
        Command::PeerGet(_) | Command::Peers => command::GET_PEER,
        Command::PeerDel(_) => command::DEL_PEER,
        Command::KeyNew(_) => command::NEW_KEY,
        Command::KeySwap(_) => command::SWAP_KEYS,
        Command::KeyDel(..) => command::DEL_KEY,
    })
}

fn has_only_keepalive(set: &PeerSet) -> bool {
    let keepalive = PeerSet {
        id: set.id,
        keepalive: set.keepalive,
        ..PeerSet::default()
    };
    *set == keepalive
}

/// Writes the attributes of a request.
pub(crate) fn write(message: &mut Writer, ifindex: u32, request: &Command<'_>) {
    message.u32(top::IFINDEX, ifindex);
    match request {
        Command::PeerNew(new) => {
            message.nest(top::NEW_PEER, |nest| request::write_new_peer(nest, new))
        }
        Command::PeerSet(set) => {
            message.nest(top::SET_PEER, |nest| request::write_set_peer(nest, set))
        }
        Command::PeerGet(id) => {
            message.nest(top::GET_PEER, |nest| nest.u32(get_peer::PEER_ID, *id));
        }
        Command::PeerDel(id) => {
            message.nest(top::DEL_PEER, |nest| nest.u32(del_peer::PEER_ID, *id));
        }
        Command::KeyNew(key) => {
            message.nest(top::NEW_KEY, |nest| request::write_new_key(nest, key))
        }
        Command::KeySwap(id) => {
            message.nest(top::SWAP_KEYS, |nest| nest.u32(swap_keys::PEER_ID, *id));
        }
        Command::KeyDel(id, slot) => message.nest(top::DEL_KEY, |nest| {
            nest.u32(del_key::PEER_ID, *id);
            nest.u8(del_key::KEY_SLOT, *slot as u8);
        }),
        // The dump takes nothing else; KEY_GET has no counterpart.
        Command::Peers | Command::KeyGet(..) => {}
    }
}

/// Reads a reply or a notification, which has no sequence number; `None` if it is not one.
pub(crate) fn read(number: u8, sequence: u32, members: &Members<'_>) -> Option<Received> {
    let nest = |number| Some(Members::of(members.find(number)?.members()));
    match number {
        command::GET_PEER => reply::read_peer(&nest(top::GET_PEER)?).map(Received::Peer),
        // The notification shares its command with a request, but only the latter has a sequence number.
        _ if sequence == 0 => notification::read(number, members).map(Received::Notification),
        _ => None,
    }
}
