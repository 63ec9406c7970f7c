//! Generic Netlink: `linux/genetlink.h`, and the policies of `linux/netlink.h` that its controller describes.

/// Bytes of `genlmsghdr`.
pub const GENL_HDRLEN: usize = 4;
/// Message type of the controller, `nlctrl`; also the id of its group.
pub const GENL_ID_CTRL: u16 = 0x10;

/// Flag of a command: it requires `CAP_NET_ADMIN`.
pub const GENL_ADMIN_PERM: u32 = 1;
/// Flag of a command: it has a plain form.
pub const GENL_CMD_CAP_DO: u32 = 2;
/// Flag of a command: it has a dump.
pub const GENL_CMD_CAP_DUMP: u32 = 4;
/// Flag of a command: it has a policy.
pub const GENL_CMD_CAP_HASPOL: u32 = 8;

/// Command of the controller: a family, as an answer.
pub const CTRL_CMD_NEWFAMILY: u8 = 1;
/// Command of the controller: look up a family.
pub const CTRL_CMD_GETFAMILY: u8 = 3;
/// Command of the controller: dump a family's policies.
pub const CTRL_CMD_GETPOLICY: u8 = 10;

/// Attribute of the controller: message type of the family.
pub const CTRL_ATTR_FAMILY_ID: u16 = 1;
/// Attribute of the controller: name of the family.
pub const CTRL_ATTR_FAMILY_NAME: u16 = 2;
/// Attribute of the controller: version of the family.
pub const CTRL_ATTR_VERSION: u16 = 3;
/// Attribute of the controller: bytes of the family's own header.
pub const CTRL_ATTR_HDRSIZE: u16 = 4;
/// Attribute of the controller: the family's highest attribute.
pub const CTRL_ATTR_MAXATTR: u16 = 5;
/// Attribute of the controller: nest of the family's commands.
pub const CTRL_ATTR_OPS: u16 = 6;
/// Attribute of the controller: nest of the family's multicast groups.
pub const CTRL_ATTR_MCAST_GROUPS: u16 = 7;
/// Attribute of the controller: nest of policies.
pub const CTRL_ATTR_POLICY: u16 = 8;
/// Attribute of the controller: nest of commands, each with the indexes of its policies.
pub const CTRL_ATTR_OP_POLICY: u16 = 9;
/// Attribute of the controller: number of a command.
pub const CTRL_ATTR_OP: u16 = 10;

/// Member of a command in `CTRL_ATTR_OPS`: its number.
pub const CTRL_ATTR_OP_ID: u16 = 1;
/// Member of a command in `CTRL_ATTR_OPS`: its flags.
pub const CTRL_ATTR_OP_FLAGS: u16 = 2;
/// Member of a group in `CTRL_ATTR_MCAST_GROUPS`: its name.
pub const CTRL_ATTR_MCAST_GRP_NAME: u16 = 1;
/// Member of a group in `CTRL_ATTR_MCAST_GROUPS`: its id.
pub const CTRL_ATTR_MCAST_GRP_ID: u16 = 2;
/// Member of a command in `CTRL_ATTR_OP_POLICY`: index of the policy of its plain form.
pub const CTRL_ATTR_POLICY_DO: u16 = 1;
/// Member of a command in `CTRL_ATTR_OP_POLICY`: index of the policy of its dump.
pub const CTRL_ATTR_POLICY_DUMP: u16 = 2;

/// Member of an attribute's policy: its type.
pub const NL_POLICY_TYPE_ATTR_TYPE: u16 = 1;
/// Member of an attribute's policy: least signed value.
pub const NL_POLICY_TYPE_ATTR_MIN_VALUE_S: u16 = 2;
/// Member of an attribute's policy: greatest signed value.
pub const NL_POLICY_TYPE_ATTR_MAX_VALUE_S: u16 = 3;
/// Member of an attribute's policy: least unsigned value.
pub const NL_POLICY_TYPE_ATTR_MIN_VALUE_U: u16 = 4;
/// Member of an attribute's policy: greatest unsigned value.
pub const NL_POLICY_TYPE_ATTR_MAX_VALUE_U: u16 = 5;
/// Member of an attribute's policy: least length.
pub const NL_POLICY_TYPE_ATTR_MIN_LENGTH: u16 = 6;
/// Member of an attribute's policy: greatest length.
pub const NL_POLICY_TYPE_ATTR_MAX_LENGTH: u16 = 7;
/// Member of an attribute's policy: index of the nest's policy.
pub const NL_POLICY_TYPE_ATTR_POLICY_IDX: u16 = 8;
/// Member of an attribute's policy: highest attribute of the nest's policy.
pub const NL_POLICY_TYPE_ATTR_POLICY_MAXTYPE: u16 = 9;

/// Type of an attribute: 8 bits, unsigned.
pub const NL_ATTR_TYPE_U8: u32 = 2;
/// Type of an attribute: 16 bits, unsigned.
pub const NL_ATTR_TYPE_U16: u32 = 3;
/// Type of an attribute: 32 bits, unsigned.
pub const NL_ATTR_TYPE_U32: u32 = 4;
/// Type of an attribute: 32 bits, signed.
pub const NL_ATTR_TYPE_S32: u32 = 8;
/// Type of an attribute: bytes.
pub const NL_ATTR_TYPE_BINARY: u32 = 10;
/// Type of an attribute: a string.
pub const NL_ATTR_TYPE_STRING: u32 = 11;
/// Type of an attribute: a string that ends with a NUL.
pub const NL_ATTR_TYPE_NUL_STRING: u32 = 12;
/// Type of an attribute: a nest.
pub const NL_ATTR_TYPE_NESTED: u32 = 13;
/// Type of an attribute: 32 or 64 bits, unsigned.
pub const NL_ATTR_TYPE_UINT: u32 = 17;
