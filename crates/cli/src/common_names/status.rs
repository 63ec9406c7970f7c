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
/// A comma in a common name is not escaped, so that a client could add fields of its own. None of them is believed: the
/// fields are counted from the end of the line, and what is too many belongs to the name.
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
            ["CLIENT_LIST", fields @ ..] => {
                // A user name may have commas, too. The peer id behind it is right all the same, and a peer that has
                // neither this id nor the address is not given the name.
                let Some(more) = fields.len().checked_sub(header.len()) else {
                    continue;
                };
                let field = |name| {
                    let at = header.iter().position(|it| *it == name)?;
                    fields.get(at + more).copied()
                };
                let peer = field("Peer ID").and_then(|id| id.parse().ok());
                if more > 0 && (separator != ',' || peer.is_none()) {
                    continue;
                }
                let common_name = match header.first() {
                    Some(&"Common Name") => joined(line, fields, more),
                    _ => "",
                };
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
        let (address, rest) = line.split_once(',')?;
        let (common_name, _) = rest.rsplit_once(',')?.0.rsplit_once(',')?;
        client(address, None, common_name)
    });
    clients.collect()
}

/// The first of these fields at the end of a line, with as many `more` that belong to it.
fn joined<'t>(line: &'t str, fields: &[&str], more: usize) -> &'t str {
    let length = |fields: &[&str]| fields.iter().map(|it| it.len() + 1).sum::<usize>();
    let begin = (line.len() + 1).checked_sub(length(fields));
    let its = fields.get(..=more).map(length);
    let name = begin
        .zip(its)
        .and_then(|(begin, its)| line.get(begin..begin + its - 1));
    name.unwrap_or_default()
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
