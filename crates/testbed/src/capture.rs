//! A capture of the wire by tcpdump, which counts OpenVPN's packets and finds cleartext.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use rustix::process::Signal;

use crate::lab::Link;
use crate::pcap::{self, Frame, IpPacket, be16};
use crate::process::Process;
use crate::wait::skip_part;

/// Payload of every echo request of [`crate::measure::Ping`]; long enough never to appear in ciphertext by chance.
pub const MARKER: [u8; 16] = *b"udco-clear-mark!";

/// Opcode of data packets with a peer id (dco-behaviour 1.1).
pub const DATA_V2: u8 = 9;

/// OpenVPN's port in every scenario.
const PORT: u16 = 1194;

/// Bytes captured of each frame: headers, and enough payload to hold the whole marker.
const SNAP: &str = "192";

/// A running capture on one device.
#[derive(Debug)]
pub struct Capture {
    process: Process,
    file: PathBuf,
}

impl Capture {
    /// Starts to capture both directions at end `a` of a link, with super-packets split. In an unprivileged lab it
    /// reports that and returns `None`.
    ///
    /// # Errors
    /// If tcpdump fails.
    pub fn start(link: &Link) -> Result<Option<Self>> {
        Self::start_filtered(link, "")
    }

    /// The same, only of packets outside the tunnel.
    ///
    /// # Errors
    /// If tcpdump fails.
    pub fn start_beside(link: &Link) -> Result<Option<Self>> {
        Self::start_filtered(link, &format!("not port {PORT}"))
    }

    fn start_filtered(link: &Link, filter: &str) -> Result<Option<Self>> {
        let (host, device) = (link.host_a(), &link.a);
        if !host.is_privileged() {
            // As uid 0 tcpdump insists on setgroups(2), which an unprivileged user namespace forbids.
            skip_part(
                "no look at the wire: tcpdump does not run in an unprivileged user namespace",
            );
            return Ok(None);
        }
        link.split_segments()?;
        // A scenario may capture on a link more than once.
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("capture-{}-{device}-{number}", host.name());
        let file = host.directory().join(format!("{name}.pcap"));
        let mut process = host.spawn(
            &name,
            &[
                "tcpdump",
                "--immediate-mode",
                "-i",
                device,
                "-n",
                "-s",
                SNAP,
                "-B",
                "65536",
                "-Z",
                "root",
                "-w",
                &file.to_string_lossy(),
                filter,
            ],
        )?;
        process.wait_for_log("listening on", Duration::from_secs(10))?;
        Ok(Some(Self { process, file }))
    }

    /// Ends the capture and parses it.
    ///
    /// # Errors
    /// If tcpdump lost packets: an incomplete capture proves nothing.
    pub fn stop(mut self) -> Result<Trace> {
        // The signal discards whatever is still in tcpdump's ring.
        std::thread::sleep(Duration::from_millis(300));
        self.process.signal(Signal::INT)?;
        self.process.wait(Duration::from_secs(10))?;
        let log = self.process.log();
        ensure!(
            log.contains("\n0 packets dropped by kernel"),
            "the capture is incomplete: {log}"
        );
        Trace::read(&fs::read(&self.file)?)
    }
}

/// A count of packets and bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Number of packets.
    pub packets: u64,
    /// Bytes from the opcode on, as the peer's link counters count them.
    pub bytes: u64,
}

/// A finished capture.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    /// OpenVPN packets over UDP by opcode.
    pub opcodes: BTreeMap<u8, u64>,
    /// DATA_V2 packets by sender.
    pub data: BTreeMap<IpAddr, Tally>,
    /// Peer ids seen in DATA_V2 packets by sender.
    pub peer_ids: BTreeMap<IpAddr, Vec<u32>>,
    /// First words of DATA_V2 packets by sender: opcode, key id and peer id (dco-behaviour 1.1).
    pub first_words: BTreeMap<IpAddr, BTreeSet<u32>>,
    /// IP fragments by sender, first fragments included.
    pub fragments: BTreeMap<IpAddr, u64>,
    /// One line per packet that should have been inside the tunnel.
    pub clear: Vec<String>,
}

impl Trace {
    fn read(file: &[u8]) -> Result<Self> {
        let mut trace = Self::default();
        for frame in pcap::frames(file)? {
            match Frame::parse(frame) {
                Some(Frame::Arp) => {}
                Some(Frame::Ip(packet)) => trace.ip(&packet),
                Some(Frame::Other(kind)) => trace.clear.push(format!("EtherType {kind:#06x}")),
                None => trace.clear.push("a frame that cannot be read".to_owned()),
            }
        }
        Ok(trace)
    }

    /// Checks that no packet was in the clear, and that there were data packets at all.
    ///
    /// # Errors
    /// Lists the first few packets in the clear.
    pub fn require_private(&self) -> Result<()> {
        let first: Vec<_> = self.clear.iter().take(5).collect();
        ensure!(
            first.is_empty(),
            "{} packets in clear: {first:#?}",
            self.clear.len()
        );
        ensure!(
            self.data.len() >= 2,
            "no data packets both ways: {:?}",
            self.opcodes
        );
        Ok(())
    }

    fn ip(&mut self, packet: &IpPacket<'_>) {
        let payload = packet.payload;
        if packet.is_fragment {
            *self.fragments.entry(packet.source).or_default() += 1;
        }
        let ports = [be16(payload, 0), be16(payload, 2)];
        let is_tunnel = !packet.is_start || ports.contains(&Some(PORT));
        let reason = if packet
            .payload
            .windows(MARKER.len())
            .any(|window| window == MARKER)
        {
            Some("marker")
        } else if is_inner(packet.source) || is_inner(packet.destination) {
            Some("inner address")
        } else if (matches!(packet.protocol, 6 | 17) && is_tunnel) || is_housekeeping(packet) {
            None
        } else {
            Some("not the tunnel's")
        };
        if let Some(reason) = reason {
            self.clear.push(format!(
                "{reason}: {} > {}, protocol {}, ports {ports:?}",
                packet.source, packet.destination, packet.protocol
            ));
        } else if packet.protocol == 17 && packet.is_start {
            self.datagram(packet);
        }
    }

    fn datagram(&mut self, packet: &IpPacket<'_>) {
        let (Some(length), Some(message)) = (be16(packet.payload, 4), packet.payload.get(8..))
        else {
            return;
        };
        let Some(&first) = message.first() else {
            return;
        };
        let opcode = first >> 3;
        *self.opcodes.entry(opcode).or_default() += 1;
        if opcode == DATA_V2 {
            let tally = self.data.entry(packet.source).or_default();
            tally.packets += 1;
            tally.bytes += u64::from(length).saturating_sub(8);
            if let Some(&[a, b, c]) = message.get(1..4) {
                let word = u32::from_be_bytes([first, a, b, c]);
                self.first_words
                    .entry(packet.source)
                    .or_default()
                    .insert(word);
                let ids = self.peer_ids.entry(packet.source).or_default();
                let id = u32::from_be_bytes([0, a, b, c]);
                if !ids.contains(&id) {
                    ids.push(id);
                }
            }
            // dco-behaviour 1.2: the ciphertext follows 24 bytes of header; an inner packet there is a leak, too.
            if message.get(24..).is_some_and(looks_inner) {
                self.clear
                    .push("an inner packet in a DATA_V2 packet".to_owned());
            }
        }
    }
}

/// Addresses of the tunnel networks: 10.8.0.0/16 and fd00:8::/32.
fn is_inner(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.octets().starts_with(&[10, 8]),
        IpAddr::V6(v6) => v6.octets().starts_with(&[0xfd, 0, 0, 8]),
    }
}

fn looks_inner(packet: &[u8]) -> bool {
    packet.first() == Some(&0x45)
        && packet.get(12..15) == Some(&[10, 8, 0])
        && packet.get(16..19) == Some(&[10, 8, 0])
}

/// Traffic that two hosts on a link exchange anyway: ICMP errors, IPv6 neighbours, routers and multicast listeners, but
/// not echo.
fn is_housekeeping(packet: &IpPacket<'_>) -> bool {
    let kind = packet.payload.first().copied().unwrap_or(0);
    match packet.protocol {
        1 => matches!(kind, 3 | 11),
        58 => matches!(kind, 1..=4 | 130..=137 | 143),
        _ => false,
    }
}
