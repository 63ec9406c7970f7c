//! How a link of ours is shown: what the kernel tells of the TUN device, told as of an `ovpn` link.

use crate::message::{self, FLAG_REQUEST, HEADER, Header, Messages};
use crate::tlv::{Attributes, Writer};
use crate::{Api, Mode};

/// Bytes of `ifinfomsg`.
const IFINFO: usize = 16;

/// Types of messages.
const ERROR: u16 = 2;
const NEWLINK: u16 = 16;
const GETLINK: u16 = 18;

/// `IFLA_*`, `IFLA_INFO_*`, `IFLA_OVPN_*`.
const IFNAME: u16 = 3;
const LINKINFO: u16 = 18;
const IFALIAS: u16 = 20;
const CARRIER: u16 = 33;
const MIN_MTU: u16 = 50;
const MAX_MTU: u16 = 51;
const INFO_KIND: u16 = 1;
const INFO_DATA: u16 = 2;
const OVPN_MODE: u16 = 1;

/// The least MTU of any device with IPv4.
const LEAST_MTU: u32 = 68;

impl Api {
    /// The kind of its links (dco-behaviour 2.15, 3.1).
    pub const fn link_kind(self) -> &'static str {
        match self {
            Self::Ovpn => "ovpn",
            Self::DcoV2 => "ovpn-dco",
        }
    }

    /// What the module adds to an inner packet at most (dco-behaviour 1.7).
    const fn overhead(self) -> u32 {
        match self {
            Self::Ovpn => 84,
            Self::DcoV2 => 72,
        }
    }

    /// MTU of a new link: 1,416 or 1,428 (dco-behaviour 1.7).
    pub const fn default_mtu(self) -> u32 {
        1500 - self.overhead()
    }

    /// Why a link cannot have this MTU, in the kernel's words.
    pub const fn mtu_refusal(self, mtu: u32) -> Option<&'static str> {
        if mtu < LEAST_MTU {
            Some("mtu less than device minimum")
        } else if mtu > self.largest_mtu() {
            Some("mtu greater than device maximum")
        } else {
            None
        }
    }

    /// The largest MTU of a link.
    const fn largest_mtu(self) -> u32 {
        65_535 - self.overhead()
    }
}

/// The interface index in an `RTM_NEWLINK` message.
pub fn message_link(message: &[u8]) -> Option<u32> {
    let index = message.get(HEADER + 4..)?.first_chunk()?;
    Some(u32::from_ne_bytes(*index))
}

/// What the kernel says of one link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkIdentity<'a> {
    /// Its index.
    pub ifindex: u32,
    /// Its name.
    pub name: &'a str,
    /// Its alias; empty if it has none.
    pub alias: &'a [u8],
}

/// `RTM_GETLINK`: asks what the link with this index is.
pub fn identity_request(ifindex: u32, sequence: u32) -> Vec<u8> {
    let mut request = message::start(GETLINK, FLAG_REQUEST, sequence, 0);
    request.extend_from_slice(&[0; 4]);
    request.extend_from_slice(&ifindex.to_ne_bytes());
    request.resize(HEADER + IFINFO, 0);
    message::set_length(&mut request);
    request
}

/// The kernel's answer to an [`identity_request`] with this sequence number, sent by the socket with this port; the other
/// messages of a datagram are news. `Some(None)`: there is no such link.
pub fn identity(datagram: &[u8], sequence: u32, port: u32) -> Option<Option<LinkIdentity<'_>>> {
    let answer = Messages::of(datagram).find(|message| {
        let to = message.get(HEADER - 4..).and_then(<[u8]>::first_chunk);
        let is_ours = to.is_some_and(|to| u32::from_ne_bytes(*to) == port);
        let kind = Header::of(message).filter(|header| header.sequence == sequence);
        let kind = kind.map(|header| header.kind);
        is_ours && matches!(kind, Some(NEWLINK | ERROR))
    })?;
    let is_link = Header::of(answer).is_some_and(|header| header.kind == NEWLINK);
    let mut identity = LinkIdentity {
        ifindex: message_link(answer).unwrap_or(0),
        name: "",
        alias: &[],
    };
    for attribute in Attributes::of(answer, HEADER + IFINFO) {
        match attribute.number() {
            IFNAME => identity.name = attribute.text().unwrap_or_default(),
            IFALIAS => {
                let end = attribute.payload.iter().position(|byte| *byte == 0);
                let end = end.unwrap_or(attribute.payload.len());
                identity.alias = attribute.payload.get(..end).unwrap_or_default();
            }
            _ => {}
        }
    }
    Some(is_link.then_some(identity))
}

/// The name and the alias in an `RTM_NEWLINK` message; an alias that is not there is empty.
pub fn link_names(told: &[u8]) -> Option<(&str, &str)> {
    let text = |number| {
        let mut all = Attributes::of(told, HEADER + IFINFO);
        all.find(|attribute| attribute.number() == number)?.text()
    };
    Some((text(IFNAME)?, text(IFALIAS).unwrap_or_default()))
}

/// Which link an `RTM_NEWLINK` message of the kernel is about, if it is a device that a dead engine left: it has no carrier,
/// and its alias is `alias`, followed by the kind, and whatever comes behind a space.
pub fn left_link(told: &[u8], alias: &str) -> Option<Api> {
    let mut all = Attributes::of(told, HEADER + IFINFO);
    let carrier = all.find(|attribute| attribute.number() == CARRIER)?;
    marked_link(told, alias).filter(|_| carrier.u8() == Some(0))
}

/// Which link an `RTM_NEWLINK` message of the kernel is about, if it is marked as a device of ours: its alias is `alias`,
/// followed by the kind, and whatever comes behind a space.
pub fn marked_link(told: &[u8], alias: &str) -> Option<Api> {
    let mut all = Attributes::of(told, HEADER + IFINFO);
    let mark = all.find(|attribute| attribute.number() == IFALIAS)?;
    let kind = mark.text()?.strip_prefix(alias)?;
    let kind = kind.split(' ').next()?;
    [Api::Ovpn, Api::DcoV2]
        .into_iter()
        .find(|api| api.link_kind() == kind)
}

/// Tells an `RTM_NEWLINK` message of the kernel about a device of ours in the words of the module: kind, mode, and the
/// bounds of the MTU. All else is true of the TUN device. A message that is cut short is told as it is.
pub fn link_view(told: &[u8], api: Api, mode: Mode) -> Vec<u8> {
    let Some(head) = told.get(..HEADER + IFINFO) else {
        return told.to_vec();
    };
    let mut writer = Writer::after(head.to_vec());
    for attribute in Attributes::of(told, HEADER + IFINFO) {
        match attribute.number() {
            LINKINFO => writer.plain_nest(LINKINFO, |info| {
                info.string(INFO_KIND, api.link_kind());
                info.plain_nest(INFO_DATA, |data| {
                    data.u8(OVPN_MODE, u8::from(mode == Mode::Mp))
                });
            }),
            MIN_MTU => writer.u32(MIN_MTU, LEAST_MTU),
            MAX_MTU => writer.u32(MAX_MTU, api.largest_mtu()),
            _ => writer.put(attribute.kind(), attribute.payload),
        }
    }
    let mut view = writer.into_bytes();
    message::set_length(&mut view);
    view
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tlv::Members;

    fn told(fill: impl FnOnce(&mut Writer)) -> Vec<u8> {
        let mut head = vec![7; HEADER + IFINFO];
        head[4..6].copy_from_slice(&16_u16.to_ne_bytes());
        let mut writer = Writer::after(head);
        fill(&mut writer);
        let mut told = writer.into_bytes();
        message::set_length(&mut told);
        told
    }

    #[test]
    fn kind_mode_and_mtu_bounds_are_the_modules() {
        let told = told(|link| {
            link.string(3, "tun0");
            link.u32(MAX_MTU, 65_535);
            link.nest(LINKINFO, |info| info.string(INFO_KIND, "tun"));
            link.u32(13, 500);
        });
        for (api, mode, kind, bytes) in [
            (Api::Ovpn, Mode::Mp, "ovpn", 65_451),
            (Api::DcoV2, Mode::P2p, "ovpn-dco", 65_463),
        ] {
            let view = link_view(&told, api, mode);
            assert_eq!(view[..4], u32::try_from(view.len()).unwrap().to_ne_bytes());
            let members = Members::of(Attributes::of(&view, HEADER + IFINFO));
            assert_eq!(members.find(3).and_then(|name| name.text()), Some("tun0"));
            assert_eq!(members.find(13).and_then(|queue| queue.u32()), Some(500));
            let mut all = Attributes::of(&view, HEADER + IFINFO);
            let largest = all.find(|attribute| attribute.number() == MAX_MTU);
            assert_eq!(largest.and_then(|mtu| mtu.u32()), Some(bytes));
            let info = Members::of(members.find(LINKINFO).unwrap().members());
            assert_eq!(
                info.find(INFO_KIND).and_then(|kind| kind.text()),
                Some(kind)
            );
            let data = Members::of(info.find(INFO_DATA).unwrap().members());
            let expected = u8::from(mode == Mode::Mp);
            assert_eq!(
                data.find(OVPN_MODE).and_then(|mode| mode.u8()),
                Some(expected)
            );
        }
    }

    #[test]
    fn a_link_of_ours_is_known_by_its_alias() {
        let link = |alias: &str| {
            let told = told(|link| link.string(IFALIAS, alias));
            marked_link(&told, "mark ")
        };
        assert_eq!(link("mark ovpn"), Some(Api::Ovpn));
        assert_eq!(link("mark ovpn-dco"), Some(Api::DcoV2));
        assert_eq!(link("mark ovpn 0123"), Some(Api::Ovpn));
        assert_eq!(link("mark ovpnx 0123"), None);
        assert_eq!(link("mark tun"), None);
        assert_eq!(link("ovpn"), None, "somebody else's");
        assert_eq!(marked_link(&told(|_| ()), "mark "), None);
    }

    #[test]
    fn an_identity_is_the_answer_to_our_own_question_only() {
        let answer = |sequence: u32, port: u32| {
            let mut bytes = told(|link| {
                link.string(IFNAME, "tun0");
                link.put(IFALIAS, b"udco ovpn 7");
            });
            bytes[8..12].copy_from_slice(&sequence.to_ne_bytes());
            bytes[12..16].copy_from_slice(&port.to_ne_bytes());
            bytes[20..24].copy_from_slice(&3u32.to_ne_bytes());
            bytes
        };
        let expected = LinkIdentity {
            ifindex: 3,
            name: "tun0",
            alias: b"udco ovpn 7",
        };
        let both = [answer(0, 0), answer(9, 5)].concat();
        assert_eq!(identity(&both, 9, 5), Some(Some(expected)));
        assert_eq!(identity(&answer(9, 5), 9, 6), None, "another socket's");
        assert_eq!(identity(&answer(8, 5), 9, 5), None, "an earlier answer");
        let mut refusal = answer(9, 5);
        refusal[4..6].copy_from_slice(&ERROR.to_ne_bytes());
        assert_eq!(identity(&refusal, 9, 5), Some(None));
        let request = identity_request(3, 9);
        assert_eq!(request.len(), 32);
        assert_eq!(message_link(&request), Some(3));
    }

    proptest! {
        #[test]
        fn any_bytes_can_be_told(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            identity(&bytes, 0, 0);
            marked_link(&bytes, "");
            link_view(&bytes, Api::Ovpn, Mode::P2p);
        }
    }
}
