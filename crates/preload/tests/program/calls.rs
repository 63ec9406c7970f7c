//! The libc calls of the test programs.

use libc::*;
use std::ffi::CStr;
use std::mem::{size_of, size_of_val, zeroed};

fn checked(result: c_int) -> Result<c_int, c_int> {
    if result < 0 { Err(errno()) } else { Ok(result) }
}

pub(crate) fn errno() -> c_int {
    std::io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

pub(crate) fn set_errno(errno: c_int) {
    // SAFETY: always points to this thread's errno.
    let at = unsafe { __errno_location() };
    // SAFETY: see above.
    unsafe { *at = errno };
}

fn open_socket(domain: c_int, kind: c_int, protocol: c_int) -> c_int {
    // SAFETY: no pointers.
    checked(unsafe { socket(domain, kind, protocol) }).expect("a socket")
}

pub(crate) fn generic(flags: c_int) -> c_int {
    open_socket(AF_NETLINK, SOCK_RAW | flags, NETLINK_GENERIC)
}

pub(crate) fn route_socket() -> c_int {
    let fd = open_socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    assert_eq!(bind_netlink(fd, 0), 0);
    fd
}

pub(crate) fn udp_socket(family: c_int) -> c_int {
    open_socket(family, SOCK_DGRAM, 0)
}

pub(crate) fn close_fd(fd: c_int) -> c_int {
    // SAFETY: no pointers; the test knows what it closes.
    unsafe { close(fd) }
}

pub(crate) fn descriptor_flags(fd: c_int) -> c_int {
    // SAFETY: no pointers.
    unsafe { fcntl(fd, F_GETFD) }
}

pub(crate) fn set_close_on_exec(fd: c_int) {
    // SAFETY: no pointers.
    unsafe { fcntl(fd, F_SETFD, FD_CLOEXEC) };
}

pub(crate) fn set_nonblocking(fd: c_int) {
    // SAFETY: no pointers.
    unsafe { fcntl(fd, F_SETFL, O_NONBLOCK) };
}

pub(crate) fn set_int(fd: c_int, level: c_int, name: c_int, value: c_int) -> Result<(), c_int> {
    // SAFETY: value outlives the call.
    checked(unsafe { setsockopt(fd, level, name, (&raw const value).cast(), 4) }).map(drop)
}

pub(crate) fn int_option(fd: c_int, level: c_int, name: c_int) -> c_int {
    let (mut value, mut len) = (0, 4);
    // SAFETY: value and len outlive the call.
    let result = unsafe { getsockopt(fd, level, name, (&raw mut value).cast(), &raw mut len) };
    assert_eq!((result, len), (0, 4));
    value
}

fn bind_to<T>(fd: c_int, address: &T) -> c_int {
    let len = size_of::<T>() as socklen_t;
    // SAFETY: pointer and length describe the address.
    unsafe { bind(fd, (&raw const *address).cast(), len) }
}

pub(crate) fn bind_netlink(fd: c_int, port: u32) -> c_int {
    // SAFETY: all zeroes is valid.
    let mut address: sockaddr_nl = unsafe { zeroed() };
    address.nl_family = AF_NETLINK as sa_family_t;
    address.nl_pid = port;
    bind_to(fd, &address)
}

pub(crate) fn netlink_name(fd: c_int) -> (c_int, u32) {
    // SAFETY: all zeroes is valid.
    let mut address: sockaddr_nl = unsafe { zeroed() };
    let mut len = size_of_val(&address) as socklen_t;
    // SAFETY: pointer and length describe the address.
    let result = unsafe { getsockname(fd, (&raw mut address).cast(), &raw mut len) };
    assert_eq!((result, len), (0, 12));
    (address.nl_family.into(), address.nl_pid)
}

fn inet(port: u16) -> sockaddr_in {
    sockaddr_in {
        sin_family: AF_INET as sa_family_t,
        sin_port: port.to_be(),
        sin_addr: in_addr {
            s_addr: u32::from_ne_bytes([127, 0, 0, 1]),
        },
        sin_zero: [0; 8],
    }
}

/// A `sockaddr_in` as bytes.
pub(crate) fn inet_name(ip: [u8; 4], port: u16) -> Vec<u8> {
    let family = (AF_INET as u16).to_ne_bytes();
    [&family[..], &port.to_be_bytes(), &ip, &[0; 8]].concat()
}

pub(crate) fn bind_inet(fd: c_int, port: u16) -> c_int {
    bind_to(fd, &inet(port))
}

pub(crate) fn inet_port(fd: c_int) -> u16 {
    let mut address = inet(0);
    let mut len = size_of_val(&address) as socklen_t;
    // SAFETY: pointer and length describe the address.
    let result = unsafe { getsockname(fd, (&raw mut address).cast(), &raw mut len) };
    assert_eq!(result, 0);
    u16::from_be(address.sin_port)
}

pub(crate) fn inet_peer_port(fd: c_int) -> u16 {
    let mut address = inet(0);
    let mut len = size_of_val(&address) as socklen_t;
    // SAFETY: pointer and length describe the address.
    let result = unsafe { getpeername(fd, (&raw mut address).cast(), &raw mut len) };
    assert_eq!(result, 0);
    u16::from_be(address.sin_port)
}

pub(crate) fn tcp_listener() -> c_int {
    let fd = open_socket(AF_INET, SOCK_STREAM, 0);
    assert_eq!(bind_inet(fd, 0), 0);
    // SAFETY: no pointers.
    assert_eq!(unsafe { listen(fd, 1) }, 0);
    fd
}

pub(crate) fn tcp_client(port: u16) -> c_int {
    let fd = open_socket(AF_INET, SOCK_STREAM, 0);
    let address = inet(port);
    let len = size_of_val(&address) as socklen_t;
    // SAFETY: pointer and length describe the address.
    assert_eq!(unsafe { connect(fd, (&raw const address).cast(), len) }, 0);
    fd
}

pub(crate) fn accept_one(listener: c_int) -> c_int {
    // SAFETY: no address is requested.
    let fd = unsafe { accept(listener, std::ptr::null_mut(), std::ptr::null_mut()) };
    assert!(fd >= 0);
    fd
}

pub(crate) fn send_inet(fd: c_int, data: &[u8], port: u16) -> isize {
    let to = inet(port);
    let len = size_of_val(&to) as socklen_t;
    let to = (&raw const to).cast();
    // SAFETY: pointers and lengths describe data and address.
    unsafe { sendto(fd, data.as_ptr().cast(), data.len(), 0, to, len) }
}

/// `sendmsg` of the data in two parts.
pub(crate) fn send_all(fd: c_int, data: &[u8]) -> isize {
    let (one, two) = data.split_at(data.len() / 2);
    let mut parts = [one, two].map(|part| iovec {
        iov_base: part.as_ptr().cast_mut().cast(),
        iov_len: part.len(),
    });
    // SAFETY: all zeroes is valid.
    let mut header: msghdr = unsafe { zeroed() };
    header.msg_iov = parts.as_mut_ptr();
    header.msg_iovlen = 2;
    // SAFETY: the header describes the data.
    unsafe { sendmsg(fd, &raw const header, 0) }
}

/// `recvmsg` into a buffer; returns the number of bytes.
pub(crate) fn receive_into(fd: c_int, into: &mut [u8], flags: c_int) -> Result<usize, c_int> {
    let mut part = iovec {
        iov_base: into.as_mut_ptr().cast(),
        iov_len: into.len(),
    };
    // SAFETY: all zeroes is valid.
    let mut header: msghdr = unsafe { zeroed() };
    header.msg_iov = &raw mut part;
    header.msg_iovlen = 1;
    // SAFETY: the header describes the buffer.
    let len = unsafe { recvmsg(fd, &raw mut header, flags) };
    usize::try_from(len).map_err(|_| errno())
}

/// `recvfrom`: the data, and the source address as bytes.
pub(crate) fn receive_from(
    fd: c_int,
    room: usize,
    flags: c_int,
) -> Result<(Vec<u8>, Vec<u8>), c_int> {
    let (mut data, mut name) = (vec![0u8; room], [0u8; 64]);
    let mut len = 64;
    let into = data.as_mut_ptr().cast();
    let from = name.as_mut_ptr().cast();
    // SAFETY: pointers and lengths describe the buffers.
    let received = unsafe { recvfrom(fd, into, room, flags, from, &raw mut len) };
    data.truncate(usize::try_from(received).map_err(|_| errno())?);
    Ok((data, name[..len as usize].to_vec()))
}

pub(crate) fn receive_datagram(fd: c_int, flags: c_int) -> Result<(Vec<u8>, Vec<u8>), c_int> {
    receive_from(fd, 8192, flags)
}

pub(crate) type Control = Option<(c_int, c_int, Vec<u8>)>;

/// `recvmsg` with room for control messages: the data, the first control message, and the flags.
pub(crate) fn receive_with_control(fd: c_int, room: usize) -> (Vec<u8>, Control, c_int) {
    let (mut data, mut control) = (vec![0u8; room], [0u64; 16]);
    let mut part = iovec {
        iov_base: data.as_mut_ptr().cast(),
        iov_len: room,
    };
    // SAFETY: all zeroes is valid.
    let mut header: msghdr = unsafe { zeroed() };
    header.msg_iov = &raw mut part;
    header.msg_iovlen = 1;
    header.msg_control = control.as_mut_ptr().cast();
    header.msg_controllen = size_of_val(&control);
    // SAFETY: the header describes the buffers.
    let received = unsafe { recvmsg(fd, &raw mut header, 0) };
    data.truncate(usize::try_from(received).expect("a packet"));
    // SAFETY: recvmsg has filled the header.
    let first = unsafe { CMSG_FIRSTHDR(&raw const header) };
    // SAFETY: null or a control message in `control`.
    let control = unsafe { first.as_ref() }.map(|message| {
        // SAFETY: see above.
        let at = unsafe { CMSG_DATA(first) };
        let len = message.cmsg_len - size_of::<cmsghdr>();
        // SAFETY: see above.
        let data = unsafe { std::slice::from_raw_parts(at, len) }.to_vec();
        (message.cmsg_level, message.cmsg_type, data)
    });
    (data, control, header.msg_flags)
}

pub(crate) fn is_readable(fd: c_int, timeout: c_int) -> bool {
    let mut entry = pollfd {
        fd,
        events: POLLIN,
        revents: 0,
    };
    // SAFETY: one entry.
    unsafe { poll(&raw mut entry, 1, timeout) > 0 && entry.revents & POLLIN != 0 }
}

/// Waits for something to read, before a call that does not wait.
pub(crate) fn await_readable(fd: c_int) {
    assert!(is_readable(fd, 10_000), "nothing comes");
}

/// An epoll set with the fd in it.
pub(crate) fn epoll_with(fd: c_int, data: u64) -> c_int {
    // SAFETY: no pointers.
    let epoll = unsafe { epoll_create1(EPOLL_CLOEXEC) };
    let mut event = epoll_event {
        events: EPOLLIN as u32,
        u64: data,
    };
    // SAFETY: the event outlives the call.
    let result = unsafe { epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &raw mut event) };
    assert_eq!(result, 0);
    epoll
}

/// The data of the next event within this many milliseconds.
pub(crate) fn epoll_wait_one(epoll: c_int, timeout: c_int) -> Option<u64> {
    let mut event = epoll_event { events: 0, u64: 0 };
    // SAFETY: room for one event.
    let count = unsafe { epoll_wait(epoll, &raw mut event, 1, timeout) };
    (count == 1).then_some(event.u64)
}

pub(crate) fn interface_index(name: &CStr) -> i32 {
    // SAFETY: a C string.
    unsafe { if_nametoindex(name.as_ptr()) }.cast_signed()
}

pub(crate) fn open_tun() -> c_int {
    // SAFETY: a C string.
    unsafe { open(c"/dev/net/tun".as_ptr(), O_RDWR | O_CLOEXEC) }
}

/// Runs the closure in a forked child and waits for its end.
pub(crate) fn in_child(work: impl FnOnce()) {
    // SAFETY: the child makes a few system calls and ends.
    let child = unsafe { fork() };
    if child == 0 {
        // A panic would end the child's only thread, and the child with success.
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        // SAFETY: never returns.
        unsafe { _exit(c_int::from(outcome.is_err())) };
    }
    let mut status = 0;
    // SAFETY: status outlives the call.
    unsafe { waitpid(child, &raw mut status, 0) };
    assert_eq!(status, 0);
}

/// Replaces standard error by an unnamed file in the directory.
pub(crate) fn replace_standard_error(directory: &CStr) {
    // SAFETY: a C string.
    let file = unsafe { open(directory.as_ptr(), O_TMPFILE | O_RDWR, 0o600) };
    assert!(file >= 0);
    // SAFETY: no pointers.
    assert_eq!(unsafe { dup2(file, 2) }, 2);
    close_fd(file);
}

/// `daemon(3)`, which closes the standard files. The surviving process exits at once.
pub(crate) fn become_daemon() {
    // SAFETY: no pointers; this program has the one thread that matters.
    assert_eq!(unsafe { daemon(1, 0) }, 0);
    // SAFETY: never returns.
    unsafe { _exit(0) };
}

/// Makes this call fail for Unix sockets from now on, as a unit's `RestrictAddressFamilies` does.
pub(crate) fn refuse_unix(call: c_long) {
    // Offsets in the call's description: its number, and the low half of its first argument.
    let argument = if cfg!(target_endian = "big") { 20 } else { 16 };
    let statement = |code: u32, jf, k| sock_filter {
        code: code as u16,
        jt: 0,
        jf,
        k,
    };
    let is = BPF_JMP | BPF_JEQ | BPF_K;
    let load = BPF_LD | BPF_W | BPF_ABS;
    let mut program = [
        statement(load, 0, 0),
        statement(is, 3, call as u32),
        statement(load, 0, argument),
        statement(is, 1, AF_UNIX as u32),
        statement(BPF_RET | BPF_K, 0, SECCOMP_RET_ERRNO | EAFNOSUPPORT as u32),
        statement(BPF_RET | BPF_K, 0, SECCOMP_RET_ALLOW),
    ];
    let filter = sock_fprog {
        len: program.len() as u16,
        filter: program.as_mut_ptr(),
    };
    // SAFETY: takes numbers.
    assert_eq!(unsafe { prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }, 0);
    // SAFETY: the filter and what it points to outlive the call.
    let result = unsafe { prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &raw const filter) };
    assert_eq!(result, 0);
}

/// A netlink message.
pub(crate) fn netlink(kind: u16, seq: u32, flags: u16, body: &[u8]) -> Vec<u8> {
    [
        &(16 + body.len() as u32).to_ne_bytes()[..],
        &kind.to_ne_bytes(),
        &flags.to_ne_bytes(),
        &seq.to_ne_bytes(),
        &[0; 4],
        body,
    ]
    .concat()
}

pub(crate) fn sequence(message: &[u8]) -> u32 {
    u32::from_ne_bytes(message[8..12].try_into().expect("four bytes"))
}

/// The error in an NLMSG_ERROR.
pub(crate) fn error_of(message: &[u8]) -> i32 {
    assert_eq!(message[4..6], 2u16.to_ne_bytes(), "an error message");
    i32::from_ne_bytes(message[16..20].try_into().expect("four bytes"))
}

/// Takes what the allocator has, and may get no more.
pub(crate) fn use_up_memory() {
    let none = rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `none` outlives the call.
    assert_eq!(unsafe { setrlimit(RLIMIT_DATA, &raw const none) }, 0);
    for size in [1 << 16, 1 << 10, 1] {
        // SAFETY: any size will do; the memory is never used.
        while !unsafe { malloc(size) }.is_null() {}
    }
}
