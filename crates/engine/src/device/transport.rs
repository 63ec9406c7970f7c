//! A transport socket that the engine owns, UDP or TCP, and the relay by which OpenVPN gets its control packets.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicUsize, Ordering};

use udco_core::PeerId;
use udco_ipc::TRANSPORT_BUFFER;
use udco_ipc::capture::Ends;
use udco_ipc::{Partial, RelayHeader};
use udco_sys::Netns;
use udco_sys::seqpacket::Connection;
use udco_sys::tcp;
use udco_sys::udp::UdpSocket;

use crate::device::offload::{Forbidden, InUse, Offload};
use crate::device::stream::Stream;
use crate::io::{Datagram, Io, Relay, Source};
use crate::linux::Linux;

/// The largest packet that a UDP datagram can carry.
const MAX_DATAGRAM: usize = 65_535;

/// A transport socket; closed when the last peer and the last worker release it.
pub(crate) struct Transport<I: Io = Linux> {
    socket: Socket<I>,
    local: SocketAddr,
    /// The other end of a stream.
    remote: Option<SocketAddr>,
    /// The kernel's number of the socket's network namespace; 0 if unknown.
    pub(crate) netns: Netns,
    /// The mark of its packets; 0 for none.
    pub(crate) mark: u32,
    /// Index of the device or VRF that it is bound to; 0 for none.
    pub(crate) bound_to: u32,
    /// How many peers it serves.
    peers: AtomicUsize,
    /// Whether the kernel cuts one send into several datagrams.
    pub(crate) segmentation: InUse,
    /// Whether the kernel hands over several datagrams as one.
    pub(crate) coalescing: bool,
}

/// The addresses of a socket, and its offloads.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Traits {
    pub(crate) local: SocketAddr,
    /// The other end of a stream.
    pub(crate) remote: Option<SocketAddr>,
    /// One send may hold several datagrams.
    pub(crate) segmentation: bool,
    /// Several received datagrams may come as one.
    pub(crate) coalescing: bool,
}

/// The underlying socket.
pub(crate) enum Socket<I: Io = Linux> {
    /// Datagrams, of any number of peers; and the engine's end of the pair that stands in OpenVPN's fd table in place of
    /// the socket.
    Udp(I::Datagrams, I::Relay),
    /// A stream, of one peer.
    Tcp(Stream<I>),
}

impl Transport {
    /// Takes over a TCP socket of OpenVPN's, in a network namespace by the kernel's number; 0 if unknown.
    pub(crate) fn stream(
        socket: tcp::Stream,
        relay: Connection,
        partial: Partial,
        netns: Netns,
    ) -> io::Result<Self> {
        let traits = Traits {
            local: socket.local_addr()?,
            remote: socket.remote_addr().ok(),
            segmentation: false,
            coalescing: false,
        };
        let routing = routing_of(socket.as_fd());
        let socket = Socket::Tcp(Stream::new(socket, relay, partial));
        Ok(Self::over(socket, traits, netns, routing))
    }

    /// Takes over a UDP socket of OpenVPN's, likewise.
    pub(crate) fn new(
        socket: UdpSocket,
        relay: Connection,
        forbidden: Forbidden,
        netns: Netns,
    ) -> io::Result<Self> {
        socket.enable_packet_info()?;
        let (mark, bound_to) = routing_of(socket.as_fd());
        // Marked packets may be counted or limited, but netfilter sees many sent at once as one (faults E8).
        let is_counted = mark != 0;
        let segmentation =
            forbidden.permits(Offload::Segment) && !is_counted && socket.supports_gso();
        // Without coalescing, or with smaller buffers than requested, packets only move slower.
        let coalescing = forbidden.permits(Offload::Coalesce) && socket.enable_gro().is_ok();
        let _ = socket.raise_receive_buffer(TRANSPORT_BUFFER);
        let _ = socket.raise_send_buffer(TRANSPORT_BUFFER);
        let traits = Traits {
            local: socket.local_addr()?,
            remote: None,
            segmentation,
            coalescing,
        };
        let socket = Socket::Udp(socket, relay);
        Ok(Self::over(socket, traits, netns, (mark, bound_to)))
    }
}

impl<I: Io> Transport<I> {
    /// A transport over a socket in a network namespace, with the mark and the device that it is bound to.
    pub(crate) const fn over(
        socket: Socket<I>,
        traits: Traits,
        netns: Netns,
        (mark, bound_to): (u32, u32),
    ) -> Self {
        Self {
            socket,
            local: traits.local,
            remote: traits.remote,
            netns,
            mark,
            bound_to,
            peers: AtomicUsize::new(0),
            segmentation: InUse::new(traits.segmentation),
            coalescing: traits.coalescing,
        }
    }

    /// The socket.
    pub(crate) const fn socket(&self) -> &Socket<I> {
        &self.socket
    }

    /// The stream, if it is one.
    pub(crate) const fn as_stream(&self) -> Option<&Stream<I>> {
        match &self.socket {
            Socket::Udp(..) => None,
            Socket::Tcp(stream) => Some(stream),
        }
    }

    /// The other end of a stream; over UDP each peer has an endpoint of its own.
    pub(crate) const fn stream_remote(&self) -> Option<SocketAddr> {
        self.remote
    }

    /// Local port, for `PEER_GET`. A client's socket without a port of its own is bound by its first packet, long before it
    /// gets here.
    pub(crate) const fn local_port(&self) -> u16 {
        self.local.port()
    }

    /// The addresses of a packet to or from there, at this address of ours if it is known.
    pub(crate) fn ends(&self, remote: SocketAddr, local: Option<IpAddr>) -> Ends {
        let local = local.unwrap_or_else(|| self.local.ip());
        Ends {
            local: SocketAddr::new(local, self.local.port()),
            remote,
            is_stream: self.as_stream().is_some(),
        }
    }

    /// Adds a peer.
    pub(crate) fn attach(&self, peer: PeerId) {
        if let Socket::Tcp(stream) = &self.socket {
            stream.attach(peer);
        }
        self.peers.fetch_add(1, Ordering::Relaxed);
    }

    /// Removes a peer.
    pub(crate) fn detach(&self) {
        self.peers.fetch_sub(1, Ordering::Relaxed);
        if let Socket::Tcp(stream) = &self.socket {
            stream.detach();
        }
    }

    /// Whether it serves no peer: the kernel would have returned it to OpenVPN, so all packets are OpenVPN's.
    pub(crate) fn is_idle(&self) -> bool {
        self.peers.load(Ordering::Relaxed) == 0
    }

    /// Gives a control packet that came in a datagram to OpenVPN; `false` if the relay is full or gone.
    pub(crate) fn relay(&self, origin: &RelayHeader, packet: &[u8], scratch: &mut Vec<u8>) -> bool {
        let Socket::Udp(_, relay) = &self.socket else {
            return false;
        };
        scratch.clear();
        scratch.extend_from_slice(&origin.encode());
        scratch.extend_from_slice(packet);
        relay.send(scratch).is_ok()
    }
}

impl<I: Io> Source<I> for Transport<I> {
    fn handle(&self) -> I::Handle<'_> {
        match &self.socket {
            Socket::Udp(socket, _) => socket.handle(),
            Socket::Tcp(stream) => stream.handle(),
        }
    }
}

/// Mark and bound device of a socket. OpenVPN sets both when it creates the socket, and never again.
fn routing_of(socket: BorrowedFd<'_>) -> (u32, u32) {
    (
        udco_sys::socket_mark(socket),
        udco_sys::bound_device(socket),
    )
}

/// A buffer that [`Transport::relay`] never has to grow.
pub(crate) fn relay_scratch() -> Vec<u8> {
    Vec::with_capacity(RelayHeader::LEN + MAX_DATAGRAM)
}

/// A datagram's addresses as OpenVPN's socket would have reported them: on a dual-stack socket IPv4 is v4-mapped.
pub(crate) fn relay_header(datagram: &Datagram<'_>) -> RelayHeader {
    let source = match datagram.source {
        SocketAddr::V4(source) if datagram.mapped => {
            SocketAddr::from((source.ip().to_ipv6_mapped(), source.port()))
        }
        source => source,
    };
    let local = datagram.local.unwrap_or_else(|| match datagram.source {
        SocketAddr::V4(_) => std::net::Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
    });
    RelayHeader {
        source,
        local,
        ifindex: datagram.ifindex,
    }
}
