//! The error numbers of the API, as on every Linux architecture that we know of (asm-generic).

use crate::Errno;

impl Errno {
    /// Not permitted: no `CAP_NET_ADMIN`.
    pub const EPERM: Self = Self(1);
    /// No such family, peer or key.
    pub const ENOENT: Self = Self(2);
    /// No memory. Kills OpenVPN (dco-behaviour 4.4).
    pub const ENOMEM: Self = Self(12);
    /// Somebody else has it, or is at it.
    pub const EBUSY: Self = Self(16);
    /// Exists already.
    pub const EEXIST: Self = Self(17);
    /// No such interface. Kills OpenVPN (dco-behaviour 4.4).
    pub const ENODEV: Self = Self(19);
    /// Invalid.
    pub const EINVAL: Self = Self(22);
    /// Out of range.
    pub const ERANGE: Self = Self(34);
    /// The schema of a family without one was asked for.
    pub const ENODATA: Self = Self(61);
    /// Not a socket that can be a transport.
    pub const ENOTSOCK: Self = Self(88);
    /// No such command.
    pub const EOPNOTSUPP: Self = Self(95);
    /// The address is somebody else's.
    pub const EADDRINUSE: Self = Self(98);
    /// Not an address that can be used.
    pub const EADDRNOTAVAIL: Self = Self(99);
}
