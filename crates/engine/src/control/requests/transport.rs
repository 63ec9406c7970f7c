//! The transport of a new peer: the client hands over its socket with the first peer.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::sync::Arc;

use udco_core::Endpoint;
use udco_netlink::{Api, PeerNew, Refused};
use udco_sys::seqpacket::Connection;
use udco_sys::tcp::{self, Kind, inspect};
use udco_sys::udp::UdpSocket;

use crate::control::account::{self, Charge};
use crate::control::memory;
use crate::control::namespace;
use crate::control::requests::refusals::{
    EBADF, EBUSY, EINVAL, ENOTSOCK, EOPNOTSUPP, cannot_encapsulate, missing_remote, no_memory,
    no_socket, too_many_sockets, unexpected_remote,
};
use crate::control::session::Session;
use crate::device::Device;
use crate::device::transport::Transport;

/// The transport of a new peer: known already, or handed over by the client in the middle of its request `seq`, and then
/// with the charge to its user's account. The order of the checks is the kernel's (dco-behaviour 2.6, checks 14 to 17).
pub(super) fn of_peer(
    session: &mut Session,
    seq: u32,
    device: &Arc<Device>,
    peer: &PeerNew,
) -> Result<(Arc<Transport>, Option<Charge>), Refused> {
    let number = i32::try_from(peer.socket).map_err(|_| no_socket(peer.socket, EBADF))?;
    if let Some(transport) = session.resources.socket(number).map(Arc::clone) {
        use_again(session, device, &transport, peer)?;
        return Ok((transport, None));
    }
    let charge = session.account.charge(account::Kind::Sockets);
    let charge = charge.ok_or_else(too_many_sockets)?;
    let transport = take_over(session, seq, device.api, peer, number)?;
    Ok((Arc::new(transport), Some(charge)))
}

/// A socket that the engine has serves one more peer, of the same device unless it has none.
fn use_again(
    session: &Session,
    device: &Arc<Device>,
    transport: &Arc<Transport>,
    peer: &PeerNew,
) -> Result<(), Refused> {
    endpoint_of(device.api, transport, peer)?;
    let owner = session.engine.registry().served_by(transport);
    let is_here = owner.is_some_and(|owner| Arc::ptr_eq(&owner, device));
    let is_shared = is_here && transport.as_stream().is_none();
    if !is_shared && !transport.is_idle() {
        return Err(cannot_encapsulate(EBUSY));
    }
    if !is_here {
        // No peer is left on it: it serves this device from now on.
        session.resources.use_for(transport, device);
    }
    Ok(())
}

/// Has the client hand over the socket that it knows by this number.
fn take_over(
    session: &mut Session,
    seq: u32,
    api: Api,
    peer: &PeerNew,
    number: i32,
) -> Result<Transport, Refused> {
    let handed = session.need_socket(seq, number);
    let handed = handed.ok_or_else(|| no_socket(peer.socket, EBUSY))?;
    let (Some(socket), Some(relay)) = (handed.socket, handed.relay) else {
        return Err(match handed.errno.saturating_abs() {
            // A UDP socket with an encapsulation of its own.
            EBUSY => match remote_of(peer) {
                Ok(_) => cannot_encapsulate(EBUSY),
                Err(missing) => missing,
            },
            EOPNOTSUPP => cannot_encapsulate(EOPNOTSUPP),
            errno => no_socket(peer.socket, errno),
        });
    };
    let refuse = |error: std::io::Error| {
        let errno = error.raw_os_error().unwrap_or(EINVAL);
        cannot_encapsulate(errno)
    };
    let forbidden = session.engine.forbidden();
    let netns = namespace::of(socket.as_fd(), &session.client);
    match inspect(socket.as_fd()) {
        Kind::Udp => {
            remote_of(peer)?;
            UdpSocket::adopt(socket)
                .and_then(|socket| {
                    Transport::new(socket, Connection::adopt_pair_end(relay)?, forbidden, netns)
                })
                .map_err(refuse)
        }
        Kind::NotASocket => Err(no_socket(peer.socket, ENOTSOCK)),
        Kind::TcpEstablished | Kind::Tcp(_) if no_remote(api, peer).is_err() => {
            Err(unexpected_remote())
        }
        Kind::TcpEstablished => {
            let _room = memory::for_stream().map_err(|error| no_memory(session, &error))?;
            tcp::Stream::adopt(socket)
                .and_then(|socket| {
                    Transport::stream(
                        socket,
                        Connection::adopt_pair_end(relay)?,
                        handed.partial,
                        netns,
                    )
                })
                .map_err(refuse)
        }
        Kind::Tcp(_) => Err(cannot_encapsulate(EINVAL)),
        Kind::OtherSocket => Err(cannot_encapsulate(EOPNOTSUPP)),
    }
}

/// The outer addresses of a peer: given over UDP, those of the socket over TCP.
pub(super) fn endpoint_of(
    api: Api,
    transport: &Transport,
    peer: &PeerNew,
) -> Result<Option<Endpoint>, Refused> {
    if transport.as_stream().is_some() {
        return no_remote(api, peer).map(|()| None);
    }
    Ok(Some(Endpoint {
        remote: remote_of(peer)?,
        local: given(peer.local),
    }))
}

/// A peer over TCP has no remote address of its own. OpenVPN 2.6 gives one, and the older driver ignores it
/// (dco-behaviour 3.1).
fn no_remote(api: Api, peer: &PeerNew) -> Result<(), Refused> {
    if api == Api::Ovpn && peer.remote.is_some() {
        return Err(unexpected_remote());
    }
    Ok(())
}

/// Where a peer over UDP is.
fn remote_of(peer: &PeerNew) -> Result<SocketAddr, Refused> {
    peer.remote.ok_or_else(missing_remote)
}

/// An unspecified local address leaves it to the route.
pub(super) fn given(local: Option<IpAddr>) -> Option<IpAddr> {
    local.filter(|local| !local.is_unspecified())
}
