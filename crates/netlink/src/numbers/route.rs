//! rtnetlink: `linux/rtnetlink.h`, `linux/if_link.h`, `linux/if.h` and `linux/ipv6.h`.

/// A link was created or changed; as a request, create or change one.
pub const RTM_NEWLINK: u16 = 16;
/// A link was deleted; as a request, delete one.
pub const RTM_DELLINK: u16 = 17;
/// Look up a link, or dump all.
pub const RTM_GETLINK: u16 = 18;
/// Change a link.
pub const RTM_SETLINK: u16 = 19;
/// An address was added.
pub const RTM_NEWADDR: u16 = 20;
/// An address was removed.
pub const RTM_DELADDR: u16 = 21;
/// A route was added.
pub const RTM_NEWROUTE: u16 = 24;
/// A route was removed.
pub const RTM_DELROUTE: u16 = 25;
/// Look up a route, or dump all.
pub const RTM_GETROUTE: u16 = 26;

/// Bytes of `ifinfomsg`, the fixed header of messages about links.
pub const IFINFOMSG_LEN: usize = 16;
/// Bytes of `rtmsg`, the fixed header of messages about routes.
pub const RTMSG_LEN: usize = 12;
/// Bytes of `rtnexthop`, the header of each entry of `RTA_MULTIPATH`.
pub const RTNEXTHOP_LEN: usize = 8;

/// The longest name of an interface in bytes, without its NUL (`IFNAMSIZ` less 1).
pub const IFNAME_LEN: u16 = 15;
/// Flag of a link: it is up.
pub const IFF_UP: u32 = 1;
/// Flag of a link: it supports multicast.
pub const IFF_MULTICAST: u32 = 0x1000;

/// Attribute of a link: its name.
pub const IFLA_IFNAME: u16 = 3;
/// Attribute of a link: its MTU.
pub const IFLA_MTU: u16 = 4;
/// Attribute of a link: length of its transmit queue, in packets.
pub const IFLA_TXQLEN: u16 = 13;
/// Attribute of a link: nest of what is specific to its kind.
pub const IFLA_LINKINFO: u16 = 18;
/// Attribute of a link: its alias.
pub const IFLA_IFALIAS: u16 = 20;
/// Attribute of a link: nest by address family.
pub const IFLA_AF_SPEC: u16 = 26;
/// Attribute of a link: whether it has a carrier.
pub const IFLA_CARRIER: u16 = 33;
/// Attribute of a link: the least MTU it can have.
pub const IFLA_MIN_MTU: u16 = 50;
/// Attribute of a link: the greatest MTU it can have.
pub const IFLA_MAX_MTU: u16 = 51;

/// Member of `IFLA_LINKINFO`: name of the kind.
pub const IFLA_INFO_KIND: u16 = 1;
/// Member of `IFLA_LINKINFO`: nest with the kind's own attributes.
pub const IFLA_INFO_DATA: u16 = 2;
/// Member of `IFLA_INFO_DATA` of kind `ovpn`: 0 for P2P, 1 for multi-peer.
pub const IFLA_OVPN_MODE: u16 = 1;

/// Member of `IFLA_AF_SPEC`'s IPv6 nest: the device's IPv6 settings, an array of 32-bit numbers.
pub const IFLA_INET6_CONF: u16 = 2;
/// Index of the IPv6 MTU in `IFLA_INET6_CONF`; a router's advertisement may lower it below the link's.
pub const DEVCONF_MTU6: usize = 2;

/// Attribute of a route: destination.
pub const RTA_DST: u16 = 1;
/// Attribute of a route: source.
pub const RTA_SRC: u16 = 2;
/// Attribute of a route: index of the link it leaves by.
pub const RTA_OIF: u16 = 4;
/// Attribute of a route: next hop of the route's own address family.
pub const RTA_GATEWAY: u16 = 5;
/// Attribute of a route: its metric.
pub const RTA_PRIORITY: u16 = 6;
/// Attribute of a route: nest of metrics such as the MTU.
pub const RTA_METRICS: u16 = 8;
/// Attribute of a route: several next hops.
pub const RTA_MULTIPATH: u16 = 9;
/// Attribute of a route: its table, where 8 bits are too few.
pub const RTA_TABLE: u16 = 15;
/// Attribute of a route look-up: the packet's mark.
pub const RTA_MARK: u16 = 16;
/// Attribute of a route: next hop of the other address family.
pub const RTA_VIA: u16 = 18;
/// Attribute of an IPv6 route: preference of its router (RFC 4191).
pub const RTA_PREF: u16 = 20;
/// Member of `RTA_METRICS`: MTU.
pub const RTAX_MTU: u16 = 2;

/// Flag of a route: a cached copy, not an entry of a table.
pub const RTM_F_CLONED: u32 = 0x200;
/// Type of a route: to a next hop or a link.
pub const RTN_UNICAST: u8 = 1;
/// The main table.
pub const RT_TABLE_MAIN: u8 = 254;
