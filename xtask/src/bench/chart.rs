//! A chart of a report: bars, one panel per figure.

use std::fmt::Write;

use super::cell::Cell;
use super::figure::Figure;
use super::link::Link;
use super::outcome::Report;
use super::subject::Subject;

/// The figures, with their captions.
const PANELS: [(Figure, &str); 4] = [
    (Figure::Tcp1Up, "One TCP stream, Gbit/s (longer is better)"),
    (
        Figure::Udp64,
        "64-byte datagrams received, 1000/s (longer is better)",
    ),
    (
        Figure::RttLoadedP50,
        "Round trip beside a TCP stream, ms (shorter is better)",
    ),
    (
        Figure::CpuTunnel,
        "Processor seconds per GiB, tunnel and kernel (shorter is better)",
    ),
];

/// The subjects of the bars; without a tunnel it is the network alone, packet by packet.
const SUBJECTS: [Subject; 5] = [
    Subject::Openvpn,
    Subject::OpenvpnTuned,
    Subject::WireguardGo,
    Subject::Udco,
    Subject::NoTunnelNoGso,
];

/// Pixels.
const WIDTH: u32 = 760;
const MARGIN: u32 = 16;
const LABELS: u32 = 190;
const BAR: u32 = 18;
const ROW: u32 = 26;
const HEADING: u32 = 34;
/// Room for the number after a bar.
const NUMBER: u32 = 70;

/// Colours by class. With a background of its own the chart is readable on any page, light or dark.
const STYLE: &str = "\
.page{fill:#ffffff}\
text{font:13px system-ui,sans-serif;fill:#1f2328}\
.head{font-weight:600}\
.bar{fill:#8c959f}\
.udco{fill:#0969da}\
.none{fill:#d0d7de}\
@media(prefers-color-scheme:dark){\
.page{fill:#0d1117}\
text{fill:#e6edf3}\
.bar{fill:#6e7681}\
.udco{fill:#2f81f7}\
.none{fill:#30363d}}";

/// The chart as an SVG document; a figure without measurements has no panel.
pub(crate) fn draw(report: &Report) -> String {
    let mut body = String::new();
    let mut y = MARGIN;
    for (figure, heading) in PANELS {
        y = panel(&mut body, y, report, figure, heading);
    }
    let machine = &report.machine;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {y}\" width=\"{WIDTH}\" height=\"{y}\" \
         role=\"img\">\n\
         <title>{}, {} cores, Linux {}: medians of {} interleaved rounds, both ends on one machine, veth</title>\n\
         <style>{STYLE}</style>\n<rect class=\"page\" width=\"{WIDTH}\" height=\"{y}\"/>\n{body}</svg>\n",
        machine.date, machine.cores, machine.kernel, report.rounds,
    )
}

/// Draws a panel at `y` and returns the position of the next.
fn panel(body: &mut String, mut y: u32, report: &Report, figure: Figure, heading: &str) -> u32 {
    let bars: Vec<(Subject, f64)> = SUBJECTS
        .into_iter()
        .filter_map(|subject| {
            let link = Link::Veth;
            Some((subject, report.median(Cell { subject, link }, figure)?))
        })
        // Without a tunnel there is no cost of one.
        .filter(|(subject, _)| figure != Figure::CpuTunnel || *subject != Subject::NoTunnelNoGso)
        .collect();
    let longest = bars.iter().map(|(_, value)| *value).fold(0.0, f64::max);
    if longest <= 0.0 {
        return y;
    }
    let _ = writeln!(
        body,
        "<text class=\"head\" x=\"{MARGIN}\" y=\"{}\">{heading}</text>",
        y + 14
    );
    y += HEADING - 8;
    let left = MARGIN + LABELS;
    let room = f64::from(WIDTH - left - NUMBER - MARGIN);
    for (subject, value) in bars {
        let class = match subject {
            Subject::Udco => "udco",
            Subject::NoTunnelNoGso => "none",
            _ => "bar",
        };
        let length = (value / longest * room).max(1.0);
        let (label, base) = (subject.title(), y + 14);
        let _ = writeln!(
            body,
            "<text x=\"{MARGIN}\" y=\"{base}\">{label}</text>\
             <rect class=\"{class}\" x=\"{left}\" y=\"{y}\" width=\"{length:.1}\" height=\"{BAR}\" rx=\"2\"/>\
             <text x=\"{:.1}\" y=\"{base}\">{}</text>",
            f64::from(left) + length + 6.0,
            figure.show(value),
        );
        y += ROW;
    }
    y + MARGIN
}
