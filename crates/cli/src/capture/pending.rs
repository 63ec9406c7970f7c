//! Packets that wait to be written in the order in which they came: each worker's are passed on by themselves.

use std::io::Write;

use anyhow::Result;
use udco_ipc::capture::{Batch, Captured, MAX_BATCH};

use super::file::File;
use super::time_of_day::TimeOfDay;
use super::unreadable;

/// Bytes after which nothing more waits.
const AMPLE: usize = 8 << 20;

/// Packets of one or more messages.
#[derive(Debug)]
pub(super) struct Pending {
    /// The messages, one after the other, and room for one more.
    bytes: Box<[u8]>,
    len: usize,
    /// When each packet, or run of packets, came, by the engine's clock, and where it begins.
    runs: Vec<(u64, usize)>,
}

impl Pending {
    pub(super) fn new() -> Self {
        Self {
            // The kernel gives memory for it when it is first used.
            bytes: vec![0; AMPLE + MAX_BATCH].into(),
            len: 0,
            runs: Vec::new(),
        }
    }

    /// Where the next message is to be received.
    pub(super) fn room(&mut self) -> &mut [u8] {
        self.bytes.get_mut(self.len..).unwrap_or_default()
    }

    /// Adds the packets of a message of this length, which lies in [`Self::room`]; returns how it begins.
    ///
    /// # Errors
    /// If it cannot be read.
    pub(super) fn add(&mut self, len: usize) -> Result<Batch> {
        let end = self.len + len;
        let message = self.bytes.get(self.len..end).unwrap_or_default();
        let (batch, mut rest) = Batch::decode(message).map_err(unreadable)?;
        while !rest.is_empty() {
            let (len, at) = Captured::peek(rest).map_err(unreadable)?;
            self.runs.push((at, end - rest.len()));
            rest = rest.get(len..).unwrap_or_default();
        }
        self.len = end;
        Ok(batch)
    }

    /// Whether they are to be written, whatever comes next.
    pub(super) const fn is_ample(&self) -> bool {
        self.len > AMPLE
    }

    /// Writes them, until the file has `count` packets; none is left. A batch that was added has brought the `time`.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub(super) fn write(
        &mut self,
        file: &mut File<impl Write>,
        count: u64,
        time: Option<TimeOfDay>,
    ) -> Result<()> {
        // Those of one worker and time stay in order.
        self.runs.sort_by_key(|(at, _)| *at);
        for (at, begin) in self.runs.drain(..) {
            let run = self.bytes.get(begin..).unwrap_or_default();
            let (run, _) = Captured::decode(run).map_err(unreadable)?;
            let room = count.saturating_sub(file.packets());
            let room = usize::try_from(room).unwrap_or(usize::MAX);
            file.run(&run, time.map_or(at, |time| time.at(at)), room)?;
        }
        self.len = 0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use pcap_file::pcapng::{Block, PcapNgReader};
    use udco_ipc::capture::Way;

    use super::*;

    fn message(times: &[u64]) -> Vec<u8> {
        let batch = Batch { now: 9, lost: 3 };
        let packets = times.iter().flat_map(|at| {
            // One of two bytes, of which one is captured, and a shorter one.
            let bytes = [*at as u8; 2];
            let run = Captured {
                at: *at,
                way: Way::InnerIn,
                peer: None,
                ends: None,
                dropped: None,
                length: 2,
                last_length: 1,
                each: 1,
                bytes: &bytes,
            };
            [&run.header(2)[..], &bytes].concat()
        });
        batch.encode().into_iter().chain(packets).collect()
    }

    fn add(pending: &mut Pending, message: &[u8]) -> Result<Batch> {
        pending.room()[..message.len()].copy_from_slice(message);
        pending.add(message.len())
    }

    fn written(messages: &[&[u64]], count: u64) -> Vec<(u8, u32)> {
        let (mut bytes, mut pending) = (Vec::new(), Pending::new());
        let mut file = File::begin(&mut bytes, String::new(), "tun0", 100).unwrap();
        for times in messages {
            let batch = add(&mut pending, &message(times)).unwrap();
            assert_eq!(batch, Batch { now: 9, lost: 3 });
        }
        for _ in 0..2 {
            pending.write(&mut file, count, None).unwrap();
        }
        file.flush().unwrap();
        drop(file);
        let mut reader = PcapNgReader::new(&bytes[..]).unwrap();
        let mut packets = Vec::new();
        while let Some(block) = reader.next_block() {
            if let Block::EnhancedPacket(block) = block.unwrap() {
                assert_eq!(block.timestamp.as_nanos(), u128::from(block.data[0]));
                packets.push((block.data[0], block.original_len));
            }
        }
        packets
    }

    #[test]
    fn packets_of_several_workers_are_written_in_order_and_no_more_than_wanted() {
        let messages: [&[u64]; 3] = [&[1, 4, 9], &[], &[2, 4, 5]];
        let all = [1, 2, 4, 4, 5, 9].map(|at| [(at, 2), (at, 1)]).concat();
        assert_eq!(written(&messages, u64::MAX), all);
        assert_eq!(written(&messages, 3), all[..3]);
    }

    #[test]
    fn half_a_packet_is_an_error() {
        let message = message(&[1, 2]);
        let cut = &message[..message.len() - 1];
        assert!(add(&mut Pending::new(), cut).is_err());
    }
}
