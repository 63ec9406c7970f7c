//! The data channel's wire format (dco-behaviour 1.1 to 1.3).
//!
//! ```text
//! 0  4  opcode (5 bits), key id (3 bits), peer id (24 bits)   \ authenticated,
//! 4  4  packet id                                             / not encrypted
//! 8  16 tag
//! 24 n  ciphertext, n = length of the inner packet
//! ```

use core::fmt;

use crate::drop_reason::DropReason;
use crate::peer_id::PeerId;

/// The bytes besides the ciphertext in a record of [`Format::DATA_V2`], for buffers of fixed size.
pub const OVERHEAD: usize = Format::DATA_V2.overhead();

/// Length of the authentication tag in bytes.
pub const TAG: usize = 16;

/// Length of opcode, key id and peer id in bytes.
const WORD: usize = 4;

/// Where the parts of a record lie. Each key has its own ([`Key::format`](crate::Key::format)), so that keys of
/// different formats can be in use at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format {
    packet_id: usize,
    tag: TagPlace,
}

/// On which side of the ciphertext the tag lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TagPlace {
    /// Between packet id and ciphertext.
    Before,
    /// At the end of the record.
    After,
}

/// The parts of a record, to seal or open in place.
#[derive(Debug, PartialEq, Eq)]
pub struct Parts<'r> {
    /// Authenticated but not encrypted: opcode, key id and peer id, then the packet id.
    pub aad: &'r mut [u8],
    /// The authentication tag.
    pub tag: &'r mut [u8; TAG],
    /// The inner packet, encrypted or not.
    pub payload: &'r mut [u8],
}

impl Format {
    /// `DATA_V2`: a packet id of 4 bytes, and the tag before the ciphertext (dco-behaviour 1.2).
    pub const DATA_V2: Self = Self {
        packet_id: 4,
        tag: TagPlace::Before,
    };

    /// Length of a packet id in bytes.
    #[must_use]
    pub const fn packet_id(self) -> usize {
        self.packet_id
    }

    /// On which side of the ciphertext the tag lies.
    #[must_use]
    pub const fn tag(self) -> TagPlace {
        self.tag
    }

    /// Bytes that are authenticated but not encrypted.
    #[must_use]
    pub const fn aad(self) -> usize {
        WORD + self.packet_id
    }

    /// Bytes before the ciphertext.
    #[must_use]
    pub const fn before(self) -> usize {
        match self.tag {
            TagPlace::Before => self.aad() + TAG,
            TagPlace::After => self.aad(),
        }
    }

    /// Bytes before and after the ciphertext.
    #[must_use]
    pub const fn overhead(self) -> usize {
        self.aad() + TAG
    }

    /// The largest inner packet whose outer packet is no longer than `path_mtu` bytes over UDP.
    #[must_use]
    pub const fn inner_limit(self, path_mtu: usize, outer_is_v6: bool) -> usize {
        let headers = if outer_is_v6 { 40 + 8 } else { 20 + 8 };
        path_mtu.saturating_sub(headers + self.overhead())
    }

    /// The parts of a record; `None` if it is shorter than the overhead.
    #[must_use]
    #[inline]
    pub fn split(self, record: &mut [u8]) -> Option<Parts<'_>> {
        let (aad, rest) = record.split_at_mut_checked(self.aad())?;
        let (tag, payload) = match self.tag {
            TagPlace::Before => rest.split_first_chunk_mut()?,
            TagPlace::After => {
                let (payload, tag) = rest.split_last_chunk_mut()?;
                (tag, payload)
            }
        };
        Some(Parts { aad, tag, payload })
    }
}

/// The payload of a keepalive (dco-behaviour 1.3).
pub const KEEPALIVE: [u8; 16] = [
    0x2a, 0x18, 0x7b, 0xf3, 0x64, 0x1e, 0xb4, 0xcb, 0x07, 0xed, 0x2d, 0x0a, 0x98, 0x1f, 0xc7, 0x48,
];

/// A key id: 3 bits, by which a packet names the key that opens it (dco-behaviour 1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(u8);

impl KeyId {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self(0),
        Self(1),
        Self(2),
        Self(3),
        Self(4),
        Self(5),
        Self(6),
        Self(7),
    ];

    /// A key id; `None` above 7.
    #[must_use]
    pub const fn new(id: u8) -> Option<Self> {
        match id {
            0..=7 => Some(Self(id)),
            _ => None,
        }
    }

    /// The number, 0..=7.
    #[must_use]
    pub const fn value(self) -> u8 {
        self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

const DATA_V1: u8 = 6;
const DATA_V2: u8 = 9;

/// What a datagram claims to be, before it is authenticated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Datagram {
    /// A `DATA_V2` packet.
    Data {
        /// Key id.
        key_id: KeyId,
        /// Peer id.
        peer_id: PeerId,
    },
    /// Anything else of at least 4 bytes: for OpenVPN.
    Control,
}

/// Distinguishes data from control packets.
///
/// # Errors
/// The drops of dco-behaviour 1.5: [`DropReason::RxShort`] below 4 bytes, [`DropReason::RxDataV1`].
pub fn classify(datagram: &[u8]) -> Result<Datagram, DropReason> {
    let word = datagram.first_chunk::<4>().ok_or(DropReason::RxShort)?;
    let word = u32::from_be_bytes(*word);
    let [opcode_and_key, ..] = word.to_be_bytes();
    match opcode_and_key >> 3 {
        DATA_V2 => Ok(Datagram::Data {
            key_id: KeyId(opcode_and_key & 7),
            peer_id: PeerId::in_word(word),
        }),
        DATA_V1 => Err(DropReason::RxDataV1),
        _ => Ok(Datagram::Control),
    }
}

/// The first four bytes of a `DATA_V2` packet.
#[must_use]
pub const fn data_v2_word(key_id: KeyId, peer_id: PeerId) -> [u8; 4] {
    let first = DATA_V2 << 3 | key_id.0;
    ((first as u32) << 24 | peer_id.value()).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_opcode_key_id_and_peer_id() {
        for opcode in 0..32u8 {
            for key_id in KeyId::ALL {
                for id in [0, 1, 0x12_3456, 0xff_fffe, 0xff_ffff] {
                    let peer_id = PeerId::new(id).unwrap();
                    let word = (u32::from(opcode << 3 | key_id.value()) << 24) | id;
                    let expected = match opcode {
                        9 => Ok(Datagram::Data { key_id, peer_id }),
                        6 => Err(DropReason::RxDataV1),
                        _ => Ok(Datagram::Control),
                    };
                    assert_eq!(classify(&word.to_be_bytes()), expected);
                }
            }
        }
    }

    #[test]
    fn a_key_id_has_three_bits() {
        let all = (0..=u8::MAX).filter_map(KeyId::new);
        assert!(all.eq(KeyId::ALL));
        assert!(KeyId::ALL.into_iter().map(KeyId::value).eq(0..8));
    }

    #[test]
    fn short_datagrams_are_dropped_whatever_they_say() {
        for first in 0..=255 {
            for len in 0..4 {
                assert_eq!(classify(&[first; 4][..len]), Err(DropReason::RxShort));
            }
        }
    }

    #[test]
    fn first_word_of_data_v2() {
        assert_eq!(data_v2_word(KeyId(0), PeerId::from(1)), [0x48, 0, 0, 1]);
        assert_eq!(
            data_v2_word(KeyId(7), PeerId::new(0x12_3456).unwrap()),
            [0x4f, 0x12, 0x34, 0x56]
        );
    }

    #[test]
    fn a_full_inner_packet_fills_the_path() {
        let inner_limit = |mtu, is_v6| Format::DATA_V2.inner_limit(mtu, is_v6);
        assert_eq!(inner_limit(1500, false), 1448);
        assert_eq!(inner_limit(1500, true), 1428);
        assert_eq!(inner_limit(10, true), 0);
    }

    /// The second is that of the epoch keys of OpenVPN 2.7.
    const FORMATS: [Format; 2] = [
        Format::DATA_V2,
        Format {
            packet_id: 8,
            tag: TagPlace::After,
        },
    ];

    proptest! {
        #[test]
        fn the_parts_of_a_record_are_all_of_it_and_in_their_places(
            format in proptest::sample::select(&FORMATS),
            record in prop::collection::vec(any::<u8>(), 0..100),
        ) {
            let mut copy = record.clone();
            let Some(Parts { aad, tag, payload }) = format.split(&mut copy) else {
                prop_assert!(record.len() < format.overhead());
                return Ok(());
            };
            prop_assert_eq!(aad.len(), 4 + format.packet_id());
            prop_assert_eq!(record.len(), payload.len() + format.overhead());
            let in_order = match format.tag() {
                TagPlace::Before => [&*aad, tag.as_slice(), payload],
                TagPlace::After => [&*aad, payload, tag.as_slice()],
            };
            prop_assert_eq!(&in_order.concat(), &record);
            prop_assert_eq!(&record[format.before()..][..payload.len()], payload);
        }
    }
}
