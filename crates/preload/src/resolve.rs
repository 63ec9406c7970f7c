//! Resolves host names while a device left behind by a killed run takes the packets for the name servers (faults A4).
//!
//! libc's own resolver cannot be bound to an uplink, and a route for a name server would let every program's queries
//! out. So this module queries name servers itself, on a socket bound to the detour; libc builds the result from the
//! addresses. libc handles everything it can resolve without a name server.

mod dns;

use crate::calls::{self, Errno, Fd};
use crate::clock::Instant;
use crate::left::{self, Detour};
use crate::{files, real, state};
use alloc::ffi::CString;
use alloc::vec::Vec;
use core::ffi::CStr;
use core::net::IpAddr;
use core::time::Duration;
use dns::{A, AAAA, ROOM};
use libc::{addrinfo, c_char, c_int};

/// Timeout for a name server, and number of attempts.
const PATIENCE: Duration = Duration::from_secs(2);
const ATTEMPTS: usize = 2;

/// As many name servers as libc uses, and the most addresses returned.
const SERVERS: usize = 3;
const ADDRESSES: usize = 32;

/// `getaddrinfo` for a name that only a name server behind a left device knows. `None`: libc handles it.
///
/// # Safety
/// As for `getaddrinfo`.
pub(crate) unsafe fn look_up(
    node: *const c_char,
    service: *const c_char,
    hints: *const addrinfo,
    result: *mut *mut addrinfo,
) -> Option<Result<c_int, Errno>> {
    // SAFETY: the caller keeps to the contract.
    let hints = unsafe { hints.as_ref() };
    let (flags, family) = hints.map_or((0, libc::AF_UNSPEC), |it| (it.ai_flags, it.ai_family));
    if node.is_null() || flags & libc::AI_NUMERICHOST != 0 {
        return None;
    }
    // SAFETY: not null, so a C string.
    let name = unsafe { CStr::from_ptr(node) }.to_str().ok()?;
    if name.parse::<IpAddr>().is_ok() || name.contains('%') || is_in_hosts(name) {
        return None;
    }
    let servers = servers_behind_left()?;
    let kinds: &[u16] = match family {
        libc::AF_INET => &[A],
        libc::AF_INET6 => &[AAAA],
        _ => &[A, AAAA],
    };
    let addresses = servers.iter().find_map(|(server, uplink)| {
        let found = (0..ATTEMPTS).find_map(|_| resolve(server, uplink, name, kinds).ok());
        found.filter(|found| !found.is_empty())
    })?;
    let mut wanted = hints.copied().unwrap_or_else(|| {
        // SAFETY: all zeroes is a valid addrinfo.
        unsafe { core::mem::zeroed() }
    });
    wanted.ai_flags = flags & !libc::AI_ADDRCONFIG | libc::AI_NUMERICHOST;
    let mut last: *mut *mut addrinfo = result;
    let mut made = 0;
    for address in addresses.iter().take(ADDRESSES) {
        let text = CString::new(left::display(address)).ok()?;
        let mut one = core::ptr::null_mut();
        // SAFETY: C strings, an addrinfo, and room for a pointer.
        let failed =
            unsafe { real::getaddrinfo(text.as_ptr(), service, &raw const wanted, &raw mut one) };
        if failed != 0 || one.is_null() {
            continue;
        }
        made += 1;
        // SAFETY: `last` is the caller's pointer at first, then the end of the list, which libc has made.
        unsafe { last.write(one) };
        // glibc frees a list link by link. musl frees nothing of a list from several calls: a few bytes are lost.
        while !one.is_null() {
            // SAFETY: a link of the list that libc has made.
            last = unsafe { &raw mut (*one).ai_next };
            // SAFETY: as above.
            one = unsafe { *last };
        }
    }
    (made > 0).then_some(Ok(0))
}

/// The name servers whose packets end in a device left behind, each with the name of its uplink. `None` if the first
/// is not among them: libc queries it first.
fn servers_behind_left() -> Option<Vec<(Vec<u8>, CString)>> {
    let text = files::text(c"/etc/resolv.conf")?;
    let named = name_servers(&text);
    let mut state = state::lock()?;
    state.connection.as_ref()?;
    let (mut behind, mut is_first) = (Vec::new(), true);
    for server in named {
        let detour = left::detour(&mut state, &server);
        if is_first && detour.is_none() {
            return None;
        }
        is_first = false;
        match detour {
            None => {}
            Some(Ok(Detour { route, .. })) => behind.push((server, left::interface(route.ifindex))),
            Some(Err(device)) => left::advise(&mut state, &device, &server),
        }
    }
    Some(behind).filter(|behind| !behind.is_empty())
}

fn name_servers(text: &str) -> Vec<Vec<u8>> {
    let words = text.lines().map(str::split_whitespace);
    let servers = words.filter_map(|mut words| {
        let is_server = words.next() == Some("nameserver");
        Some(match words.next().filter(|_| is_server)?.parse().ok()? {
            IpAddr::V4(ip) => ip.octets().to_vec(),
            IpAddr::V6(ip) => ip.octets().to_vec(),
        })
    });
    servers.take(SERVERS).collect()
}

/// Whether `/etc/hosts` has the name: then no name server is needed.
fn is_in_hosts(name: &str) -> bool {
    files::text(c"/etc/hosts").is_some_and(|text| {
        let lines = text
            .lines()
            .map(|line| line.split('#').next().unwrap_or_default());
        lines
            .flat_map(|line| line.split_whitespace().skip(1))
            .any(|word| word.eq_ignore_ascii_case(name))
    })
}

/// Queries a name server for the addresses of a name.
fn resolve(server: &[u8], uplink: &CStr, name: &str, kinds: &[u16]) -> Result<Vec<Vec<u8>>, Errno> {
    let socket = connected(server, uplink)?;
    let first = random();
    let mut open: Vec<(u16, u16)> = (first..).zip(kinds.iter().copied()).collect();
    for (id, kind) in &open {
        let question = dns::question(*id, name, *kind).ok_or(libc::EINVAL)?;
        calls::send(socket.raw(), &question, &[])?;
    }
    let deadline = Instant::now() + PATIENCE;
    let (mut found, mut buffer) = (Vec::new(), [0; ROOM]);
    while !open.is_empty() && calls::wait(socket.raw(), libc::POLLIN, deadline)? {
        let Ok(len) = calls::receive(socket.raw(), &mut buffer, libc::MSG_DONTWAIT) else {
            continue;
        };
        let answer = buffer.get(..len).unwrap_or_default();
        let Some(at) = open
            .iter()
            .position(|(id, kind)| dns::is_answer(answer, *id, name, *kind))
        else {
            continue;
        };
        let (_, kind) = open.swap_remove(at);
        found.extend(dns::addresses(answer, kind).unwrap_or_default());
    }
    // IPv4 first, whichever answer arrived first, so that the order is stable.
    found.sort_by_key(Vec::len);
    if found.is_empty() && !open.is_empty() {
        return Err(libc::ETIMEDOUT);
    }
    Ok(found)
}

/// A socket bound to that uplink and connected to this server only.
fn connected(server: &[u8], uplink: &CStr) -> Result<Fd, Errno> {
    const PORT: [u8; 2] = 53u16.to_be_bytes();
    let domain = if server.len() == 4 {
        libc::AF_INET
    } else {
        libc::AF_INET6
    };
    let socket = calls::socket(domain, libc::SOCK_DGRAM, 0)?;
    calls::bind_to_device(socket.raw(), uplink)?;
    let family = (domain as u16).to_ne_bytes();
    if server.len() == 4 {
        let mut address = [0; 16];
        address[..2].copy_from_slice(&family);
        address[2..4].copy_from_slice(&PORT);
        address[4..8].copy_from_slice(server);
        calls::connect(socket.raw(), &address)?;
    } else {
        let mut address = [0; 28];
        address[..2].copy_from_slice(&family);
        address[2..4].copy_from_slice(&PORT);
        address[8..24].copy_from_slice(server.get(..16).ok_or(libc::EINVAL)?);
        calls::connect(socket.raw(), &address)?;
    }
    Ok(socket)
}

/// An unpredictable query id.
fn random() -> u16 {
    let mut bytes = [0u8; 2];
    // SAFETY: pointer and length describe the array. glibc has a function for it only since 2.25.
    unsafe { libc::syscall(libc::SYS_getrandom, bytes.as_mut_ptr(), bytes.len(), 0) };
    // Room for the id of the second query.
    u16::from_ne_bytes(bytes) & 0x7FFF
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_servers_are_read_as_libc_reads_them() {
        let text = "# nameserver 1.1.1.1\nsearch a\nnameserver 192.0.2.1 \n nameserver 2001:db8::1\nnameserver x\n";
        let servers: Vec<String> = name_servers(text)
            .iter()
            .map(|it| left::display(it))
            .collect();
        assert_eq!(servers, ["192.0.2.1", "2001:db8::1"]);
    }
}
