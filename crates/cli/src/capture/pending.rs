//! Packets that wait to be written in the order in which they came: each worker's are passed on by themselves.

use std::io::Write;
use std::time::Duration;

use anyhow::Result;
use udco_ipc::capture::Captured;

use super::file::File;
use super::unreadable;

/// Bytes after which nothing more waits.
const AMPLE: usize = 8 << 20;

/// Packets of one or more messages.
#[derive(Debug, Default)]
pub(super) struct Pending {
    bytes: Vec<u8>,
    /// When each came, since 1970, and where it begins.
    packets: Vec<(Duration, usize)>,
}

impl Pending {
    /// Adds the packets of a message. `offset`: what the engine's clock is behind the time of day.
    ///
    /// # Errors
    /// If they cannot be read.
    pub(super) fn add(&mut self, packets: &[u8], offset: Duration) -> Result<()> {
        let mut rest = packets;
        while !rest.is_empty() {
            let begin = self.bytes.len() + packets.len() - rest.len();
            let packet;
            (packet, rest) = Captured::decode(rest).map_err(unreadable)?;
            let at = offset + Duration::from_nanos(packet.at);
            self.packets.push((at, begin));
        }
        self.bytes.extend_from_slice(packets);
        Ok(())
    }

    /// Whether they are to be written, whatever comes next.
    pub(super) fn is_ample(&self) -> bool {
        self.bytes.len() > AMPLE
    }

    /// Writes them, until the file has `count` packets; none is left.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub(super) fn write(&mut self, file: &mut File<impl Write>, count: u64) -> Result<()> {
        // Those of one worker and time stay in order.
        self.packets.sort_by_key(|(at, _)| *at);
        for (at, begin) in self.packets.drain(..) {
            if file.packets() >= count {
                break;
            }
            let packet = self.bytes.get(begin..).unwrap_or_default();
            let (packet, _) = Captured::decode(packet).map_err(unreadable)?;
            file.packet(&packet, at)?;
        }
        self.bytes.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use pcap_file::pcapng::{Block, PcapNgReader};
    use udco_ipc::capture::Way;

    use super::*;

    fn message(times: &[u64]) -> Vec<u8> {
        let packets = times.iter().flat_map(|at| {
            let bytes = [*at as u8];
            let packet = Captured {
                at: *at,
                way: Way::InnerIn,
                peer: None,
                ends: None,
                dropped: None,
                length: 1,
                bytes: &bytes,
            };
            let header = packet.header().unwrap();
            [&header[..], &bytes].concat()
        });
        packets.collect()
    }

    fn written(messages: &[&[u64]], count: u64) -> Vec<u8> {
        let (mut bytes, mut pending) = (Vec::new(), Pending::default());
        let mut file = File::begin(&mut bytes, String::new(), "tun0", 100).unwrap();
        for times in messages {
            pending
                .add(&message(times), Duration::from_secs(1))
                .unwrap();
        }
        pending.write(&mut file, count).unwrap();
        pending.write(&mut file, count).unwrap();
        drop(file);
        let mut reader = PcapNgReader::new(&bytes[..]).unwrap();
        let mut packets = Vec::new();
        while let Some(block) = reader.next_block() {
            if let Block::EnhancedPacket(block) = block.unwrap() {
                let since = block.timestamp - Duration::from_secs(1);
                assert_eq!(since.as_nanos(), u128::from(block.data[0]));
                packets.push(block.data[0]);
            }
        }
        packets
    }

    #[test]
    fn packets_of_several_workers_are_written_in_order_and_no_more_than_wanted() {
        let messages: [&[u64]; 3] = [&[1, 4, 9], &[], &[2, 4, 5]];
        assert_eq!(written(&messages, u64::MAX), [1, 2, 4, 4, 5, 9]);
        assert_eq!(written(&messages, 2), [1, 2]);
    }

    #[test]
    fn half_a_packet_is_an_error() {
        let message = message(&[1, 2]);
        let cut = &message[..message.len() - 1];
        assert!(Pending::default().add(cut, Duration::ZERO).is_err());
    }
}
