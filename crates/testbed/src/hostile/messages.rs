//! Netlink messages as OpenVPN sends them, or roughly so.

use crate::dice::Dice;

/// A generic-netlink request, roughly about one of these devices.
pub(super) fn generic(dice: &mut Dice, devices: &[u32]) -> Vec<u8> {
    let any = dice.below(40) as u32;
    let known = devices.get(dice.below(devices.len()));
    let ifindex = known.copied().unwrap_or(any);
    let peer = number(1, dice.below(3) as u32);
    let (family, command, nested) = match dice.below(6) {
        // Well-formed: PEER_NEW, KEY_NEW, PEER_SET, PEER_DEL, KEY_SWAP of `ovpn`.
        0 | 1 => {
            let (command, nested) = peer_new(dice);
            (0x7d0, command, nested)
        }
        2 => {
            let (command, nested) = key_new(dice);
            (0x7d0, command, nested)
        }
        3 => {
            let members = [
                peer,
                number(13, dice.below(3) as u32),
                number(14, dice.below(5) as u32),
            ];
            (0x7d0, 2, (2, members.concat()))
        }
        4 => (
            0x7d0,
            [4, 8][dice.below(2)],
            (2 + dice.below(2) as u16, peer),
        ),
        _ => {
            let mut members = peer;
            for _ in 0..dice.below(8) {
                members.extend(attribute(dice.below(20) as u16, &dice.fewer_bytes(20)));
            }
            let family = [0x7d0, 0x7d2, 0x10, dice.next() as u16][dice.below(4)];
            (
                family,
                dice.below(12) as u8,
                (2 + dice.below(3) as u16, members),
            )
        }
    };
    let flags = 5 | if dice.below(6) == 0 { 0x300 } else { 0 };
    let mut request = about(ifindex, family, (command, flags), nested);
    if dice.below(3) == 0 {
        mutate(&mut request, dice);
    }
    request
}

/// A nested attribute: its number and contents.
pub(super) type Nested = (u16, Vec<u8>);

/// `PEER_NEW` of `ovpn`.
pub(super) fn peer_new(dice: &mut Dice) -> (u8, Nested) {
    let members = [
        number(1, dice.below(3) as u32),
        attribute(2, &[127, 0, 0, 1]),
        attribute(5, &[9, 9]),
        number(6, dice.below(20) as u32),
    ];
    let mut members = members.concat();
    if dice.below(2) == 0 {
        // A multi-peer device requires it.
        members.extend(attribute(8, &[10, 8, 0, 2 + dice.below(3) as u8]));
    }
    (1, (2, members))
}

/// `KEY_NEW` of `ovpn`.
pub(super) fn key_new(dice: &mut Dice) -> (u8, Nested) {
    let secret = [
        attribute(1, &[7; 32]),
        attribute(2, &dice.next().to_ne_bytes()),
    ];
    let secrets = [5, 6].map(|kind| attribute(kind | 0x8000, &secret.concat()));
    let members = [
        number(1, dice.below(3) as u32),
        number(2, 0),
        number(3, dice.below(8) as u32),
        number(4, 1),
        secrets.concat(),
    ];
    (6, (3, members.concat()))
}

/// A generic-netlink request with this command and these flags about a device.
pub(super) fn about(
    ifindex: u32,
    family: u16,
    (command, flags): (u8, u16),
    nested: Nested,
) -> Vec<u8> {
    let nest = attribute(nested.0 | 0x8000, &nested.1);
    let body = [&[command, 1, 0, 0][..], &number(1, ifindex), &nest].concat();
    message(family, flags, &body)
}

fn number(kind: u16, value: u32) -> Vec<u8> {
    attribute(kind, &value.to_ne_bytes())
}

/// A request about a link.
pub(super) fn link(dice: &mut Dice) -> Vec<u8> {
    let kind = [&b"ovpn\0"[..], b"ovpn-dco\0", b"tun\0"][dice.below(3)];
    let name = format!("fuzz{}\0", dice.below(12));
    let data = attribute(2 | 0x8000, &attribute(1, &[dice.below(3) as u8]));
    let info = attribute(18 | 0x8000, &[attribute(1, kind), data].concat());
    let mut header = [0; 16];
    header[4..8].copy_from_slice(&(dice.below(3) as u32 * dice.below(40) as u32).to_ne_bytes());
    let body = [&header[..], &attribute(3, name.as_bytes()), &info].concat();
    let request = [16, 16, 16, 17, 18][dice.below(5)];
    let mut request = message(request, 0x605, &body);
    if dice.below(3) == 0 {
        mutate(&mut request, dice);
    }
    request
}

/// `RTM_NEWLINK` that gives an interface its alias.
pub(super) fn set_alias(ifindex: u32, alias: &[u8]) -> Vec<u8> {
    let mut header = [0; 16];
    header[4..8].copy_from_slice(&ifindex.to_ne_bytes());
    message(16, 5, &[&header[..], &attribute(20, alias)].concat())
}

fn mutate(bytes: &mut [u8], dice: &mut Dice) {
    for _ in 0..dice.below(3) {
        let at = dice.below(bytes.len());
        bytes[at] = dice.next() as u8;
    }
}

pub(super) fn attribute(kind: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = ((4 + payload.len()) as u16).to_ne_bytes().to_vec();
    bytes.extend_from_slice(&kind.to_ne_bytes());
    bytes.extend_from_slice(payload);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

pub(super) fn message(kind: u16, flags: u16, body: &[u8]) -> Vec<u8> {
    let mut message = ((16 + body.len()) as u32).to_ne_bytes().to_vec();
    message.extend_from_slice(&kind.to_ne_bytes());
    message.extend_from_slice(&flags.to_ne_bytes());
    message.extend_from_slice(&1_u32.to_ne_bytes());
    message.extend_from_slice(&[0; 4]);
    message.extend_from_slice(body);
    message
}
