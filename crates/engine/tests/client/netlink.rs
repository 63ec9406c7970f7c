//! Netlink messages as bytes, written and read without the crate under test.

/// Modes of a device, as in `IFLA_OVPN_MODE`.
pub(crate) const POINT_TO_POINT: u8 = 0;
pub(crate) const MULTI_PEER: u8 = 1;

/// `RTM_NEWLINK` of this kind for a multi-peer device, as OpenVPN sends it.
pub(crate) fn new_link(kind: &str, name: &str) -> Vec<u8> {
    new_link_in(kind, name, MULTI_PEER)
}

/// The same for a device in this mode.
pub(crate) fn new_link_in(kind: &str, name: &str, mode: u8) -> Vec<u8> {
    let data = attribute(2, &attribute(1, &[mode]));
    let info = [attribute(1, format!("{kind}\0").as_bytes()), data].concat();
    let attributes = [
        attribute(3, format!("{name}\0").as_bytes()),
        attribute(18, &info),
    ];
    message(16, 0x605, &[&[0; 16][..], &attributes.concat()].concat())
}

/// `RTM_DELLINK` of the interface with this index.
pub(crate) fn delete_link(ifindex: u32) -> Vec<u8> {
    let mut header = [0; 16];
    header[4..8].copy_from_slice(&ifindex.to_ne_bytes());
    message(17, 0x5, &header)
}

/// `RTM_NEWLINK` that gives the interface with this index an alias.
pub(crate) fn set_alias(ifindex: u32, alias: &[u8]) -> Vec<u8> {
    let mut header = [0; 16];
    header[4..8].copy_from_slice(&ifindex.to_ne_bytes());
    message(16, 0x5, &[&header[..], &attribute(20, alias)].concat())
}

/// A generic-netlink request with an ACK.
pub(crate) fn request(family: u16, command: u8, attributes: &[Vec<u8>]) -> Vec<u8> {
    let body = [&[command, 1, 0, 0][..], &attributes.concat()].concat();
    message(family, 0x5, &body)
}

/// A generic-netlink dump.
pub(crate) fn dump(family: u16, command: u8, attributes: &[Vec<u8>]) -> Vec<u8> {
    let body = [&[command, 1, 0, 0][..], &attributes.concat()].concat();
    message(family, 0x301, &body)
}

fn message(kind: u16, flags: u16, body: &[u8]) -> Vec<u8> {
    let mut message = ((16 + body.len()) as u32).to_ne_bytes().to_vec();
    message.extend_from_slice(&kind.to_ne_bytes());
    message.extend_from_slice(&flags.to_ne_bytes());
    // Sequence number and port.
    message.extend_from_slice(&1u32.to_ne_bytes());
    message.extend_from_slice(&[0; 4]);
    message.extend_from_slice(body);
    message
}

/// An attribute, padded.
pub(crate) fn attribute(kind: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = ((4 + payload.len()) as u16).to_ne_bytes().to_vec();
    bytes.extend_from_slice(&kind.to_ne_bytes());
    bytes.extend_from_slice(payload);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// An attribute that holds others.
pub(crate) fn nest(kind: u16, members: &[Vec<u8>]) -> Vec<u8> {
    attribute(kind | 0x8000, &members.concat())
}

/// An attribute of four bytes in host order.
pub(crate) fn number(kind: u16, value: u32) -> Vec<u8> {
    attribute(kind, &value.to_ne_bytes())
}

/// The messages of a datagram; none for anything else, such as a request's mark.
pub(crate) fn messages(mut datagram: &[u8]) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    while let Some(length) = datagram
        .first_chunk()
        .map(|l| u32::from_ne_bytes(*l) as usize)
    {
        if length < 16 || length > datagram.len() {
            break;
        }
        found.push(datagram[..length].to_vec());
        datagram = datagram.get(length.next_multiple_of(4)..).unwrap_or(&[]);
    }
    found
}

/// Type of a message.
pub(crate) fn kind(message: &[u8]) -> u16 {
    u16::from_ne_bytes([message[4], message[5]])
}

/// The errno of an `NLMSG_ERROR` or `NLMSG_DONE`; 0 for an ACK.
pub(crate) fn errno(message: &[u8]) -> Option<i32> {
    let errno = message.get(16..20)?.try_into().ok()?;
    matches!(kind(message), 2 | 3).then(|| -i32::from_ne_bytes(errno))
}

/// Command of a generic-netlink message.
pub(crate) fn command(message: &[u8]) -> u8 {
    message[16]
}

/// The payload of the attribute at this path of numbers, in a generic-netlink message.
pub(crate) fn find<'m>(message: &'m [u8], path: &[u16]) -> Option<&'m [u8]> {
    path.iter()
        .try_fold(message.get(20..)?, |attributes, wanted| {
            let mut rest = attributes;
            loop {
                let length = usize::from(u16::from_ne_bytes(*rest.first_chunk()?));
                let kind = u16::from_ne_bytes(*rest.get(2..)?.first_chunk()?) & 0x3fff;
                let payload = rest.get(4..length)?;
                if kind == *wanted {
                    return Some(payload);
                }
                rest = rest.get(length.next_multiple_of(4)..)?;
            }
        })
}

/// The number in the attribute at this path.
pub(crate) fn find_number(message: &[u8], path: &[u16]) -> Option<u32> {
    let payload = find(message, path)?;
    match payload.len() {
        1 => Some(payload[0].into()),
        2 => Some(u16::from_ne_bytes(payload.try_into().ok()?).into()),
        _ => Some(u32::from_ne_bytes(payload.try_into().ok()?)),
    }
}
