//! The file: pcapng, with an interface for each side of the tunnel and one for drops.

use std::borrow::Cow;
use std::io::Write;
use std::time::Duration;

use anyhow::Result;
use pcap_file::pcapng::PcapNgWriter;
use pcap_file::pcapng::blocks::enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption};
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

/// A file that is written.
pub(super) struct File<W: Write> {
    writer: PcapNgWriter<W>,
    headers: Headers,
    /// Where it is written, for messages: `to standard output`, or its name.
    place: String,
    /// Packets written, by interface.
    written: [u64; INTERFACES.len()],
    /// When the last one came, since 1970.
    last: Duration,
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
            headers: Headers::default(),
            place,
            written: [0; INTERFACES.len()],
            last: Duration::ZERO,
        })
    }

    /// Adds a packet that was seen at this time, since 1970.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(super) fn packet(&mut self, packet: &Captured<'_>, at: Duration) -> Result<()> {
        let is_outer = matches!(packet.way, Way::OuterIn | Way::OuterOut);
        let interface = match packet.dropped {
            Some(_) => 2,
            None => usize::from(is_outer),
        };
        let header = match is_outer {
            true => self.headers.of(packet),
            false => Vec::new(),
        };
        let original_len = u32::try_from(header.len()).unwrap_or_default() + packet.length;
        let data = match header.is_empty() {
            true => Cow::Borrowed(packet.bytes),
            false => Cow::Owned([&header, packet.bytes].concat()),
        };
        let direction = match packet.way {
            Way::InnerIn | Way::OuterIn => INBOUND,
            Way::InnerOut | Way::OuterOut => OUTBOUND,
        };
        let mut options = vec![EnhancedPacketOption::Flags(direction)];
        options.extend(
            packet
                .dropped
                .map(|reason| EnhancedPacketOption::Comment(comment(packet, reason).into())),
        );
        let block = EnhancedPacketBlock {
            interface_id: interface as u32,
            timestamp: at,
            original_len,
            data,
            options,
        };
        explain(&self.place, self.writer.write_pcapng_block(block))?;
        if let Some(written) = self.written.get_mut(interface) {
            *written += 1;
        }
        self.last = at;
        Ok(())
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
        output::explain_at(&self.place, self.writer.get_mut().flush())
    }

    /// Ends the file: each interface has its counts, and the first one the losses of the capture.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(super) fn end(&mut self, lost: u64) -> Result<()> {
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
fn upper_half_first(time: Duration) -> u64 {
    let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    match Endianness::native() {
        Endianness::Little => nanoseconds.rotate_left(32),
        Endianness::Big => nanoseconds,
    }
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
        let at = Duration::from_nanos(1_700_000_000_123_456_789);
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
                    assert_eq!(block.timestamp, at);
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
        file.last = Duration::from_nanos(0x0011_2233_4455_6677);
        file.end(0).unwrap();
        assert_eq!(bytes[8..12], 0x1a2b_3c4d_u32.to_ne_bytes());
        let time = [0x0011_2233_u32, 0x4455_6677]
            .map(u32::to_ne_bytes)
            .concat();
        let statistics = bytes.windows(8).filter(|part| *part == time);
        assert_eq!(statistics.count(), INTERFACES.len());
    }
}
