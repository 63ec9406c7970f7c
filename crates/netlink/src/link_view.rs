//! How a link of ours is shown: what the kernel tells of the TUN device, told as of an `ovpn` link.

use crate::fixed_header::LinkHeader;
use crate::message::{Header, Messages};
use crate::numbers::{
    IFLA_CARRIER, IFLA_IFALIAS, IFLA_IFNAME, IFLA_INFO_DATA, IFLA_INFO_KIND, IFLA_LINKINFO,
    IFLA_MAX_MTU, IFLA_MIN_MTU, IFLA_OVPN_MODE, NLM_F_REQUEST, NLMSG_ERROR, NLMSG_HDRLEN,
    RTM_GETLINK, RTM_NEWLINK,
};
use crate::tlv::Attributes;
use crate::{Api, Mode};

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
    LinkHeader::of(message).map(|link| link.ifindex)
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

/// The kernel's answer to an [`identity_request`] with this sequence number, sent by the socket with this port; the other
/// messages of a datagram are news. `Some(None)`: there is no such link.
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

/// The name and the alias in an `RTM_NEWLINK` message; an alias that is not there is empty.
pub fn link_names(message: &[u8]) -> Option<(&str, &str)> {
    let text = |number| {
        let mut all = Attributes::of(message, LinkHeader::END);
        all.find(|attribute| attribute.number() == number)?.text()
    };
    Some((text(IFLA_IFNAME)?, text(IFLA_IFALIAS).unwrap_or_default()))
}

/// Which link an `RTM_NEWLINK` message of the kernel is about, if it is a device that a dead engine left: it has no carrier,
/// and its alias is `alias`, followed by the kind, and whatever comes behind a space.
pub fn left_link(message: &[u8], alias: &str) -> Option<Api> {
    let mut all = Attributes::of(message, LinkHeader::END);
    let carrier = all.find(|attribute| attribute.number() == IFLA_CARRIER)?;
    marked_link(message, alias).filter(|_| carrier.u8() == Some(0))
}

/// Which link an `RTM_NEWLINK` message of the kernel is about, if it is marked as a device of ours: its alias is `alias`,
/// followed by the kind, and whatever comes behind a space.
pub fn marked_link(message: &[u8], alias: &str) -> Option<Api> {
    let mut all = Attributes::of(message, LinkHeader::END);
    let mark = all.find(|attribute| attribute.number() == IFLA_IFALIAS)?;
    let kind = mark.text()?.strip_prefix(alias)?;
    let kind = kind.split(' ').next()?;
    [Api::Ovpn, Api::DcoV2]
        .into_iter()
        .find(|api| api.link_kind() == kind)
}

/// Tells an `RTM_NEWLINK` message of the kernel about a device of ours in the words of the module: kind, mode, and the
/// bounds of the MTU. All else is true of the TUN device. A message that is cut short is told as it is.
pub fn link_view(message: &[u8], api: Api, mode: Mode) -> Vec<u8> {
    let (Some(header), Some(link)) = (
        Header::of(message),
        message.get(NLMSG_HDRLEN..LinkHeader::END),
    ) else {
        return message.to_vec();
    };
    header.write(link, |view| {
        for attribute in Attributes::of(message, LinkHeader::END) {
            match attribute.number() {
                IFLA_LINKINFO => view.plain_nest(IFLA_LINKINFO, |info| {
                    info.string(IFLA_INFO_KIND, api.link_kind());
                    info.plain_nest(IFLA_INFO_DATA, |data| {
                        data.u8(IFLA_OVPN_MODE, u8::from(mode == Mode::Mp))
                    });
                }),
                IFLA_MIN_MTU => view.u32(IFLA_MIN_MTU, LEAST_MTU),
                IFLA_MAX_MTU => view.u32(IFLA_MAX_MTU, api.largest_mtu()),
                _ => view.put(attribute.kind(), attribute.payload),
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::numbers::IFLA_TXQLEN;
    use crate::tlv::{Members, Writer};

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

    fn told(fill: impl FnOnce(&mut Writer)) -> Vec<u8> {
        answer(0, 0, fill)
    }

    #[test]
    fn kind_mode_and_mtu_bounds_are_the_modules() {
        let told = told(|link| {
            link.string(IFLA_IFNAME, "tun0");
            link.u32(IFLA_MAX_MTU, 65_535);
            link.nest(IFLA_LINKINFO, |info| info.string(IFLA_INFO_KIND, "tun"));
            link.u32(IFLA_TXQLEN, 500);
        });
        for (api, mode, kind, bytes) in [
            (Api::Ovpn, Mode::Mp, "ovpn", 65_451),
            (Api::DcoV2, Mode::P2p, "ovpn-dco", 65_463),
        ] {
            let view = link_view(&told, api, mode);
            assert_eq!(view[..4], u32::try_from(view.len()).unwrap().to_ne_bytes());
            let members = Members::of(Attributes::of(&view, LinkHeader::END));
            assert_eq!(
                members.find(IFLA_IFNAME).and_then(|name| name.text()),
                Some("tun0")
            );
            assert_eq!(
                members.find(IFLA_TXQLEN).and_then(|queue| queue.u32()),
                Some(500)
            );
            let mut all = Attributes::of(&view, LinkHeader::END);
            let largest = all.find(|attribute| attribute.number() == IFLA_MAX_MTU);
            assert_eq!(largest.and_then(|mtu| mtu.u32()), Some(bytes));
            let info = Members::of(members.find(IFLA_LINKINFO).unwrap().members());
            assert_eq!(
                info.find(IFLA_INFO_KIND).and_then(|kind| kind.text()),
                Some(kind)
            );
            let data = Members::of(info.find(IFLA_INFO_DATA).unwrap().members());
            let expected = u8::from(mode == Mode::Mp);
            assert_eq!(
                data.find(IFLA_OVPN_MODE).and_then(|mode| mode.u8()),
                Some(expected)
            );
        }
    }

    #[test]
    fn a_link_of_ours_is_known_by_its_alias() {
        let link = |alias: &str| {
            let told = told(|link| link.string(IFLA_IFALIAS, alias));
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
        fn any_bytes_can_be_told(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            identity(&bytes, 0, 0);
            marked_link(&bytes, "");
            link_view(&bytes, Api::Ovpn, Mode::P2p);
        }
    }
}
