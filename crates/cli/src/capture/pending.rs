//! Packets that wait to be written in the order in which they came: each worker's are passed on by themselves.

use std::io::Write;

use anyhow::Result;
use udco_ipc::Malformed;
use udco_ipc::capture::{BLOCK, Captured, Filled};
use udco_sys::shared::Reader;

use super::file::File;
use super::time_of_day::TimeOfDay;
use super::unreadable;

/// Bytes after which nothing more waits.
const AMPLE: usize = 8 << 20;

/// Packets of one or more blocks.
#[derive(Debug)]
pub(super) struct Pending {
    /// What was in the blocks, one after the other, and room for one more.
    bytes: Box<[u8]>,
    len: usize,
    /// When each packet, or run of packets, came, by the engine's clock, and where it begins.
    runs: Vec<(u64, usize)>,
}

impl Pending {
    pub(super) fn new() -> Self {
        Self {
            // The kernel gives memory for it when it is first used.
            bytes: vec![0; AMPLE + BLOCK].into(),
            len: 0,
            runs: Vec::new(),
        }
    }

    /// Adds the packets of a block of the engine's file.
    ///
    /// # Errors
    /// If they cannot be read.
    pub(super) fn add(&mut self, blocks: &Reader, filled: Filled) -> Result<()> {
        let end = self.len + filled.len as usize;
        let block = self.bytes.get_mut(self.len..end).unwrap_or_default();
        if !blocks.copy(filled.block as usize * BLOCK, block) {
            return Err(unreadable(Malformed));
        }
        let mut rest = &*block;
        while !rest.is_empty() {
            let (len, at) = Captured::peek(rest).map_err(unreadable)?;
            self.runs.push((at, end - rest.len()));
            rest = rest.get(len..).unwrap_or_default();
        }
        self.len = end;
        Ok(())
    }

    /// Whether they are to be written, whatever comes next.
    pub(super) const fn is_ample(&self) -> bool {
        self.len > AMPLE
    }

    /// Writes them, until the file has `count` packets; none is left. The first message has brought the `time`.
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
    use udco_sys::shared;

    use super::*;

    fn block(times: &[u64]) -> Vec<u8> {
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
        packets.collect()
    }

    /// Adds it as a block of a file.
    fn add(pending: &mut Pending, block: &[u8]) -> Result<()> {
        let (file, mut blocks) = shared::blocks("blocks", 2, BLOCK).unwrap();
        blocks[1].append(block);
        let filled = Filled {
            block: 1,
            len: block.len() as u32,
        };
        pending.add(&Reader::new(&file, 2 * BLOCK).unwrap(), filled)
    }

    fn written(blocks: &[&[u64]], count: u64) -> Vec<(u8, u32)> {
        let (mut bytes, mut pending) = (Vec::new(), Pending::new());
        let mut file = File::begin(&mut bytes, String::new(), "tun0", 100).unwrap();
        for times in blocks {
            add(&mut pending, &block(times)).unwrap();
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
        let blocks: [&[u64]; 3] = [&[1, 4, 9], &[], &[2, 4, 5]];
        let all = [1, 2, 4, 4, 5, 9].map(|at| [(at, 2), (at, 1)]).concat();
        assert_eq!(written(&blocks, u64::MAX), all);
        assert_eq!(written(&blocks, 3), all[..3]);
    }

    #[test]
    fn half_a_packet_is_an_error() {
        let block = block(&[1, 2]);
        let cut = &block[..block.len() - 1];
        assert!(add(&mut Pending::new(), cut).is_err());
    }
}
