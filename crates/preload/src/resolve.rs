//! Resolves host names while a device left behind by a killed run takes the packets for the name servers (faults A4).
//!
//! libc's own resolver cannot be bound to an uplink, and a route for a name server would let every program's queries
//! out. So this module queries name servers itself, on a socket bound to the detour; libc builds the result from the
//! addresses. libc handles everything it can resolve without a name server.

use crate::calls::{self, Errno, Fd};
use crate::clock::Instant;
use crate::left::{self, Detour};
use crate::{files, real, state};
use alloc::ffi::CString;
use alloc::vec::Vec;
use core::ffi::CStr;
use core::net::IpAddr;
use core::time::Duration;
use libc::{addrinfo, c_char, c_int};

/// Timeout for a name server, and number of attempts.
const PATIENCE: Duration = Duration::from_secs(2);
const ATTEMPTS: usize = 2;

/// As many name servers as libc uses, and the most addresses returned.
const SERVERS: usize = 3;
const ADDRESSES: usize = 32;

/// Types of records, and the class.
const A: u16 = 1;
const AAAA: u16 = 28;
const INTERNET: u16 = 1;

/// The largest answer over UDP, as announced in the `OPT` record.
const ROOM: usize = 1232;

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
        let question = question(*id, name, *kind).ok_or(libc::EINVAL)?;
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
            .position(|(id, kind)| is_answer(answer, *id, name, *kind))
        else {
            continue;
        };
        let (_, kind) = open.swap_remove(at);
        found.extend(addresses(answer, kind).unwrap_or_default());
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

/// A recursive query. `None` if it is not a host name.
fn question(id: u16, name: &str, kind: u16) -> Option<Vec<u8>> {
    let mut bytes = id.to_be_bytes().to_vec();
    // Recursion desired; one question, no answers, no authority records, one additional record.
    bytes.extend_from_slice(&[1, 0, 0, 1, 0, 0, 0, 0, 0, 1]);
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.len() > 253 {
        return None;
    }
    for label in name.split('.') {
        let len = u8::try_from(label.len())
            .ok()
            .filter(|len| (1..64).contains(len))?;
        bytes.push(len);
        bytes.extend_from_slice(label.as_bytes());
    }
    bytes.push(0);
    bytes.extend_from_slice(&kind.to_be_bytes());
    bytes.extend_from_slice(&INTERNET.to_be_bytes());
    // OPT: the root, its type, the size of answers, no extended code, no options.
    bytes.extend_from_slice(&[0, 0, 41]);
    bytes.extend_from_slice(&(ROOM as u16).to_be_bytes());
    bytes.extend_from_slice(&[0; 6]);
    Some(bytes)
}

/// Whether these bytes answer that query: same id, same question.
fn is_answer(answer: &[u8], id: u16, name: &str, kind: u16) -> bool {
    let Some(query) = question(id, name, kind) else {
        return false;
    };
    // The question itself, without the OPT record.
    let text = query.get(12..query.len() - 11).unwrap_or_default();
    let is_response = answer.get(2).is_some_and(|flags| flags & 0x80 != 0);
    is_response
        && answer.get(..2) == Some(&id.to_be_bytes())
        && answer
            .get(12..)
            .and_then(|rest| rest.get(..text.len()))
            .is_some_and(|found| found.eq_ignore_ascii_case(text))
}

/// The addresses in an answer; `None` if it is malformed.
fn addresses(answer: &[u8], kind: u16) -> Option<Vec<Vec<u8>>> {
    let number = |at: usize| Some(u16::from_be_bytes(*answer.get(at..)?.first_chunk()?));
    let mut at = after_name(answer, 12)? + 4;
    let mut found = Vec::new();
    for _ in 0..number(6)? {
        at = after_name(answer, at)?;
        let (record, class, len) = (number(at)?, number(at + 2)?, usize::from(number(at + 8)?));
        let value = answer.get(at + 10..at + 10 + len)?;
        let wanted = if kind == A { 4 } else { 16 };
        if record == kind && class == INTERNET && value.len() == wanted {
            found.push(value.to_vec());
        }
        at += 10 + len;
    }
    Some(found)
}

/// The end of a name: a length of 0, or a pointer to the rest of it.
fn after_name(answer: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *answer.get(at)? {
            0 => return Some(at + 1),
            length if length >= 0xC0 => return Some(at + 2),
            length => at += 1 + usize::from(length),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An answer with an alias and two addresses.
    fn answer(id: u16) -> Vec<u8> {
        let mut bytes = question(id, "vpn.example", A).unwrap();
        bytes.truncate(bytes.len() - 11);
        bytes[2] |= 0x80;
        bytes[7] = 3;
        bytes[11] = 0;
        let record = |kind: u16, value: &[u8]| {
            let head = [
                0xC0,
                12,
                0,
                kind as u8,
                0,
                1,
                0,
                0,
                0,
                60,
                0,
                value.len() as u8,
            ];
            [&head[..], value].concat()
        };
        bytes.extend(record(5, &[1, b'x', 0xC0, 12]));
        bytes.extend(record(A, &[192, 0, 2, 1]));
        bytes.extend(record(A, &[192, 0, 2, 2]));
        bytes
    }

    #[test]
    fn the_addresses_of_an_answer_are_found_behind_an_alias() {
        let reply = answer(7);
        assert!(is_answer(&reply, 7, "vpn.example", A));
        assert!(is_answer(&reply, 7, "VPN.example.", A));
        assert!(!is_answer(&reply, 8, "vpn.example", A), "another question");
        assert!(!is_answer(&reply, 7, "vpn.example", AAAA));
        assert!(!is_answer(&reply, 7, "vpn.exampla", A));
        assert_eq!(
            addresses(&reply, A).unwrap(),
            [[192, 0, 2, 1], [192, 0, 2, 2]]
        );
        assert_eq!(addresses(&reply, AAAA).unwrap(), [[0u8; 0]; 0]);
    }

    #[test]
    fn a_malformed_answer_is_survived() {
        let reply = answer(7);
        for cut in 0..reply.len() {
            let _ = addresses(&reply[..cut], A);
            let _ = is_answer(&reply[..cut], 7, "vpn.example", A);
        }
        for at in 0..reply.len() {
            for value in [0, 0x3F, 0xC0, 0xFF] {
                let mut wrong = reply.clone();
                wrong[at] = value;
                let _ = addresses(&wrong, A);
            }
        }
        assert_eq!(question(1, "a..b", A), None);
        assert_eq!(question(1, &"a".repeat(64), A), None);
    }

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
