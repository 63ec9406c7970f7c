//! Rates, from one look to the next.

use std::collections::HashMap;
use std::hash::Hash;
use std::ops::AddAssign;
use std::time::Instant;

use udco_state::{Loss, Traffic};

use crate::units;

/// Whose counters: a device, and one of its peers or all.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Whose {
    pub(crate) engine: Option<String>,
    pub(crate) ifindex: u32,
    pub(crate) netns: u64,
    pub(crate) peer: Option<u32>,
}

impl Whose {
    /// Whether these are the counters of a device, or of one of its peers.
    pub(crate) fn is_of(&self, device: &Self) -> bool {
        (self.ifindex, self.netns, &self.engine) == (device.ifindex, device.netns, &device.engine)
    }
}

/// Counters inside the tunnel and at the transport socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sides {
    pub(crate) vpn: Traffic,
    pub(crate) link: Traffic,
}

/// What has passed in a second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Rate {
    pub(crate) rx_bytes: f64,
    pub(crate) rx_packets: f64,
    pub(crate) tx_bytes: f64,
    pub(crate) tx_packets: f64,
}

/// Counters that only rise, as long as they are the same ones.
pub(crate) trait Counters: Copy {
    /// How much they rise in a second.
    type Rate;

    /// The rate since an earlier look; `None` if they have fallen, and so are another's.
    fn since(self, before: Self, seconds: f64) -> Option<Self::Rate>;
}

/// The counters of the look before, and of this one.
#[derive(Debug)]
pub(crate) struct Rates<K = Whose, C = Sides> {
    before: HashMap<K, C>,
    now: HashMap<K, C>,
    at: Option<Instant>,
    seconds: f64,
}

impl<K: Eq + Hash, C: Counters> Rates<K, C> {
    /// The next look, at this time; returns whether it is the first.
    pub(crate) fn begin(&mut self, at: Instant) -> bool {
        self.before = std::mem::take(&mut self.now);
        let before = self.at.replace(at);
        let since = at.duration_since(before.unwrap_or(at));
        self.seconds = since.as_secs_f64();
        before.is_none()
    }

    /// Notes counters, and returns their rate; `None` at the first look, or of a peer that is new: its id may have been
    /// another's.
    pub(crate) fn of(&mut self, whose: K, now: C) -> Option<C::Rate> {
        let before = self.before.get(&whose).copied();
        self.now.insert(whose, now);
        let before = before.filter(|_| self.seconds > 0.0)?;
        now.since(before, self.seconds)
    }
}

impl<K, C> Default for Rates<K, C> {
    fn default() -> Self {
        Self {
            before: HashMap::new(),
            now: HashMap::new(),
            at: None,
            seconds: 0.0,
        }
    }
}

impl Counters for Sides {
    /// Inside the tunnel, and at the transport socket.
    type Rate = [Rate; 2];

    fn since(self, before: Self, seconds: f64) -> Option<[Rate; 2]> {
        let vpn = Rate::between(before.vpn, self.vpn, seconds)?;
        let link = Rate::between(before.link, self.link, seconds)?;
        Some([vpn, link])
    }
}

impl Counters for u64 {
    type Rate = f64;

    fn since(self, before: Self, seconds: f64) -> Option<f64> {
        Some(self.checked_sub(before)? as f64 / seconds)
    }
}

impl Counters for Loss {
    /// The share lost of what was sent since then; `None` if nothing was. A late packet may close a gap of before.
    type Rate = Option<f64>;

    fn since(self, before: Self, _: f64) -> Option<Option<f64>> {
        let expected = self.expected.checked_sub(before.expected)?;
        let lost = self.lost.saturating_sub(before.lost);
        Some((expected > 0).then(|| lost as f64 / expected as f64))
    }
}

impl Counters for f64 {
    type Rate = Self;

    fn since(self, before: Self, seconds: f64) -> Option<Self> {
        (self >= before).then(|| (self - before) / seconds)
    }
}

impl Rate {
    fn between(before: Traffic, now: Traffic, seconds: f64) -> Option<Self> {
        Some(Self {
            rx_bytes: now.rx_bytes.since(before.rx_bytes, seconds)?,
            rx_packets: now.rx_packets.since(before.rx_packets, seconds)?,
            tx_bytes: now.tx_bytes.since(before.tx_bytes, seconds)?,
            tx_packets: now.tx_packets.since(before.tx_packets, seconds)?,
        })
    }

    /// Both directions.
    pub(crate) fn bytes(&self) -> f64 {
        self.rx_bytes + self.tx_bytes
    }

    /// Both directions.
    pub(crate) fn packets(&self) -> f64 {
        self.rx_packets + self.tx_packets
    }
}

impl AddAssign for Rate {
    fn add_assign(&mut self, other: Self) {
        self.rx_bytes += other.rx_bytes;
        self.rx_packets += other.rx_packets;
        self.tx_bytes += other.tx_bytes;
        self.tx_packets += other.tx_packets;
    }
}

/// A rate of bytes: `12.3 Mbit/s`.
pub(crate) fn bits(bytes: f64) -> String {
    format!("{}bit/s", units::scaled(8.0 * bytes))
}

/// A direction's rate: `12.3 Mbit/s, 1.03 k packets/s`.
pub(crate) fn words(bytes: f64, packets: f64) -> String {
    let (bits, packets) = (bits(bytes), units::scaled(packets));
    let space = if packets.ends_with(' ') { "" } else { " " };
    format!("{bits}, {packets}{space}packets/s")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn sides(rx_bytes: u64) -> Sides {
        let vpn = Traffic {
            rx_bytes,
            rx_packets: rx_bytes / 1000,
            ..Traffic::default()
        };
        Sides {
            vpn,
            ..Sides::default()
        }
    }

    #[test]
    fn a_rate_needs_two_looks_at_the_same_peer() {
        let peer = |peer| Whose {
            engine: None,
            ifindex: 3,
            netns: 9,
            peer,
        };
        let begin = Instant::now();
        let mut rates = Rates::default();
        rates.begin(begin);
        assert_eq!(rates.of(peer(None), sides(1000)), None);
        rates.begin(begin + Duration::from_secs(2));
        let [vpn, link] = rates.of(peer(None), sides(5000)).unwrap();
        assert_eq!((vpn.rx_bytes, vpn.rx_packets), (2000.0, 2.0));
        assert_eq!((vpn.bytes(), link), (2000.0, Rate::default()));
        assert_eq!(rates.of(peer(Some(1)), sides(5000)), None, "a new one");
        rates.begin(begin + Duration::from_secs(4));
        assert_eq!(rates.of(peer(None), sides(1)), None, "counters of another");
        rates.begin(begin + Duration::from_secs(6));
        assert_eq!(
            rates.of(peer(Some(1)), sides(5000)),
            None,
            "gone for a while"
        );
    }

    #[test]
    fn numbers_have_rates_too() {
        assert_eq!(7_u64.since(4, 2.0), Some(1.5));
        assert_eq!(3_u64.since(4, 2.0), None);
        assert_eq!(1.5_f64.since(0.5, 2.0), Some(0.5));
        assert_eq!(0.5_f64.since(1.5, 2.0), None);
    }

    #[test]
    fn losses_are_shares_of_what_was_sent_since() {
        let loss = |expected, lost| Loss { expected, lost };
        assert_eq!(loss(20, 4).since(loss(10, 2), 2.0), Some(Some(0.2)));
        assert_eq!(loss(20, 1).since(loss(10, 2), 2.0), Some(Some(0.0)));
        assert_eq!(loss(10, 1).since(loss(10, 2), 2.0), Some(None));
        assert_eq!(loss(5, 0).since(loss(10, 2), 2.0), None, "another's");
    }

    #[test]
    fn words_are_for_people() {
        assert_eq!(words(1_540_000.0, 1030.0), "12.3 Mbit/s, 1.03 k packets/s");
        assert_eq!(words(0.0, 0.0), "0 bit/s, 0 packets/s");
    }
}
