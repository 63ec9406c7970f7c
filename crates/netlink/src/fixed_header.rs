//! The fixed headers of rtnetlink, which follow `nlmsghdr`.

use crate::numbers::{IFINFOMSG_LEN, NLMSG_HDRLEN, RTMSG_LEN};

/// `ifinfomsg`, the header of messages about links; its address family and link type are left 0.
#[derive(Clone, Copy, Default)]
pub(crate) struct LinkHeader {
    /// Interface index.
    pub(crate) ifindex: u32,
    /// `IFF_*`.
    pub(crate) flags: u32,
    /// The flags that a request changes.
    pub(crate) mask: u32,
}

impl LinkHeader {
    /// Where the attributes of a message begin.
    pub(crate) const END: usize = NLMSG_HDRLEN + IFINFOMSG_LEN;

    /// The header of this message, if it is that long.
    pub(crate) fn of(message: &[u8]) -> Option<Self> {
        let fields = message.get(NLMSG_HDRLEN..Self::END)?;
        let field = |at| Some(u32::from_ne_bytes(*fields.get(at..)?.first_chunk()?));
        Some(Self {
            ifindex: field(4)?,
            flags: field(8)?,
            mask: field(12)?,
        })
    }

    /// The header as bytes.
    pub(crate) fn bytes(self) -> [u8; IFINFOMSG_LEN] {
        let [i0, i1, i2, i3] = self.ifindex.to_ne_bytes();
        let [f0, f1, f2, f3] = self.flags.to_ne_bytes();
        let [m0, m1, m2, m3] = self.mask.to_ne_bytes();
        [0, 0, 0, 0, i0, i1, i2, i3, f0, f1, f2, f3, m0, m1, m2, m3]
    }
}

/// `rtmsg`, the header of messages about routes; the fields that nothing here reads or writes are left 0.
#[derive(Clone, Copy, Default)]
pub(crate) struct RouteHeader {
    /// Address family.
    pub(crate) family: u8,
    /// Prefix length of the destination.
    pub(crate) destination_bits: u8,
    /// Prefix length of the source.
    pub(crate) source_bits: u8,
    /// Number of the table; 0 if `RTA_TABLE` holds it.
    pub(crate) table: u8,
    /// `RTN_*`.
    pub(crate) kind: u8,
    /// `RTM_F_*`.
    pub(crate) flags: u32,
}

impl RouteHeader {
    /// Where the attributes of a message begin.
    pub(crate) const END: usize = NLMSG_HDRLEN + RTMSG_LEN;

    /// The header of this message, if it is that long.
    pub(crate) fn of(message: &[u8]) -> Option<Self> {
        let [
            family,
            destination_bits,
            source_bits,
            _tos,
            table,
            _protocol,
            _scope,
            kind,
            flags @ ..,
        ] = *message.get(NLMSG_HDRLEN..)?.first_chunk::<RTMSG_LEN>()?;
        Some(Self {
            family,
            destination_bits,
            source_bits,
            table,
            kind,
            flags: u32::from_ne_bytes(flags),
        })
    }

    /// The header as bytes.
    pub(crate) fn bytes(self) -> [u8; RTMSG_LEN] {
        let [f0, f1, f2, f3] = self.flags.to_ne_bytes();
        let (family, table, kind) = (self.family, self.table, self.kind);
        [
            family,
            self.destination_bits,
            self.source_bits,
            0,
            table,
            0,
            0,
            kind,
            f0,
            f1,
            f2,
            f3,
        ]
    }
}
