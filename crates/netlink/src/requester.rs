//! The party that a request came from.

/// The party that sent a request: properties of its socket and its rights on which the answers depend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Requester {
    /// Netlink port of its socket (`nlmsg_pid` of every answer).
    pub port: u32,
    /// Whether its socket has `NETLINK_EXT_ACK` on.
    pub ext_ack: bool,
    /// Whether its socket has `NETLINK_CAP_ACK` on.
    pub cap_ack: bool,
    /// Whether it has `CAP_NET_ADMIN`.
    pub admin: bool,
}
