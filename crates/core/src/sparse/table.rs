//! What is known about flows: how much was read of each, and where each was steered to.

use alloc::boxed::Box;
use core::sync::atomic::{AtomicU64, Ordering};

use super::Class;
use super::flow::{Key, key};
use crate::Time;

/// Sets of places for flows, and places in a set: one kibibyte for what is read, and one for where it goes.
pub(super) const SETS: usize = 32;
pub(super) const WAYS: usize = 4;

/// Milliseconds over which a flow's bytes are counted.
const SPAN: u64 = 100;

/// Bytes are counted in units of this many.
pub(super) const UNIT: usize = 64;

/// A packet counts for at least this many units: small ones cost the processor as much as longer ones.
const SMALLEST: u64 = 4;

/// A flow is bulk with this many units in one span, 1 MB or 4,000 packets a second.
const MUCH: u64 = 1600;

/// It is bulk with less if that is half of all that was read in the span before, as in a slow tunnel: but not below this,
/// 160 kB a second.
const LITTLE: u64 = 256;

/// Milliseconds after which it is written down again that a flow was steered to the same queue.
const REPEAT: u64 = 256;

/// The kernel forgets a flow 3 s after the last packet that was delivered for it (`TUN_FLOW_EXPIRE`).
const REMEMBERED: u64 = 2500;

/// What is known about a flow.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Known {
    /// Where its packets come from; `None` if that is not known.
    pub(super) place: Option<Class>,
    /// Where they belong.
    pub(super) class: Class,
}

/// Flows by their keys. Threads use it without a lock: an entry that two flows change at once is one of theirs.
#[derive(Debug)]
pub(super) struct Table {
    seed: u64,
    has_ipv6: bool,
    /// See [`Read`]; by one thread at a time.
    read: Box<[AtomicU64]>,
    /// See [`Steered`].
    steered: Box<[AtomicU64]>,
    /// See [`Total`].
    total: AtomicU64,
}

/// A flow of which packets were read, as 64 bits: tag, span, units, queue, class.
#[derive(Clone, Copy, Debug, Default)]
struct Read {
    /// 24 bits.
    tag: u64,
    /// 16 bits.
    span: u64,
    /// In this span; 22 bits.
    units: u64,
    from_bulk: bool,
    is_bulk: bool,
}

/// All that was read, as 64 bits: span, units in the span before, units in this one.
#[derive(Clone, Copy, Debug, Default)]
struct Total {
    /// 16 bits.
    span: u64,
    /// 24 bits.
    before: u64,
    /// 24 bits.
    units: u64,
}

/// Where a flow was steered to, as 64 bits: tag, milliseconds, queue.
#[derive(Clone, Copy, Debug, Default)]
struct Steered {
    /// 24 bits.
    tag: u64,
    /// 39 bits, which last for 17 years.
    at: u64,
    to_bulk: bool,
}

impl Table {
    pub(super) fn new(seed: u64, has_ipv6: bool) -> Self {
        let places = || (0..SETS * WAYS).map(|_| AtomicU64::new(0)).collect();
        Self {
            seed,
            has_ipv6,
            read: places(),
            steered: places(),
            total: AtomicU64::new(0),
        }
    }

    /// The key of a packet's flow; see [`key`].
    pub(super) fn key(&self, packet: &[u8]) -> Option<Key> {
        key(packet, self.seed, self.has_ipv6)
    }

    /// What is known about a flow.
    pub(super) fn look_up(&self, key: Key, now: Time) -> Known {
        let (set, tag) = find(key);
        let mut reads = of(&self.read, set).map(|entry| Read::of(load(entry)));
        let read = reads.find(|read| read.tag == tag && age(span(now), read.span) <= 1);
        let steered = || of(&self.steered, set).map(|entry| Steered::of(load(entry)));
        let place = match steered().find(|steered| steered.tag == tag) {
            // One that is not fresh is being forgotten.
            Some(steered) => steered.is_fresh(now).then(|| class(steered.to_bulk)),
            // Others may have taken its place.
            None if steered().all(|steered| steered.is_fresh(now)) => None,
            // The kernel has chosen.
            None => read.map(|read| class(read.from_bulk)),
        };
        Known {
            place,
            class: class(read.is_some_and(|read| read.is_bulk)),
        }
    }

    /// It was steered there.
    pub(super) fn placed(&self, key: Key, to: Class, now: Time) {
        let (set, tag) = find(key);
        let steered = Steered {
            tag,
            at: now.as_millis() & Steered::AT,
            to_bulk: to == Class::Bulk,
        };
        let rank = |last: Steered| (last.tag != tag, last.at);
        let entries = of(&self.steered, set);
        let Some(entry) = entries.min_by_key(|entry| rank(Steered::of(load(entry)))) else {
            return;
        };
        let last = Steered::of(load(entry));
        // A store takes the entry from the processors that look at it.
        let is_known = last.tag == tag && last.to_bulk == steered.to_bulk;
        if !is_known || steered.at.saturating_sub(last.at) >= REPEAT {
            entry.store(steered.bits(), Ordering::Relaxed);
        }
    }

    /// So many units of it were read from this queue.
    pub(super) fn was_read(&self, key: Key, from: Class, units: u64, now: Time) {
        let (set, tag) = find(key);
        let span = span(now);
        let much = self.count(units, span);
        let rank = |last: Read| match age(span, last.span) {
            0 | 1 => (last.tag != tag, last.units),
            _ => (last.tag != tag, 0),
        };
        let entries = of(&self.read, set);
        let Some(entry) = entries.min_by_key(|entry| rank(Read::of(load(entry)))) else {
            return;
        };
        let last = Read::of(load(entry));
        let age = age(span, last.span);
        let is_its_own = last.tag == tag;
        if !is_its_own && age <= 1 && units <= last.units {
            // The others are at work, and have more to lose.
            return;
        }
        let (before, was_bulk) = match (is_its_own, age) {
            (true, 0) => (last.units, last.is_bulk),
            // What it was in the span before, it may be for the rest of this one.
            (true, 1) => (0, last.units >= much),
            _ => (0, false),
        };
        let units = (before + units).min(Read::UNITS);
        let read = Read {
            tag,
            span,
            units,
            from_bulk: from == Class::Bulk,
            is_bulk: was_bulk || units >= much,
        };
        entry.store(read.bits(), Ordering::Relaxed);
    }

    /// Counts what was read, and returns how much of that in one span makes a flow bulk.
    fn count(&self, units: u64, span: u64) -> u64 {
        let last = Total::of(self.total.load(Ordering::Relaxed));
        let (before, now) = match age(span, last.span) {
            0 => (last.before, last.units + units),
            1 => (last.units, units),
            _ => (0, units),
        };
        let total = Total {
            span,
            before,
            units: now.min(Total::UNITS),
        };
        self.total.store(total.bits(), Ordering::Relaxed);
        match before {
            0 => MUCH,
            before => (before / 2).clamp(LITTLE, MUCH),
        }
    }
}

impl Read {
    const SPAN: u64 = (1 << 16) - 1;
    const UNITS: u64 = (1 << 22) - 1;

    const fn of(bits: u64) -> Self {
        Self {
            tag: bits >> 40,
            span: bits >> 24 & Self::SPAN,
            units: bits >> 2 & Self::UNITS,
            from_bulk: bits & 2 != 0,
            is_bulk: bits & 1 != 0,
        }
    }

    const fn bits(self) -> u64 {
        self.tag << 40
            | self.span << 24
            | self.units << 2
            | (self.from_bulk as u64) << 1
            | self.is_bulk as u64
    }
}

impl Total {
    const UNITS: u64 = (1 << 24) - 1;

    const fn of(bits: u64) -> Self {
        Self {
            span: bits >> 48,
            before: bits >> 24 & Self::UNITS,
            units: bits & Self::UNITS,
        }
    }

    const fn bits(self) -> u64 {
        self.span << 48 | self.before << 24 | self.units
    }
}

impl Steered {
    const AT: u64 = (1 << 39) - 1;

    /// Whether the kernel still has the flow where it was steered.
    const fn is_fresh(self, now: Time) -> bool {
        self.tag != 0 && now.as_millis().saturating_sub(self.at) < REMEMBERED
    }

    const fn of(bits: u64) -> Self {
        Self {
            tag: bits >> 40,
            at: bits >> 1 & Self::AT,
            to_bulk: bits & 1 != 0,
        }
    }

    const fn bits(self) -> u64 {
        self.tag << 40 | self.at << 1 | self.to_bulk as u64
    }
}

/// How many units a packet counts.
pub(super) const fn units(len: usize) -> u64 {
    let units = len.div_ceil(UNIT) as u64;
    if units < SMALLEST { SMALLEST } else { units }
}

/// A flow's set, and its tag there, which is never 0.
const fn find(key: Key) -> (usize, u64) {
    let tag = match key.hash >> 40 {
        0 => 1,
        tag => tag,
    };
    (key.hash as usize % SETS, tag)
}

/// The places of a set.
fn of(entries: &[AtomicU64], set: usize) -> impl Iterator<Item = &AtomicU64> {
    entries.iter().skip(set * WAYS).take(WAYS)
}

const fn span(now: Time) -> u64 {
    (now.as_millis() / SPAN) & Read::SPAN
}

/// How many spans lie between two. Another thread's time may be a little ahead.
const fn age(now: u64, then: u64) -> u64 {
    match now.wrapping_sub(then) & Read::SPAN {
        age if age > Read::SPAN / 2 => 0,
        age => age,
    }
}

const fn class(is_bulk: bool) -> Class {
    match is_bulk {
        true => Class::Bulk,
        false => Class::Sparse,
    }
}

fn load(entry: &AtomicU64) -> u64 {
    entry.load(Ordering::Relaxed)
}
