//! Netlink attributes: a reader that trusts no length, and a writer.
//!
//! An attribute is `u16 length, u16 type, payload`, padded to 4 bytes; the length covers header and payload. Integers
//! are in host byte order.

use alloc::vec::Vec;

use crate::numbers::{NLA_F_NESTED, NLA_F_NET_BYTEORDER, NLA_HDRLEN, NLA_TYPE_MASK, NLMSG_ALIGNTO};

/// Rounds up to the alignment.
pub const fn align(length: usize) -> usize {
    length.saturating_add(NLMSG_ALIGNTO - 1) & !(NLMSG_ALIGNTO - 1)
}

/// One attribute of a message.
#[derive(Clone, Copy)]
pub struct Attribute<'a> {
    /// Offset of its header from the start of the message, in bytes.
    pub offset: usize,
    /// The type field as sent, flag bits included.
    raw_type: u16,
    /// The bytes after the header, without padding.
    pub payload: &'a [u8],
}

impl<'a> Attribute<'a> {
    /// The attribute's number, without flag bits.
    pub fn number(&self) -> u16 {
        self.raw_type & NLA_TYPE_MASK
    }

    /// The type field as sent, flag bits included.
    pub fn kind(&self) -> u16 {
        self.raw_type
    }

    /// Whether it is marked as a nest.
    pub fn is_nested(&self) -> bool {
        self.raw_type & NLA_F_NESTED != 0
    }

    /// The attributes inside.
    pub fn members(&self) -> Attributes<'a> {
        Attributes {
            rest: self.payload,
            offset: self.offset + NLA_HDRLEN,
        }
    }

    /// The first byte; `None` if the payload is empty.
    pub fn u8(&self) -> Option<u8> {
        self.payload.first().copied()
    }

    /// The first two bytes as an integer; `None` if the payload is shorter.
    pub fn u16(&self) -> Option<u16> {
        self.array().map(u16::from_ne_bytes)
    }

    /// The first four bytes as an integer; `None` if the payload is shorter.
    pub fn u32(&self) -> Option<u32> {
        self.array().map(u32::from_ne_bytes)
    }

    /// The first `N` bytes; `None` if the payload is shorter.
    pub fn array<const N: usize>(&self) -> Option<[u8; N]> {
        self.payload.first_chunk().copied()
    }

    /// The bytes before the first NUL; `None` if they are not UTF-8.
    pub fn text(&self) -> Option<&'a str> {
        let text = self.payload.split(|&byte| byte == 0).next()?;
        str::from_utf8(text).ok()
    }
}

/// The attributes of a message or a nest, in order. Ends at the first impossible length.
#[derive(Clone, Copy)]
pub struct Attributes<'a> {
    rest: &'a [u8],
    offset: usize,
}

impl<'a> Attributes<'a> {
    /// The attributes of `message` from byte `start` on.
    pub fn of(message: &'a [u8], start: usize) -> Self {
        Self {
            rest: message.get(start..).unwrap_or_default(),
            offset: start,
        }
    }

    /// Whether bytes are left that are not an attribute. Valid once the iterator has ended.
    pub fn leftover(&self) -> bool {
        !self.rest.is_empty()
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = Attribute<'a>;

    fn next(&mut self) -> Option<Attribute<'a>> {
        let [a, b, c, d] = *self.rest.first_chunk()?;
        let length = usize::from(u16::from_ne_bytes([a, b]));
        let payload = self.rest.get(NLA_HDRLEN..length)?;
        let attribute = Attribute {
            offset: self.offset,
            raw_type: u16::from_ne_bytes([c, d]),
            payload,
        };
        // The last attribute may lack its padding.
        self.rest = self.rest.get(align(length)..).unwrap_or_default();
        self.offset += align(length);
        Some(attribute)
    }
}

/// One more than the highest attribute number that [`Members`] holds, which covers all schemas of the crate.
const MEMBERS: usize = 32;

/// The attributes of one nest by number; the last of a repeated attribute counts, as in the kernel.
#[derive(Clone, Copy)]
pub struct Members<'a> {
    found: [Option<Attribute<'a>>; MEMBERS],
}

impl<'a> Members<'a> {
    /// Sorts attributes by number.
    pub fn of(attributes: Attributes<'a>) -> Self {
        let mut found = [None; MEMBERS];
        for attribute in attributes {
            if let Some(slot) = found.get_mut(usize::from(attribute.number())) {
                *slot = Some(attribute);
            }
        }
        Self { found }
    }

    /// The attribute with this number.
    pub fn find(&self, number: u16) -> Option<Attribute<'a>> {
        self.found.get(usize::from(number)).copied().flatten()
    }

    /// Whether there is one with this number.
    pub fn has(&self, number: u16) -> bool {
        self.find(number).is_some()
    }

    /// The lowest number present that is not in `expected`.
    pub fn unexpected(&self, expected: &[u16]) -> Option<u16> {
        let mut numbers = self.found.iter().flatten().map(Attribute::number);
        numbers.find(|number| !expected.contains(number))
    }
}

/// Writes attributes.
#[derive(Default)]
pub struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    /// Continues after these bytes.
    pub fn after(bytes: Vec<u8>) -> Self {
        Self { bytes }
    }

    /// The bytes written.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Adds an attribute. A payload too long for the length field is truncated; none of ours comes near that.
    pub fn put(&mut self, kind: u16, payload: &[u8]) {
        let most = usize::from(u16::MAX) - NLA_HDRLEN;
        let payload = payload.get(..most).unwrap_or(payload);
        let length = u16::try_from(NLA_HDRLEN + payload.len()).unwrap_or(u16::MAX);
        self.bytes.extend_from_slice(&length.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(payload);
        self.bytes.resize(align(self.bytes.len()), 0);
    }

    /// Adds a byte.
    pub fn u8(&mut self, kind: u16, value: u8) {
        self.put(kind, &[value]);
    }

    /// Adds a 16-bit integer.
    pub fn u16(&mut self, kind: u16, value: u16) {
        self.put(kind, &value.to_ne_bytes());
    }

    /// Adds a 16-bit integer in network order, marked as such: the kernel marks ports (golden), but not addresses.
    pub fn be16(&mut self, kind: u16, value: u16) {
        self.put(kind | NLA_F_NET_BYTEORDER, &value.to_be_bytes());
    }

    /// Adds a 32-bit integer.
    pub fn u32(&mut self, kind: u16, value: u32) {
        self.put(kind, &value.to_ne_bytes());
    }

    /// Adds a 64-bit integer.
    pub fn u64(&mut self, kind: u16, value: u64) {
        self.put(kind, &value.to_ne_bytes());
    }

    /// Adds a `uint`: 4 bytes if those suffice, else 8 (dco-behaviour 2.3).
    pub fn uint(&mut self, kind: u16, value: u64) {
        match u32::try_from(value) {
            Ok(small) => self.u32(kind, small),
            Err(_) => self.u64(kind, value),
        }
    }

    /// Adds a string with its NUL.
    pub fn string(&mut self, kind: u16, text: &str) {
        let mut bytes = text.as_bytes().to_vec();
        bytes.push(0);
        self.put(kind, &bytes);
    }

    /// Adds a nest with the attributes that `fill` writes, marked as one.
    pub fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Self)) {
        self.plain_nest(kind | NLA_F_NESTED, fill);
    }

    /// Adds a nest without the mark: nlctrl's old ones (dco-behaviour 2.1), and all of sitnl's.
    pub fn plain_nest(&mut self, kind: u16, fill: impl FnOnce(&mut Self)) {
        let start = self.bytes.len();
        self.put(kind, &[]);
        fill(self);
        let length = u16::try_from(self.bytes.len() - start).unwrap_or(u16::MAX);
        if let Some(field) = self.bytes.get_mut(start..start + 2) {
            field.copy_from_slice(&length.to_ne_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn members_keep_the_last_of_a_repeated_attribute() {
        let mut writer = Writer::default();
        writer.u32(1, 5);
        writer.u32(1, 6);
        let bytes = writer.into_bytes();
        let members = Members::of(Attributes::of(&bytes, 0));
        assert_eq!(members.find(1).and_then(|found| found.u32()), Some(6));
        assert_eq!(members.unexpected(&[2]), Some(1));
        assert_eq!(members.unexpected(&[1]), None);
    }

    #[test]
    fn uint_takes_eight_bytes_only_where_four_are_too_few() {
        let mut writer = Writer::default();
        writer.uint(1, u64::from(u32::MAX));
        writer.uint(2, u64::from(u32::MAX) + 1);
        assert_eq!(writer.into_bytes().len(), 8 + 12);
    }

    #[test]
    fn an_impossible_length_ends_the_list_and_leaves_bytes() {
        for bytes in [[3_u8, 0, 1, 0], [5, 0, 1, 0]] {
            let mut attributes = Attributes::of(&bytes, 0);
            assert!(attributes.next().is_none());
            assert!(attributes.leftover());
        }
    }

    proptest! {
        #[test]
        fn written_attributes_are_read_back(list in prop::collection::vec((1_u16..0x3fff, prop::collection::vec(any::<u8>(), 0..40)), 0..9)) {
            let mut writer = Writer::default();
            writer.nest(7, |nest| for (kind, payload) in &list { nest.put(*kind, payload) });
            let bytes = writer.into_bytes();
            let outer = Attributes::of(&bytes, 0).next().unwrap();
            prop_assert!(outer.is_nested() && outer.number() == 7);
            let inner: Vec<_> = outer.members().map(|a| (a.number(), a.payload.to_vec())).collect();
            prop_assert_eq!(inner, list);
        }

        #[test]
        fn any_bytes_can_be_read(bytes in prop::collection::vec(any::<u8>(), 0..200), start in 0_usize..300) {
            for attribute in Attributes::of(&bytes, start) {
                prop_assert!(attribute.offset + NLA_HDRLEN + attribute.payload.len() <= bytes.len());
                Members::of(attribute.members());
            }
        }
    }
}
