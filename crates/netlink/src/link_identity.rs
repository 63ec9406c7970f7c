//! The identity of a link, read from the kernel's messages: index, name, and the alias that marks our devices.

use alloc::vec::Vec;

use crate::fixed_header::LinkHeader;
use crate::message::{Header, Messages};
use crate::numbers::{
    IFLA_CARRIER, IFLA_IFALIAS, IFLA_IFNAME, IFLA_INFO_DATA, IFLA_INFO_KIND, IFLA_LINKINFO,
    IFLA_OVPN_MODE, NLM_F_REQUEST, NLMSG_ERROR, RTM_GETLINK, RTM_NEWLINK,
};
use crate::tlv::{Attributes, Members};
use crate::{Api, Mode};

/// The interface index in a message about a link.
pub fn message_link(message: &[u8]) -> Option<u32> {
    LinkHeader::of(message).map(|link| link.ifindex)
}

/// A link, as the kernel identifies it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkIdentity<'a> {
    /// Its index.
    pub ifindex: u32,
    /// Its name.
    pub name: &'a str,
    /// Its alias; empty if it has none.
    pub alias: &'a [u8],
}

/// Encodes `RTM_GETLINK`, which requests the identity of the link with this index.
pub fn identity_request(ifindex: u32, sequence: u32) -> Vec<u8> {
    let header = Header {
        kind: RTM_GETLINK,
        flags: NLM_F_REQUEST,
        sequence,
        port: 0,
    };
    let link = LinkHeader {
        ifindex,
        ..LinkHeader::default()
    };
    header.write(&link.bytes(), |_| ())
}

/// Decodes the kernel's answer to the [`identity_request`] with this sequence number, sent by the socket with this
/// port. `None`: the answer is not in the datagram, whose other messages are notifications. `Some(None)`: there is no
/// such link.
pub fn identity(datagram: &[u8], sequence: u32, port: u32) -> Option<Option<LinkIdentity<'_>>> {
    let (kind, answer) = Messages::of(datagram).find_map(|message| {
        let header = Header::of(message)?;
        let is_ours = header.port == port && header.sequence == sequence;
        let is_answer = is_ours && matches!(header.kind, RTM_NEWLINK | NLMSG_ERROR);
        is_answer.then_some((header.kind, message))
    })?;
    let is_link = kind == RTM_NEWLINK;
    let mut identity = LinkIdentity {
        ifindex: message_link(answer).unwrap_or(0),
        name: "",
        alias: &[],
    };
    for attribute in Attributes::of(answer, LinkHeader::END) {
        match attribute.number() {
            IFLA_IFNAME => identity.name = attribute.text().unwrap_or_default(),
            IFLA_IFALIAS => {
                let end = attribute.payload.iter().position(|byte| *byte == 0);
                let end = end.unwrap_or(attribute.payload.len());
                identity.alias = attribute.payload.get(..end).unwrap_or_default();
            }
            _ => {}
        }
    }
    Some(is_link.then_some(identity))
}

/// The name and the alias in an `RTM_NEWLINK` message; the alias is empty if the link has none.
pub fn link_names(message: &[u8]) -> Option<(&str, &str)> {
    let text = |number| {
        let mut all = Attributes::of(message, LinkHeader::END);
        all.find(|attribute| attribute.number() == number)?.text()
    };
    Some((text(IFLA_IFNAME)?, text(IFLA_IFALIAS).unwrap_or_default()))
}

/// A device of the kernel's own `ovpn` driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DriverLink<'a> {
    /// Its index.
    pub ifindex: u32,
    /// Its name.
    pub name: &'a str,
    /// Its mode.
    pub mode: Mode,
}

/// The link in an `RTM_NEWLINK` message of the kernel, if its own driver serves it: its kind is `ovpn`. Ours are of
/// kind `tun`.
pub fn driver_link(message: &[u8]) -> Option<DriverLink<'_>> {
    (Header::of(message)?.kind == RTM_NEWLINK).then_some(())?;
    let members = Members::of(Attributes::of(message, LinkHeader::END));
    let info = Members::of(members.find(IFLA_LINKINFO)?.members());
    let kind = info.find(IFLA_INFO_KIND)?.text()?;
    (kind == Api::Ovpn.link_kind()).then_some(())?;
    let data = info
        .find(IFLA_INFO_DATA)
        .map(|data| Members::of(data.members()));
    let mode = data.and_then(|data| data.find(IFLA_OVPN_MODE)?.u8());
    Some(DriverLink {
        ifindex: message_link(message)?,
        name: members.find(IFLA_IFNAME)?.text()?,
        mode: match mode {
            Some(1) => Mode::Mp,
            _ => Mode::P2p,
        },
    })
}

/// The API of the link in an `RTM_NEWLINK` message of the kernel, if a dead engine left it behind: it is
/// [marked](marked_link) and has no carrier.
pub fn left_link(message: &[u8], alias: &str) -> Option<Api> {
    let mut all = Attributes::of(message, LinkHeader::END);
    let carrier = all.find(|attribute| attribute.number() == IFLA_CARRIER)?;
    marked_link(message, alias).filter(|_| carrier.u8() == Some(0))
}

/// The API of the link in an `RTM_NEWLINK` message of the kernel, if it is marked as a device of ours: its alias is
/// `alias`, followed by the kind, and by anything after a space.
pub fn marked_link(message: &[u8], alias: &str) -> Option<Api> {
    let mut all = Attributes::of(message, LinkHeader::END);
    let mark = all.find(|attribute| attribute.number() == IFLA_IFALIAS)?;
    let kind = mark.text()?.strip_prefix(alias)?;
    let kind = kind.split(' ').next()?;
    [Api::Ovpn, Api::DcoV2]
        .into_iter()
        .find(|api| api.link_kind() == kind)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tlv::Writer;

    /// The kernel's message about the link with index 3.
    fn answer(sequence: u32, port: u32, fill: impl FnOnce(&mut Writer)) -> Vec<u8> {
        let header = Header {
            kind: RTM_NEWLINK,
            sequence,
            port,
            ..Header::default()
        };
        let link = LinkHeader {
            ifindex: 3,
            ..LinkHeader::default()
        };
        header.write(&link.bytes(), fill)
    }

    #[test]
    fn a_link_of_ours_is_known_by_its_alias() {
        let link = |alias: &str| {
            let message = answer(0, 0, |link| link.string(IFLA_IFALIAS, alias));
            marked_link(&message, "mark ")
        };
        assert_eq!(link("mark ovpn"), Some(Api::Ovpn));
        assert_eq!(link("mark ovpn-dco"), Some(Api::DcoV2));
        assert_eq!(link("mark ovpn 0123"), Some(Api::Ovpn));
        assert_eq!(link("mark ovpnx 0123"), None);
        assert_eq!(link("mark tun"), None);
        assert_eq!(link("ovpn"), None, "not marked");
        assert_eq!(marked_link(&answer(0, 0, |_| ()), "mark "), None);
    }

    #[test]
    fn an_identity_is_the_answer_to_our_own_request_only() {
        let identified = |sequence: u32, port: u32| {
            answer(sequence, port, |link| {
                link.string(IFLA_IFNAME, "tun0");
                link.put(IFLA_IFALIAS, b"udco ovpn 7");
            })
        };
        let expected = LinkIdentity {
            ifindex: 3,
            name: "tun0",
            alias: b"udco ovpn 7",
        };
        let both = [identified(0, 0), identified(9, 5)].concat();
        assert_eq!(identity(&both, 9, 5), Some(Some(expected)));
        assert_eq!(identity(&identified(9, 5), 9, 6), None, "another socket's");
        assert_eq!(identity(&identified(8, 5), 9, 5), None, "an earlier answer");
        let mut refusal = identified(9, 5);
        refusal[4..6].copy_from_slice(&NLMSG_ERROR.to_ne_bytes());
        assert_eq!(identity(&refusal, 9, 5), Some(None));
        let request = identity_request(3, 9);
        assert_eq!(request.len(), 32);
        assert_eq!(message_link(&request), Some(3));
    }

    proptest! {
        #[test]
        fn any_bytes_can_be_identified(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            identity(&bytes, 0, 0);
            marked_link(&bytes, "");
        }
    }
}
