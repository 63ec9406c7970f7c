//! Packets in a TCP stream: each is preceded by its length, 16 bits, big endian (dco-behaviour 1.4).
//!
//! Nothing here keeps a byte of the stream: the reader owns the buffer, takes the whole packets out of it and moves
//! what [`Frames::unparsed`] leaves to the front of the next read. So bytes take memory once they have arrived, never
//! because a length announces them (promises F1).

use core::{fmt, mem};

/// Size in bytes of the length before each packet.
pub const PREFIX: usize = 2;

/// The largest packet that a length can express.
pub const MAX_PACKET: usize = 65_535;

/// A length of 0 or 1. OpenVPN sends no such packet, and where the next one begins is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadLength;

impl fmt::Display for BadLength {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a length of 0 or 1 in the stream: the next packet cannot be found")
    }
}

impl core::error::Error for BadLength {}

/// The whole packets in a piece of a stream, one after the other.
///
/// ```
/// use udco_core::framing::Frames;
///
/// let mut piece = *b"\0\x03abc\0\x02de\0\x09f";
/// let mut frames = Frames::of(&mut piece);
/// assert_eq!(frames.next().map(|frame| frame.map(|it| it.packet().len())), Some(Ok(3)));
/// assert_eq!(frames.next().map(|frame| frame.map(|it| it.with_prefix().len())), Some(Ok(4)));
/// assert!(frames.next().is_none());
/// assert_eq!(frames.unparsed(), 3);
/// ```
#[derive(Debug)]
pub struct Frames<'s> {
    rest: &'s mut [u8],
}

/// A packet with its length in front.
#[derive(Debug, PartialEq, Eq)]
pub struct Frame<'s>(&'s mut [u8]);

impl<'s> Frames<'s> {
    /// `piece` must start where a packet starts.
    pub fn of(piece: &'s mut [u8]) -> Self {
        Self { rest: piece }
    }

    /// The number of bytes at the end of the piece that do not make a whole packet yet.
    #[must_use]
    pub fn unparsed(&self) -> usize {
        self.rest.len()
    }
}

impl<'s> Iterator for Frames<'s> {
    type Item = Result<Frame<'s>, BadLength>;

    /// The next whole packet. After an error every call returns the same error: the stream cannot be parsed any
    /// further.
    fn next(&mut self) -> Option<Self::Item> {
        let len = usize::from(u16::from_be_bytes(*self.rest.first_chunk()?));
        if len < PREFIX {
            return Some(Err(BadLength));
        }
        if self.rest.len() < PREFIX + len {
            return None;
        }
        let (frame, rest) = mem::take(&mut self.rest).split_at_mut_checked(PREFIX + len)?;
        self.rest = rest;
        Some(Ok(Frame(frame)))
    }
}

impl<'s> Frame<'s> {
    /// The packet.
    #[must_use]
    pub fn packet(self) -> &'s mut [u8] {
        self.0.get_mut(PREFIX..).unwrap_or_default()
    }

    /// The packet with its length in front, as it goes to OpenVPN.
    #[must_use]
    pub fn with_prefix(self) -> &'s mut [u8] {
        self.0
    }

    /// The packet, without consuming the frame.
    #[must_use]
    pub fn peek(&self) -> &[u8] {
        self.0.get(PREFIX..).unwrap_or_default()
    }
}

/// The length to put before a packet of `packet` bytes; `None` above [`MAX_PACKET`].
#[must_use]
pub fn prefix(packet: usize) -> Option<[u8; PREFIX]> {
    u16::try_from(packet).ok().map(u16::to_be_bytes)
}

/// How many packets of `frames` (whole packets, each with its length) end at or before `at`, and the offset of the
/// packet that contains byte `at`: `at` itself if it lies between two packets.
#[must_use]
pub fn boundary(frames: &[u8], at: usize) -> (usize, usize) {
    let (mut count, mut begin) = (0, 0);
    while let Some(len) = frames.get(begin..).and_then(|rest| rest.first_chunk()) {
        let end = begin + PREFIX + usize::from(u16::from_be_bytes(*len));
        if end > at {
            break;
        }
        (count, begin) = (count + 1, end);
    }
    (count, begin)
}

#[cfg(test)]
mod tests {
    use alloc::vec;
    use alloc::vec::Vec;

    use super::*;
    use proptest::prelude::*;

    /// The packets of a stream that arrives in pieces cut at `cuts`, and whether a bad length was found.
    fn read(stream: &[u8], cuts: &[usize]) -> (Vec<Vec<u8>>, bool) {
        let mut packets = Vec::new();
        let mut kept: Vec<u8> = Vec::new();
        let mut at = 0;
        for cut in cuts.iter().copied().chain([stream.len()]) {
            let cut = cut.clamp(at, stream.len());
            kept.extend_from_slice(&stream[at..cut]);
            at = cut;
            let mut frames = Frames::of(&mut kept);
            for frame in &mut frames {
                match frame {
                    Ok(frame) => packets.push(frame.packet().to_vec()),
                    Err(BadLength) => return (packets, true),
                }
            }
            let unparsed = frames.unparsed();
            kept.drain(..kept.len() - unparsed);
        }
        (packets, false)
    }

    #[test]
    fn all_lengths() {
        for len in 0..=MAX_PACKET {
            let mut stream = vec![0xa5; PREFIX + len];
            stream[..PREFIX].copy_from_slice(&prefix(len).unwrap());
            let short = stream.len() - 1;
            let mut frames = Frames::of(&mut stream[..short]);
            if len < 2 {
                if short >= PREFIX {
                    assert_eq!(frames.next(), Some(Err(BadLength)));
                }
                let mut whole = Frames::of(&mut stream);
                assert_eq!(whole.next(), Some(Err(BadLength)));
                assert_eq!(whole.next(), Some(Err(BadLength)));
                continue;
            }
            assert_eq!(frames.next(), None);
            assert_eq!(frames.unparsed(), short);
            let mut whole = Frames::of(&mut stream);
            let frame = whole.next().unwrap().unwrap();
            assert_eq!(frame.peek().len(), len);
            assert_eq!(frame.packet().len(), len);
            assert_eq!((whole.next(), whole.unparsed()), (None, 0));
        }
        assert_eq!(prefix(MAX_PACKET + 1), None);
    }

    fn stream() -> impl Strategy<Value = Vec<u8>> {
        let packet = prop_oneof![
            4 => prop::collection::vec(any::<u8>(), 2..60),
            1 => prop::collection::vec(any::<u8>(), 1_300..1_500),
            1 => prop::collection::vec(any::<u8>(), 0..2),
        ];
        prop::collection::vec(packet, 0..12).prop_map(|packets| {
            let framed = packets.iter().flat_map(|packet| {
                let prefix = prefix(packet.len()).unwrap();
                prefix.into_iter().chain(packet.iter().copied())
            });
            framed.collect()
        })
    }

    proptest! {
        #[test]
        fn cuts_change_nothing(stream in stream(), mut cuts in prop::collection::vec(0usize..4_000, 0..40)) {
            cuts.sort_unstable();
            prop_assert_eq!(read(&stream, &cuts), read(&stream, &[]));
        }

        #[test]
        fn single_bytes_change_nothing(stream in stream()) {
            let cuts: Vec<usize> = (0..stream.len()).collect();
            prop_assert_eq!(read(&stream, &cuts), read(&stream, &[]));
        }

        #[test]
        fn any_bytes_are_taken_apart(bytes in prop::collection::vec(any::<u8>(), 0..3_000)) {
            let (packets, broken) = read(&bytes, &[]);
            let parsed: usize = packets.iter().map(|packet| PREFIX + packet.len()).sum();
            prop_assert!(parsed <= bytes.len());
            prop_assert!(!broken || bytes.len() >= parsed + PREFIX);
        }

        #[test]
        fn boundaries_are_those_of_packets(lens in prop::collection::vec(2usize..50, 1..10), at in 0usize..600) {
            let frames: Vec<u8> = lens
                .iter()
                .flat_map(|len| prefix(*len).unwrap().into_iter().chain(vec![0; *len]))
                .collect();
            let (count, begin) = boundary(&frames, at);
            let begins: usize = lens[..count].iter().map(|len| PREFIX + len).sum();
            prop_assert_eq!(begin, begins);
            prop_assert!(begin <= at);
            if let Some(len) = lens.get(count) {
                prop_assert!(at < begin + PREFIX + len);
            }
        }
    }
}
