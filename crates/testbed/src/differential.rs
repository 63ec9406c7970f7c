//! Compares our split and merge with the kernel's: its IP stack must forward the same bytes whether packets arrive
//! singly or merged, and whether the kernel or the engine splits super-packets (promises E4, E5).
//!
//! Four TUN devices of one host, with the kernel routing between them:
//!
//! ```text
//!        packets one by one, ─► single ─► plain ─► without offloads: the kernel
//!        or super-packets                           segments and completes checksums
//!  the same super-packets    ─► whole  ─► bulky ─► with all offloads: as the kernel
//!                                                   hands them to udco
//! ```
//!
//! All of it runs in the program that the caller names, in a lab of its own.

mod compare;
mod packets;
mod rig;
mod supers;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::dice::Dice;
use crate::differential::compare::{merged, split};
use crate::differential::packets::{Batch, Flows};
use crate::differential::rig::Rig;
use crate::lab::Lab;

/// The most packets in a batch: as many as a worker reads at once, and some more.
const BATCH: usize = 256;

/// Super-packets per batch in the other direction.
const SUPERS: usize = 8;

/// The extent of a comparison without differences.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compared {
    /// The seed of all packets.
    pub seed: u64,
    /// Packets that went through the kernel singly and merged.
    pub packets: u64,
    /// Writes needed when merged.
    pub groups: u64,
    /// Packets that shared a group.
    pub merged: u64,
    /// Deliberately bad packets that the kernel's stack dropped either way.
    pub refused: u64,
    /// Packets that differ only in an IPv4 id without meaning (DF and one id for all, RFC 6864 4.1).
    pub renumbered: u64,
    /// Super-packets that the kernel delivered whole.
    pub supers: u64,
    /// Packets that the kernel, and we, split them into.
    pub segments: u64,
}

/// Compares at least this many packets in each direction; `None` if this kernel lacks a segmentation offload to compare
/// (UDP: Linux 6.2). `program` has the command of a [`crate::LabEnd`].
///
/// # Errors
/// Names the first difference, or the lab's failure.
pub fn run(program: &str, packets: u64, seed: u64) -> Result<Option<Compared>> {
    let lab = Lab::new()?;
    let router = lab.host("router")?;
    let (packets, seed) = (packets.to_string(), seed.to_string());
    let output = router.run(&[program, "lab-end", "differential", &packets, &seed])?;
    lab.discard_logs();
    let last = output.lines().last().unwrap_or_default();
    serde_json::from_str(last).with_context(|| format!("the comparison printed: {output}"))
}

/// The comparison, in a host of its own. `None` as from [`run`].
pub(crate) fn compare(packets: u64, seed: u64) -> Result<Option<Compared>> {
    let Some(mut rig) = Rig::new()? else {
        return Ok(None);
    };
    let mut compared = Compared {
        seed,
        ..Compared::default()
    };
    let mut random = Dice::new(seed, 0);
    let mut batch = Batch::default();
    let mut number = 0u64;
    while compared.packets < packets || compared.segments < packets {
        let place = || format!("batch {number} of seed {seed}");
        if compared.packets < packets {
            batch.clear();
            let count = 1 + random.below(BATCH);
            Flows::new(&mut random).fill(&mut random, &mut batch, count);
            merged(&mut rig, &batch, &mut compared).with_context(place)?;
        }
        if compared.segments < packets {
            batch.clear();
            for _ in 0..1 + random.below(SUPERS) {
                supers::push(&mut random, &mut batch);
            }
            split(&mut rig, &batch, &mut compared).with_context(place)?;
        }
        number += 1;
    }
    Ok(Some(compared))
}
