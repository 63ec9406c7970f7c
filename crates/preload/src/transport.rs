//! Transport sockets that the engine has taken over.
//!
//! The program's fd number then refers to the end of a relay, on which its control packets arrive: with a
//! [`RelayHeader`] each for UDP, with a length prefix for TCP. The real socket stays open under a hidden number; UDP
//! packets are sent on it, and all options and addresses are its own. TCP packets are sent on the relay: the engine
//! interleaves them with its own (dco-behaviour 4.6).

use crate::calls::{self, Errno, Fd};
use crate::message::{Incoming, Outgoing};
use crate::real;
use alloc::vec;
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};
use libc::{c_int, iovec};
use udco_ipc::RelayHeader;

/// A transport socket that the engine has taken over.
pub(crate) struct Transport {
    pub(crate) real: Fd,
    pub(crate) kind: c_int,
    pub(crate) family: c_int,
}

/// The data that calls on a relayed fd need without the lock.
#[derive(Clone, Copy)]
pub(crate) struct View {
    /// Number of the real socket.
    pub(crate) real: c_int,
    /// Whether it is a UDP socket.
    pub(crate) is_udp: bool,
    family: c_int,
}

impl Transport {
    /// See [`View`].
    pub(crate) fn view(&self) -> View {
        View {
            real: self.real.raw(),
            is_udp: self.kind == libc::SOCK_DGRAM,
            family: self.family,
        }
    }

    /// Moves to another number: the program wants this one for itself.
    ///
    /// # Errors
    /// The kernel's, without a free number.
    pub(crate) fn move_from(&mut self, number: c_int) -> Result<(), Errno> {
        if self.real.raw() == number {
            self.real = calls::duplicate(number)?.hide();
        }
        Ok(())
    }
}

/// `sendmsg`: UDP goes out on the real socket, so that SO_MARK, SO_BINDTODEVICE and the bound address hold. A packet
/// for TCP goes to the engine as one message.
pub(crate) fn send(view: View, outgoing: &Outgoing<'_>) -> Option<Result<usize, Errno>> {
    view.is_udp.then(|| {
        // SAFETY: the header is the program's, passed on as it is.
        let sent = unsafe { real::sendmsg(view.real, outgoing.header(), outgoing.flags) };
        calls::checked_len(sent)
    })
}

/// `recvmsg`. `None`: the engine has gone, and the program gets its socket back.
pub(crate) fn receive(
    fd: c_int,
    view: View,
    incoming: &mut Incoming<'_>,
) -> Option<Result<usize, Errno>> {
    if incoming.flags & libc::MSG_ERRQUEUE != 0 {
        return Some(pass(view.real, incoming));
    }
    if view.is_udp {
        receive_datagram(fd, view, incoming).transpose()
    } else {
        Some(receive_packet(fd, incoming))
    }
}

/// The next packet of a stream, one per call, as from the kernel driver.
fn receive_packet(fd: c_int, incoming: &mut Incoming<'_>) -> Result<usize, Errno> {
    let received = pass(fd, incoming)?;
    incoming.stream_error(received).map_or(Ok(received), Err)
}

/// `recvmsg`, by libc.
pub(crate) fn pass(fd: c_int, incoming: &mut Incoming<'_>) -> Result<usize, Errno> {
    let flags = incoming.flags;
    // SAFETY: the header is the program's, passed on as it is.
    calls::checked_len(unsafe { real::recvmsg(fd, incoming.header(), flags) })
}

fn receive_datagram(
    fd: c_int,
    view: View,
    incoming: &mut Incoming<'_>,
) -> Result<Option<usize>, Errno> {
    loop {
        let mut head = [0u8; RelayHeader::LEN];
        let mut parts = vec![iovec {
            iov_base: head.as_mut_ptr().cast(),
            iov_len: head.len(),
        }];
        parts.extend_from_slice(incoming.parts());
        let mut header = crate::message::header_of_parts(parts.as_ptr(), 0);
        header.msg_iovlen = parts.len();
        // SAFETY: the parts are `head` and the program's own, which it wants written.
        let received = unsafe { real::recvmsg(fd, &raw mut header, incoming.flags) };
        let received = calls::checked_len(received)?;
        if received == 0 {
            return Ok(None);
        }
        let Some((head, _)) = RelayHeader::decode(&head) else {
            continue;
        };
        let Some(len) = received.checked_sub(RelayHeader::LEN) else {
            if incoming.is_peek() {
                let _ = calls::receive(fd, &mut [], libc::MSG_DONTWAIT);
            }
            continue;
        };
        let control = if incoming.wants_control() {
            packet_info(view, &head)
        } else {
            Vec::new()
        };
        let source = source_address(view.family, head.source);
        incoming.finish(header.msg_flags & libc::MSG_TRUNC, &source, &control);
        return Ok(Some(len));
    }
}

/// The source as a `sockaddr_in`, or a `sockaddr_in6` on an IPv6 socket.
fn source_address(family: c_int, source: SocketAddr) -> Vec<u8> {
    let port = source.port().to_be_bytes();
    match (family, source.ip().to_canonical()) {
        (libc::AF_INET, IpAddr::V4(ip)) => [
            &(libc::AF_INET as u16).to_ne_bytes()[..],
            &port,
            &ip.octets(),
            &[0; 8],
        ]
        .concat(),
        _ => {
            let scope = match source {
                SocketAddr::V6(source) => source.scope_id(),
                SocketAddr::V4(_) => 0,
            };
            [
                &(libc::AF_INET6 as u16).to_ne_bytes()[..],
                &port,
                &[0; 4],
                &mapped(source.ip()),
                &scope.to_ne_bytes(),
            ]
            .concat()
        }
    }
}

/// The control messages that the program has enabled on the real socket: OpenVPN's `--multihome` replies from the
/// address at which the packet arrived (openvpn-integration 3.12).
fn packet_info(view: View, head: &RelayHeader) -> Vec<u8> {
    let mut control = Vec::new();
    if head.local.is_unspecified() {
        return control;
    }
    let is_on = |level, name| calls::option(view.real, level, name).is_ok_and(|on| on != 0);
    if view.family == libc::AF_INET6 && is_on(libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO) {
        let info = [&mapped(head.local)[..], &head.ifindex.to_ne_bytes()].concat();
        append(&mut control, libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &info);
    }
    if let IpAddr::V4(local) = head.local.to_canonical()
        && is_on(libc::IPPROTO_IP, libc::IP_PKTINFO)
    {
        let local = local.octets();
        let info = [&head.ifindex.to_ne_bytes()[..], &local, &local].concat();
        append(&mut control, libc::IPPROTO_IP, libc::IP_PKTINFO, &info);
    }
    control
}

fn mapped(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => ip.octets(),
    }
}

/// Appends a control message: length (size_t), level, type, data, padding to the alignment of size_t.
fn append(control: &mut Vec<u8>, level: c_int, kind: c_int, data: &[u8]) {
    let len = size_of::<libc::cmsghdr>() + data.len();
    control.extend_from_slice(&len.to_ne_bytes());
    control.extend_from_slice(&level.to_ne_bytes());
    control.extend_from_slice(&kind.to_ne_bytes());
    control.extend_from_slice(data);
    control.resize(control.len().next_multiple_of(size_of::<usize>()), 0);
}
