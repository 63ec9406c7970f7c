//! The receiving side of a stream: what is kept between two reads.

use udco_ipc::Partial;

/// The receiving side.
pub(super) struct Reader {
    /// The start of a packet whose end has not come yet.
    pub(super) kept: Vec<u8>,
    /// The packet that OpenVPN had read in part when it handed over the stream.
    pub(super) partial: Partial,
    /// The start of the next packet is unknown: everything is discarded.
    pub(super) is_desynced: bool,
}

impl Reader {
    /// How many of these bytes complete the packet that OpenVPN had read in part.
    pub(super) fn take_remainder(&mut self, bytes: &[u8]) -> usize {
        let mut remainder = 0;
        if let Partial::Length(high) = self.partial
            && let Some(low) = bytes.first()
        {
            remainder = 1;
            self.partial = Partial::Packet(u16::from_be_bytes([high, *low]));
        }
        if let Partial::Packet(missing) = self.partial {
            let here = usize::from(missing).min(bytes.len() - remainder);
            remainder += here;
            self.partial = match usize::from(missing) - here {
                0 => Partial::Nothing,
                left => Partial::Packet(u16::try_from(left).unwrap_or_default()),
            };
        }
        remainder
    }
}
