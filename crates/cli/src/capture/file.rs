//! The file: pcapng, with an interface for each side of the tunnel and one for drops.

use std::borrow::Cow;
use std::io::Write;

use anyhow::Result;
use pcap_file::pcapng::PcapNgWriter;
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption,
};
use pcap_file::pcapng::blocks::interface_statistics::{
    InterfaceStatisticsBlock, InterfaceStatisticsOption,
};
use pcap_file::{DataLink, Endianness};
use udco_ipc::capture::{Captured, Way};

use super::blocks::Blocks;
use super::headers;
use crate::output;

/// The interfaces, in this order.
const INTERFACES: [(&str, &str); 3] = [
    ("inner", "inside the tunnel: not sealed yet, or opened"),
    (
        "outer",
        "on the transport socket; IP, UDP and TCP headers are made up",
    ),
    ("dropped", "dropped, with the reason as comment"),
];

/// Time stamps are in nanoseconds: a negative power of 10.
const NANOSECONDS: u8 = 9;

/// Bytes after which blocks are written.
const AMPLE: usize = 256 << 10;

/// A file that is written.
pub(super) struct File<W: Write> {
    writer: PcapNgWriter<W>,
    /// Those that are not written yet.
    blocks: Blocks,
    /// Where it is written, for messages: `to standard output`, or its name.
    place: String,
    /// Packets written, by interface.
    written: [u64; INTERFACES.len()],
    /// When the last one came, in nanoseconds since 1970.
    last: u64,
}

impl<W: Write> File<W> {
    /// Begins the file.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(super) fn begin(to: W, place: String, device: &str, snap: u32) -> Result<Self> {
        // Behind a pipe, `tshark -i -` takes no other byte order than its own.
        let writer = PcapNgWriter::with_endianness(to, Endianness::native());
        let mut writer = explain(&place, writer)?;
        for (side, description) in INTERFACES {
            let interface = InterfaceDescriptionBlock {
                linktype: DataLink::RAW,
                snaplen: snap + headers::LONGEST,
                options: vec![
                    InterfaceDescriptionOption::IfName(format!("{device} {side}").into()),
                    InterfaceDescriptionOption::IfDescription(Cow::Borrowed(description)),
                    InterfaceDescriptionOption::IfTsResol(NANOSECONDS),
                ],
            };
            explain(&place, writer.write_pcapng_block(interface))?;
        }
        Ok(Self {
            writer,
            blocks: Blocks::default(),
            place,
            written: [0; INTERFACES.len()],
            last: 0,
        })
    }

    /// Adds the first `count` packets of a run that was seen at this time, in nanoseconds since 1970.
    ///
    /// # Errors
    /// If they cannot be written.
    pub(super) fn run(&mut self, run: &Captured<'_>, at: u64, count: usize) -> Result<()> {
        let interface = match (run.dropped, run.way) {
            (Some(_), _) => 2,
            (None, Way::OuterIn | Way::OuterOut) => 1,
            (None, Way::InnerIn | Way::InnerOut) => 0,
        };
        let added = self.blocks.add(run, interface, at, count);
        if let Some(written) = self.written.get_mut(interface as usize) {
            *written += added;
        }
        self.last = at;
        if self.blocks.bytes().len() >= AMPLE {
            self.write_blocks()?;
        }
        Ok(())
    }

    fn write_blocks(&mut self) -> Result<()> {
        let written = self.writer.get_mut().write_all(self.blocks.bytes());
        self.blocks.clear();
        output::explain_at(&self.place, written)
    }

    /// Packets written so far.
    pub(super) fn packets(&self) -> u64 {
        self.written.iter().sum()
    }

    /// Hands on what is buffered.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(super) fn flush(&mut self) -> Result<()> {
        self.write_blocks()?;
        output::explain_at(&self.place, self.writer.get_mut().flush())
    }

    /// Ends the file: each interface has its counts, and the first one the losses of the capture.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(super) fn end(&mut self, lost: u64) -> Result<()> {
        self.write_blocks()?;
        for (interface, written) in self.written.into_iter().enumerate() {
            let lost = if interface == 0 { lost } else { 0 };
            let statistics = InterfaceStatisticsBlock {
                interface_id: interface as u32,
                timestamp: upper_half_first(self.last),
                options: vec![
                    InterfaceStatisticsOption::IsbIfRecv(written + lost),
                    InterfaceStatisticsOption::IsbIfDrop(lost),
                ],
            };
            explain(&self.place, self.writer.write_pcapng_block(statistics))?;
        }
        self.flush()
    }
}

/// A time in nanoseconds, so that the upper half of its bits comes first in the file: the format has two numbers of 32
/// bits there, and the crate writes one of 64.
fn upper_half_first(nanoseconds: u64) -> u64 {
    match Endianness::native() {
        Endianness::Little => nanoseconds.rotate_left(32),
        Endianness::Big => nanoseconds,
    }
}

fn explain<T>(place: &str, written: Result<T, pcap_file::PcapError>) -> Result<T> {
    match written {
        Err(pcap_file::PcapError::IoError(error)) => output::explain_at(place, Err(error)),
        written => Ok(written?),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use pcap_file::pcapng::blocks::enhanced_packet::EnhancedPacketOption;
    use pcap_file::pcapng::{Block, PcapNgReader};
    use udco_core::DropReason;
    use udco_ipc::capture::Ends;

    use super::*;

    fn packet(way: Way, dropped: Option<DropReason>, bytes: &[u8]) -> Captured<'_> {
        Captured {
            at: 0,
            way,
            peer: Some(3),
            ends: matches!(way, Way::OuterIn | Way::OuterOut).then_some(Ends {
                local: "192.0.2.1:1194".parse().unwrap(),
                remote: "192.0.2.2:5000".parse().unwrap(),
                is_stream: false,
            }),
            dropped: dropped.map(|reason| reason as u16),
            length: 100,
            last_length: 100,
            each: bytes.len() as u32,
            bytes,
        }
    }

    #[test]
    fn a_file_that_cannot_be_written_is_named() {
        let full = std::fs::File::options().write(true).open("/dev/full");
        let file = File::begin(full.unwrap(), "/dev/full".into(), "tun0", 50);
        let failed = format!("{:#}", file.err().unwrap());
        assert!(
            failed.starts_with("cannot write /dev/full: No space"),
            "{failed}"
        );
    }

    #[test]
    fn a_reader_finds_the_packets_their_reasons_and_the_losses() {
        let mut bytes = Vec::new();
        let mut file = File::begin(&mut bytes, String::new(), "tun0", 50).unwrap();
        let at = 1_700_000_000_123_456_789;
        for packet in [
            packet(Way::InnerIn, None, b"inner"),
            packet(Way::OuterOut, None, b"outer"),
            packet(Way::OuterIn, Some(DropReason::RxBadTag), b"forged"),
        ] {
            file.run(&packet, at, 1).unwrap();
        }
        assert_eq!(file.packets(), 3);
        file.end(7).unwrap();
        let mut reader = PcapNgReader::new(&bytes[..]).unwrap();
        let (mut packets, mut losses) = (Vec::new(), 0);
        while let Some(block) = reader.next_block() {
            match block.unwrap() {
                Block::EnhancedPacket(block) => {
                    assert_eq!(block.timestamp, Duration::from_nanos(at));
                    let comment = block.options.iter().find_map(|option| match option {
                        EnhancedPacketOption::Comment(comment) => Some(comment.to_string()),
                        _ => None,
                    });
                    packets.push((
                        block.interface_id,
                        block.original_len,
                        block.data.len(),
                        comment,
                    ));
                }
                Block::InterfaceStatistics(block) => {
                    for option in &block.options {
                        if let InterfaceStatisticsOption::IsbIfDrop(lost) = option {
                            losses += lost;
                        }
                    }
                }
                _ => {}
            }
        }
        let comment = Some("dropped: rx_bad_tag (peer 3)".to_owned());
        assert_eq!(
            packets,
            [(0, 100, 5, None), (1, 128, 33, None), (2, 128, 34, comment)]
        );
        assert_eq!(losses, 7);
        assert_eq!(reader.interfaces().len(), 3);
    }

    /// The bytes of all packets' blocks.
    fn blocks(write: impl FnOnce(&mut File<&mut Vec<u8>>)) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut file = File::begin(&mut bytes, String::new(), "tun0", 50).unwrap();
        write(&mut file);
        file.flush().unwrap();
        drop(file);
        bytes
    }

    #[test]
    fn a_run_is_written_as_its_packets_one_by_one() {
        for (is_stream, dropped) in [
            (false, None),
            (true, None),
            (false, Some(DropReason::RxReplay)),
        ] {
            let mut run = packet(
                Way::OuterIn,
                dropped,
                b"the first, the other, the third, last",
            );
            run.ends = run.ends.map(|ends| Ends { is_stream, ..ends });
            (run.each, run.last_length) = (11, 90);
            let whole = blocks(|file| file.run(&run, 5, 9).unwrap());
            let singly = blocks(|file| {
                for packet in run.packets() {
                    file.run(&packet, 5, 1).unwrap();
                }
            });
            assert!(whole == singly, "stream: {is_stream}, {dropped:?}");
            let some = blocks(|file| file.run(&run, 5, 2).unwrap());
            assert!(whole.starts_with(&some) && some.len() < whole.len());
        }
    }

    /// `tshark -i -` refuses any other.
    #[test]
    fn numbers_are_in_this_machines_byte_order() {
        let mut bytes = Vec::new();
        let mut file = File::begin(&mut bytes, String::new(), "tun0", 50).unwrap();
        file.last = 0x0011_2233_4455_6677;
        file.end(0).unwrap();
        assert_eq!(bytes[8..12], 0x1a2b_3c4d_u32.to_ne_bytes());
        let time = [0x0011_2233_u32, 0x4455_6677]
            .map(u32::to_ne_bytes)
            .concat();
        let statistics = bytes.windows(8).filter(|part| *part == time);
        assert_eq!(statistics.count(), INTERFACES.len());
    }
}
