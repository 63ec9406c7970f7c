//! The transport sockets that `udco peer new` makes and holds. Control packets come through a relay from an engine; the
//! kernel's driver leaves them at the socket.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use anyhow::{Context, Result, bail};
use rustix::net::{
    AddressFamily, RecvFlags, SocketFlags, SocketType, bind, getsockname, recvfrom, socket_with,
    sockopt,
};
use udco_ipc::{RelayHeader, STREAM_ERROR, TRANSPORT_BUFFER};
use udco_sys::seqpacket::Connection;
use udco_sys::udp::UdpSocket;

use crate::client::Offer;

/// Size of the largest datagram in a relay.
const DATAGRAM: usize = 65_535 + RelayHeader::LEN;

/// Bytes of the length prefix of each packet in a stream.
const LENGTH: usize = 2;

/// Which sockets to make.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Options {
    /// Address to bind the UDP socket to [default: any address of both families, any port].
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = super::local)]
    local: Option<SocketAddr>,
    /// Mark on all packets sent (SO_MARK).
    #[arg(long, value_name = "NUMBER")]
    mark: Option<u32>,
    /// Connect to the peer over TCP instead.
    #[arg(long, value_name = "ADDRESS:PORT", conflicts_with_all = ["local", "remote", "tcp_listen"],
        value_parser = super::remote)]
    tcp_connect: Option<SocketAddr>,
    /// Accept one TCP connection per peer instead.
    #[arg(long, value_name = "ADDRESS:PORT", conflicts_with_all = ["local", "remote"], value_parser = super::local)]
    tcp_listen: Option<SocketAddr>,
}

/// Where control packets are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// From an engine, which has the socket.
    Relay,
    /// From the socket itself: the kernel's driver takes only data packets.
    Socket,
}

/// A transport socket. Its peers end with this process.
pub(super) struct Transport {
    socket: OwnedFd,
    /// Our end of the relay, if an engine has the socket.
    relay: Option<Connection>,
    is_stream: bool,
    /// The engine's end of the relay, until it is handed over.
    engines: Option<OwnedFd>,
}

/// A control packet received over a relay.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Control {
    /// Its source; unknown over TCP.
    pub(super) source: Option<SocketAddr>,
    /// Its length in bytes, without the length prefix of TCP.
    pub(super) length: usize,
    /// The first byte: opcode and key id.
    pub(super) first: Option<u8>,
}

/// The sockets for this many peers: one in all over UDP, one per peer over TCP.
pub(super) fn make(options: &Options, peers: usize, control: Reading) -> Result<Vec<Transport>> {
    if let Some(address) = options.tcp_connect {
        if peers > 1 {
            bail!("a TCP connection has only one peer: give it with --id");
        }
        let stream = TcpStream::connect(address);
        let stream = stream.with_context(|| format!("cannot connect to {address}"))?;
        return Ok(vec![Transport::tcp(stream.into(), options, control)?]);
    }
    if let Some(address) = options.tcp_listen {
        let listener = TcpListener::bind(address);
        let listener = listener.with_context(|| format!("cannot listen at {address}"))?;
        let accept = |_| {
            let (stream, _) = listener.accept().context("cannot accept a connection")?;
            Transport::tcp(stream.into(), options, control)
        };
        return (0..peers).map(accept).collect();
    }
    Ok(vec![Transport::udp(options, control)?])
}

impl Options {
    /// Whether each peer has a socket of its own.
    pub(super) const fn is_tcp(&self) -> bool {
        self.tcp_connect.is_some() || self.tcp_listen.is_some()
    }

    /// Whether a peer at `remote` is reachable through the UDP socket.
    pub(super) fn reaches(&self, remote: SocketAddr) -> bool {
        self.local
            .is_none_or(|local| local.is_ipv6() || remote.ip().to_canonical().is_ipv4())
    }
}

impl Transport {
    fn udp(options: &Options, control: Reading) -> Result<Self> {
        let open = |family| socket_with(family, SocketType::DGRAM, SocketFlags::CLOEXEC, None);
        let any4 = SocketAddr::from(([0; 4], 0));
        let any6 = SocketAddr::from(([0; 16], 0));
        let (socket, local) = match options.local {
            Some(local) if local.is_ipv4() => (open(AddressFamily::INET)?, local),
            given => match open(AddressFamily::INET6) {
                Ok(socket) => {
                    sockopt::set_ipv6_v6only(&socket, false)?;
                    (socket, given.unwrap_or(any6))
                }
                // A kernel without IPv6.
                Err(rustix::io::Errno::AFNOSUPPORT) if given.is_none() => {
                    (open(AddressFamily::INET)?, any4)
                }
                Err(error) => return Err(error).context("cannot create an IPv6 socket"),
            },
        };
        sockopt::set_socket_reuseaddr(&socket, true)?;
        mark(&socket, options)?;
        bind(&socket, &local).with_context(|| format!("cannot bind to {local}"))?;
        let socket = UdpSocket::adopt(socket)?;
        let _ = socket.raise_receive_buffer(TRANSPORT_BUFFER);
        let _ = socket.raise_send_buffer(TRANSPORT_BUFFER);
        let socket = socket.into_fd();
        Self::over(socket, false, control)
    }

    fn tcp(socket: OwnedFd, options: &Options, control: Reading) -> Result<Self> {
        mark(&socket, options)?;
        Self::over(socket, true, control)
    }

    fn over(socket: OwnedFd, is_stream: bool, control: Reading) -> Result<Self> {
        let (relay, engines) = match control {
            Reading::Relay => {
                let (relay, engines) = Connection::pair().context("cannot create a relay")?;
                (Some(relay), Some(engines.into_fd()))
            }
            Reading::Socket => (None, None),
        };
        Ok(Self {
            socket,
            relay,
            is_stream,
            engines,
        })
    }

    /// Number by which the driver knows it.
    pub(super) fn number(&self) -> u32 {
        use std::os::fd::AsRawFd;
        self.socket.as_raw_fd().cast_unsigned()
    }

    /// The port that it is bound to.
    pub(super) fn port(&self) -> u16 {
        let name = getsockname(&self.socket).ok();
        let name = name.and_then(|name| SocketAddr::try_from(name).ok());
        name.map_or(0, |name| name.port())
    }

    /// The descriptors for the engine when it requires the socket; none once it has it.
    pub(super) fn offer(&self) -> Option<Offer<'_>> {
        let engines = self.engines.as_ref()?;
        Some([self.socket.as_fd(), engines.as_fd()])
    }

    /// The engine has it.
    pub(super) fn handed_over(&mut self) {
        self.engines = None;
    }

    /// The next control packet, if there is one; never blocks.
    ///
    /// # Errors
    /// `UnexpectedEof` if the engine has released the socket, or a stream has ended; the error of a stream.
    pub(super) fn control(&self) -> io::Result<Option<Control>> {
        let mut buffer = vec![0; DATAGRAM];
        let Some(relay) = &self.relay else {
            return self.unread(&mut buffer);
        };
        let datagram = match relay.receive(&mut buffer) {
            Ok(received) if received.len == 0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(received) => buffer.get(..received.len).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(error),
        };
        if self.is_stream
            && let [first, second, errno] = *datagram
            && [first, second] == STREAM_ERROR
        {
            return Err(io::Error::from_raw_os_error(errno.into()));
        }
        let (source, packet) = match RelayHeader::decode(datagram) {
            _ if self.is_stream => (None, datagram.get(LENGTH..).unwrap_or_default()),
            Some((header, packet)) => (Some(as_seen(header.source)), packet),
            None => (None, datagram),
        };
        Ok(Some(Control {
            source,
            length: packet.len(),
            first: packet.first().copied(),
        }))
    }
}

impl Transport {
    /// As [`Transport::control`], from the socket itself: its data packets never get here.
    fn unread(&self, buffer: &mut [u8]) -> io::Result<Option<Control>> {
        let (length, source) = match recvfrom(&self.socket, &mut *buffer, RecvFlags::DONTWAIT) {
            Ok((0, _, _)) if self.is_stream => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok((length, _, source)) => (length, source),
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        // The driver passes one packet at a time, with its length in front.
        let start = if self.is_stream { LENGTH } else { 0 };
        let packet = buffer.get(start..length).unwrap_or_default();
        let source = source.and_then(|source| SocketAddr::try_from(source).ok());
        Ok(Some(Control {
            source: source.filter(|_| !self.is_stream).map(as_seen),
            length: packet.len(),
            first: packet.first().copied(),
        }))
    }
}

impl AsFd for Transport {
    /// Readable when there are control packets.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.relay
            .as_ref()
            .map_or_else(|| self.socket.as_fd(), AsFd::as_fd)
    }
}

/// An IPv4 address as such, also from a socket of both families.
fn as_seen(source: SocketAddr) -> SocketAddr {
    let ip = source.ip().to_canonical();
    if ip.is_ipv4() {
        SocketAddr::new(ip, source.port())
    } else {
        source
    }
}

fn mark(socket: &OwnedFd, options: &Options) -> Result<()> {
    match options.mark {
        Some(mark) => udco_sys::set_mark(socket.as_fd(), mark)
            .context("cannot set the mark: this needs CAP_NET_ADMIN"),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: Options = Options {
        local: None,
        mark: None,
        tcp_connect: None,
        tcp_listen: None,
    };

    #[test]
    fn a_udp_socket_is_bound_and_serves_both_families_by_default() {
        let made = make(&NONE, 3, Reading::Relay).unwrap();
        assert_eq!(made.len(), 1);
        assert_ne!(made[0].port(), 0);
        let options = Options {
            local: Some("127.0.0.1:0".parse().unwrap()),
            ..NONE
        };
        let made = make(&options, 1, Reading::Relay).unwrap();
        let name = getsockname(&made[0].socket).unwrap();
        assert!(SocketAddr::try_from(name).unwrap().is_ipv4());
        assert!(options.reaches("[::ffff:192.0.2.1]:5".parse().unwrap()));
        assert!(!options.reaches("[2001:db8::1]:5".parse().unwrap()));
        assert!(NONE.reaches("192.0.2.1:5".parse().unwrap()));
    }

    #[test]
    fn control_packets_are_recognized_by_source_length_and_first_byte() {
        let mut transport = Transport::udp(&NONE, Reading::Relay).unwrap();
        assert_eq!(transport.control().unwrap(), None);
        let engines = Connection::adopt(transport.engines.take().unwrap()).unwrap();
        let header = RelayHeader {
            source: "192.0.2.1:1194".parse().unwrap(),
            local: [192, 0, 2, 2].into(),
            ifindex: 1,
        };
        let datagram = [&header.encode()[..], &[0x38, 1, 2]].concat();
        engines.send(&datagram, &[]).unwrap();
        let control = Control {
            source: Some(header.source),
            length: 3,
            first: Some(0x38),
        };
        assert_eq!(transport.control().unwrap(), Some(control));
        drop(engines);
        assert!(transport.control().is_err(), "the engine has let go");
    }

    #[test]
    fn without_a_relay_control_packets_are_read_from_the_socket() {
        let transport = Transport::udp(&NONE, Reading::Socket).unwrap();
        assert!(transport.offer().is_none());
        assert_eq!(transport.control().unwrap(), None);
        let sender = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        sender
            .send_to(&[0x38, 1, 2], ("127.0.0.1", transport.port()))
            .unwrap();
        let control = Control {
            // Not as an IPv6 address, which the socket of both families reports.
            source: Some(sender.local_addr().unwrap()),
            length: 3,
            first: Some(0x38),
        };
        assert_eq!(transport.control().unwrap(), Some(control));

        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let transport = Transport::tcp(stream.into(), &NONE, Reading::Socket).unwrap();
        let (mut other, _) = listener.accept().unwrap();
        // The driver's socket yields one packet, with its length.
        io::Write::write_all(&mut other, &[0, 2, 0x38, 1]).unwrap();
        crate::client::wait(&[transport.as_fd()], None).unwrap();
        let control = Control {
            source: None,
            length: 2,
            first: Some(0x38),
        };
        assert_eq!(transport.control().unwrap(), Some(control));
        drop(other);
        crate::client::wait(&[transport.as_fd()], None).unwrap();
        assert!(transport.control().is_err(), "the connection has ended");
    }

    #[test]
    fn a_packet_of_a_stream_comes_with_its_length_and_an_error_as_one() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let mut transport = Transport::tcp(stream.into(), &NONE, Reading::Relay).unwrap();
        let engines = Connection::adopt(transport.engines.take().unwrap()).unwrap();
        engines.send(&[0, 3, 0x38, 1, 2], &[]).unwrap();
        engines.send(&[0xff, 0xff, 104], &[]).unwrap();
        let control = Control {
            source: None,
            length: 3,
            first: Some(0x38),
        };
        assert_eq!(transport.control().unwrap(), Some(control));
        let error = transport.control().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }
}
