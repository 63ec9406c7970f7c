//! The protocol between a *client* (the preload library inside OpenVPN, or the CLI) and the engine.
//!
//! Both ends of the conversation are local and built from one source tree, so integers are in host order and a
//! [`VERSION`] in the first message is all the compatibility there is. Every message is one datagram on a
//! `SOCK_SEQPACKET` Unix socket: [`HEADER`] bytes of header, then the body. File descriptors travel beside a message
//! with `SCM_RIGHTS`, in the order given at each variant.
//!
//! The client sends requests, and the engine answers; a client has one request pending at a time. Each request carries
//! a sequence number that its answers repeat, and a client discards an answer with another number (it belongs to a
//! request that timed out). If the engine needs something from the client before it can answer, it says so
//! ([`ToClient::NeedTun`], [`ToClient::NeedSocket`], [`ToClient::NeedLink`]), and the client replies under the same
//! number.
//!
//! A *channel* is the SEQPACKET pair that the client uses like a generic-netlink socket: one end in the client's fd
//! table, the other in the engine. Requests go over the client's connection ([`ToEngine::Request`]), so that the
//! client can wait until every answer is readable in the channel before its `sendmsg` returns; OpenVPN spins on
//! `EAGAIN` otherwise.
//!
//! A *capture* is another such pair: [`ToEngine::Capture`] passes the engine's end, and the engine writes what the
//! workers see of one device into it, until the client closes its end or the device is gone ([`capture`]). It never
//! waits for the client, and reports how many packets were lost for lack of room.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

mod alias;
pub mod capture;
pub mod client;
mod device;
mod errno;
mod left;
pub mod message_id;
mod options;
mod other_version;
mod qdisc;
mod relay;
mod to_client;
mod to_engine;
mod wire;

pub use alias::{ALIAS, Alias};
pub use device::{Kernel, Made, Name, QUEUE_FLAGS, Shape, Wanted, make};
pub use left::{Interface, interface};
pub use options::{DataPathOptions, MssFix, OPTIONS_VARIABLE};
pub use other_version::OtherVersion;
pub use relay::RelayHeader;
pub use to_client::ToClient;
pub use to_engine::{Partial, ToEngine};

/// Version of this protocol; both ends must have the same.
pub const VERSION: u16 = 7;

/// Length in bytes of the header before each body: kind (u16), unused (u16), sequence number (u32).
pub const HEADER: usize = 8;

/// The largest message of either direction, header included.
pub const MAX_MESSAGE: usize = 32 * 1024;

/// The most file descriptors beside one message: 16 TUN queues and the route monitor.
pub const MAX_FDS: usize = 17;

/// Bytes that a UDP transport socket should buffer in each direction. The client sets it, as the engine has no
/// privilege to exceed the system's limit.
pub const TRANSPORT_BUFFER: usize = 4 << 20;

/// The mark that the engine puts into a channel when it begins with a request: anything before it was not caused by
/// the request. Shorter than any netlink message, so that it cannot be taken for one.
///
/// OpenVPN 2.6 drops a notification that it reads while it waits for an answer. So the client returns such a
/// notification ([`ToEngine::Return`]), and the engine queues it behind the answer.
pub const REQUEST_MARK: &[u8] = b"mark";

/// Prefix of an errno, one byte, in the message of a TCP relay that reports a failed stream: the client's next
/// receive call fails with it.
///
/// All other messages are packets with a length prefix, in both directions, one per message: the client reads one
/// packet per call, as it does with the kernel driver. No packet that begins with these bytes is that short. While
/// the socket serves no peer, the bytes of its stream are passed on unchanged.
pub const STREAM_ERROR: [u8; 2] = [0xff, 0xff];

/// Environment variable with the number of an inherited fd through which an engine hands out connections: its
/// *dispenser*. Every process below `udco run` inherits the same one, so nothing is read from it. A process makes a
/// pair of sockets, sends one end through the dispenser with [`ToEngine::Connect`], and speaks on the other.
pub const FD_VARIABLE: &str = "UDCO_FD";

/// Environment variable with the path of an engine's socket.
pub const SOCKET_VARIABLE: &str = "UDCO_SOCKET";

/// As what udco's own commands greet.
pub const COMMAND: &[u8] = b"udco";

/// What ENOMEM means as an answer of the engine.
pub const NO_MEMORY: &str = "the engine finds no memory: its log names the limit";

/// The message does not fit into the buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong;

/// The bytes are not a message of this protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// Compiles and runs the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

#[cfg(test)]
mod tests;
