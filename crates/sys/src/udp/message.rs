//! A message to send, and its outcome.

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

use super::control::Class;

/// The most segments per message that every kernel since 4.18 accepts.
pub const MAX_SEGMENTS: usize = 64;

/// One message: a datagram, or several of equal size, one after another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its bytes in the arena, or the first of them ([`super::Outbox::extend`]).
    pub range: Range<usize>,
    /// The destination: IPv4 addresses go out v4-mapped on an IPv6 socket.
    pub destination: SocketAddr,
    /// The source; `None` leaves it to the kernel. Ignored if of another family than the destination.
    pub local: Option<IpAddr>,
    /// The kernel cuts the bytes into datagrams of this length, the last of which may be shorter; at most
    /// [`MAX_SEGMENTS`] and 65,507 bytes (IPv6: 65,527) in all.
    pub segment: Option<u16>,
    /// TOS of IPv4, traffic class of IPv6; 0 leaves it to the socket.
    pub traffic_class: u8,
}

/// The outcome of sending a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The kernel took it.
    Sent,
    /// The kernel took it after the local address was left out, because it is no longer ours: the caller should forget
    /// that address (promises D8).
    SentWithoutLocal,
    /// The kernel refused this message only: the errno.
    Failed(i32),
    /// Never tried, or no room: `EAGAIN`, `ENOBUFS`, `ENOMEM` stop the batch.
    NotSent,
}

impl Outcome {
    /// Whether the kernel took it.
    #[must_use]
    pub fn is_sent(self) -> bool {
        matches!(self, Self::Sent | Self::SentWithoutLocal)
    }

    /// Whether it was refused because a segment exceeds the path's MTU (`EMSGSIZE`, older kernels `EINVAL`).
    #[must_use]
    pub fn is_too_long(self) -> bool {
        matches!(self, Self::Failed(libc::EMSGSIZE | libc::EINVAL))
    }

    /// Whether a message with a segment size failed in a way that its datagrams, sent one by one, may not: a segment
    /// exceeds the path's MTU (`EMSGSIZE`, older kernels `EINVAL`), or a device or a transform cannot segment (`EIO`,
    /// `EOPNOTSUPP`). Try [`super::Outbox::send_singly`].
    #[must_use]
    pub fn refuses_segments(self) -> bool {
        matches!(
            self,
            Self::Failed(libc::EMSGSIZE | libc::EINVAL | libc::EIO | libc::EOPNOTSUPP)
        )
    }

    /// Whether the kernel or the device cannot segment at all, whatever the path's MTU: one of the failures of
    /// [`Outcome::refuses_segments`].
    #[must_use]
    pub fn cannot_segment(self) -> bool {
        matches!(self, Self::Failed(libc::EIO | libc::EOPNOTSUPP))
    }
}

impl Message {
    /// The local address, unless the destination is of the other family.
    pub(super) fn usable_local(&self) -> Option<IpAddr> {
        let local = self.local?;
        let same = local.is_ipv4() == self.destination.is_ipv4();
        (same && !local.is_unspecified()).then_some(local)
    }

    /// The traffic class, unless the socket's applies. A datagram to a v4-mapped address is IPv4, even on an IPv6
    /// socket.
    pub(super) fn class(&self) -> Option<Class> {
        let class = self.traffic_class;
        let named = match self.destination.is_ipv4() {
            true => Class::V4(class),
            false => Class::V6(class),
        };
        (class != 0).then_some(named)
    }

    /// The segment size, unless one segment holds all these bytes.
    pub(super) fn usable_segment(&self, bytes: usize) -> Option<u16> {
        self.segment
            .filter(|size| *size > 0 && bytes > usize::from(*size))
    }
}
