//! Numbers and policies of the family `ovpn` (dco-behaviour 2.2 to 2.4; golden `ctrl_getpolicy`).

use crate::schema::{Command, Family, Kind, Policy};

/// Command and notification numbers.
pub(super) mod command {
    pub(in crate::ovpn) const PEER_NEW: u8 = 1;
    pub(in crate::ovpn) const PEER_SET: u8 = 2;
    pub(in crate::ovpn) const PEER_GET: u8 = 3;
    pub(in crate::ovpn) const PEER_DEL: u8 = 4;
    pub(in crate::ovpn) const PEER_DEL_NTF: u8 = 5;
    pub(in crate::ovpn) const KEY_NEW: u8 = 6;
    pub(in crate::ovpn) const KEY_GET: u8 = 7;
    pub(in crate::ovpn) const KEY_SWAP: u8 = 8;
    pub(in crate::ovpn) const KEY_SWAP_NTF: u8 = 9;
    pub(in crate::ovpn) const KEY_DEL: u8 = 10;
    pub(in crate::ovpn) const PEER_FLOAT_NTF: u8 = 11;
}

/// Attributes of a message.
pub(super) mod top {
    pub(in crate::ovpn) const IFINDEX: u16 = 1;
    pub(in crate::ovpn) const PEER: u16 = 2;
    pub(in crate::ovpn) const KEYCONF: u16 = 3;
}

/// Members of the PEER nest.
pub(super) mod peer {
    pub(in crate::ovpn) const ID: u16 = 1;
    pub(in crate::ovpn) const REMOTE_IPV4: u16 = 2;
    pub(in crate::ovpn) const REMOTE_IPV6: u16 = 3;
    pub(in crate::ovpn) const REMOTE_IPV6_SCOPE_ID: u16 = 4;
    pub(in crate::ovpn) const REMOTE_PORT: u16 = 5;
    pub(in crate::ovpn) const SOCKET: u16 = 6;
    pub(in crate::ovpn) const SOCKET_NETNSID: u16 = 7;
    pub(in crate::ovpn) const VPN_IPV4: u16 = 8;
    pub(in crate::ovpn) const VPN_IPV6: u16 = 9;
    pub(in crate::ovpn) const LOCAL_IPV4: u16 = 10;
    pub(in crate::ovpn) const LOCAL_IPV6: u16 = 11;
    pub(in crate::ovpn) const LOCAL_PORT: u16 = 12;
    pub(in crate::ovpn) const KEEPALIVE_INTERVAL: u16 = 13;
    pub(in crate::ovpn) const KEEPALIVE_TIMEOUT: u16 = 14;
    pub(in crate::ovpn) const DEL_REASON: u16 = 15;
    pub(in crate::ovpn) const VPN_RX_BYTES: u16 = 16;
    pub(in crate::ovpn) const VPN_TX_BYTES: u16 = 17;
    pub(in crate::ovpn) const VPN_RX_PACKETS: u16 = 18;
    pub(in crate::ovpn) const VPN_TX_PACKETS: u16 = 19;
    pub(in crate::ovpn) const LINK_RX_BYTES: u16 = 20;
    pub(in crate::ovpn) const LINK_TX_BYTES: u16 = 21;
    pub(in crate::ovpn) const LINK_RX_PACKETS: u16 = 22;
    pub(in crate::ovpn) const LINK_TX_PACKETS: u16 = 23;
    pub(in crate::ovpn) const TX_ID: u16 = 24;
    pub(super) const MAX: u16 = TX_ID;
}

/// Members of the KEYCONF nest.
pub(super) mod keyconf {
    pub(in crate::ovpn) const PEER_ID: u16 = 1;
    pub(in crate::ovpn) const SLOT: u16 = 2;
    pub(in crate::ovpn) const KEY_ID: u16 = 3;
    pub(in crate::ovpn) const CIPHER_ALG: u16 = 4;
    pub(in crate::ovpn) const ENCRYPT_DIR: u16 = 5;
    pub(in crate::ovpn) const DECRYPT_DIR: u16 = 6;
}

/// Members of the two direction nests.
pub(super) mod keydir {
    pub(in crate::ovpn) const CIPHER_KEY: u16 = 1;
    pub(in crate::ovpn) const NONCE_TAIL: u16 = 2;
}

/// The family.
pub(crate) static FAMILY: Family = Family {
    name: "ovpn",
    version: 1,
    max_attribute: 0,
    group: "peers",
    commands: &[
        plain(command::PEER_NEW, &PEER_NEW),
        plain(command::PEER_SET, &PEER_SET),
        Command {
            dump: Some(&PEER_DUMP),
            ..plain(command::PEER_GET, &PEER_GET)
        },
        plain(command::PEER_DEL, &PEER_DEL),
        plain(command::KEY_NEW, &KEY_NEW),
        plain(command::KEY_GET, &KEY_GET),
        plain(command::KEY_SWAP, &KEY_SWAP),
        plain(command::KEY_DEL, &KEY_DEL),
    ],
};

const fn plain(number: u8, policy: &'static Policy) -> Command {
    Command {
        number,
        plain: Some(policy),
        dump: None,
        admin: true,
    }
}

const ANY: Kind = Kind::U32(u32::MAX);
const PEER_ID: Kind = Kind::U32(0xff_ffff);
const PORT: Kind = Kind::Be16 { min: 1 };
const ADDRESS6: Kind = Kind::Exactly(16);
/// At most a day (golden: since Linux 7.2).
const SECONDS: Kind = Kind::U32(86_400);
const SLOT: Kind = Kind::U32(1);
const KEY_ID: Kind = Kind::U32(7);
const CIPHER: Kind = Kind::U32(2);

static PEER_NEW: Policy = Policy {
    max: top::PEER,
    attributes: &[(top::IFINDEX, ANY), (top::PEER, Kind::Nest(&PEER_NEW_NEST))],
};
static PEER_NEW_NEST: Policy = Policy {
    max: peer::MAX,
    attributes: &[
        (peer::ID, PEER_ID),
        (peer::REMOTE_IPV4, Kind::Be32),
        (peer::REMOTE_IPV6, ADDRESS6),
        (peer::REMOTE_IPV6_SCOPE_ID, ANY),
        (peer::REMOTE_PORT, PORT),
        (peer::SOCKET, ANY),
        (peer::VPN_IPV4, Kind::Be32),
        (peer::VPN_IPV6, ADDRESS6),
        (peer::LOCAL_IPV4, Kind::Be32),
        (peer::LOCAL_IPV6, ADDRESS6),
        (peer::KEEPALIVE_INTERVAL, SECONDS),
        (peer::KEEPALIVE_TIMEOUT, SECONDS),
        (peer::TX_ID, PEER_ID),
    ],
};

static PEER_SET: Policy = Policy {
    max: top::PEER,
    attributes: &[(top::IFINDEX, ANY), (top::PEER, Kind::Nest(&PEER_SET_NEST))],
};
static PEER_SET_NEST: Policy = Policy {
    max: peer::MAX,
    attributes: &[
        (peer::ID, PEER_ID),
        (peer::REMOTE_IPV4, Kind::Be32),
        (peer::REMOTE_IPV6, ADDRESS6),
        (peer::REMOTE_IPV6_SCOPE_ID, ANY),
        (peer::REMOTE_PORT, PORT),
        (peer::VPN_IPV4, Kind::Be32),
        (peer::VPN_IPV6, ADDRESS6),
        (peer::LOCAL_IPV4, Kind::Be32),
        (peer::LOCAL_IPV6, ADDRESS6),
        (peer::KEEPALIVE_INTERVAL, SECONDS),
        (peer::KEEPALIVE_TIMEOUT, SECONDS),
        (peer::TX_ID, PEER_ID),
    ],
};

static PEER_GET: Policy = Policy {
    max: top::PEER,
    attributes: &[(top::IFINDEX, ANY), (top::PEER, Kind::Nest(&PEER_GET_NEST))],
};
/// All members of PEER: the handler refuses everything but the id (dco-behaviour 2.9).
static PEER_GET_NEST: Policy = Policy {
    max: peer::MAX,
    attributes: &[
        (peer::ID, PEER_ID),
        (peer::REMOTE_IPV4, Kind::Be32),
        (peer::REMOTE_IPV6, ADDRESS6),
        (peer::REMOTE_IPV6_SCOPE_ID, ANY),
        (peer::REMOTE_PORT, PORT),
        (peer::SOCKET, ANY),
        (peer::SOCKET_NETNSID, Kind::S32),
        (peer::VPN_IPV4, Kind::Be32),
        (peer::VPN_IPV6, ADDRESS6),
        (peer::LOCAL_IPV4, Kind::Be32),
        (peer::LOCAL_IPV6, ADDRESS6),
        (peer::LOCAL_PORT, PORT),
        (peer::KEEPALIVE_INTERVAL, SECONDS),
        (peer::KEEPALIVE_TIMEOUT, SECONDS),
        (peer::DEL_REASON, Kind::U32(4)),
        (peer::VPN_RX_BYTES, Kind::Uint),
        (peer::VPN_TX_BYTES, Kind::Uint),
        (peer::VPN_RX_PACKETS, Kind::Uint),
        (peer::VPN_TX_PACKETS, Kind::Uint),
        (peer::LINK_RX_BYTES, Kind::Uint),
        (peer::LINK_TX_BYTES, Kind::Uint),
        (peer::LINK_RX_PACKETS, Kind::Uint),
        (peer::LINK_TX_PACKETS, Kind::Uint),
        (peer::TX_ID, PEER_ID),
    ],
};
static PEER_DUMP: Policy = Policy {
    max: top::IFINDEX,
    attributes: &[(top::IFINDEX, ANY)],
};

static PEER_DEL: Policy = Policy {
    max: top::PEER,
    attributes: &[(top::IFINDEX, ANY), (top::PEER, Kind::Nest(&PEER_DEL_NEST))],
};
static PEER_DEL_NEST: Policy = Policy {
    max: peer::ID,
    attributes: &[(peer::ID, PEER_ID)],
};

static KEY_NEW: Policy = Policy {
    max: top::KEYCONF,
    attributes: &[
        (top::IFINDEX, ANY),
        (top::KEYCONF, Kind::Nest(&KEY_NEW_NEST)),
    ],
};
static KEY_NEW_NEST: Policy = Policy {
    max: keyconf::DECRYPT_DIR,
    attributes: &[
        (keyconf::PEER_ID, PEER_ID),
        (keyconf::SLOT, SLOT),
        (keyconf::KEY_ID, KEY_ID),
        (keyconf::CIPHER_ALG, CIPHER),
        (keyconf::ENCRYPT_DIR, Kind::Nest(&KEY_DIRECTION)),
        (keyconf::DECRYPT_DIR, Kind::Nest(&KEY_DIRECTION)),
    ],
};
static KEY_DIRECTION: Policy = Policy {
    max: keydir::NONCE_TAIL,
    attributes: &[
        (keydir::CIPHER_KEY, Kind::AtMost(256)),
        (keydir::NONCE_TAIL, Kind::Exactly(8)),
    ],
};

static KEY_GET: Policy = Policy {
    max: top::KEYCONF,
    attributes: &[
        (top::IFINDEX, ANY),
        (top::KEYCONF, Kind::Nest(&KEY_GET_NEST)),
    ],
};
static KEY_GET_NEST: Policy = Policy {
    max: keyconf::CIPHER_ALG,
    attributes: &[
        (keyconf::PEER_ID, PEER_ID),
        (keyconf::SLOT, SLOT),
        (keyconf::KEY_ID, KEY_ID),
        (keyconf::CIPHER_ALG, CIPHER),
    ],
};

static KEY_SWAP: Policy = Policy {
    max: top::KEYCONF,
    attributes: &[
        (top::IFINDEX, ANY),
        (top::KEYCONF, Kind::Nest(&KEY_SWAP_NEST)),
    ],
};
static KEY_SWAP_NEST: Policy = Policy {
    max: keyconf::PEER_ID,
    attributes: &[(keyconf::PEER_ID, PEER_ID)],
};

static KEY_DEL: Policy = Policy {
    max: top::KEYCONF,
    attributes: &[
        (top::IFINDEX, ANY),
        (top::KEYCONF, Kind::Nest(&KEY_DEL_NEST)),
    ],
};
static KEY_DEL_NEST: Policy = Policy {
    max: keyconf::SLOT,
    attributes: &[(keyconf::PEER_ID, PEER_ID), (keyconf::SLOT, SLOT)],
};
