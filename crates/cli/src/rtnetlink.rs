//! Requests to the kernel about links.

use std::io;

use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recvfrom, sendto, socket_with,
};
use udco_netlink::Messages;
use udco_netlink::client::{self, Received};

/// Sends one request with `NLM_F_ACK` and waits for the acknowledgement.
///
/// # Errors
/// The kernel's.
pub(crate) fn request(message: &[u8]) -> io::Result<()> {
    exchange(message, |_| ())
}

/// Sends a dump or get request, and returns the messages of the answer.
///
/// # Errors
/// The kernel's.
pub(crate) fn dump(message: &[u8]) -> io::Result<Vec<Vec<u8>>> {
    let mut received = Vec::new();
    exchange(message, |datagram| {
        received.extend(Messages::of(datagram).map(<[u8]>::to_vec));
    })?;
    Ok(received)
}

/// Sends a request, and passes each datagram of the answer to a function until the end.
fn exchange(message: &[u8], mut show: impl FnMut(&[u8])) -> io::Result<()> {
    // NETLINK_ROUTE is protocol 0.
    let flags = SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
    let kernel = SocketAddrNetlink::new(0, 0);
    sendto(&socket, message, SendFlags::empty(), &kernel)?;
    let mut buffer = vec![0; 32 * 1024];
    loop {
        let (len, _, _) = match recvfrom(&socket, &mut buffer, RecvFlags::empty()) {
            Err(rustix::io::Errno::INTR) => continue,
            received => received?,
        };
        let datagram = buffer.get(..len).unwrap_or_default();
        show(datagram);
        for (_, received) in client::decode(&[], datagram) {
            match received {
                Received::Ended(Ok(())) => return Ok(()),
                Received::Ended(Err(failure)) => {
                    return Err(io::Error::from_raw_os_error(failure.errno.0));
                }
                _ => {}
            }
        }
    }
}
