//! What `udco ping` prints: lines as ping(8) has them, or one JSON object.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::Result;
use serde::Serialize;

use super::Arguments;
use super::message::HEADER;
use super::probe::Answer;
use super::tally::{RoundTrips, Tally};
use super::target::Target;
use crate::output::{self, line};

/// The largest packet that comes back, in bytes with its IP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Largest {
    pub(super) bytes: usize,
    /// The longest that may leave: the device's MTU.
    pub(super) mtu: usize,
}

/// The report of one ping.
pub(super) struct Report<'a> {
    arguments: &'a Arguments,
    target: Target,
    took: Duration,
    largest: Option<Largest>,
    is_silent: bool,
}

/// The object of `--json`.
#[derive(Serialize)]
struct Object<'a> {
    device: &'a str,
    peer: u32,
    address: IpAddr,
    /// Bytes of payload.
    size: u16,
    sent: u64,
    received: u64,
    duplicates: u64,
    loss_percent: f64,
    rtt_ms: Option<RoundTrips>,
    /// Null if nothing has come back, or nothing does any more, or the search was ended.
    largest_packet: Option<Largest>,
}

impl<'a> Report<'a> {
    pub(super) const fn new(arguments: &'a Arguments, target: &Target) -> Self {
        Self {
            arguments,
            target: *target,
            took: Duration::ZERO,
            largest: None,
            is_silent: false,
        }
    }

    /// The first line.
    pub(super) fn begin(&self) -> Result<()> {
        if self.arguments.json {
            return Ok(());
        }
        let Target { peer, address, .. } = self.target;
        let (device, size) = (&self.arguments.device, self.arguments.size);
        let header = if address.is_ipv6() { 40 } else { 20 };
        let whole = usize::from(size) + HEADER + header;
        line!("PING {address} (peer {peer} of {device}) {size}({whole}) bytes of data.");
        Ok(())
    }

    /// An answer.
    pub(super) fn answer(&self, answer: &Answer, is_first: bool) -> Result<()> {
        if self.arguments.json {
            return Ok(());
        }
        let Answer {
            number,
            bytes,
            after,
        } = answer;
        let again = if is_first { "" } else { " (DUP!)" };
        line!(
            "{bytes} bytes from {}: icmp_seq={number} time={:.3} ms{again}",
            self.target.address,
            after.as_secs_f64() * 1e3
        );
        Ok(())
    }

    /// How long the requests took.
    pub(super) const fn took(&mut self, took: Duration) {
        self.took = took;
    }

    /// The end of the search for the largest packet.
    pub(super) const fn largest(&mut self, largest: Largest) {
        self.largest = Some(largest);
    }

    /// The search for it ended because nothing comes back any more.
    pub(super) const fn silence(&mut self) {
        self.is_silent = true;
    }

    /// The statistics.
    pub(super) fn end(&self, tally: &Tally) -> Result<()> {
        if self.arguments.json {
            return output::json(&self.object(tally));
        }
        self.lines(tally).iter().try_for_each(|text| {
            line!("{text}");
            Ok(())
        })
    }

    fn lines(&self, tally: &Tally) -> Vec<String> {
        let address = self.target.address;
        let duplicates = match tally.duplicates() {
            0 => String::new(),
            count => format!(" +{count} duplicates,"),
        };
        let mut lines = vec![
            String::new(),
            format!("--- {address} ping statistics ---"),
            format!(
                "{} packets transmitted, {} received,{duplicates} {}% packet loss, time {}ms",
                tally.sent(),
                tally.received(),
                (tally.loss() * 100.0).round() / 100.0,
                self.took.as_millis()
            ),
        ];
        lines.extend(tally.round_trips().map(|trips| {
            format!(
                "rtt min/avg/max/mdev = {:.3}/{:.3}/{:.3}/{:.3} ms",
                trips.min, trips.avg, trips.max, trips.mdev
            )
        }));
        lines.extend(self.largest.map(|Largest { bytes, mtu }| match bytes < mtu {
            false => format!("largest packet that passes: {bytes} bytes, as long as the device takes"),
            true => format!(
                "largest packet that passes: {bytes} bytes, although the device takes {mtu}: longer ones are lost, so \
                 lower `tun-mtu` at both ends, or let ICMP \"fragmentation needed\" and fragments pass on the path"
            ),
        }));
        if self.is_silent {
            let device = &self.arguments.device;
            lines.push(format!(
                "largest packet that passes: not known, since nothing comes back any more; `udco show {device}` says whether \
                 the peer is still there"
            ));
        }
        lines
    }

    fn object(&self, tally: &Tally) -> Object<'_> {
        Object {
            device: &self.arguments.device,
            peer: self.target.peer,
            address: self.target.address,
            size: self.arguments.size,
            sent: tally.sent(),
            received: tally.received(),
            duplicates: tally.duplicates(),
            loss_percent: tally.loss(),
            rtt_ms: tally.round_trips(),
            largest_packet: self.largest,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }

    fn report(arguments: &Arguments) -> Report<'_> {
        let target = Target {
            ifindex: 5,
            peer: 3,
            address: [10, 8, 0, 2].into(),
        };
        Report::new(arguments, &target)
    }

    #[test]
    fn statistics_read_like_those_of_ping() {
        let Line { arguments } = Line::parse_from(["ping", "tun0"]);
        let mut report = report(&arguments);
        report.took(Duration::from_millis(3004));
        let mut tally = Tally::default();
        (0..3).for_each(|_| tally.sent_one());
        let none = report.lines(&tally);
        assert_eq!(
            none[2],
            "3 packets transmitted, 0 received, 100% packet loss, time 3004ms"
        );
        assert_eq!(none.len(), 3);
        tally.answered(1, Duration::from_micros(500));
        tally.answered(2, Duration::from_micros(700));
        tally.answered(2, Duration::from_micros(800));
        report.silence();
        let silent = report.lines(&tally);
        assert!(silent[4].contains("not known"), "{silent:?}");
        report.is_silent = false;
        report.largest(Largest {
            bytes: 1152,
            mtu: 1500,
        });
        let lines = report.lines(&tally);
        assert_eq!(
            lines[2..4],
            [
                "3 packets transmitted, 2 received, +1 duplicates, 33.33% packet loss, time 3004ms",
                "rtt min/avg/max/mdev = 0.500/0.600/0.700/0.100 ms"
            ]
        );
        assert!(lines[4].starts_with("largest packet that passes: 1152 bytes, although"));
        let object = serde_json::to_value(report.object(&tally)).unwrap();
        assert_eq!(
            (&object["peer"], &object["received"]),
            (&3.into(), &2.into())
        );
        assert_eq!(object["largest_packet"]["bytes"], 1152);
    }

    #[test]
    fn options_are_those_of_ping() {
        let words = [
            "ping", "tun0", "--id", "7", "-c", "3", "-i", "0.2", "-s", "1000",
        ];
        let Line { arguments } = Line::parse_from(words);
        assert_eq!((arguments.count, arguments.size), (3, 1000));
        assert_eq!(arguments.interval, Duration::from_millis(200));
        assert_eq!(arguments.id, Some(7));
        for bad in [
            ["-c", "0"],
            ["-i", "0"],
            ["-s", "65488"],
            ["--id", "16777216"],
        ] {
            assert!(Line::try_parse_from(["ping", "tun0"].iter().chain(&bad)).is_err());
        }
    }
}
