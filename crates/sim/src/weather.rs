//! What the network does to datagrams.

use std::ops::Range;

use crate::rng::Rng;

/// Steps in which time passes, in nanoseconds: what happens within one arrives as a batch.
pub const STEP: u64 = 250_000;

/// The network of a run. Probabilities are per mille.
#[derive(Clone, Debug, Default)]
pub struct Weather {
    /// Datagrams that vanish.
    pub loss: u64,
    /// Datagrams that come twice.
    pub duplicates: u64,
    /// Datagrams that come changed.
    pub corruption: u64,
    /// The least delay and the most, in steps. Datagrams overtake each other if they differ, unless `in_order`.
    pub delay: (u64, u64),
    /// No datagram overtakes another.
    pub in_order: bool,
    /// Times, in nanoseconds, in which every datagram vanishes.
    pub cuts: Vec<Range<u64>>,
    /// Times in which every datagram waits for the end.
    pub stalls: Vec<Range<u64>>,
}

/// What has become of the datagrams of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wire {
    /// Sent by engines.
    pub sent: u64,
    /// Lost on the way, or for want of room or of a receiver.
    pub lost: u64,
    /// Copies that the network made.
    pub duplicated: u64,
    /// Sent by strangers, or on purpose.
    pub forged: u64,
    /// Taken by the receiver's socket.
    pub arrived: u64,
}

impl Weather {
    /// Nothing is lost, copied, changed or overtaken.
    #[must_use]
    pub fn fair() -> Self {
        Self {
            delay: (1, 1),
            in_order: true,
            ..Self::default()
        }
    }

    /// Some of everything, sometimes much of it, and often nothing of one kind.
    #[must_use]
    pub fn any(rng: &mut Rng, span: Range<u64>) -> Self {
        let mut some = |most: u64| match rng.chance(400) {
            true => rng.within(0, most),
            false => 0,
        };
        let (loss, duplicates, corruption) = (some(200), some(300), some(200));
        let least = rng.within(0, 40);
        let mut weather = Self {
            loss,
            duplicates,
            corruption,
            delay: (least, least + rng.within(0, 80)),
            in_order: rng.chance(300),
            ..Self::default()
        };
        if rng.chance(200) {
            weather.cuts.push(part(rng, &span));
        }
        if rng.chance(200) {
            weather.stalls.push(part(rng, &span));
        }
        weather
    }

    /// Whether each datagram arrives once and as it is.
    #[must_use]
    pub fn is_lossless(&self) -> bool {
        self.loss == 0 && self.corruption == 0 && self.duplicates == 0 && self.cuts.is_empty()
    }

    /// Whether a datagram that leaves at this time is lost.
    #[must_use]
    pub fn loses(&self, now: u64, rng: &mut Rng) -> bool {
        self.cuts.iter().any(|cut| cut.contains(&now)) || rng.chance(self.loss)
    }

    /// When a datagram arrives that leaves now.
    #[must_use]
    pub fn arrival(&self, now: u64, rng: &mut Rng) -> u64 {
        let at = now + rng.within(self.delay.0, self.delay.1) * STEP;
        let stall = self.stalls.iter().find(|stall| stall.contains(&at));
        stall.map_or(at, |stall| stall.end.div_ceil(STEP) * STEP)
    }
}

/// Changes a datagram: a bit, or where it ends.
pub fn corrupt(bytes: &mut Vec<u8>, rng: &mut Rng) {
    if bytes.is_empty() || rng.chance(100) {
        bytes.truncate(rng.size(0, bytes.len().saturating_sub(1)));
        return;
    }
    // Headers are as likely as the rest.
    let last = match rng.chance(500) {
        true => bytes.len().min(24) - 1,
        false => bytes.len() - 1,
    };
    let at = rng.size(0, last);
    bytes[at] ^= 1 << rng.within(0, 7);
}

fn part(rng: &mut Rng, span: &Range<u64>) -> Range<u64> {
    let from = rng.within(span.start, span.end);
    from..from + rng.within(0, (span.end - span.start) / 3)
}
