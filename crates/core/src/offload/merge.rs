//! From the packets of one receive batch to super-packets for the device.
//!
//! A group is a run of packets of one flow that splitting reproduces byte for byte. The one exception is the id of IPv4
//! packets that may not be fragmented and all have the same id (usually 0): it means nothing there (RFC 6864 4.1), and
//! Linux merges them too.
//!
//! Within a flow no packet overtakes another: a packet that does not continue its flow's open group closes it.

use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;

use super::flow::{self, Candidate, Flow, Kind};
use super::run::Run;
use super::{Transport, virtio};

pub use super::run::{MAX_BYTES, MAX_DATAGRAMS, MAX_SEGMENTS};

/// How many slots are probed for a flow. It bounds the cost of hostile flows with the same hash: a flow that finds no
/// slot is not merged.
const PROBES: usize = 8;

/// The virtio header of a packet that is complete.
const ALONE: [u8; virtio::LEN] = [0; virtio::LEN];

/// No group, packet or slot.
const NONE: u32 = u32::MAX;

/// What is merged; everything by default. A device that refuses super-packets of one kind gets none of that kind
/// (users C19).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Enabled {
    /// TCP segments.
    pub tcp: bool,
    /// UDP datagrams.
    pub udp: bool,
}

/// Merges the packets of one batch buffer. It stores their positions, not their bytes: the buffer stays with the
/// caller, who must not change it between the first [`Merger::add`] and the writing of the groups.
#[derive(Clone, Debug)]
pub struct Merger {
    enabled: Enabled,
    max_packets: usize,
    packets: Vec<Packet>,
    groups: Vec<State>,
    /// A hash table of flows with open addressing; a power of two, never more than half full.
    slots: Vec<Slot>,
    /// The slots in use.
    used: Vec<u32>,
}

/// A run of packets, ready to be written to the device in one call: the head, then the payloads.
#[derive(Clone, Debug)]
pub struct Group<'m> {
    /// The virtio header; if there are several packets, then also the IP and transport header for all of them.
    pub head: &'m [u8],
    /// Its first packet, as the number of packets added before it since the merger was cleared.
    pub first: usize,
    /// How many packets.
    pub packets: usize,
    /// The total length of these packets.
    pub bytes: usize,
    /// The transport of a super-packet; `None` for a single packet as it came.
    pub transport: Option<Transport>,
    /// Bytes of each packet's own headers, which the head replaces.
    skip: usize,
    members: Members<'m>,
}

/// Why a packet was not added.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum MergeError {
    /// The merger is full. Write the groups, clear it, and add the packet again.
    Full,
    /// The packet does not lie within the batch.
    OutsideBatch,
}

#[derive(Clone, Debug)]
struct Packet {
    range: Range<usize>,
    /// The group's next packet.
    next: u32,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    flow: Flow,
    /// The flow's open group.
    open: u32,
    used: bool,
}

#[derive(Clone, Debug)]
struct State {
    first: u32,
    last: u32,
    packets: usize,
    bytes: usize,
    /// `None` if nothing can be appended.
    run: Option<Run>,
}

impl Default for Enabled {
    fn default() -> Self {
        Self {
            tcp: true,
            udp: true,
        }
    }
}

impl Merger {
    /// A merger for batches of at most this many packets. All its memory is allocated here, 300 to 400 bytes per
    /// packet.
    #[must_use]
    pub fn new(max_packets: usize) -> Self {
        let max_packets = max_packets.min(NONE as usize / 4);
        Self {
            enabled: Enabled::default(),
            max_packets,
            packets: Vec::with_capacity(max_packets),
            groups: Vec::with_capacity(max_packets),
            slots: alloc::vec![Slot::EMPTY; (max_packets * 2).next_power_of_two()],
            used: Vec::with_capacity(max_packets),
        }
    }

    /// Sets what is merged from now on.
    pub fn enable(&mut self, enabled: Enabled) {
        self.enabled = enabled;
    }

    /// Adds the next packet of the batch, either to the open group of its flow or as a new group.
    ///
    /// # Errors
    /// [`MergeError`]; nothing has changed.
    pub fn add(&mut self, batch: &[u8], packet: Range<usize>) -> Result<(), MergeError> {
        let bytes = batch.get(packet.clone()).ok_or(MergeError::OutsideBatch)?;
        if self.packets.len() >= self.max_packets {
            return Err(MergeError::Full);
        }
        match flow::look(bytes) {
            Kind::Candidate(candidate) => self.add_candidate(bytes, packet, &candidate),
            Kind::Alone(flow) => {
                self.close(&flow);
                self.add_group(packet, None);
            }
            Kind::Obscure(flow) => {
                self.close_all_between(&flow);
                self.add_group(packet, None);
            }
            Kind::Unrelated => {
                self.add_group(packet, None);
            }
        }
        Ok(())
    }

    /// The groups, in the order of their first packets.
    pub fn groups(&mut self) -> impl Iterator<Item = Group<'_>> {
        let runs = self
            .groups
            .iter_mut()
            .filter_map(|state| state.run.as_mut());
        runs.for_each(Run::finish);
        self.groups.iter().map(|state| state.group(&self.packets))
    }

    /// Whether there are no groups.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// Forgets all packets, for the next batch.
    pub fn clear(&mut self) {
        self.packets.clear();
        self.groups.clear();
        for at in self.used.drain(..) {
            if let Some(slot) = self.slots.get_mut(at as usize) {
                *slot = Slot::EMPTY;
            }
        }
    }

    fn add_candidate(&mut self, bytes: &[u8], range: Range<usize>, candidate: &Candidate) {
        let enabled = match candidate.transport {
            Transport::Tcp => self.enabled.tcp,
            Transport::Udp => self.enabled.udp,
        };
        if !enabled || !flow::is_intact(bytes, candidate) {
            self.close(&candidate.flow);
            self.add_group(range, None);
            return;
        }
        let Some(at) = self.slot_for(&candidate.flow) else {
            self.add_group(range, None);
            return;
        };
        let open = self.slots.get(at).map_or(NONE, |slot| slot.open);
        let len = range.len();
        if let Some(state) = self.groups.get_mut(open as usize)
            && let Some(run) = &mut state.run
            && run.append(bytes, candidate)
        {
            let index = self.packets.len() as u32;
            if let Some(last) = self.packets.get_mut(state.last as usize) {
                last.next = index;
            }
            state.last = index;
            state.packets += 1;
            state.bytes += len;
            self.packets.push(Packet { range, next: NONE });
            return;
        }
        let group = self.add_group(range, Run::begin(bytes, candidate));
        if let Some(slot) = self.slots.get_mut(at) {
            slot.open = group;
        }
    }

    /// Adds a group of one packet and returns its number.
    fn add_group(&mut self, range: Range<usize>, run: Option<Run>) -> u32 {
        let index = self.packets.len() as u32;
        let group = self.groups.len() as u32;
        self.groups.push(State {
            first: index,
            last: index,
            packets: 1,
            bytes: range.len(),
            run,
        });
        self.packets.push(Packet { range, next: NONE });
        group
    }

    /// Closes the open group of a flow, if there is one.
    fn close(&mut self, flow: &Flow) {
        let found = self.probe(flow).find(|at| {
            let slot = self.slots.get(*at);
            slot.is_some_and(|slot| slot.used && slot.flow == *flow)
        });
        if let Some(slot) = found.and_then(|at| self.slots.get_mut(at)) {
            slot.open = NONE;
        }
    }

    /// Closes all open groups between the addresses of this flow.
    fn close_all_between(&mut self, flow: &Flow) {
        for at in &self.used {
            if let Some(slot) = self.slots.get_mut(*at as usize)
                && slot.flow.same_addresses(flow)
            {
                slot.open = NONE;
            }
        }
    }

    /// The slot of a flow; takes a free one if it has none. `None` if all the slots it could take are taken: they
    /// remain so until the merger is cleared, so such a flow never has an open group.
    fn slot_for(&mut self, flow: &Flow) -> Option<usize> {
        for at in self.probe(flow) {
            let slot = self.slots.get_mut(at)?;
            if !slot.used {
                *slot = Slot {
                    flow: *flow,
                    open: NONE,
                    used: true,
                };
                self.used.push(at as u32);
                return Some(at);
            }
            if slot.flow == *flow {
                return Some(at);
            }
        }
        None
    }

    /// The slots that a flow may take, in order of preference.
    fn probe(&self, flow: &Flow) -> impl Iterator<Item = usize> + use<> {
        let mask = self.slots.len() - 1;
        let first = flow.hash() as usize;
        (0..PROBES).map(move |step| first.wrapping_add(step) & mask)
    }
}

impl<'m> Group<'m> {
    /// The ranges of the batch to write after the head: payloads, or the whole packet if there is only one.
    pub fn payloads(&self) -> impl Iterator<Item = Range<usize>> + Clone + use<'m> {
        let skip = self.skip;
        self.members
            .clone()
            .map(move |range| range.start + skip..range.end)
    }

    /// The packets as they were added, for a device that refuses the super-packet.
    pub fn originals(&self) -> impl Iterator<Item = Range<usize>> + use<'m> {
        self.members.clone()
    }
}

/// The packets of a group.
#[derive(Clone, Debug)]
struct Members<'m> {
    packets: &'m [Packet],
    next: u32,
}

impl Iterator for Members<'_> {
    type Item = Range<usize>;

    fn next(&mut self) -> Option<Self::Item> {
        let packet = self.packets.get(self.next as usize)?;
        self.next = packet.next;
        Some(packet.range.clone())
    }
}

impl Slot {
    const EMPTY: Self = Self {
        flow: Flow::NONE,
        open: NONE,
        used: false,
    };
}

impl State {
    fn group<'m>(&'m self, packets: &'m [Packet]) -> Group<'m> {
        let run = self.run.as_ref().filter(|_| self.packets > 1);
        Group {
            head: run.map_or(&ALONE, Run::head),
            first: self.first as usize,
            packets: self.packets,
            bytes: self.bytes,
            transport: run.map(Run::transport),
            skip: run.map_or(0, Run::headers),
            members: Members {
                packets,
                next: self.first,
            },
        }
    }
}

impl fmt::Display for MergeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "the merger is full",
            Self::OutsideBatch => "the packet is not within the batch",
        })
    }
}

impl core::error::Error for MergeError {}

#[cfg(test)]
mod tests;
