//! The two comparisons of a batch.

use std::io::{self, IoSlice};

use anyhow::{Context, Result, bail, ensure};
use udco_core::offload::{Header, Merger, Splitter};
use udco_sys::tun::VNET_HEADER_LEN;

use super::packets::{Batch, forwarded, is_right_v4};
use super::rig::Rig;
use super::{BATCH, Compared};

/// The virtio header of a complete packet.
const COMPLETE: [u8; VNET_HEADER_LEN] = [0; VNET_HEADER_LEN];

/// Sends the packets singly, then merged: the same must come out, in the order of the groups.
pub(super) fn merged(rig: &mut Rig, batch: &Batch, compared: &mut Compared) -> Result<()> {
    let mut merger = Merger::new(BATCH);
    for packet in &batch.packets {
        merger.add(&batch.buffer, packet.clone())?;
    }
    for group in merger.groups() {
        for range in group.originals() {
            let packet = &batch.buffer[range];
            tolerate(
                rig.single
                    .write_vectored(&[IoSlice::new(&COMPLETE), IoSlice::new(packet)]),
            )?;
        }
    }
    let singles = rig.drain_plain()?;

    // All packets came out unchanged, except those that the stack dropped.
    let mut came = singles.iter().peekable();
    for group in merger.groups() {
        for range in group.originals() {
            let sent = forwarded(&batch.buffer[range]);
            let is_next = came.peek().is_some_and(|next| Some(*next) == sent.as_ref());
            if is_next {
                came.next();
            } else {
                compared.refused += 1;
                // The stack has no reason to drop a packet that was intact enough to be merged.
                ensure!(
                    group.packets == 1,
                    "a merged packet would not be forwarded by itself"
                );
            }
        }
    }
    ensure!(
        came.next().is_none(),
        "the kernel forwards single packets otherwise than expected"
    );

    for group in merger.groups() {
        let mut pieces = vec![IoSlice::new(group.head)];
        let payloads = group.payloads().map(|range| &batch.buffer[range]);
        pieces.extend(payloads.map(IoSlice::new));
        let written = rig.single.write_vectored(&pieces);
        if group.packets > 1 {
            written.with_context(|| format!("a super-packet of {} packets", group.packets))?;
            compared.merged += group.packets as u64;
        } else {
            tolerate(written)?;
        }
        compared.groups += 1;
    }
    let together = rig.drain_plain()?;
    compare("merged", &singles, &together, &mut compared.renumbered)?;
    compared.packets += batch.packets.len() as u64;
    Ok(())
}

/// Has the kernel split super-packets, and deliver them whole for us to split: the results must be equal.
pub(super) fn split(rig: &mut Rig, batch: &Batch, compared: &mut Compared) -> Result<()> {
    for packet in batch.iter() {
        for queue in [&rig.single, &rig.whole] {
            queue.write(packet).with_context(|| {
                format!(
                    "super-packet of {} bytes: {:x?}",
                    packet.len(),
                    &packet[..90.min(packet.len())]
                )
            })?;
        }
    }
    let by_kernel = rig.drain_plain()?;
    let mut by_us = Vec::new();
    let mut supers = 0;
    rig.drain_bulky(|header, packet| {
        let header = Header::from_bytes(header);
        let mut splitter =
            Splitter::new(&header, packet).with_context(|| format!("refused: {header:?}"))?;
        supers += u64::from(splitter.count() > 1);
        let mut room = vec![0; splitter.longest()];
        while let Some(len) = splitter.next(&mut room) {
            by_us.push(room[..len].to_vec());
        }
        Ok(())
    })?;
    let mut renumbered = 0;
    compare("split", &by_kernel, &by_us, &mut renumbered)?;
    ensure!(renumbered == 0, "an id differs");
    compared.supers += supers;
    compared.segments += by_us.len() as u64;
    Ok(())
}

/// Checks that both are the same packets in the same order.
fn compare(what: &str, expected: &[Vec<u8>], got: &[Vec<u8>], renumbered: &mut u64) -> Result<()> {
    for (nth, (expected, got)) in expected.iter().zip(got).enumerate() {
        if expected == got {
            continue;
        }
        if differ_in_id_only(expected, got) {
            *renumbered += 1;
            continue;
        }
        bail!("{what}: packet {nth}\nexpected {expected:02x?}\ngot      {got:02x?}");
    }
    ensure!(
        expected.len() == got.len(),
        "{what}: {} packets instead of {}",
        got.len(),
        expected.len()
    );
    Ok(())
}

/// Whether both are the same unfragmentable IPv4 packet, apart from its id.
fn differ_in_id_only(left: &[u8], right: &[u8]) -> bool {
    let without_id = |packet: &[u8]| {
        let mut packet = packet.to_vec();
        for at in [4, 5, 10, 11] {
            *packet.get_mut(at)? = 0;
        }
        Some(packet)
    };
    let is_atomic = left.first().is_some_and(|first| first >> 4 == 4)
        && left.get(6).is_some_and(|flags| flags & 0x40 != 0);
    is_atomic && is_right_v4(left) && is_right_v4(right) && without_id(left) == without_id(right)
}

/// The device itself refuses anything but IP.
fn tolerate(written: io::Result<usize>) -> Result<()> {
    match written {
        Err(error) if error.kind() != io::ErrorKind::InvalidInput => Err(error.into()),
        _ => Ok(()),
    }
}
