//! Messages from the engine to clients.

use crate::wire::{Body, Fields};
use crate::{Malformed, TooLong, Wanted};

/// A message from the engine to a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToClient<'a> {
    /// The connection is accepted, if both speak the same version.
    Welcome {
        /// [`crate::VERSION`] of the engine; 0 of an older one that does not say.
        version: u16,
    },
    /// The channel is open, under this number.
    Channel {
        /// Number for [`crate::ToEngine::Request`] and [`crate::ToEngine::SetOption`].
        channel: u32,
    },
    /// The request is done.
    Done {
        /// 0, or why not. For a [`crate::ToEngine::Request`] always 0: errors are netlink messages in the channel.
        errno: i32,
        /// Whether the engine has taken the socket of the last [`crate::ToEngine::Socket`]; if so, put the relay in its
        /// place now.
        replace_fd: bool,
        /// Whether some answers did not fit into the channel; those follow as it is drained.
        more: bool,
    },
    /// Not about a device of ours: pass the request on to the kernel.
    Pass,
    /// Check whether there is an interface with this index in the client's network namespace.
    NeedLink {
        /// The index.
        ifindex: u32,
    },
    /// Make a TUN device, in the client's network namespace.
    NeedTun(Wanted<'a>),
    /// The netlink answer to a [`crate::ToEngine::LinkRequest`], for the client to read on the socket that sent it.
    Answer {
        /// The datagram.
        datagram: &'a [u8],
    },
    /// The engine has the device of a [`crate::ToEngine::FindDevice`].
    Device {
        /// Whether it was made through the API `ovpn-dco-v2`, not `ovpn`.
        is_dco_v2: bool,
        /// Whether both network namespaces have the same number. Otherwise only index and name match, which can happen
        /// in several namespaces.
        is_certain: bool,
        /// Inode of the engine's own network namespace; 0 if unknown.
        engine: u64,
    },
    /// Hand over the transport socket that the client knows by this number.
    NeedSocket {
        /// Its fd number in the client.
        fd: i32,
    },
}

impl<'a> ToClient<'a> {
    /// Writes the message with its header and returns its length.
    ///
    /// # Errors
    /// [`TooLong`] if it does not fit.
    pub fn encode(&self, seq: u32, into: &mut [u8]) -> Result<usize, TooLong> {
        let mut body = Body::new(into);
        match *self {
            Self::Welcome { version } => body.header(101, seq).u16(version),
            Self::Channel { channel } => body.header(103, seq).u32(channel),
            Self::Done {
                errno,
                replace_fd,
                more,
            } => body
                .header(104, seq)
                .i32(errno)
                .u16(replace_fd.into())
                .u16(more.into()),
            Self::Pass => body.header(105, seq),
            Self::NeedTun(wanted) => body
                .header(106, seq)
                .u16(wanted.queues)
                .u32(wanted.mtu)
                .u16(wanted.multicast.into())
                .u16(wanted.up.into())
                .u64(wanted.nonce)
                .rest(wanted.name),
            Self::Answer { datagram } => body.header(107, seq).rest(datagram),
            Self::NeedSocket { fd } => body.header(108, seq).i32(fd),
            Self::NeedLink { ifindex } => body.header(109, seq).u32(ifindex),
            Self::Device {
                is_dco_v2,
                is_certain,
                engine,
            } => body
                .header(110, seq)
                .u16(is_dco_v2.into())
                .u16(is_certain.into())
                .u64(engine),
        };
        body.finish()
    }

    /// Reads a message and its sequence number.
    ///
    /// # Errors
    /// [`Malformed`] as for [`crate::ToEngine::decode`].
    pub fn decode(message: &'a [u8]) -> Result<(u32, Self), Malformed> {
        let (kind, seq, mut fields) = Fields::open(message)?;
        let decoded = match kind {
            101 => Self::Welcome {
                version: fields.u16()?,
            },
            // How engines up to version 7 refuse a client of another version; they do not say which they speak.
            102 => {
                let _errno = fields.i32()?;
                Self::Welcome { version: 0 }
            }
            103 => Self::Channel {
                channel: fields.u32()?,
            },
            104 => Self::Done {
                errno: fields.i32()?,
                replace_fd: fields.u16()? != 0,
                more: fields.u16()? != 0,
            },
            105 => Self::Pass,
            106 => Self::NeedTun(Wanted {
                queues: fields.u16()?,
                mtu: fields.u32()?,
                multicast: fields.u16()? != 0,
                up: fields.u16()? != 0,
                nonce: fields.u64()?,
                name: fields.rest(),
            }),
            107 => Self::Answer {
                datagram: fields.rest(),
            },
            108 => Self::NeedSocket { fd: fields.i32()? },
            109 => Self::NeedLink {
                ifindex: fields.u32()?,
            },
            110 => Self::Device {
                is_dco_v2: fields.u16()? != 0,
                is_certain: fields.u16()? != 0,
                engine: fields.u64()?,
            },
            _ => return Err(Malformed),
        };
        fields.end()?;
        Ok((seq, decoded))
    }
}
