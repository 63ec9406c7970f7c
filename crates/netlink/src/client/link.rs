//! Requests of rtnetlink about links of ours: to make, to change, to show and to delete one.

use crate::message::{self, FLAG_ACK, FLAG_DUMP, FLAG_REQUEST};
use crate::tlv::Writer;
use crate::{Api, Mode};

/// `RTM_NEWLINK` with its flags, `RTM_DELLINK` and `RTM_GETLINK`.
const NEWLINK: u16 = 16;
const DELLINK: u16 = 17;
const GETLINK: u16 = 18;
const FLAG_EXCLUSIVE: u16 = 0x200;
const FLAG_CREATE: u16 = 0x400;

/// `IFLA_*`, `IFLA_INFO_*`, `IFLA_OVPN_MODE`.
const IFNAME: u16 = 3;
const MTU: u16 = 4;
const IFALIAS: u16 = 20;
const TX_QUEUE_LENGTH: u16 = 13;
const LINKINFO: u16 = 18;
const INFO_KIND: u16 = 1;
const INFO_DATA: u16 = 2;
const OVPN_MODE: u16 = 1;

/// `IFF_UP` and `IFF_MULTICAST` of `ifi_flags`.
pub const UP: u32 = 1;
/// See [`UP`].
pub const MULTICAST: u32 = 0x1000;

/// A link to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct New<'a> {
    /// By its kind: `ovpn` or `ovpn-dco`.
    pub api: Api,
    /// Its name, at most 15 bytes; `%d` stands for the first free number.
    pub name: &'a str,
    /// How many peers it has.
    pub mode: Mode,
    /// MTU, if not the API's own.
    pub mtu: Option<u32>,
    /// Whether to set it up.
    pub up: bool,
}

/// `RTM_NEWLINK` that fails if there is such a link.
pub fn new(link: &New<'_>, sequence: u32) -> Vec<u8> {
    let flags = FLAG_CREATE | FLAG_EXCLUSIVE;
    let up = if link.up { UP } else { 0 };
    about(NEWLINK, flags, sequence, (0, up, up), |message| {
        message.string(IFNAME, link.name);
        if let Some(mtu) = link.mtu {
            message.u32(MTU, mtu);
        }
        message.nest(LINKINFO, |info| {
            info.string(INFO_KIND, link.api.link_kind());
            info.nest(INFO_DATA, |data| {
                data.u8(OVPN_MODE, u8::from(link.mode == Mode::Mp));
            });
        });
    })
}

/// `RTM_GETLINK` of every link.
pub fn all(sequence: u32) -> Vec<u8> {
    about(GETLINK, FLAG_DUMP, sequence, (0, 0, 0), |_| ())
}

/// How many packets the queue of a link of ours takes: as the driver's (faults E5).
const QUEUE_LENGTH: u32 = 1000;

/// `RTM_NEWLINK` that makes a TUN device look like a link of ours: the MTU, those of the flags that are in `mask`, and the
/// length of the queue.
pub fn change(ifindex: u32, mtu: u32, flags: u32, mask: u32, sequence: u32) -> Vec<u8> {
    about(NEWLINK, 0, sequence, (ifindex, flags, mask), |message| {
        message.u32(MTU, mtu);
        message.u32(TX_QUEUE_LENGTH, QUEUE_LENGTH);
    })
}

/// `RTM_NEWLINK` that gives a link its alias.
pub fn alias(ifindex: u32, alias: &[u8], sequence: u32) -> Vec<u8> {
    about(NEWLINK, 0, sequence, (ifindex, 0, 0), |message| {
        message.put(IFALIAS, alias);
    })
}

/// `RTM_GETLINK`: answered by an `RTM_NEWLINK` message, then the acknowledgement.
pub fn show(ifindex: u32, sequence: u32) -> Vec<u8> {
    about(GETLINK, 0, sequence, (ifindex, 0, 0), |_| {})
}

/// `RTM_DELLINK`.
pub fn delete(ifindex: u32, sequence: u32) -> Vec<u8> {
    about(DELLINK, 0, sequence, (ifindex, 0, 0), |_| {})
}

/// Index, flags and their mask are those of `ifinfomsg`.
fn about(
    kind: u16,
    flags: u16,
    sequence: u32,
    (ifindex, link_flags, mask): (u32, u32, u32),
    fill: impl FnOnce(&mut Writer),
) -> Vec<u8> {
    let mut message = message::start(kind, FLAG_REQUEST | FLAG_ACK | flags, sequence, 0);
    // Family and type.
    message.extend_from_slice(&[0; 4]);
    for field in [ifindex, link_flags, mask] {
        message.extend_from_slice(&field.to_ne_bytes());
    }
    let mut writer = Writer::after(message);
    fill(&mut writer);
    let mut message = writer.into_bytes();
    message::set_length(&mut message);
    message
}
