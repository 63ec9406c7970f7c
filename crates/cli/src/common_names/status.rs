//! OpenVPN's status file, in its three versions.

use std::net::IpAddr;

/// A client of the server that wrote the file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Client<'t> {
    /// One of its VPN addresses.
    pub(super) vpn: IpAddr,
    /// Its peer id; version 1 does not tell it.
    pub(super) peer: Option<u32>,
    pub(super) common_name: &'t str,
}

/// The clients, once for each VPN address.
///
/// A comma in a common name is not escaped, so that a client could add fields of its own: a line that does not have as
/// many as its header is passed over.
pub(super) fn clients(text: &str) -> Vec<Client<'_>> {
    let first = text.lines().next().unwrap_or_default();
    match first.as_bytes() {
        [b'T', b'I', b'T', b'L', b'E', b'\t', ..] => with_header(text, '\t'),
        [b'T', b'I', b'T', b'L', b'E', b',', ..] => with_header(text, ','),
        _ => of_version_1(text),
    }
}

/// Versions 2 and 3: a line `HEADER,CLIENT_LIST,Common Name,…`, and then a line `CLIENT_LIST,…` for each client.
fn with_header(text: &str, separator: char) -> Vec<Client<'_>> {
    let mut header = Vec::new();
    let mut clients = Vec::new();
    for line in text.lines() {
        let fields: Vec<_> = line.split(separator).collect();
        match fields.as_slice() {
            ["HEADER", "CLIENT_LIST", names @ ..] => header = names.to_vec(),
            ["CLIENT_LIST", fields @ ..] if fields.len() == header.len() => {
                let field = |name| {
                    let at = header.iter().position(|it| *it == name)?;
                    fields.get(at).copied()
                };
                let peer = field("Peer ID").and_then(|id| id.parse().ok());
                let common_name = field("Common Name").unwrap_or_default();
                let addresses = ["Virtual Address", "Virtual IPv6 Address"];
                let addresses = addresses.into_iter().filter_map(field);
                clients.extend(addresses.filter_map(|address| client(address, peer, common_name)));
            }
            _ => {}
        }
    }
    clients
}

/// Version 1: between `ROUTING TABLE` and `GLOBAL STATS`, after a line of headers, `VPN ADDRESS,COMMON NAME,REAL
/// ADDRESS,TIME`.
fn of_version_1(text: &str) -> Vec<Client<'_>> {
    let table = text.lines().skip_while(|line| *line != "ROUTING TABLE");
    let table = table.take_while(|line| *line != "GLOBAL STATS");
    let clients = table.filter_map(|line| {
        let fields: Vec<_> = line.split(',').collect();
        match *fields.as_slice() {
            [address, common_name, _, _] => client(address, None, common_name),
            _ => None,
        }
    });
    clients.collect()
}

/// A client, unless this is a network behind one, or has no name.
fn client<'t>(address: &str, peer: Option<u32>, common_name: &'t str) -> Option<Client<'t>> {
    let vpn = address.parse().ok()?;
    let is_named = !matches!(common_name, "" | "UNDEF");
    is_named.then_some(Client {
        vpn,
        peer,
        common_name,
    })
}
