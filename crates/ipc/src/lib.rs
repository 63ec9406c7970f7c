//! What a *client* (the preload library inside OpenVPN, or the CLI) and the engine say to each other.
//!
//! Both ends of the conversation are local and built from one source tree, so integers are in host order and a
//! [`VERSION`] in the first message is all the compatibility there is. Every message is one datagram on a
//! `SOCK_SEQPACKET` Unix socket: [`HEADER`] bytes of header, then the body. File descriptors travel beside a message
//! with `SCM_RIGHTS`, in the order given at each variant.
//!
//! The client asks, the engine answers; a client has one question open at a time. Each question carries a sequence
//! number, its answers repeat it, and a client throws away an answer with another number (it belongs to a question on
//! which it had given up). An engine that needs something of the client before it can answer says so
//! ([`ToClient::NeedTun`], [`ToClient::NeedSocket`], [`ToClient::NeedLink`]) and the client replies under the same number.
//!
//! A *channel* is what the program believes to be a generic-netlink socket: a SEQPACKET pair, one end in the program's
//! fd table, the other in the engine. Requests go over the client's connection ([`ToEngine::Request`]), so that the
//! client can wait until every answer lies readable in the channel before its `sendmsg` returns; OpenVPN spins on
//! `EAGAIN` otherwise.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

mod alias;
pub mod client;
mod device;
mod errno;
mod left;
mod options;
mod relay;
mod wire;

pub use alias::{ALIAS, Alias};
pub use device::{Kernel, Made, Name, QUEUE_FLAGS, Shape, Wanted, make};
pub use left::{Interface, interface};
pub use options::{MssFix, OPTIONS_VARIABLE, ProgramOptions};
pub use relay::RelayHeader;
use wire::{Body, Fields};

/// Version of this protocol; both ends must have the same.
pub const VERSION: u16 = 5;

/// Bytes of header before each body: kind (u16), unused (u16), sequence number (u32).
pub const HEADER: usize = 8;

/// The largest message of either direction, header included.
pub const MAX_MESSAGE: usize = 32 * 1024;

/// The most file descriptors beside one message: 16 TUN queues and the route monitor.
pub const MAX_FDS: usize = 17;

/// Bytes that a transport socket over UDP should hold in each direction. The client sees to it, as the engine has no right
/// to exceed the system's limit.
pub const TRANSPORT_BUFFER: usize = 4 << 20;

/// What the engine puts into a channel when it begins with a request: whatever lies before it was not caused by the
/// request. Shorter than any netlink message, so that it cannot be taken for one.
///
/// OpenVPN 2.6 forgets a notification that it reads while it waits for an answer. So the client gives such a notification
/// back ([`ToEngine::Return`]), and the engine queues it behind the answer.
pub const REQUEST_MARK: &[u8] = b"mark";

/// What precedes an errno, one byte, in a message of the relay of a TCP socket that says that its stream has failed: the
/// program's next call to receive fails with it.
///
/// All other messages are packets with their length in front, both ways, one a message: the program reads one packet a
/// call, as it does with the kernel driver. No packet that begins with these bytes is so short. While the socket serves
/// no peer, the bytes of its stream come as they are.
pub const STREAM_ERROR: [u8; 2] = [0xff, 0xff];

/// Environment variable with the number of an inherited fd through which an engine hands out connections: its
/// *dispenser*. Every process below `udco run` inherits the same one, so nothing is read from it. A process makes a pair
/// of sockets, sends one end through the dispenser with [`ToEngine::Connect`], and speaks on the other.
pub const FD_VARIABLE: &str = "UDCO_FD";

/// Environment variable with the path of the socket of an engine.
pub const SOCKET_VARIABLE: &str = "UDCO_SOCKET";

/// How far a program had read into its TCP stream when it was handed over. What is missing of the packet at which it
/// stood goes to the program as it is, so that it finds the beginning of the next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Begun {
    /// It stood between two packets, or nobody has counted.
    #[default]
    Nothing,
    /// It had read the first byte of a length: this one.
    Length(u8),
    /// So many bytes of a packet were missing.
    Packet(u16),
}

/// A message from a client to the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToEngine<'a> {
    /// The first message on a connection. Answer: [`ToClient::Welcome`] or [`ToClient::Refused`].
    Hello {
        /// [`VERSION`] of the sender.
        version: u16,
        /// Process id as the sender sees it (for messages to people only).
        pid: u32,
        /// Name of the program (for messages to people only).
        program: &'a [u8],
    },
    /// A new channel. Beside it: the engine's end of the pair. Answer: [`ToClient::Channel`].
    OpenChannel,
    /// `setsockopt(SOL_NETLINK, name, value)` on a channel: membership, `NETLINK_EXT_ACK`, `NETLINK_CAP_ACK`.
    /// Answer: [`ToClient::Done`] with the errno.
    SetOption {
        /// The channel it was called on.
        channel: u32,
        /// Option name, as in `<linux/netlink.h>`.
        name: i32,
        /// Option value.
        value: i32,
    },
    /// A datagram that the program sent on a channel. Answer: [`ToClient::Done`], after all replies are readable in
    /// the channel (or [`ToClient::NeedSocket`] or [`ToClient::NeedLink`] first).
    Request {
        /// The channel it was sent on.
        channel: u32,
        /// Netlink port id of that socket, as the program believes it to be.
        port: u32,
        /// The largest buffer with which the program has received on it so far, in bytes; 0 if it has not. The kernel
        /// fits the datagrams of a dump to it.
        room: u32,
        /// Whether the caller has `CAP_NET_ADMIN` at this moment, and had it when it opened the socket.
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
    /// Answer: [`ToClient::Pass`], [`ToClient::Answer`], or [`ToClient::NeedTun`] first.
    Route {
        /// Netlink port id of the asking socket.
        port: u32,
        /// Whether the caller has `CAP_NET_ADMIN` at this moment.
        admin: bool,
        /// `NETLINK_EXT_ACK` of the asking socket.
        ext_ack: bool,
        /// `NETLINK_CAP_ACK` of it.
        cap_ack: bool,
        /// The datagram.
        datagram: &'a [u8],
    },
    /// What the kernel tells of a link that may be ours, and the program is about to read: one `RTM_NEWLINK` message.
    /// Answer: [`ToClient::Answer`] with the message as it shall be read.
    Shown {
        /// As in [`ToEngine::Tun`].
        netns: u64,
        /// The message.
        message: &'a [u8],
    },
    /// Reply to [`ToClient::NeedLink`]. Has the same answer as the question before it.
    Link {
        /// Whether there is such an interface.
        exists: bool,
    },
    /// Reply to [`ToClient::NeedTun`]. Beside it, if `errno` is 0: the TUN queues, then a `NETLINK_ROUTE` socket of
    /// the same network namespace that has joined the groups for links, addresses and routes of both families.
    /// Answer: [`ToClient::Answer`].
    Tun {
        /// 0, or why there is no device.
        errno: i32,
        /// Interface index of the device in the client's network namespace. The engine asks the kernel whether the
        /// device has it (faults D1).
        ifindex: u32,
        /// The kernel's number of that namespace (`SO_NETNS_COOKIE`); 0 if it has none. Never believed.
        netns: u64,
        /// Name that the device got. Never believed.
        name: &'a [u8],
    },
    /// Reply to [`ToClient::NeedSocket`]. Beside it, if `errno` is 0: the real transport socket, then the engine's end
    /// of the relay, SEQPACKET (see [`RelayHeader`] for UDP, [`STREAM_ERROR`] for TCP). Answer: [`ToClient::Done`].
    Socket {
        /// 0, or why there is no such socket: `EBADF` or `ENOTSOCK` if the number names none; `EOPNOTSUPP` if it is
        /// neither UDP nor TCP; `EBUSY` for a UDP socket with an encapsulation of its own.
        errno: i32,
        /// The packet of a TCP stream that the program has read a part of.
        begun: Begun,
    },
    /// The program closed a transport socket that the engine has. Answer: [`ToClient::Done`], after the engine has let
    /// go of it, so that its port is free.
    SocketClosed {
        /// The fd number by which the program knew it.
        fd: i32,
    },
    /// The program opened `/dev/net/tun` by itself: it runs its own data path. Answer: [`ToClient::Done`].
    OwnTun,
    /// Asks for the engine's state as JSON. Beside it: the file to write it to. Answer: [`ToClient::Done`].
    Show,
    /// Which network namespace the client is in, before Linux 5.14, where the kernel does not tell (`SO_NETNS_COOKIE`).
    /// Comes right after [`ToEngine::Hello`]. It counts only among programs of one user (faults B5). Answer:
    /// [`ToClient::Done`].
    Namespace {
        /// Inode of `/proc/self/ns/net`.
        inode: u64,
    },
    /// What the program's own options say of the data path of its devices. Answer: [`ToClient::Done`].
    Options {
        /// Up to which size TCP segments are kept.
        mssfix: MssFix,
        /// Whether the DSCP of an inner packet is that of the outer one.
        passtos: bool,
    },
    /// A new connection: beside it, the engine's end of a SEQPACKET pair. Has no answer here, because others may read on
    /// this socket; the conversation on the new connection begins with [`ToEngine::Hello`]. This is all that a dispenser
    /// takes ([`FD_VARIABLE`]), besides [`ToEngine::Output`]. On any other connection it comes from a forked child whose
    /// parent goes on using the connection.
    Connect,
    /// Where the program's messages go from now on, and so what its own engine has to say about it. Has no answer. Beside
    /// it: the file; without one, the engine only lets go of the standard error that it was started with. Engines that
    /// several programs share ignore it.
    Output {
        /// Process id as the program sees it (for messages to people only).
        pid: u32,
        /// Facility as in `<syslog.h>`, if `ident` is given.
        facility: u16,
        /// The file is a socket of syslog(3), on which the program has this name; empty for any other file.
        ident: &'a [u8],
    },
    /// Which device of this index the engine has in the client's network namespace, so that a client need not read the
    /// whole state. Answer: [`ToClient::Device`], or [`ToClient::Done`] with `ENODEV`.
    FindDevice {
        /// As in [`ToEngine::Tun`].
        netns: u64,
        /// Interface index in the client's network namespace.
        ifindex: u32,
        /// Its name there: it counts where the kernel does not number namespaces.
        name: &'a [u8],
    },
    /// OpenVPN has refused again what its server pushes, since that rules offload out. Answer: [`ToClient::Done`].
    CompressionRefused,
}

/// A message from the engine to a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToClient<'a> {
    /// The connection stands.
    Welcome {
        /// [`VERSION`] of the engine.
        version: u16,
    },
    /// The connection is refused: wrong version, or the caller may not.
    Refused {
        /// Why, as an errno.
        errno: i32,
    },
    /// The channel is known by this number.
    Channel {
        /// Number for [`ToEngine::Request`] and [`ToEngine::SetOption`].
        channel: u32,
    },
    /// The question is answered.
    Done {
        /// 0, or why not. For a [`ToEngine::Request`] always 0: errors are netlink messages in the channel.
        errno: i32,
        /// The engine has taken the socket of the last [`ToEngine::Socket`]: put the relay in its place now.
        swap: bool,
        /// Not all answers fitted into the channel; the rest follows as it is read.
        more: bool,
    },
    /// Not about a device of ours: give the request to the kernel.
    Pass,
    /// Say whether there is an interface with this index, in the network namespace of the program.
    NeedLink {
        /// The index.
        ifindex: u32,
    },
    /// Make a TUN device, in the network namespace of the program.
    NeedTun {
        /// How many queues (`IFF_MULTI_QUEUE` if more than one). A device that is taken over has those it was made for:
        /// the engine goes by the number that comes.
        queues: u16,
        /// Its MTU.
        mtu: u32,
        /// Whether it has the flag `IFF_MULTICAST`, as `ovpn-dco` has it and `ovpn` has not.
        multicast: bool,
        /// Whether to set it up.
        up: bool,
        /// What its alias has to end with (see [`Alias`]): proof that the device is the one made for this question.
        nonce: u64,
        /// Its name; `EEXIST` if there is one already, unless it is one that was left ([`Interface::Left`]).
        name: &'a [u8],
    },
    /// The netlink answer to a [`ToEngine::Route`], to be read by the program on the socket on which it asked.
    Answer {
        /// The datagram.
        datagram: &'a [u8],
    },
    /// The engine has the device of a [`ToEngine::FindDevice`].
    Device {
        /// It was made by the API `ovpn-dco-v2`, not by `ovpn`.
        is_dco_v2: bool,
        /// Both network namespaces have a number, the same. Otherwise only index and name agree, which may occur in
        /// several namespaces.
        is_certain: bool,
        /// Inode of the engine's own network namespace; 0 if unknown.
        engine: u64,
    },
    /// Hand over the transport socket that the program knows by this number.
    NeedSocket {
        /// Its fd number in the program.
        fd: i32,
    },
}

/// The message does not fit the buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong;

/// The bytes are no message of this protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

impl<'a> ToEngine<'a> {
    /// Writes the message with its header and returns its length.
    ///
    /// # Errors
    /// [`TooLong`] if it does not fit; a buffer of [`MAX_MESSAGE`] fits every netlink request of up to that size less
    /// 16 bytes.
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
            Self::Route {
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
            Self::Socket { errno, begun } => {
                let (kind, value) = match begun {
                    Begun::Nothing => (0, 0),
                    Begun::Length(first) => (1, u16::from(first)),
                    Begun::Packet(missing) => (2, missing),
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
            5 => Self::Route {
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
                begun: match (fields.u16()?, fields.u16()?) {
                    (1, first) => Begun::Length(u8::try_from(first).map_err(|_| Malformed)?),
                    (2, missing) => Begun::Packet(missing),
                    _ => Begun::Nothing,
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
            _ => return Err(Malformed),
        };
        fields.end()?;
        Ok((seq, decoded))
    }
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
            Self::Refused { errno } => body.header(102, seq).i32(errno),
            Self::Channel { channel } => body.header(103, seq).u32(channel),
            Self::Done { errno, swap, more } => body
                .header(104, seq)
                .i32(errno)
                .u16(swap.into())
                .u16(more.into()),
            Self::Pass => body.header(105, seq),
            Self::NeedTun {
                queues,
                mtu,
                multicast,
                up,
                nonce,
                name,
            } => body
                .header(106, seq)
                .u16(queues)
                .u32(mtu)
                .u16(multicast.into())
                .u16(up.into())
                .u64(nonce)
                .rest(name),
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
    /// [`Malformed`] as for [`ToEngine::decode`].
    pub fn decode(message: &'a [u8]) -> Result<(u32, Self), Malformed> {
        let (kind, seq, mut fields) = Fields::open(message)?;
        let decoded = match kind {
            101 => Self::Welcome {
                version: fields.u16()?,
            },
            102 => Self::Refused {
                errno: fields.i32()?,
            },
            103 => Self::Channel {
                channel: fields.u32()?,
            },
            104 => Self::Done {
                errno: fields.i32()?,
                swap: fields.u16()? != 0,
                more: fields.u16()? != 0,
            },
            105 => Self::Pass,
            106 => Self::NeedTun {
                queues: fields.u16()?,
                mtu: fields.u32()?,
                multicast: fields.u16()? != 0,
                up: fields.u16()? != 0,
                nonce: fields.u64()?,
                name: fields.rest(),
            },
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

#[cfg(test)]
mod tests;
