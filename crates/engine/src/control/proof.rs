//! What a device is, proved by the kernel and not believed of the front that hands it over (faults D1).
//!
//! A front may be hostile: it may make its TUN device in a namespace of its own, where it may give it any name, index and
//! alias, and hand over a monitor of another namespace, or say that the device has an index that it has not. So the
//! engine asks the kernel, through the monitor, what the interface with that index is, and takes the device only if
//! - its alias is the one that this very question asked for: nobody sets an alias without `CAP_NET_ADMIN` in the
//!   namespace of the interface, and nobody else was given this nonce for a device of its own;
//! - its name is what the kernel says of each queue.
//!
//! A hostile front passes only with a device of a namespace that it administers, and then the device is registered for
//! that namespace and for no other.

use std::io;
use std::os::fd::AsFd;

use udco_ipc::Alias;
use udco_netlink::{Api, identity, identity_request};
use udco_sys::route::{Monitor, Received};
use udco_sys::tun::Queue;

use crate::client::Client;
use crate::control::namespace;

/// How often the kernel is asked: an answer is lost if others have filled the socket.
const TRIES: u32 = 4;

/// Datagrams of news before an answer that are stepped over.
const NEWS: usize = 4096;

/// What the kernel fills at most.
const BUFFER: usize = 32 << 10;

/// A device of which the kernel has said what it is.
pub(crate) struct Proven {
    /// The number of the network namespace in which it is; 0 if unknown.
    pub(crate) netns: u64,
    pub(crate) ifindex: u32,
    pub(crate) name: String,
}

/// A nonce that nobody can guess. It is good for one question.
pub(crate) fn nonce() -> io::Result<u64> {
    let mut bytes = [0; 8];
    aws_lc_rs::rand::fill(&mut bytes)
        .map_err(|_| io::Error::other("the system has no random numbers"))?;
    Ok(u64::from_ne_bytes(bytes))
}

/// Proves that the queues are those of the interface `ifindex` of the monitor's network namespace, made for the question
/// with this nonce.
///
/// # Errors
/// `PermissionDenied` with what was found instead; of the monitor.
pub(crate) fn prove(
    queues: &[Queue],
    monitor: &Monitor,
    (ifindex, api, nonce): (u32, Api, u64),
    program: &Client,
) -> io::Result<Proven> {
    let alias = Alias::new(api.link_kind(), nonce);
    // System calls of this proof: TUNGETIFF, getsockname, sendto, recvfrom, getsockopt (SO_NETNS_COOKIE).
    let mut names = queues.iter().map(Queue::current_name);
    let name = names.next().ok_or_else(|| unproved("it has no queue"))??;
    for other in names {
        if other? != name {
            return Err(unproved("its queues belong to different interfaces"));
        }
    }
    let mut buffer = vec![0; BUFFER];
    for tried in 0..TRIES {
        // Not one of the numbers that the front may have used on this socket.
        let sequence = (nonce as u32).wrapping_add(tried);
        monitor.send(&identity_request(ifindex, sequence))?;
        let Some(len) = answer(monitor, sequence, &mut buffer)? else {
            continue;
        };
        let port = monitor.port()?;
        let reply = buffer.get(..len).unwrap_or_default();
        let reply = identity(reply, sequence, port).flatten();
        let reply = reply.ok_or_else(|| unproved("there is no interface with its index"))?;
        if reply.ifindex != ifindex || reply.alias != alias.as_bytes() {
            return Err(unproved("the interface with its index is a different one"));
        }
        if reply.name != name {
            return Err(unproved("its queues belong to a different interface"));
        }
        return Ok(Proven {
            // Where the front is: the kernel's word, not the front's (promises G5).
            netns: namespace::of(monitor.as_fd(), program),
            ifindex,
            name,
        });
    }
    Err(unproved("the kernel's answer about it was lost"))
}

/// Reads up to the kernel's answer and returns its length; `None` if it was lost. The kernel has answered when the
/// question was sent.
fn answer(monitor: &Monitor, sequence: u32, buffer: &mut [u8]) -> io::Result<Option<usize>> {
    let port = monitor.port()?;
    for _ in 0..NEWS {
        match monitor.receive(buffer)? {
            Received::Messages(len) => {
                let reply = buffer.get(..len).unwrap_or_default();
                if identity(reply, sequence, port).is_some() {
                    return Ok(Some(len));
                }
            }
            // An overrun is reply before what is there.
            Received::Overrun => {}
            Received::Empty => return Ok(None),
        }
    }
    Ok(None)
}

fn unproved(what: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::PermissionDenied,
        format!("the device is not the requested one: {what}"),
    )
}
