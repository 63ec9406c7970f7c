//! The view of a link of ours: the kernel's message about the TUN device, rewritten as one about a link of kind `ovpn`.

use alloc::vec::Vec;

use crate::fixed_header::LinkHeader;
use crate::message::Header;
use crate::numbers::{
    IFLA_INFO_DATA, IFLA_INFO_KIND, IFLA_LINKINFO, IFLA_MAX_MTU, IFLA_MIN_MTU, IFLA_OVPN_MODE,
    NLMSG_HDRLEN,
};
use crate::tlv::Attributes;
use crate::{Api, Mode};

/// The least MTU of any device with IPv4, in bytes.
const LEAST_MTU: u32 = 68;

impl Api {
    /// The name of its kind of links (dco-behaviour 2.15, 3.1).
    pub const fn link_kind(self) -> &'static str {
        match self {
            Self::Ovpn => "ovpn",
            Self::DcoV2 => "ovpn-dco",
        }
    }

    /// The most bytes that the module adds to a packet (dco-behaviour 1.7).
    const fn overhead(self) -> u32 {
        match self {
            Self::Ovpn => 84,
            Self::DcoV2 => 72,
        }
    }

    /// MTU of a new link in bytes: 1,416 or 1,428 (dco-behaviour 1.7).
    pub const fn default_mtu(self) -> u32 {
        1500 - self.overhead()
    }

    /// The kernel's error text if a link cannot have this MTU (in bytes).
    pub const fn mtu_refusal(self, mtu: u32) -> Option<&'static str> {
        if mtu < LEAST_MTU {
            Some("mtu less than device minimum")
        } else if mtu > self.largest_mtu() {
            Some("mtu greater than device maximum")
        } else {
            None
        }
    }

    /// The largest MTU of a link in bytes.
    const fn largest_mtu(self) -> u32 {
        65_535 - self.overhead()
    }
}

/// Rewrites an `RTM_NEWLINK` message of the kernel about a device of ours so that it reads like the module's: kind,
/// mode and MTU bounds. Everything else stays as the TUN device has it. A truncated message is returned as it is.
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
    use crate::numbers::{IFLA_IFNAME, IFLA_TXQLEN, RTM_NEWLINK};
    use crate::tlv::{Members, Writer};

    fn message(fill: impl FnOnce(&mut Writer)) -> Vec<u8> {
        let header = Header {
            kind: RTM_NEWLINK,
            ..Header::default()
        };
        header.write(&LinkHeader::default().bytes(), fill)
    }

    #[test]
    fn kind_mode_and_mtu_bounds_are_the_modules() {
        let message = message(|link| {
            link.string(IFLA_IFNAME, "tun0");
            link.u32(IFLA_MAX_MTU, 65_535);
            link.nest(IFLA_LINKINFO, |info| info.string(IFLA_INFO_KIND, "tun"));
            link.u32(IFLA_TXQLEN, 500);
        });
        for (api, mode, kind, bytes) in [
            (Api::Ovpn, Mode::Mp, "ovpn", 65_451),
            (Api::DcoV2, Mode::P2p, "ovpn-dco", 65_463),
        ] {
            let view = link_view(&message, api, mode);
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

    proptest! {
        #[test]
        fn any_bytes_can_be_viewed(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            link_view(&bytes, Api::Ovpn, Mode::P2p);
        }
    }
}
