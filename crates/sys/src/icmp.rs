//! ICMP echo through one device: a datagram socket where `ping_group_range` allows it, else a raw one.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, connect, ipproto, recv, send,
    socket_with,
};

use crate::socket_option;

/// How many times to try sending: an ICMP error about an earlier packet is reported by the next call.
const TRIES: usize = 3;

/// A socket that sends echo requests to one address, and only through one device.
#[derive(Debug)]
pub struct EchoSocket {
    fd: OwnedFd,
    is_raw: bool,
    is_ipv6: bool,
}

/// The outcome of sending a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// It left.
    Whole,
    /// It is longer than the device's MTU, or than the path's MTU as known to the kernel.
    TooLong,
}

impl EchoSocket {
    /// A socket for this address, through the device with this index. Its packets are not fragmented.
    ///
    /// # Errors
    /// `EACCES` or `EPERM`: the user's group is not in `net.ipv4.ping_group_range`, and the process lacks
    /// `CAP_NET_RAW`. `ENETUNREACH`: the device has no address of this family, or is down.
    pub fn open(remote: IpAddr, ifindex: u32) -> io::Result<Self> {
        let (family, protocol) = match remote {
            IpAddr::V4(_) => (AddressFamily::INET, ipproto::ICMP),
            IpAddr::V6(_) => (AddressFamily::INET6, ipproto::ICMPV6),
        };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let open = |kind| socket_with(family, kind, flags, Some(protocol));
        let (fd, is_raw) = match open(SocketType::DGRAM) {
            Ok(fd) => (fd, false),
            Err(Errno::ACCESS | Errno::PERM | Errno::PROTONOSUPPORT) => {
                (open(SocketType::RAW)?, true)
            }
            Err(error) => return Err(error.into()),
        };
        let socket = Self {
            fd,
            is_raw,
            is_ipv6: remote.is_ipv6(),
        };
        let set =
            |level, name, value| socket_option::set_int(socket.fd.as_fd(), level, name, value);
        set(
            libc::SOL_SOCKET,
            libc::SO_BINDTOIFINDEX,
            ifindex.cast_signed(),
        )?;
        if socket.is_ipv6 {
            set(
                libc::IPPROTO_IPV6,
                libc::IPV6_MTU_DISCOVER,
                libc::IPV6_PMTUDISC_PROBE,
            )?;
            set(libc::IPPROTO_IPV6, libc::IPV6_DONTFRAG, 1)?;
        } else {
            set(
                libc::IPPROTO_IP,
                libc::IP_MTU_DISCOVER,
                libc::IP_PMTUDISC_PROBE,
            )?;
        }
        // Connected, so that only answers from there are received.
        connect(&socket.fd, &SocketAddr::new(remote, 0))?;
        Ok(socket)
    }

    /// Whether this process chooses the identifier of its messages; otherwise the kernel assigns one to each socket.
    #[must_use]
    pub const fn is_raw(&self) -> bool {
        self.is_raw
    }

    /// The longest packet, in bytes with its IP header: the device's MTU, or the path's if the kernel knows of a
    /// narrower one.
    ///
    /// # Errors
    /// The kernel's.
    pub fn mtu(&self) -> io::Result<usize> {
        let (level, name) = match self.is_ipv6 {
            false => (libc::IPPROTO_IP, libc::IP_MTU),
            true => (libc::IPPROTO_IPV6, libc::IPV6_MTU),
        };
        let mtu = socket_option::int(self.fd.as_fd(), level, name)?;
        Ok(usize::try_from(mtu).unwrap_or_default())
    }

    /// Sends one ICMP message.
    ///
    /// # Errors
    /// If it cannot leave: no route, the device is down.
    pub fn send(&self, message: &[u8]) -> io::Result<Sent> {
        for _ in 1..TRIES {
            // The error may belong to an earlier packet; if so, this one leaves at the next try.
            if let Ok(sent) = self.send_once(message) {
                return Ok(sent);
            }
        }
        Ok(self.send_once(message)?)
    }

    fn send_once(&self, message: &[u8]) -> rustix::io::Result<Sent> {
        match send(&self.fd, message, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Ok(_) => Ok(Sent::Whole),
            // The device's queue is full: the packet is lost, as it might be anywhere on its path.
            Err(Errno::NOBUFS | Errno::AGAIN) => Ok(Sent::Whole),
            Err(Errno::MSGSIZE) => Ok(Sent::TooLong),
            Err(error) => Err(error),
        }
    }

    /// Receives an ICMP message, of any type, without its IP header; `None` if there is none. Whatever does not fit is
    /// cut off.
    pub fn receive<'b>(&self, into: &'b mut [u8]) -> Option<&'b [u8]> {
        loop {
            match recv(&self.fd, &mut *into, RecvFlags::DONTWAIT) {
                Ok((len, _)) => {
                    let message = into.get(..len)?;
                    // A raw IPv4 socket also delivers the IP header, whose length is in the first byte.
                    let header = match self.is_raw && !self.is_ipv6 {
                        true => usize::from(message.first()? & 0x0f) * 4,
                        false => 0,
                    };
                    return message.get(header..);
                }
                Err(Errno::AGAIN) => return None,
                // An ICMP error: the next call continues after it.
                Err(_) => {}
            }
        }
    }
}

impl AsFd for EchoSocket {
    /// Readable when there is a message.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::namespace::enter;

    const LOOPBACK: u32 = 1;

    /// An echo request with identifier 7, sequence number 1 and no payload, and its checksum.
    const REQUEST: [u8; 8] = [8, 0, 0xf7, 0xf7, 0, 7, 0, 1];

    #[test]
    fn this_machine_answers() {
        if !enter("icmp::tests::this_machine_answers") {
            return;
        }
        let socket = EchoSocket::open(Ipv4Addr::LOCALHOST.into(), LOOPBACK).unwrap();
        assert!(socket.mtu().unwrap() >= 1280);
        assert_eq!(socket.send(&REQUEST).unwrap(), Sent::Whole);
        let longer = vec![0; socket.mtu().unwrap()];
        assert_eq!(socket.send(&longer).unwrap(), Sent::TooLong);
        let (mut buffer, begin) = ([0; 256], Instant::now());
        // A raw socket also sees the request.
        let answer = loop {
            assert!(begin.elapsed() < Duration::from_secs(10));
            if let Some(message) = socket.receive(&mut buffer)
                && message[0] == 0
            {
                break message.to_vec();
            }
        };
        assert_eq!(answer[6..], [0, 1]);
    }

    #[test]
    fn a_missing_device_cannot_be_used() {
        let refused = EchoSocket::open(Ipv4Addr::LOCALHOST.into(), u32::MAX >> 1);
        assert!(refused.is_err());
    }
}
