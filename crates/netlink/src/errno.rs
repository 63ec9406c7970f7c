//! The error numbers of the API. They are those of `asm-generic`, which all supported architectures use.

use core::error::Error;
use core::fmt;

/// A Linux error number (errno), positive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Errno(pub i32);

impl Errno {
    /// Not permitted: no `CAP_NET_ADMIN`.
    pub const EPERM: Self = Self(1);
    /// No such family, peer or key.
    pub const ENOENT: Self = Self(2);
    /// No memory. Kills OpenVPN (dco-behaviour 4.4).
    pub const ENOMEM: Self = Self(12);
    /// In use.
    pub const EBUSY: Self = Self(16);
    /// Already exists.
    pub const EEXIST: Self = Self(17);
    /// No such interface. Kills OpenVPN (dco-behaviour 4.4).
    pub const ENODEV: Self = Self(19);
    /// Invalid request.
    pub const EINVAL: Self = Self(22);
    /// Value or length out of range.
    pub const ERANGE: Self = Self(34);
    /// The family has no policy to report.
    pub const ENODATA: Self = Self(61);
    /// Not a socket, or not one that can be a transport.
    pub const ENOTSOCK: Self = Self(88);
    /// No such command.
    pub const EOPNOTSUPP: Self = Self(95);
    /// Another peer has the address.
    pub const EADDRINUSE: Self = Self(98);
    /// Not a usable address.
    pub const EADDRNOTAVAIL: Self = Self(99);
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error {}", self.0)
    }
}

impl Error for Errno {}
