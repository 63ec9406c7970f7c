//! udco's performance targets, and whether it meets them.

use serde::Serialize;

use super::cell::Cell;
use super::figure::Figure;
use super::link::Link;
use super::outcome::Report;
use super::subject::Subject;

/// A ratio to reach.
#[derive(Debug)]
pub(crate) struct Target {
    text: &'static str,
    /// Each of these figures must reach it.
    figures: &'static [Figure],
    of: Cell,
    over: Cell,
    bound: Bound,
}

/// A limit of a ratio.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

/// A target and its measurement.
#[derive(Debug, Serialize)]
pub(crate) struct Verdict {
    pub(crate) text: &'static str,
    pub(crate) bound: Bound,
    pub(crate) measured: Vec<Measured>,
    /// `None` without a measurement.
    pub(crate) is_met: Option<bool>,
}

/// A ratio of medians.
#[derive(Debug, Serialize)]
pub(crate) struct Measured {
    pub(crate) figure: Figure,
    pub(crate) ratio: f64,
    /// The least and the greatest ratio within one round.
    pub(crate) range: [f64; 2],
}

/// Both directions.
const TCP1: &[Figure] = &[Figure::Tcp1Up, Figure::Tcp1Down];

const UDCO: Cell = on(Subject::Udco, Link::Veth);
const TUNED: Cell = on(Subject::OpenvpnTuned, Link::Veth);
const UDCO_TCP: Cell = on(Subject::UdcoTcp, Link::Veth);
const TUNED_TCP: Cell = on(Subject::OpenvpnTunedTcp, Link::Veth);
const INSTALLED: Cell = on(Subject::Openvpn, Link::Veth);

/// All of them.
pub(crate) const TARGETS: [Target; 15] = [
    Target {
        text: "TCP, 1 stream / OpenVPN as installed",
        figures: TCP1,
        of: UDCO,
        over: INSTALLED,
        bound: Bound::AtLeast(13.0),
    },
    Target {
        text: "TCP, 1 stream / OpenVPN tuned",
        figures: TCP1,
        of: UDCO,
        over: TUNED,
        bound: Bound::AtLeast(10.0),
    },
    Target {
        text: "TCP, 1 stream / wireguard-go",
        figures: TCP1,
        of: UDCO,
        over: on(Subject::WireguardGo, Link::Veth),
        bound: Bound::AtLeast(3.0),
    },
    Target {
        text: "TCP, 1 stream / no tunnel, no GSO",
        figures: TCP1,
        of: UDCO,
        over: on(Subject::NoTunnelNoGso, Link::Veth),
        bound: Bound::AtLeast(1.1),
    },
    Target {
        text: "TCP, 1 stream, NIC-like with GRO / OpenVPN tuned",
        figures: TCP1,
        of: on(Subject::Udco, Link::Nic),
        over: on(Subject::OpenvpnTuned, Link::Nic),
        bound: Bound::AtLeast(8.0),
    },
    Target {
        text: "TCP, 1 stream, NIC-like without GRO / OpenVPN tuned",
        figures: TCP1,
        of: on(Subject::Udco, Link::NicNoGro),
        over: on(Subject::OpenvpnTuned, Link::NicNoGro),
        bound: Bound::AtLeast(6.0),
    },
    Target {
        text: "UDP 64 B, packets received / OpenVPN tuned",
        figures: &[Figure::Udp64],
        of: UDCO,
        over: TUNED,
        bound: Bound::AtLeast(4.0),
    },
    Target {
        text: "TCP, 1 stream, both with CHACHA20-POLY1305 / OpenVPN tuned",
        figures: TCP1,
        of: on(Subject::UdcoChacha, Link::Veth),
        over: on(Subject::OpenvpnTunedChacha, Link::Veth),
        bound: Bound::AtLeast(6.0),
    },
    Target {
        text: "TCP, 1 stream, both over TCP / OpenVPN tuned",
        figures: TCP1,
        of: UDCO_TCP,
        over: TUNED_TCP,
        bound: Bound::AtLeast(18.0),
    },
    Target {
        text: "RTT beside a TCP stream, median, both over TCP / OpenVPN tuned",
        figures: &[Figure::RttLoadedP50],
        of: UDCO_TCP,
        over: TUNED_TCP,
        bound: Bound::AtMost(0.2),
    },
    Target {
        text: "TCP, 1 stream, 10,000 peers / the same with 1",
        figures: TCP1,
        of: on(Subject::UdcoCrowded, Link::Veth),
        over: UDCO,
        bound: Bound::AtLeast(0.9),
    },
    Target {
        text: "RTT idle, median / OpenVPN as installed",
        figures: &[Figure::RttIdleP50],
        of: UDCO,
        over: INSTALLED,
        bound: Bound::AtMost(1.0),
    },
    Target {
        text: "RTT beside a TCP stream, median / OpenVPN tuned",
        figures: &[Figure::RttLoadedP50],
        of: UDCO,
        over: TUNED,
        bound: Bound::AtMost(0.25),
    },
    Target {
        text: "CPU s/GiB, tunnel and kernel's threads / OpenVPN tuned",
        figures: &[Figure::CpuTunnel],
        of: UDCO,
        over: TUNED,
        bound: Bound::AtMost(0.1),
    },
    Target {
        text: "CPU s/GiB, whole machine / OpenVPN tuned",
        figures: &[Figure::CpuMachine],
        of: UDCO,
        over: TUNED,
        bound: Bound::AtMost(0.1),
    },
];

impl Target {
    pub(crate) fn judge(&self, report: &Report) -> Verdict {
        let measured: Vec<Measured> = self
            .figures
            .iter()
            .filter_map(|&figure| {
                Some(Measured {
                    figure,
                    ratio: report.ratio(figure, self.of, self.over)?,
                    range: report.ratio_range(figure, self.of, self.over)?,
                })
            })
            .collect();
        let is_whole = measured.len() == self.figures.len();
        let is_met = measured.iter().all(|m| self.bound.holds(m.ratio));
        Verdict {
            text: self.text,
            bound: self.bound,
            is_met: is_whole.then_some(is_met),
            measured,
        }
    }
}

impl Bound {
    fn holds(self, ratio: f64) -> bool {
        match self {
            Self::AtLeast(bound) => ratio >= bound,
            Self::AtMost(bound) => ratio <= bound,
        }
    }
}

impl std::fmt::Display for Bound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::AtLeast(bound) => write!(f, "≥ {bound}"),
            Self::AtMost(bound) => write!(f, "≤ {bound}"),
        }
    }
}

impl Verdict {
    pub(crate) const fn word(&self) -> &'static str {
        match self.is_met {
            None => "not measured",
            Some(true) => "met",
            Some(false) => "missed",
        }
    }
}

const fn on(subject: Subject, link: Link) -> Cell {
    Cell { subject, link }
}

#[cfg(test)]
mod tests {
    use super::{INSTALLED, TARGETS, TUNED, UDCO};
    use crate::bench::cell::{Cell, Sample};
    use crate::bench::figure::Figure;
    use crate::bench::outcome::{Outcome, Report};

    #[test]
    fn each_direction_has_to_reach_the_target() {
        let both = |cell: Cell, up: f64, down: f64| {
            let sample = Sample::from([(Figure::Tcp1Up, up), (Figure::Tcp1Down, down)]);
            Outcome::new(cell, vec![Some(sample), None])
        };
        let mut report = Report {
            outcomes: vec![
                both(UDCO, 26.0, 26.0),
                both(INSTALLED, 2.0, 2.0),
                both(TUNED, 2.0, 3.0),
            ],
            ..Report::default()
        };
        report.judge();
        let words: Vec<&str> = report.targets.iter().map(|target| target.word()).collect();
        let (judged, others) = words.split_at(2);
        assert_eq!(judged, ["met", "missed"]);
        assert_eq!(others, vec!["not measured"; TARGETS.len() - 2]);
        assert_eq!(report.targets[0].measured[0].range, [13.0, 13.0]);
    }
}
