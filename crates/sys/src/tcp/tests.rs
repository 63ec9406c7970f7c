//! Kinds of descriptors, and streams.

use std::fs::File;
use std::io::pipe;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixStream};

use rustix::net::{AddressFamily, SocketFlags, ipproto, socket_with};

use super::*;
use crate::epoll::Poller;

fn stream_pair(bind: &str) -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind(bind).unwrap();
    let one = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (one, listener.accept().unwrap().0)
}

fn new_socket(domain: AddressFamily, kind: SocketType, protocol: u32) -> Option<OwnedFd> {
    let protocol = rustix::net::Protocol::from_raw(protocol.try_into().ok()?);
    socket_with(domain, kind, SocketFlags::CLOEXEC, Some(protocol)).ok()
}

/// promises G2: every kind that a client may pass.
#[test]
fn every_kind_of_descriptor_is_told_apart() {
    let (inet, inet6) = (AddressFamily::INET, AddressFamily::INET6);
    let tcp = ipproto::TCP.as_raw().get();
    let mut table: Vec<(&str, Kind, Option<OwnedFd>)> = vec![
        (
            "udp4",
            Kind::Udp,
            UdpSocket::bind("127.0.0.1:0").ok().map(Into::into),
        ),
        (
            "udp6",
            Kind::Udp,
            UdpSocket::bind("[::1]:0").ok().map(Into::into),
        ),
        (
            "listening",
            Kind::Tcp(10),
            TcpListener::bind("127.0.0.1:0").ok().map(Into::into),
        ),
        // TCP_CLOSE
        (
            "fresh",
            Kind::Tcp(7),
            new_socket(inet, SocketType::STREAM, tcp),
        ),
        (
            "fresh6",
            Kind::Tcp(7),
            new_socket(inet6, SocketType::STREAM, tcp),
        ),
        (
            "mptcp",
            Kind::OtherSocket,
            new_socket(inet, SocketType::STREAM, 262),
        ),
        (
            "udplite",
            Kind::OtherSocket,
            new_socket(inet, SocketType::DGRAM, 136),
        ),
        (
            "icmp",
            Kind::OtherSocket,
            new_socket(inet, SocketType::DGRAM, 1),
        ),
        (
            "raw",
            Kind::OtherSocket,
            new_socket(inet, SocketType::RAW, 17),
        ),
        (
            "packet",
            Kind::OtherSocket,
            new_socket(AddressFamily::PACKET, SocketType::DGRAM, 8),
        ),
        (
            "unix",
            Kind::OtherSocket,
            UnixDatagram::unbound().ok().map(Into::into),
        ),
        (
            "stream",
            Kind::OtherSocket,
            UnixStream::pair().ok().map(|pair| pair.0.into()),
        ),
        (
            "netlink",
            Kind::OtherSocket,
            crate::route::Monitor::open().ok().map(|it| it.into_fd()),
        ),
        (
            "pipe",
            Kind::NotASocket,
            pipe().ok().map(|pipe| pipe.0.into()),
        ),
        (
            "null",
            Kind::NotASocket,
            File::open("/dev/null").ok().map(Into::into),
        ),
        (
            "tun",
            Kind::NotASocket,
            File::open("/dev/net/tun").ok().map(Into::into),
        ),
        (
            "epoll",
            Kind::NotASocket,
            Poller::new().unwrap().as_fd().try_clone_to_owned().ok(),
        ),
        ("path", Kind::NotASocket, open_path("/")),
    ];
    let (one, other) = stream_pair("127.0.0.1:0");
    table.push(("established", Kind::TcpEstablished, Some(one.into())));
    for (name, expected, fd) in &table {
        match fd {
            Some(fd) => assert_eq!(inspect(fd.as_fd()), *expected, "{name}"),
            None => crate::namespace::skip_part(&format!("no {name} here")),
        }
    }
    drop(table);
    // TCP_CLOSE_WAIT: the other end has closed.
    while inspect(other.as_fd()) == Kind::TcpEstablished {
        std::thread::yield_now();
    }
    assert_eq!(inspect(other.as_fd()), Kind::Tcp(8));
    let error = Stream::adopt(other.into()).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::ENOTCONN));
}

fn open_path(path: &str) -> Option<OwnedFd> {
    use rustix::fs::{Mode, OFlags, open};
    open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).ok()
}

#[test]
fn a_stream_never_blocks_although_its_socket_would() {
    for bind in ["127.0.0.1:0", "[::1]:0"] {
        let (one, other) = stream_pair(bind);
        let (one, other) = (
            Stream::adopt(one.into()).unwrap(),
            Stream::adopt(other.into()).unwrap(),
        );
        one.set_nodelay(true).unwrap();
        let mut buffer = [0; 4_096];
        let error = one.receive(&mut buffer).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        let pieces = [IoSlice::new(b"ab"), IoSlice::new(b"cde")];
        assert_eq!(one.send_vectored(&pieces).unwrap(), 5);
        assert_eq!(other.receive(&mut buffer).unwrap(), 5);
        assert_eq!(&buffer[..5], b"abcde");
        let full = loop {
            if let Err(error) = one.send(&buffer) {
                break error;
            }
        };
        assert_eq!(full.kind(), io::ErrorKind::WouldBlock);
        one.shut_down().unwrap();
        while !matches!(other.receive(&mut buffer), Ok(0) | Err(_)) {}
        assert_eq!(
            one.send(b"x").unwrap_err().kind(),
            io::ErrorKind::BrokenPipe
        );
    }
}
