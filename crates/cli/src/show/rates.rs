//! Rates, from one look to the next.

use std::collections::HashMap;
use std::time::Instant;

use udco_state::Traffic;

use super::units;

/// Whose counters: a device, and one of its peers or all.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Whose {
    pub(super) engine: Option<String>,
    pub(super) ifindex: u32,
    pub(super) netns: u64,
    pub(super) peer: Option<u32>,
}

/// Counters inside the tunnel and at the transport socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sides {
    pub(super) vpn: Traffic,
    pub(super) link: Traffic,
}

/// What has passed in a second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Rate {
    pub(super) rx_bytes: f64,
    pub(super) rx_packets: f64,
    pub(super) tx_bytes: f64,
    pub(super) tx_packets: f64,
}

/// The counters of the look before, and of this one.
#[derive(Debug, Default)]
pub(super) struct Rates {
    before: HashMap<Whose, Sides>,
    now: HashMap<Whose, Sides>,
    at: Option<Instant>,
    seconds: f64,
}

impl Rates {
    /// The next look, at this time; returns whether it is the first.
    pub(super) fn begin(&mut self, at: Instant) -> bool {
        self.before = std::mem::take(&mut self.now);
        let before = self.at.replace(at);
        let since = at.duration_since(before.unwrap_or(at));
        self.seconds = since.as_secs_f64();
        before.is_none()
    }

    /// Notes counters, and returns their rates inside the tunnel and at the transport socket; `None` at the first look,
    /// or of a peer that is new: its id may have been another's.
    pub(super) fn of(&mut self, whose: Whose, now: Sides) -> Option<[Rate; 2]> {
        let before = self.before.get(&whose).copied();
        self.now.insert(whose, now);
        let before = before.filter(|_| self.seconds > 0.0)?;
        let sides = [(before.vpn, now.vpn), (before.link, now.link)];
        let rates = sides.map(|(before, now)| Rate::between(before, now, self.seconds));
        let [Some(vpn), Some(link)] = rates else {
            return None;
        };
        Some([vpn, link])
    }
}

impl Rate {
    fn between(before: Traffic, now: Traffic, seconds: f64) -> Option<Self> {
        let rate = |before: u64, now: u64| Some(now.checked_sub(before)? as f64 / seconds);
        Some(Self {
            rx_bytes: rate(before.rx_bytes, now.rx_bytes)?,
            rx_packets: rate(before.rx_packets, now.rx_packets)?,
            tx_bytes: rate(before.tx_bytes, now.tx_bytes)?,
            tx_packets: rate(before.tx_packets, now.tx_packets)?,
        })
    }

    /// Both directions.
    pub(super) fn bytes(&self) -> f64 {
        self.rx_bytes + self.tx_bytes
    }
}

/// A direction's rate: `12.3 Mbit/s, 1.03 k packets/s`.
pub(super) fn words(bytes: f64, packets: f64) -> String {
    let (bits, packets) = (units::scaled(8.0 * bytes), units::scaled(packets));
    let space = if packets.ends_with(' ') { "" } else { " " };
    format!("{bits}bit/s, {packets}{space}packets/s")
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
    fn words_are_for_people() {
        assert_eq!(words(1_540_000.0, 1030.0), "12.3 Mbit/s, 1.03 k packets/s");
        assert_eq!(words(0.0, 0.0), "0 bit/s, 0 packets/s");
    }
}
