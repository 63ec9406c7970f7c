//! Messages from clients to the engine.

use crate::capture::Wanted;
use crate::wire::{Body, Fields};
use crate::{Malformed, MssFix, TooLong};

/// How far a client had read into its TCP stream when it was handed over. The rest of a packet that it had partly read
/// goes to the client unchanged, so that it finds the start of the next one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Partial {
    /// It was between two packets, or its position is unknown.
    #[default]
    Nothing,
    /// It had read this first byte of a length.
    Length(u8),
    /// This many bytes of a packet were missing.
    Packet(u16),
}

/// Stands for every peer: ids have 24 bits.
const ANY_PEER: u32 = u32::MAX;

/// A message from a client to the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToEngine<'a> {
    /// The first message on a connection. Answer: [`crate::ToClient::Welcome`].
    Hello {
        /// [`crate::VERSION`] of the sender.
        version: u16,
        /// Process id as the sender sees it (for display only).
        pid: u32,
        /// Name of the client's program (for display only).
        program: &'a [u8],
    },
    /// A new channel. Beside it: the engine's end of the pair. Answer: [`crate::ToClient::Channel`].
    OpenChannel,
    /// `setsockopt(SOL_NETLINK, name, value)` on a channel: membership, `NETLINK_EXT_ACK`, `NETLINK_CAP_ACK`.
    /// Answer: [`crate::ToClient::Done`] with the errno.
    SetOption {
        /// The channel it was called on.
        channel: u32,
        /// Option name, as in `<linux/netlink.h>`.
        name: i32,
        /// Option value.
        value: i32,
    },
    /// A datagram that the client sent on a channel. Answer: [`crate::ToClient::Done`], after all replies are readable
    /// in the channel (or [`crate::ToClient::NeedSocket`] or [`crate::ToClient::NeedLink`] first).
    Request {
        /// The channel it was sent on.
        channel: u32,
        /// Netlink port id of that socket, as far as the client knows.
        port: u32,
        /// The largest buffer with which the client has received on it so far, in bytes; 0 if it has not received
        /// yet. As in the kernel, the datagrams of a dump are sized to it.
        room: u32,
        /// Whether the client has `CAP_NET_ADMIN` now, and had it when it opened the socket.
        admin: bool,
        /// The datagram: one or more netlink messages.
        datagram: &'a [u8],
    },
    /// A notification that lay in a channel before the mark of a request. Has no answer.
    Return {
        /// The channel.
        channel: u32,
        /// The notification.
        datagram: &'a [u8],
    },
    /// An rtnetlink request that creates, deletes or shows a link (`RTM_NEWLINK`, `RTM_DELLINK`, `RTM_GETLINK`).
    /// Answer: [`crate::ToClient::Pass`], [`crate::ToClient::Answer`], or [`crate::ToClient::NeedTun`] first.
    LinkRequest {
        /// Netlink port id of the client's socket.
        port: u32,
        /// Whether the client has `CAP_NET_ADMIN` now.
        admin: bool,
        /// `NETLINK_EXT_ACK` of the client's socket.
        ext_ack: bool,
        /// `NETLINK_CAP_ACK` of the same socket.
        cap_ack: bool,
        /// The datagram.
        datagram: &'a [u8],
    },
    /// The kernel's report of a link that may be ours, which the client is about to read: one `RTM_NEWLINK` message.
    /// Answer: [`crate::ToClient::Answer`] with the message for it to read instead.
    Shown {
        /// As in [`ToEngine::Tun`].
        netns: u64,
        /// The message.
        message: &'a [u8],
    },
    /// Reply to [`crate::ToClient::NeedLink`]. Answer: that of the pending request.
    Link {
        /// Whether there is such an interface.
        exists: bool,
    },
    /// Reply to [`crate::ToClient::NeedTun`]. Beside it, if `errno` is 0: the TUN queues, then a `NETLINK_ROUTE` socket
    /// of the same network namespace that has joined the groups for links, addresses and routes of both families.
    /// Answer: [`crate::ToClient::Answer`].
    Tun {
        /// 0, or why there is no device.
        errno: i32,
        /// Interface index of the device in the client's network namespace. The engine verifies it with the kernel
        /// (faults D1).
        ifindex: u32,
        /// The kernel's number of that namespace (`SO_NETNS_COOKIE`); 0 if it has none. Never trusted.
        netns: u64,
        /// The device's actual name. Never trusted.
        name: &'a [u8],
    },
    /// Reply to [`crate::ToClient::NeedSocket`]. Beside it, if `errno` is 0: the real transport socket, then the
    /// engine's end of the relay, SEQPACKET (see [`crate::RelayHeader`] for UDP, [`crate::STREAM_ERROR`] for TCP).
    /// Answer: [`crate::ToClient::Done`].
    Socket {
        /// 0, or why there is no such socket: `EBADF` or `ENOTSOCK` if the number names none; `EOPNOTSUPP` if it is
        /// neither UDP nor TCP; `EBUSY` for a UDP socket with an encapsulation of its own.
        errno: i32,
        /// The packet of a TCP stream that the client has partly read.
        partial: Partial,
    },
    /// The client closed a transport socket that the engine has. Answer: [`crate::ToClient::Done`], after the engine
    /// has closed its copy, so that the port is free.
    SocketClosed {
        /// The fd number by which the client knew it.
        fd: i32,
    },
    /// The client opened `/dev/net/tun` itself: it runs its own data path. Answer: [`crate::ToClient::Done`].
    OwnTun,
    /// Requests the engine's state as JSON. Beside it: the file to write it to. Answer: [`crate::ToClient::Done`].
    Show,
    /// The client's network namespace, before Linux 5.14, where the kernel does not report it (`SO_NETNS_COOKIE`).
    /// Comes right after [`ToEngine::Hello`]. Valid only among clients of one user (faults B5). Answer:
    /// [`crate::ToClient::Done`].
    Namespace {
        /// Inode of `/proc/self/ns/net`.
        inode: u64,
    },
    /// The client's own options for the data path of its devices. Answer: [`crate::ToClient::Done`].
    Options {
        /// Size limit for TCP segments.
        mssfix: MssFix,
        /// Whether to copy the DSCP of an inner packet to the outer one.
        passtos: bool,
    },
    /// A new connection: beside it, the engine's end of a SEQPACKET pair. Has no answer here, because others may read
    /// on this socket; the conversation on the new connection begins with [`ToEngine::Hello`]. A dispenser
    /// ([`crate::FD_VARIABLE`]) accepts only this and [`ToEngine::Output`]. On any other connection it comes from a
    /// forked child whose parent keeps using the connection.
    Connect,
    /// Where the client's messages go from now on, and so its own engine's messages about it. Has no answer. Beside
    /// it: the file; without one, the engine only closes the standard error that it was started with. Engines shared
    /// by several clients ignore it.
    Output {
        /// Process id as the client sees it (for display only).
        pid: u32,
        /// Facility as in `<syslog.h>`, if `ident` is given.
        facility: u16,
        /// The file is a socket of syslog(3), on which the client has this name; empty for any other file.
        ident: &'a [u8],
    },
    /// Requests the engine's device with this index in the client's network namespace, so that a client need not read
    /// the whole state. Answer: [`crate::ToClient::Device`], or [`crate::ToClient::Done`] with `ENODEV`.
    FindDevice {
        /// As in [`ToEngine::Tun`].
        netns: u64,
        /// Interface index in the client's network namespace.
        ifindex: u32,
        /// Its name there, compared where the kernel does not number namespaces.
        name: &'a [u8],
    },
    /// OpenVPN has again refused the options that its server pushed, because they rule out offload. Answer:
    /// [`crate::ToClient::Done`].
    CompressionRefused,
    /// Captures the packets of a device that the client may use, until the client closes its end or its connection.
    /// Beside it: the engine's end of a SEQPACKET pair, whose messages [`crate::capture`] describes. One capture for
    /// each connection, and for each device. Answer: [`crate::ToClient::Done`] with 0; `ENODEV`; `EPERM` for another
    /// user's device; `EBUSY`; `EDQUOT` if the user has reached its limit; `EINVAL`.
    Capture {
        /// Interface index in the client's network namespace.
        ifindex: u32,
        /// Only this peer's packets.
        peer: Option<u32>,
        /// What to show.
        wanted: Wanted,
        /// The most bytes to capture of each packet.
        snap: u32,
    },
}

impl<'a> ToEngine<'a> {
    /// Writes the message with its header and returns its length.
    ///
    /// # Errors
    /// [`TooLong`] if it does not fit; in a buffer of [`crate::MAX_MESSAGE`] bytes, a netlink request fits if it is at
    /// least 22 bytes shorter.
    pub fn encode(&self, seq: u32, into: &mut [u8]) -> Result<usize, TooLong> {
        let mut body = Body::new(into);
        match *self {
            Self::Hello {
                version,
                pid,
                program,
            } => body.header(1, seq).u16(version).u32(pid).rest(program),
            Self::OpenChannel => body.header(2, seq),
            Self::SetOption {
                channel,
                name,
                value,
            } => body.header(3, seq).u32(channel).i32(name).i32(value),
            Self::Request {
                channel,
                port,
                room,
                admin,
                datagram,
            } => body
                .header(4, seq)
                .u32(channel)
                .u32(port)
                .u32(room)
                .u16(admin.into())
                .rest(datagram),
            Self::LinkRequest {
                port,
                admin,
                ext_ack,
                cap_ack,
                datagram,
            } => body
                .header(5, seq)
                .u32(port)
                .u16(admin.into())
                .u16(ext_ack.into())
                .u16(cap_ack.into())
                .rest(datagram),
            Self::Tun {
                errno,
                ifindex,
                netns,
                name,
            } => body
                .header(6, seq)
                .i32(errno)
                .u32(ifindex)
                .u64(netns)
                .rest(name),
            Self::Socket { errno, partial } => {
                let (kind, value) = match partial {
                    Partial::Nothing => (0, 0),
                    Partial::Length(first) => (1, u16::from(first)),
                    Partial::Packet(missing) => (2, missing),
                };
                body.header(7, seq).i32(errno).u16(kind).u16(value)
            }
            Self::SocketClosed { fd } => body.header(8, seq).i32(fd),
            Self::OwnTun => body.header(9, seq),
            Self::Show => body.header(10, seq),
            Self::Return { channel, datagram } => body.header(11, seq).u32(channel).rest(datagram),
            Self::Shown { netns, message } => body.header(12, seq).u64(netns).rest(message),
            Self::Namespace { inode } => body.header(15, seq).u64(inode),
            Self::Link { exists } => body.header(13, seq).u16(exists.into()),
            Self::CompressionRefused => body.header(18, seq),
            Self::Options { mssfix, passtos } => {
                let (kind, size) = mssfix.to_wire();
                body.header(14, seq).u16(kind).u16(size).u16(passtos.into())
            }
            Self::FindDevice {
                netns,
                ifindex,
                name,
            } => body.header(19, seq).u64(netns).u32(ifindex).rest(name),
            Self::Capture {
                ifindex,
                peer,
                wanted,
                snap,
            } => body
                .header(20, seq)
                .u32(ifindex)
                .u32(peer.unwrap_or(ANY_PEER))
                .u16(wanted.to_wire())
                .u32(snap),
            Self::Connect => body.header(16, seq),
            Self::Output {
                pid,
                facility,
                ident,
            } => body.header(17, seq).u32(pid).u16(facility).rest(ident),
        };
        body.finish()
    }

    /// Reads a message and its sequence number.
    ///
    /// # Errors
    /// [`Malformed`] if the kind is unknown, the body too short, or a body of fixed size too long.
    pub fn decode(message: &'a [u8]) -> Result<(u32, Self), Malformed> {
        let (kind, seq, mut fields) = Fields::open(message)?;
        let decoded = match kind {
            1 => Self::Hello {
                version: fields.u16()?,
                pid: fields.u32()?,
                program: fields.rest(),
            },
            2 => Self::OpenChannel,
            3 => Self::SetOption {
                channel: fields.u32()?,
                name: fields.i32()?,
                value: fields.i32()?,
            },
            4 => Self::Request {
                channel: fields.u32()?,
                port: fields.u32()?,
                room: fields.u32()?,
                admin: fields.u16()? != 0,
                datagram: fields.rest(),
            },
            5 => Self::LinkRequest {
                port: fields.u32()?,
                admin: fields.u16()? != 0,
                ext_ack: fields.u16()? != 0,
                cap_ack: fields.u16()? != 0,
                datagram: fields.rest(),
            },
            6 => Self::Tun {
                errno: fields.i32()?,
                ifindex: fields.u32()?,
                netns: fields.u64()?,
                name: fields.rest(),
            },
            7 => Self::Socket {
                errno: fields.i32()?,
                partial: match (fields.u16()?, fields.u16()?) {
                    (1, first) => Partial::Length(u8::try_from(first).map_err(|_| Malformed)?),
                    (2, missing) => Partial::Packet(missing),
                    _ => Partial::Nothing,
                },
            },
            8 => Self::SocketClosed { fd: fields.i32()? },
            9 => Self::OwnTun,
            10 => Self::Show,
            11 => Self::Return {
                channel: fields.u32()?,
                datagram: fields.rest(),
            },
            12 => Self::Shown {
                netns: fields.u64()?,
                message: fields.rest(),
            },
            15 => Self::Namespace {
                inode: fields.u64()?,
            },
            13 => Self::Link {
                exists: fields.u16()? != 0,
            },
            14 => Self::Options {
                mssfix: MssFix::of_wire((fields.u16()?, fields.u16()?)),
                passtos: fields.u16()? != 0,
            },
            16 => Self::Connect,
            17 => Self::Output {
                pid: fields.u32()?,
                facility: fields.u16()?,
                ident: fields.rest(),
            },
            18 => Self::CompressionRefused,
            19 => Self::FindDevice {
                netns: fields.u64()?,
                ifindex: fields.u32()?,
                name: fields.rest(),
            },
            20 => Self::Capture {
                ifindex: fields.u32()?,
                peer: Some(fields.u32()?).filter(|peer| *peer != ANY_PEER),
                wanted: Wanted::of_wire(fields.u16()?),
                snap: fields.u32()?,
            },
            _ => return Err(Malformed),
        };
        fields.end()?;
        Ok((seq, decoded))
    }
}
