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
use udco_core::DropReason;
use udco_ipc::capture::{Captured, Way};

use super::headers::{self, Headers};
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

/// Directions, as `epb_flags` has them.
const INBOUND: u32 = 1;
const OUTBOUND: u32 = 2;

/// An Enhanced Packet Block, the bytes before its packet, and its options.
const ENHANCED_PACKET: u32 = 6;
const HEAD: usize = 28;
const END: u16 = 0;
const COMMENT: u16 = 1;
const FLAGS: u16 = 2;

/// Bytes after which blocks are written.
const AMPLE: usize = 256 << 10;

/// A file that is written.
pub(super) struct File<W: Write> {
    writer: PcapNgWriter<W>,
    /// Blocks of packets that are not written yet: at a million packets a second, the crate's writer would cost more than
    /// all else.
    blocks: Vec<u8>,
    headers: Headers,
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
            blocks: Vec::new(),
            headers: Headers::default(),
            place,
            written: [0; INTERFACES.len()],
            last: 0,
        })
    }

    /// Adds a packet that was seen at this time, in nanoseconds since 1970.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(super) fn packet(&mut self, packet: &Captured<'_>, at: u64) -> Result<()> {
        let is_outer = matches!(packet.way, Way::OuterIn | Way::OuterOut);
        let interface = match packet.dropped {
            Some(_) => 2,
            None => usize::from(is_outer),
        };
        let begin = self.blocks.len();
        self.blocks.extend_from_slice(&[0; HEAD]);
        if is_outer {
            self.headers.put(packet, &mut self.blocks);
        }
        let made_up = self.blocks.len() - begin - HEAD;
        self.blocks.extend_from_slice(packet.bytes);
        let captured = made_up + packet.bytes.len();
        self.pad(captured);
        let direction = match packet.way {
            Way::InnerIn | Way::OuterIn => INBOUND,
            Way::InnerOut | Way::OuterOut => OUTBOUND,
        };
        self.blocks.extend_from_slice(&option(FLAGS, 4));
        self.blocks.extend_from_slice(&direction.to_ne_bytes());
        if let Some(reason) = packet.dropped {
            let comment = comment(packet, reason);
            let len = u16::try_from(comment.len()).unwrap_or_default();
            self.blocks.extend_from_slice(&option(COMMENT, len));
            self.blocks.extend_from_slice(comment.as_bytes());
            self.pad(comment.len());
        }
        self.blocks.extend_from_slice(&option(END, 0));
        let total = (self.blocks.len() - begin + 4) as u32;
        self.blocks.extend_from_slice(&total.to_ne_bytes());
        let head = [
            ENHANCED_PACKET,
            total,
            interface as u32,
            (at >> 32) as u32,
            at as u32,
            captured as u32,
            (made_up as u32).saturating_add(packet.length.max(packet.bytes.len() as u32)),
        ];
        let place = self.blocks.get_mut(begin..).unwrap_or_default();
        for (place, field) in place.chunks_exact_mut(4).zip(head) {
            place.copy_from_slice(&field.to_ne_bytes());
        }
        if let Some(written) = self.written.get_mut(interface) {
            *written += 1;
        }
        self.last = at;
        if self.blocks.len() >= AMPLE {
            self.write_blocks()?;
        }
        Ok(())
    }

    /// Fills up to four bytes after this many.
    fn pad(&mut self, len: usize) {
        let len = self.blocks.len() + len.next_multiple_of(4) - len;
        self.blocks.resize(len, 0);
    }

    fn write_blocks(&mut self) -> Result<()> {
        let written = self.writer.get_mut().write_all(&self.blocks);
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

/// The beginning of an option: its code, and the length of its value.
fn option(code: u16, len: u16) -> [u8; 4] {
    let ([a, b], [c, d]) = (code.to_ne_bytes(), len.to_ne_bytes());
    [a, b, c, d]
}

/// The comment of a dropped packet.
fn comment(packet: &Captured<'_>, reason: u16) -> String {
    let reason = DropReason::ALL.get(usize::from(reason));
    let reason = reason.map_or("unknown", |reason| reason.name());
    match packet.peer {
        Some(peer) => format!("dropped: {reason} (peer {peer})"),
        None => format!("dropped: {reason}"),
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
            file.packet(&packet, at).unwrap();
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
