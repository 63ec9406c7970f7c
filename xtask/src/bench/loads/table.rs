//! The samples, and their table.

use serde::Serialize;
use udco_testbed::measure::RoundTrips;

use crate::bench::link::Link;
use crate::bench::outcome::middle;
use crate::bench::table::{head, row};

/// A load with one carrier on a link, all rounds.
#[derive(Debug, Serialize)]
pub(crate) struct Outcome {
    pub(super) link: Link,
    pub(super) load: &'static str,
    /// Who carries the data channel.
    pub(super) carrier: String,
    pub(super) samples: Vec<Sample>,
}

/// One measurement.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Sample {
    /// Delivered: Mbit/s, or answers per second.
    pub(super) rate: f64,
    /// Seconds of the server's processor time per Gbit, or per 100,000 answers.
    pub(super) server: f64,
    /// The same of the client's.
    pub(super) client: f64,
    /// The server's context switches a second.
    pub(super) switches: f64,
    /// Of questions.
    pub(super) round_trips: Option<RoundTrips>,
}

impl Sample {
    fn p50(&self) -> f64 {
        self.round_trips.map_or(f64::NAN, |times| times.p50)
    }

    fn p99(&self) -> f64 {
        self.round_trips.map_or(f64::NAN, |times| times.p99)
    }
}

impl Outcome {
    fn median(&self, of: fn(&Sample) -> f64) -> f64 {
        middle(self.samples.iter().map(of).collect()).unwrap_or(f64::NAN)
    }

    /// The median of the ratios to another carrier in the same round.
    fn ratio(&self, over: &Self, of: fn(&Sample) -> f64) -> f64 {
        let pairs = self.samples.iter().zip(&over.samples);
        middle(pairs.map(|(own, over)| of(own) / of(over)).collect()).unwrap_or(f64::NAN)
    }

    fn has_round_trips(&self) -> bool {
        self.samples.iter().any(|it| it.round_trips.is_some())
    }
}

/// A row for each load and carrier: medians, and ratios to the load's first carrier, plain OpenVPN. Empty without loads.
pub(crate) fn all(outcomes: &[Outcome]) -> String {
    if outcomes.is_empty() {
        return String::new();
    }
    let mut text = head(&[
        "link",
        "load",
        "carried by",
        "Mbit/s, or answers/s",
        "s per Gbit, or 100,000 answers: server, client",
        "switches/s",
        "rate, costs beside plain OpenVPN",
        "p50, p99 in µs",
        "the same beside plain OpenVPN",
    ]);
    for own in outcomes {
        let is_same = |it: &&Outcome| (it.link, it.load) == (own.link, own.load);
        let plain = outcomes.iter().find(is_same).unwrap_or(own);
        let [rate, server, client]: [fn(&Sample) -> f64; 3] =
            [|it| it.rate, |it| it.server, |it| it.client];
        let mut round_trips = ["–".to_owned(), "–".to_owned()];
        if own.has_round_trips() {
            let (p50, p99) = (own.median(Sample::p50), own.median(Sample::p99));
            let beside = (own.ratio(plain, Sample::p50), own.ratio(plain, Sample::p99));
            round_trips = [
                format!("{p50:.0}, {p99:.0}"),
                format!("{:.2}, {:.2}", beside.0, beside.1),
            ];
        }
        let costs = format!("{:.3}, {:.3}", own.median(server), own.median(client));
        let beside = [rate, server, client].map(|of| format!("{:.2}", own.ratio(plain, of)));
        row(
            &mut text,
            &[
                own.link.title(),
                own.load,
                &own.carrier,
                &format!("{:.0}", own.median(rate)),
                &costs,
                &format!("{:.0}", own.median(|it| it.switches)),
                &beside.join(", "),
                &round_trips[0],
                &round_trips[1],
            ],
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_carrier_stands_beside_plain_openvpn_on_the_same_link() {
        let of = |link, carrier: &str, rates: [f64; 3]| Outcome {
            link,
            load: "a load",
            carrier: carrier.to_owned(),
            samples: Vec::from(rates.map(|rate| Sample {
                rate,
                server: 2.0 / rate,
                client: 1.0,
                switches: 0.0,
                round_trips: None,
            })),
        };
        let outcomes = [
            of(Link::Veth, "OpenVPN", [4.0, 2.0, 1.0]),
            of(Link::Veth, "udco", [8.0, 1.0, 4.0]),
            of(Link::Nic, "OpenVPN", [1.0, 1.0, 1.0]),
            of(Link::Nic, "udco", [3.0, 3.0, 3.0]),
        ];
        let table = all(&outcomes);
        let beside: Vec<_> = table
            .lines()
            .skip(2)
            .map(|line| line.split(" | ").nth(6))
            .collect();
        let wanted = [
            "1.00, 1.00, 1.00",
            "2.00, 0.50, 1.00",
            "1.00, 1.00, 1.00",
            "3.00, 0.33, 1.00",
        ];
        assert_eq!(beside, wanted.map(Some));
        assert_eq!(all(&[]), "");
    }
}
