//! The devices between which the kernel forwards.

use std::fs;
use std::io::ErrorKind;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use udco_sys::tun::{self, Queue, VNET_HEADER_LEN, offload};

use super::packets;

/// A super-packet with its virtio header.
const LONGEST: usize = VNET_HEADER_LEN + 65_535;

/// Packets that a device queues until they are read.
const ROOM: &str = "20000";

/// How long the kernel may take to forward a packet.
const PATIENCE: Duration = Duration::from_secs(5);

/// All offloads that the engine requests.
const BULKY: u32 = offload::CSUM
    | offload::TSO4
    | offload::TSO6
    | offload::TSO_ECN
    | offload::USO4
    | offload::USO6;

/// The four devices; see the parent module.
#[derive(Debug)]
pub(super) struct Rig {
    /// Packets written here are read from `plain`.
    pub(super) single: Queue,
    pub(super) plain: Queue,
    /// Packets written here are read from `bulky`.
    pub(super) whole: Queue,
    pub(super) bulky: Queue,
    marks: u32,
    room: Vec<u8>,
}

impl Rig {
    /// Makes the devices, and a router of this network namespace, which must be empty; `None` if the kernel lacks an
    /// offload (UDP's came with Linux 6.2).
    pub(super) fn new() -> Result<Option<Self>> {
        for (file, value) in [
            ("ipv4/ip_forward", "1"),
            ("ipv4/conf/all/rp_filter", "0"),
            ("ipv4/conf/default/rp_filter", "0"),
            ("ipv6/conf/all/forwarding", "1"),
            // Keeps the kernel from sending packets of its own.
            ("ipv6/conf/default/addr_gen_mode", "1"),
        ] {
            let path = format!("/proc/sys/net/{file}");
            fs::write(&path, value).with_context(|| format!("cannot write {path}"))?;
        }
        let rig = Self {
            single: device("single")?,
            plain: device("plain")?,
            whole: device("whole")?,
            bulky: device("bulky")?,
            marks: 0,
            room: vec![0; LONGEST],
        };
        if let Err(error) = rig.bulky.set_offload(BULKY) {
            eprintln!("not all offloads: {error}");
            return Ok(None);
        }
        for (from, to, table) in [("single", "plain", "101"), ("whole", "bulky", "102")] {
            for family in ["-4", "-6"] {
                ip(&[family, "rule", "add", "iif", from, "lookup", table])?;
                ip(&[family, "route", "add", "default", "dev", to, "table", table])?;
            }
        }
        Ok(Some(rig))
    }

    /// All packets that came out of `plain` since the last call, without virtio headers.
    pub(super) fn drain_plain(&mut self) -> Result<Vec<Vec<u8>>> {
        let mut packets = Vec::new();
        let mark = self.mark(false)?;
        drain(&self.plain, &mut self.room, &mark, |header, packet| {
            ensure!(
                header[..2] == [0, 0],
                "the kernel left something undone: {header:?}"
            );
            packets.push(packet.to_vec());
            Ok(())
        })?;
        Ok(packets)
    }

    /// Passes on all packets that came out of `bulky` since the last call.
    pub(super) fn drain_bulky(
        &mut self,
        take: impl FnMut(&[u8; VNET_HEADER_LEN], &[u8]) -> Result<()>,
    ) -> Result<()> {
        let mark = self.mark(true)?;
        drain(&self.bulky, &mut self.room, &mark, take)
    }

    /// Sends a unique packet that ends the batch.
    fn mark(&mut self, whole: bool) -> Result<[u8; packets::MARK]> {
        self.marks += 1;
        let queue = if whole { &self.whole } else { &self.single };
        let packet = packets::mark(self.marks);
        queue
            .write(&[&[0; VNET_HEADER_LEN][..], &packet[..]].concat())
            .context("cannot write a mark")?;
        packets::forwarded(&packet)
            .as_deref()
            .and_then(|packet| packet.try_into().ok())
            .context("a mark is a packet")
    }
}

/// A device without offloads.
fn device(name: &str) -> Result<Queue> {
    let made = tun::create(name, 1).with_context(|| format!("cannot make the device {name}"))?;
    let queue = made.queues.into_iter().next().context("no queue")?;
    let queue = Queue::adopt(queue)?;
    queue
        .set_offload(0)
        .context("a device with offloads that cannot be switched off")?;
    ip(&["link", "set", name, "mtu", "9000", "txqueuelen", ROOM, "up"])?;
    // Linux's default queue has bands by TOS: while another processor sends a packet of the kernel's own, those that
    // pile up behind it leave out of order.
    command("tc", &["qdisc", "replace", "dev", name, "root", "noqueue"])?;
    Ok(queue)
}

fn drain(
    queue: &Queue,
    room: &mut [u8],
    mark: &[u8],
    mut take: impl FnMut(&[u8; VNET_HEADER_LEN], &[u8]) -> Result<()>,
) -> Result<()> {
    loop {
        let len = match queue.read(room) {
            Ok(len) => len,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                let mut set = [PollFd::new(queue, PollFlags::IN)];
                let timeout = Timespec::try_from(PATIENCE)?;
                ensure!(
                    poll(&mut set, Some(&timeout))? > 0,
                    "the kernel forwards no more"
                );
                continue;
            }
            Err(error) => return Err(error).context("cannot read a device"),
        };
        let (header, packet) = room[..len]
            .split_first_chunk()
            .context("a packet without its virtio header")?;
        if packet == mark {
            return Ok(());
        }
        // The kernel's own multicast listener reports.
        if packet.first().is_some_and(|first| first >> 4 == 6) && packet.get(24) == Some(&0xff) {
            continue;
        }
        take(header, packet)?;
    }
}

fn ip(words: &[&str]) -> Result<()> {
    command("ip", words)
}

fn command(program: &str, words: &[&str]) -> Result<()> {
    let output = Command::new(program).args(words).output()?;
    if !output.status.success() {
        let error = String::from_utf8_lossy(&output.stderr);
        bail!("{program} {}: {}", words.join(" "), error.trim());
    }
    Ok(())
}
