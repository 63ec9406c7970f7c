//! Classifies the interface that already has the name of a TUN device to be made. All clients follow these rules
//! (faults A5).

use crate::ALIAS;

/// Bytes of `struct nlmsghdr`, `struct ifinfomsg` and `struct nlattr`.
const HEADER: usize = 16;
const LINK: usize = 16;
const ATTRIBUTE: usize = 4;

/// The type of a message that shows a link.
const NEWLINK: u16 = 16;
/// `IFLA_*` of `<linux/if_link.h>`.
const LINKINFO: u16 = 18;
const IFALIAS: u16 = 20;
const INFO_KIND: u16 = 1;
const INFO_DATA: u16 = 2;
const MULTI_QUEUE: u16 = 7;
const QUEUES: u16 = 8;
const DISABLED_QUEUES: u16 = 9;
/// Flags in an attribute's type: nested, or in network byte order.
const TYPE_FLAGS: u16 = 0xc000;

/// An interface, as far as it matters to a client that wants its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interface {
    /// Not a device of ours.
    Foreign,
    /// A device of ours whose queues some process has open.
    Served,
    /// A device of ours. It is free if a queue can be opened. The carrier is no indication: a served device without a
    /// peer may have none either.
    Left {
        /// Whether it was made for several queues: then any number can be opened, else one. A kernel older than 4.17
        /// does not report it: try both.
        several: Option<bool>,
    },
}

/// Classifies an interface by the kernel's answer to an `RTM_GETLINK` request.
#[must_use]
pub fn interface(message: &[u8]) -> Interface {
    if u16_at(message, 4) != Some(NEWLINK) {
        return Interface::Foreign;
    }
    let attributes = message.get(HEADER + LINK..).unwrap_or_default();
    let is_ours = find(attributes, IFALIAS).is_some_and(|it| it.starts_with(ALIAS.as_bytes()));
    let info = find(attributes, LINKINFO).unwrap_or_default();
    let is_tun = find(info, INFO_KIND).is_none_or(|kind| kind.starts_with(b"tun"));
    if !is_ours || !is_tun {
        return Interface::Foreign;
    }
    let data = find(info, INFO_DATA).unwrap_or_default();
    let several = find(data, MULTI_QUEUE).map(|value| value.first() == Some(&1));
    let count = |kind| find(data, kind).is_some_and(|value| value.iter().any(|byte| *byte != 0));
    if several == Some(true) && (count(QUEUES) || count(DISABLED_QUEUES)) {
        return Interface::Served;
    }
    Interface::Left { several }
}

/// The value of the first attribute of this type.
fn find(mut attributes: &[u8], kind: u16) -> Option<&[u8]> {
    loop {
        let len = usize::from(u16_at(attributes, 0)?);
        let value = attributes.get(ATTRIBUTE..len)?;
        if u16_at(attributes, 2)? & !TYPE_FLAGS == kind {
            return Some(value);
        }
        attributes = attributes.get(len.next_multiple_of(4)..)?;
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes = bytes.get(at..)?.first_chunk()?;
    Some(u16::from_ne_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let len = ATTRIBUTE + value.len();
        let mut bytes = [(len as u16).to_ne_bytes(), kind.to_ne_bytes()].concat();
        bytes.extend_from_slice(value);
        bytes.resize(len.next_multiple_of(4), 0);
        bytes
    }

    fn message(alias: &str, kind: &str, data: &[u8]) -> Vec<u8> {
        let info = [
            attribute(INFO_KIND, kind.as_bytes()),
            attribute(INFO_DATA, data),
        ]
        .concat();
        let mut message = vec![0; HEADER + LINK];
        message[4..6].copy_from_slice(&NEWLINK.to_ne_bytes());
        // Another attribute before it.
        message.extend(attribute(3, b"tun0\0"));
        message.extend(attribute(IFALIAS, alias.as_bytes()));
        message.extend(attribute(LINKINFO, &info));
        message
    }

    fn several(queues: u32, disabled: u32) -> Vec<u8> {
        [
            attribute(MULTI_QUEUE, &[1]),
            attribute(QUEUES, &queues.to_ne_bytes()),
            attribute(DISABLED_QUEUES, &disabled.to_ne_bytes()),
        ]
        .concat()
    }

    #[test]
    fn a_device_of_ours_is_recognized() {
        for (alias, kind) in [
            ("", "tun"),
            ("udc", "tun"),
            ("mine", "tun"),
            ("udco ovpn", "dummy"),
        ] {
            assert_eq!(
                interface(&message(alias, kind, &[])),
                Interface::Foreign,
                "{alias} {kind}"
            );
        }
        let left = Interface::Left { several: None };
        assert_eq!(interface(&message("udco ovpn", "tun\0", &[])), left);
        assert_eq!(interface(&message("udco ovpn-dco", "tun", &[])), left);
    }

    #[test]
    fn open_queues_are_noticed() {
        let shown = |data: &[u8]| interface(&message("udco ovpn", "tun\0", data));
        let left = |several| Interface::Left {
            several: Some(several),
        };
        assert_eq!(shown(&attribute(MULTI_QUEUE, &[0])), left(false));
        assert_eq!(shown(&several(0, 0)), left(true));
        assert_eq!(shown(&several(3, 0)), Interface::Served);
        assert_eq!(shown(&several(0, 256)), Interface::Served);
    }

    #[test]
    fn lengths_that_lie_are_harmless() {
        let whole = message("udco ovpn", "tun\0", &several(1, 0));
        for cut in 0..whole.len() {
            let _ = interface(&whole[..cut]);
        }
        for at in HEADER + LINK..whole.len() {
            for value in [0, 3, 255] {
                let mut wrong = whole.clone();
                wrong[at] = value;
                let _ = interface(&wrong);
            }
        }
    }
}
