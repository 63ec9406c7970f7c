//! Proof of a device's identity by the kernel, without trusting the client that hands it over (faults D1).
//!
//! A hostile client may make its TUN device in a namespace of its own, with any name, index and alias, and hand over a
//! monitor of another namespace, or claim a wrong index. So the engine asks the kernel, through the monitor, about the
//! interface with that index, and accepts the device only if
//! - its alias is the one that this very request demanded: setting an alias takes `CAP_NET_ADMIN` in the interface's
//!   namespace, and no other client got this nonce for a device of its own;
//! - its name is the one that the kernel reports for each queue.
//!
//! A hostile client passes only with a device in a namespace that it administers, and then the device is registered for
//! that namespace only.

use std::io;
use std::os::fd::AsFd;

use udco_ipc::Alias;
use udco_netlink::{Api, identity, identity_request};
use udco_sys::Netns;
use udco_sys::route::{Monitor, Received};
use udco_sys::tun::Queue;

use crate::client::Client;
use crate::control::namespace;

/// How often to ask the kernel: an answer is lost if the socket was full.
const TRIES: u32 = 4;

/// How many datagrams of notifications may precede an answer.
const NEWS: usize = 4096;

/// The most that the kernel puts into one datagram.
const BUFFER: usize = 32 << 10;

/// A device whose identity the kernel has confirmed.
pub(crate) struct Proven {
    /// Its network namespace.
    pub(crate) netns: Netns,
    pub(crate) ifindex: u32,
    pub(crate) name: String,
}

/// An unguessable nonce, for one request.
pub(crate) fn nonce() -> io::Result<u64> {
    let mut bytes = [0; 8];
    udco_crypto::fill_random(&mut bytes).map_err(io::Error::other)?;
    Ok(u64::from_ne_bytes(bytes))
}

/// Proves that the queues belong to the interface `ifindex` in the monitor's network namespace, made for the request
/// that carried this nonce.
///
/// # Errors
/// `PermissionDenied`, with what was found instead; the monitor's errors.
pub(crate) fn prove(
    queues: &[Queue],
    monitor: &Monitor,
    (ifindex, api, nonce): (u32, Api, u64),
    client: &Client,
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
        // Avoids numbers that the client may have used on this socket.
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
            // Where the client is, as the kernel reports and not as the client claims (promises G5).
            netns: namespace::of(monitor.as_fd(), client),
            ifindex,
            name,
        });
    }
    Err(unproved("the kernel's answer about it was lost"))
}

/// Reads up to the kernel's answer and returns its length; `None` if it was lost. The kernel answers before the
/// request's system call returns.
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
            // The overrun is reported before the datagrams that are still queued.
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
