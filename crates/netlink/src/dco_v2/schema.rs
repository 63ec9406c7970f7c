//! Numbers and the one policy of the family `ovpn-dco-v2` (dco-behaviour 3.1).

use crate::schema::{Command, Family, Kind, Policy};

/// Command numbers; DEL_PEER is also the number of the notification.
pub(super) mod command {
    pub(in crate::dco_v2) const NEW_PEER: u8 = 1;
    pub(in crate::dco_v2) const SET_PEER: u8 = 2;
    pub(in crate::dco_v2) const DEL_PEER: u8 = 3;
    pub(in crate::dco_v2) const NEW_KEY: u8 = 4;
    pub(in crate::dco_v2) const SWAP_KEYS: u8 = 5;
    pub(in crate::dco_v2) const DEL_KEY: u8 = 6;
    pub(in crate::dco_v2) const GET_PEER: u8 = 7;
}

/// Attributes of a message: the interface, and a nest for each command.
pub(super) mod top {
    pub(in crate::dco_v2) const IFINDEX: u16 = 1;
    pub(in crate::dco_v2) const NEW_PEER: u16 = 2;
    pub(in crate::dco_v2) const SET_PEER: u16 = 3;
    pub(in crate::dco_v2) const DEL_PEER: u16 = 4;
    pub(in crate::dco_v2) const NEW_KEY: u16 = 5;
    pub(in crate::dco_v2) const SWAP_KEYS: u16 = 6;
    pub(in crate::dco_v2) const DEL_KEY: u16 = 7;
    pub(in crate::dco_v2) const GET_PEER: u16 = 8;
}

/// Members of NEW_PEER.
pub(super) mod new_peer {
    pub(in crate::dco_v2) const PEER_ID: u16 = 1;
    pub(in crate::dco_v2) const SOCKADDR_REMOTE: u16 = 2;
    pub(in crate::dco_v2) const SOCKET: u16 = 3;
    pub(in crate::dco_v2) const IPV4: u16 = 4;
    pub(in crate::dco_v2) const IPV6: u16 = 5;
    pub(in crate::dco_v2) const LOCAL_IP: u16 = 6;
}

/// Members of SET_PEER.
pub(super) mod set_peer {
    pub(in crate::dco_v2) const PEER_ID: u16 = 1;
    pub(in crate::dco_v2) const KEEPALIVE_INTERVAL: u16 = 2;
    pub(in crate::dco_v2) const KEEPALIVE_TIMEOUT: u16 = 3;
}

/// Members of DEL_PEER; the reason occurs only in notifications, and comes first.
pub(super) mod del_peer {
    pub(in crate::dco_v2) const REASON: u16 = 1;
    pub(in crate::dco_v2) const PEER_ID: u16 = 2;
}

/// Members of NEW_KEY.
pub(super) mod new_key {
    pub(in crate::dco_v2) const PEER_ID: u16 = 1;
    pub(in crate::dco_v2) const KEY_SLOT: u16 = 2;
    pub(in crate::dco_v2) const KEY_ID: u16 = 3;
    pub(in crate::dco_v2) const CIPHER_ALG: u16 = 4;
    pub(in crate::dco_v2) const ENCRYPT_KEY: u16 = 5;
    pub(in crate::dco_v2) const DECRYPT_KEY: u16 = 6;
}

/// Members of the two direction nests.
pub(super) mod key_direction {
    pub(in crate::dco_v2) const CIPHER_KEY: u16 = 1;
    pub(in crate::dco_v2) const NONCE_TAIL: u16 = 2;
}

/// Members of SWAP_KEYS.
pub(super) mod swap_keys {
    pub(in crate::dco_v2) const PEER_ID: u16 = 1;
}

/// Members of DEL_KEY.
pub(super) mod del_key {
    pub(in crate::dco_v2) const PEER_ID: u16 = 1;
    pub(in crate::dco_v2) const KEY_SLOT: u16 = 2;
}

/// Members of GET_PEER: the request has the first, the reply all.
pub(super) mod get_peer {
    pub(in crate::dco_v2) const PEER_ID: u16 = 1;
    pub(in crate::dco_v2) const SOCKADDR_REMOTE: u16 = 2;
    pub(in crate::dco_v2) const IPV4: u16 = 3;
    pub(in crate::dco_v2) const IPV6: u16 = 4;
    pub(in crate::dco_v2) const LOCAL_IP: u16 = 5;
    pub(in crate::dco_v2) const LOCAL_PORT: u16 = 6;
    pub(in crate::dco_v2) const KEEPALIVE_INTERVAL: u16 = 7;
    pub(in crate::dco_v2) const KEEPALIVE_TIMEOUT: u16 = 8;
    pub(in crate::dco_v2) const VPN_RX_BYTES: u16 = 9;
    pub(in crate::dco_v2) const VPN_TX_BYTES: u16 = 10;
    pub(in crate::dco_v2) const VPN_RX_PACKETS: u16 = 11;
    pub(in crate::dco_v2) const VPN_TX_PACKETS: u16 = 12;
    pub(in crate::dco_v2) const LINK_RX_BYTES: u16 = 13;
    pub(in crate::dco_v2) const LINK_TX_BYTES: u16 = 14;
    pub(in crate::dco_v2) const LINK_RX_PACKETS: u16 = 15;
    pub(in crate::dco_v2) const LINK_TX_PACKETS: u16 = 16;
}

/// The family.
pub(crate) static FAMILY: Family = Family {
    name: "ovpn-dco-v2",
    version: 1,
    max_attribute: top::GET_PEER as u32,
    group: "peers",
    commands: &[
        plain(command::NEW_PEER),
        plain(command::SET_PEER),
        plain(command::DEL_PEER),
        plain(command::NEW_KEY),
        plain(command::SWAP_KEYS),
        plain(command::DEL_KEY),
        Command {
            dump: Some(&POLICY),
            ..plain(command::GET_PEER)
        },
    ],
};

/// All commands share the policy.
const fn plain(number: u8) -> Command {
    Command {
        number,
        plain: Some(&POLICY),
        dump: None,
        admin: true,
    }
}

const ANY: Kind = Kind::U32(u32::MAX);
const SLOT: Kind = Kind::U8(1);

static POLICY: Policy = Policy {
    max: top::GET_PEER,
    attributes: &[
        (top::IFINDEX, ANY),
        (top::NEW_PEER, Kind::Nest(&NEW_PEER)),
        (top::SET_PEER, Kind::Nest(&SET_PEER)),
        (top::DEL_PEER, Kind::Nest(&DEL_PEER)),
        (top::NEW_KEY, Kind::Nest(&NEW_KEY)),
        (top::SWAP_KEYS, Kind::Nest(&SWAP_KEYS)),
        (top::DEL_KEY, Kind::Nest(&DEL_KEY)),
        (top::GET_PEER, Kind::Nest(&GET_PEER)),
    ],
};

static NEW_PEER: Policy = Policy {
    max: new_peer::LOCAL_IP,
    attributes: &[
        (new_peer::PEER_ID, ANY),
        (new_peer::SOCKADDR_REMOTE, Kind::AtLeast(16)),
        (new_peer::SOCKET, ANY),
        (new_peer::IPV4, ANY),
        (new_peer::IPV6, Kind::Exactly(16)),
        (new_peer::LOCAL_IP, Kind::AtMost(16)),
    ],
};

static SET_PEER: Policy = Policy {
    max: set_peer::KEEPALIVE_TIMEOUT,
    attributes: &[
        (set_peer::PEER_ID, ANY),
        (set_peer::KEEPALIVE_INTERVAL, ANY),
        (set_peer::KEEPALIVE_TIMEOUT, ANY),
    ],
};

static DEL_PEER: Policy = Policy {
    max: del_peer::PEER_ID,
    attributes: &[(del_peer::REASON, Kind::U8(4)), (del_peer::PEER_ID, ANY)],
};

static NEW_KEY: Policy = Policy {
    max: new_key::DECRYPT_KEY,
    attributes: &[
        (new_key::PEER_ID, ANY),
        (new_key::KEY_SLOT, SLOT),
        (new_key::KEY_ID, Kind::U8(u8::MAX)),
        (new_key::CIPHER_ALG, Kind::U16(u16::MAX)),
        (new_key::ENCRYPT_KEY, Kind::Nest(&KEY_DIRECTION)),
        (new_key::DECRYPT_KEY, Kind::Nest(&KEY_DIRECTION)),
    ],
};

static KEY_DIRECTION: Policy = Policy {
    max: key_direction::NONCE_TAIL,
    attributes: &[
        (key_direction::CIPHER_KEY, Kind::AtMost(255)),
        (key_direction::NONCE_TAIL, Kind::Exactly(8)),
    ],
};

static SWAP_KEYS: Policy = Policy {
    max: swap_keys::PEER_ID,
    attributes: &[(swap_keys::PEER_ID, ANY)],
};

static DEL_KEY: Policy = Policy {
    max: del_key::KEY_SLOT,
    attributes: &[(del_key::PEER_ID, ANY), (del_key::KEY_SLOT, SLOT)],
};

static GET_PEER: Policy = Policy {
    max: get_peer::PEER_ID,
    attributes: &[(get_peer::PEER_ID, ANY)],
};
