//! The libc calls of the replay: the preload library sees nothing else.

use libc::*;
use std::mem::{size_of_val, zeroed};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// A call's outcome, or its errno.
pub(crate) type Outcome<T> = Result<T, c_int>;

fn errno() -> c_int {
    std::io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

fn checked(result: c_int) -> Outcome<c_int> {
    if result < 0 { Err(errno()) } else { Ok(result) }
}

fn checked_len(result: isize) -> Outcome<usize> {
    usize::try_from(result).map_err(|_| errno())
}

pub(crate) fn open_socket(domain: c_int, kind: c_int, protocol: c_int) -> c_int {
    // SAFETY: no pointers.
    checked(unsafe { socket(domain, kind, protocol) }).expect("a socket")
}

pub(crate) fn open_null() -> c_int {
    // SAFETY: a C string.
    checked(unsafe { open(c"/dev/null".as_ptr(), O_RDWR) }).expect("/dev/null")
}

pub(crate) fn close_fd(fd: c_int) {
    // SAFETY: no pointers; the scenario knows what it closes.
    unsafe { close(fd) };
}

/// Gives an open file its number in the recording.
pub(crate) fn renumber(fd: c_int, number: c_int) {
    // SAFETY: no pointers.
    assert_eq!(unsafe { dup2(fd, number) }, number);
    close_fd(fd);
}

pub(crate) fn set_int(fd: c_int, level: c_int, name: c_int, value: c_int) -> Outcome<()> {
    // SAFETY: value outlives the call.
    checked(unsafe { setsockopt(fd, level, name, (&raw const value).cast(), 4) }).map(drop)
}

pub(crate) fn bind_netlink(fd: c_int, port: u32) {
    // SAFETY: all zeroes is valid.
    let mut address: sockaddr_nl = unsafe { zeroed() };
    address.nl_family = AF_NETLINK as sa_family_t;
    address.nl_pid = port;
    bind_to(fd, &address);
}

fn bind_to<T>(fd: c_int, address: &T) {
    let len = size_of_val(address) as socklen_t;
    // SAFETY: pointer and length describe the address.
    let bound = unsafe { bind(fd, (&raw const *address).cast(), len) };
    checked(bound).expect("the address is free");
}

/// The address as `sockaddr_in` or `sockaddr_in6`.
fn raw(address: SocketAddr) -> Vec<u8> {
    let port = address.port().to_be_bytes();
    match address.ip() {
        IpAddr::V4(ip) => {
            let family = (AF_INET as u16).to_ne_bytes();
            [&family[..], &port, &ip.octets(), &[0; 8]].concat()
        }
        IpAddr::V6(ip) => {
            let family = (AF_INET6 as u16).to_ne_bytes();
            [&family[..], &port, &[0; 4], &ip.octets(), &[0; 4]].concat()
        }
    }
}

pub(crate) fn family_of(address: SocketAddr) -> c_int {
    if address.is_ipv4() { AF_INET } else { AF_INET6 }
}

pub(crate) fn bind_inet(fd: c_int, address: SocketAddr) {
    let bytes = raw(address);
    // SAFETY: pointer and length describe the address.
    let bound = unsafe { bind(fd, bytes.as_ptr().cast(), bytes.len() as socklen_t) };
    checked(bound).expect("the address is free");
}

pub(crate) fn connect_inet(fd: c_int, address: SocketAddr) {
    let bytes = raw(address);
    // SAFETY: pointer and length describe the address.
    let connected = unsafe { connect(fd, bytes.as_ptr().cast(), bytes.len() as socklen_t) };
    checked(connected).expect("somebody there");
}

pub(crate) fn listen_on(fd: c_int) {
    // SAFETY: no pointers.
    checked(unsafe { listen(fd, 1) }).expect("a listener");
}

pub(crate) fn accept_one(fd: c_int) -> c_int {
    // SAFETY: null pointers are allowed here.
    let accepted = unsafe { accept(fd, std::ptr::null_mut(), std::ptr::null_mut()) };
    checked(accepted).expect("a connection")
}

pub(crate) fn send_to(fd: c_int, data: &[u8], to: Option<SocketAddr>) -> Outcome<usize> {
    let bytes = to.map(raw).unwrap_or_default();
    let at = if bytes.is_empty() {
        std::ptr::null()
    } else {
        bytes.as_ptr()
    };
    let len = bytes.len() as socklen_t;
    // SAFETY: pointers and lengths describe data and address.
    checked_len(unsafe { sendto(fd, data.as_ptr().cast(), data.len(), 0, at.cast(), len) })
}

/// Receives without waiting: the data and the source address as bytes.
pub(crate) fn receive(fd: c_int, room: usize) -> Outcome<(Vec<u8>, Vec<u8>)> {
    let (mut data, mut name) = (vec![0u8; room], vec![0u8; 128]);
    let mut len = name.len() as socklen_t;
    let (into, from) = (data.as_mut_ptr().cast(), name.as_mut_ptr().cast());
    // SAFETY: pointers and lengths describe the buffers.
    let received = unsafe { recvfrom(fd, into, room, MSG_DONTWAIT, from, &raw mut len) };
    data.truncate(checked_len(received)?);
    name.truncate(len as usize);
    Ok((data, name))
}

/// The address and port in a `sockaddr_in` or `sockaddr_in6`; IPv4 is never v4-mapped here.
pub(crate) fn address_in(name: &[u8]) -> Option<SocketAddr> {
    let port = u16::from_be_bytes([*name.get(2)?, *name.get(3)?]);
    let family = c_int::from(u16::from_ne_bytes([name[0], name[1]]));
    let ip: IpAddr = if family == AF_INET {
        <[u8; 4]>::try_from(name.get(4..8)?).ok()?.into()
    } else {
        // Unchanged: programs distinguish mapped addresses from others.
        Ipv6Addr::from(<[u8; 16]>::try_from(name.get(8..24)?).ok()?).into()
    };
    Some(SocketAddr::new(ip, port))
}

/// Waits until there is something to read.
pub(crate) fn is_readable(fd: c_int, milliseconds: c_int) -> bool {
    let mut entry = pollfd {
        fd,
        events: POLLIN,
        revents: 0,
    };
    // SAFETY: one entry.
    unsafe { poll(&raw mut entry, 1, milliseconds) > 0 }
}

fn link_address(device: &str, packet: &[u8]) -> sockaddr_ll {
    let protocol = match packet.first() {
        Some(first) if first >> 4 == 6 => ETH_P_IPV6,
        Some(_) => ETH_P_IP,
        None => ETH_P_ALL,
    };
    let name = std::ffi::CString::new(device).expect("a name");
    // SAFETY: all zeroes is valid.
    let mut address: sockaddr_ll = unsafe { zeroed() };
    address.sll_family = AF_PACKET as sa_family_t;
    address.sll_protocol = (protocol as u16).to_be();
    // SAFETY: a C string.
    address.sll_ifindex = unsafe { if_nametoindex(name.as_ptr()) }.cast_signed();
    address
}

/// Hands an IP packet to a link, as if the host sent it.
pub(crate) fn inject(device: &str, packet: &[u8]) -> Outcome<usize> {
    let fd = open_socket(AF_PACKET, SOCK_DGRAM, 0);
    let address = link_address(device, packet);
    let len = size_of_val(&address) as socklen_t;
    let to = (&raw const address).cast();
    // SAFETY: pointers and lengths describe packet and address.
    let sent = unsafe { sendto(fd, packet.as_ptr().cast(), packet.len(), 0, to, len) };
    let sent = checked_len(sent);
    close_fd(fd);
    sent
}

/// A socket that sees what a link delivers; see [`delivered`].
pub(crate) fn sniffer(device: &str) -> c_int {
    let protocol = (ETH_P_ALL as u16).to_be();
    let fd = open_socket(AF_PACKET, SOCK_DGRAM, c_int::from(protocol));
    bind_to(fd, &link_address(device, &[]));
    fd
}

/// The next packet that the link delivered to the host; skips what the host sent.
pub(crate) fn delivered(sniffer: c_int) -> Option<Vec<u8>> {
    /// Offset in `sockaddr_ll`.
    const PACKET_TYPE: usize = 10;
    loop {
        let (packet, name) = receive(sniffer, 70_000).ok()?;
        if name.get(PACKET_TYPE) != Some(&PACKET_OUTGOING) {
            return Some(packet);
        }
    }
}

pub(crate) fn set_effective_user(user: u32) {
    // SAFETY: no pointers.
    checked(unsafe { seteuid(user) }).expect("another user");
}

/// Runs a closure in a new network namespace; the fds that it makes belong to this process.
pub(crate) fn elsewhere<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let there = scope.spawn(|| {
            // SAFETY: no pointers; concerns this thread only, which ends here.
            checked(unsafe { unshare(CLONE_NEWNET) }).expect("a network namespace");
            set_loopback_up();
            work()
        });
        there.join().expect("no panic")
    })
}

/// Sets `lo` up: RTM_NEWLINK of interface 1.
pub(crate) fn set_loopback_up() {
    let fd = open_socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);
    let mut request = [0u8; 32];
    request[0] = 32;
    request[4] = RTM_NEWLINK as u8;
    request[6] = (NLM_F_REQUEST | NLM_F_ACK) as u8;
    request[20] = 1;
    request[24] = IFF_UP as u8;
    request[28] = IFF_UP as u8;
    assert_eq!(send_to(fd, &request, None), Ok(32));
    assert!(is_readable(fd, 1000));
    close_fd(fd);
}
