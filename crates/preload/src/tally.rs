//! Tracks how far the program has read into a TCP stream, until the engine takes it over.
//!
//! At that moment OpenVPN may have read a packet in part. The engine gives it the remainder first, so that neither
//! loses its place (openvpn-integration 3.13; the kernel driver has no such protection: dco-behaviour 4.6).

use udco_ipc::Partial;

/// The position in a stream of length-prefixed packets.
#[derive(Clone, Copy, Default)]
pub(crate) struct Tally(Partial);

impl Tally {
    /// The packet that has been read in part.
    pub(crate) fn partial(self) -> Partial {
        self.0
    }

    /// Counts bytes that were read.
    pub(crate) fn count(&mut self, mut bytes: &[u8]) {
        while let Some((first, rest)) = bytes.split_first() {
            (self.0, bytes) = match self.0 {
                Partial::Nothing => (Partial::Length(*first), rest),
                Partial::Length(high) => (missing(u16::from_be_bytes([high, *first])), rest),
                Partial::Packet(wanted) => {
                    let read = bytes.len().min(usize::from(wanted));
                    let left = usize::from(wanted) - read;
                    let left = u16::try_from(left).unwrap_or_default();
                    (missing(left), bytes.get(read..).unwrap_or_default())
                }
            };
        }
    }
}

fn missing(bytes: u16) -> Partial {
    match bytes {
        0 => Partial::Nothing,
        bytes => Partial::Packet(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_counted_however_it_is_cut() {
        let stream = [0, 3, 1, 2, 3, 0, 0, 1, 0, 9];
        let stands = [
            Partial::Nothing,
            Partial::Length(0),
            Partial::Packet(3),
            Partial::Packet(2),
            Partial::Packet(1),
            Partial::Nothing,
            Partial::Length(0),
            Partial::Nothing,
            Partial::Length(1),
            Partial::Packet(256),
            Partial::Packet(255),
        ];
        for (end, stand) in stands.into_iter().enumerate() {
            for cut in 0..=end {
                let mut tally = Tally::default();
                tally.count(&stream[..cut]);
                tally.count(&stream[cut..end]);
                assert_eq!(tally.partial(), stand, "{cut} of {end}");
            }
        }
    }
}
