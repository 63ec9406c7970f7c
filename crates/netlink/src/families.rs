//! The numbers under which the families are registered: the kernel assigns them at run time, the engine once.

use crate::Api;

/// The numbers of the registered families; an id of 0 means that the family is not registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FamilyIds {
    /// Message type of `ovpn`.
    pub ovpn: u16,
    /// Id of its group `peers`.
    pub ovpn_peers: u32,
    /// Message type of `ovpn-dco-v2`.
    pub dco_v2: u16,
    /// Id of its group `peers`.
    pub dco_v2_peers: u32,
}

impl FamilyIds {
    /// The family with this message type.
    pub(crate) fn api(&self, kind: u16) -> Option<Api> {
        match kind {
            0 => None,
            _ if kind == self.ovpn => Some(Api::Ovpn),
            _ if kind == self.dco_v2 => Some(Api::DcoV2),
            _ => None,
        }
    }
}

/// The API whose notifications go to the multicast group with this id, the argument of `NETLINK_ADD_MEMBERSHIP`.
pub fn membership(families: &FamilyIds, group: u32) -> Option<Api> {
    match group {
        _ if families.ovpn != 0 && group == families.ovpn_peers => Some(Api::Ovpn),
        _ if families.dco_v2 != 0 && group == families.dco_v2_peers => Some(Api::DcoV2),
        _ => None,
    }
}
