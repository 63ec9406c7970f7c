//! Whether memory is left for what is to be made: under a limit (`LimitAS=`, `LimitDATA=`), an allocation that fails ends the
//! engine, with all its tunnels. So new work is refused before (promises J5).

use std::io;

use udco_sys::memory::{RESERVE, Room, STACK, is_left, limit, no_room_for, room};

use crate::datapath::worker::MAX_QUEUES;
use crate::device::handoff;

/// What lines about clients without memory or a thread are about.
pub(crate) const ABOUT: &str = "clients that find no room";

const MIB: usize = 1 << 20;

/// A worker's stack and buffers.
const OF_WORKER: usize = 8 << 20;

/// A client's thread, its messages, and a few answers.
const OF_CLIENT: usize = STACK + (1 << 20);

/// A device without its queues: some routes, peers and their sockets.
const OF_DEVICE: usize = 1 << 20;

/// The same without routes and peers.
const OF_DEVICE_ALONE: usize = 120 << 10;

/// What a new device, or one that listens, leaves to the clients that use it, and to their rekeys.
const OF_USERS: usize = 2 * OF_CLIENT;

/// What a peer takes with its keys, and its stream over TCP.
const OF_PEER: usize = 64 << 10;
const OF_STREAM: usize = 256 << 10;

/// What a key takes, with the new copy of its peer.
const OF_KEY: usize = 8 << 10;

/// The buffers of a capture.
const OF_CAPTURE: usize = 5 << 20;

/// The answers about peers, which OpenVPN asks for regularly.
const OF_DUMP: usize = 8 << 10;

/// The state that `udco show` prints: a buffer, and what is kept of each peer.
const OF_REPORT: usize = 256 << 10;
const OF_PEER_IN_REPORT: usize = 1 << 10;

/// What an engine needs besides its workers: the threads that watch devices and listen, the first device and its clients, and
/// the reserve.
const ROOM: usize = 4 * STACK + OF_DEVICE + OF_USERS + RESERVE;

/// How many of the `workers` find memory for themselves, and for their part of a device's queues; at least one.
///
/// # Errors
/// If there is not enough for one.
pub(crate) fn affordable(workers: usize) -> io::Result<usize> {
    let needed = |count: usize| {
        let device = ROOM + handoff::memory(count.min(MAX_QUEUES));
        device.saturating_add(count.saturating_mul(OF_WORKER))
    };
    let most = (1..=workers).rev().find(|count| is_left(needed(*count)));
    most.ok_or_else(|| {
        let needed = needed(1).div_ceil(MIB);
        let left = (1..needed).rev().find(|left| is_left(left * MIB));
        let left = left.unwrap_or(0);
        let text = match limit() {
            Some(limit) => format!(
                "{limit} leaves {left} of the {needed} MiB that an engine needs at least: raise it"
            ),
            None => format!(
                "the system has {left} of the {needed} MiB left that an engine needs at least (vm.overcommit_memory)"
            ),
        };
        io::Error::new(io::ErrorKind::OutOfMemory, text)
    })
}

/// Refuses a client if there is no memory for its thread.
///
/// # Errors
/// `OutOfMemory`.
pub(crate) fn for_client() -> io::Result<Room> {
    check(OF_CLIENT, "a client")
}

/// Refuses a client that stays, only to listen, if it would not leave room for others.
///
/// # Errors
/// `OutOfMemory`.
pub(crate) fn for_listener() -> io::Result<Room> {
    check(OF_USERS, "a client that listens")
}

/// How many of the `queues` of a new device find memory, beside the device and those who use it.
///
/// # Errors
/// `OutOfMemory` if not even one does.
pub(crate) fn for_device(queues: u16) -> io::Result<(u16, Room)> {
    let needed = |queues: u16| handoff::memory(queues.into()) + OF_DEVICE + OF_USERS;
    let mut fewer = (1..=queues).rev();
    let most = fewer.find_map(|queues| Some((queues, room(needed(queues))?)));
    most.ok_or_else(|| refused("a device"))
}

/// Refuses a device of one queue if there is no memory for it alone, not even what another has left.
///
/// # Errors
/// `OutOfMemory`.
pub(crate) fn for_device_again() -> io::Result<Room> {
    check(OF_DEVICE_ALONE, "a device")
}

/// Refuses a peer if there is no memory for it and its keys.
///
/// # Errors
/// `OutOfMemory`.
pub(crate) fn for_peer() -> io::Result<Room> {
    check(OF_PEER, "a peer")
}

/// Refuses a key if there is no memory for it. The cipher's is from the C library, which the reserve does not back.
///
/// # Errors
/// `OutOfMemory`.
pub(crate) fn for_key() -> io::Result<Room> {
    check(OF_KEY, "a key")
}

/// Refuses a TCP stream if there is no memory for what waits in it.
///
/// # Errors
/// `OutOfMemory`.
pub(crate) fn for_stream() -> io::Result<Room> {
    check(OF_STREAM, "a stream")
}

/// Refuses a capture if there is no memory for its packets.
///
/// # Errors
/// `OutOfMemory`.
pub(crate) fn for_capture() -> io::Result<Room> {
    check(OF_CAPTURE, "a capture")
}

/// Refuses a report about this many peers if there is no memory for it.
///
/// # Errors
/// `OutOfMemory`.
pub(crate) fn for_report(peers: usize) -> io::Result<Room> {
    check(
        OF_REPORT + peers.saturating_mul(OF_PEER_IN_REPORT),
        "a report",
    )
}

/// Refuses answers about this many peers if there is no memory for them.
///
/// # Errors
/// `OutOfMemory`.
pub(crate) fn for_dump(peers: usize) -> io::Result<Room> {
    check(
        OF_DUMP + peers.saturating_mul(OF_PEER_IN_REPORT),
        "a report",
    )
}

fn check(needed: usize, what: &str) -> io::Result<Room> {
    room(needed).ok_or_else(|| refused(what))
}

fn refused(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::OutOfMemory, no_room_for(what))
}
