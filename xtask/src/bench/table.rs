//! A report in Markdown.

use std::fmt::Write;

use super::cell::Cell;
use super::figure::Figure;
use super::link::Link;
use super::loads;
use super::outcome::Report;
use super::scale::Scale;
use super::subject::Subject;

/// The subjects that udco is compared with, and their column headings.
const YARDSTICKS: [(Subject, &str); 5] = [
    (Subject::Openvpn, "OpenVPN as installed"),
    (Subject::OpenvpnTuned, "OpenVPN tuned"),
    (Subject::WireguardGo, "wireguard-go"),
    (Subject::NoTunnel, "no tunnel"),
    (Subject::NoTunnelNoGso, "no tunnel, no GSO"),
];

/// Subjects with all figures, in the order of their columns.
const MAIN: [Subject; 6] = [
    Subject::NoTunnel,
    Subject::NoTunnelNoGso,
    Subject::Openvpn,
    Subject::OpenvpnTuned,
    Subject::WireguardGo,
    Subject::Udco,
];

/// All tables with their headings, without missing measurements.
pub(crate) fn all(report: &Report) -> String {
    let scale = report.scale.as_ref();
    let sections = [
        ("Targets", targets(report)),
        ("udco over others, veth", ratios(report)),
        ("Medians, veth", medians(report)),
        (
            "Other links, VPNs, ciphers, transports, one end",
            others(report),
        ),
        (
            "Moderate loads, udco at the server only",
            loads::table::all(&report.one_end),
        ),
        (
            "Busy peers, all together: 1000 packets/s (beside 1 core), s of the engine's per million",
            scale.map(Scale::peers_table).unwrap_or_default(),
        ),
        (
            "One tunnel (beside 1 core)",
            scale.map(Scale::tunnels_table).unwrap_or_default(),
        ),
    ];
    let mut text = method(report);
    for (heading, table) in sections {
        if !table.is_empty() {
            let _ = write!(text, "\n## {heading}\n\n{table}");
        }
    }
    text
}

/// A paragraph about the method.
fn method(report: &Report) -> String {
    let machine = &report.machine;
    let vpns: String = machine.vpns.iter().map(|it| format!(", {it}")).collect();
    let words = format!(
        "`{}`, {}, udco {}, {} with AES-256-GCM{vpns}, {} cores of {}, Linux {}, {} rounds, {} s a stream or flood, {:.0} minutes.",
        report.command,
        machine.date,
        machine.udco,
        machine.openvpn,
        machine.cores,
        machine.processor,
        machine.kernel,
        report.rounds,
        report.seconds,
        report.minutes,
    );
    wrap(&words)
}

fn targets(report: &Report) -> String {
    if report.targets.iter().all(|target| target.is_met.is_none()) {
        return String::new();
    }
    let mut text = head(&[
        "ratio of udco",
        "target",
        "measured (range of the rounds)",
        "",
    ]);
    for target in &report.targets {
        let measured: Vec<String> = target
            .measured
            .iter()
            .map(|m| {
                let [least, most] = m.range;
                let direction = match m.figure {
                    Figure::Tcp1Up => "up ",
                    Figure::Tcp1Down => "down ",
                    _ => "",
                };
                format!("{direction}{:.2} ({least:.2}–{most:.2})", m.ratio)
            })
            .collect();
        let bound = target.bound.to_string();
        row(
            &mut text,
            &[target.text, &bound, &measured.join(", "), target.word()],
        );
    }
    text
}

fn ratios(report: &Report) -> String {
    let figures = Figure::SHOWN.into_iter().filter(|f| f.has_ratio());
    let rows = figures.map(|figure| {
        let ratios = YARDSTICKS.map(|(subject, _)| {
            let ratio = report.ratio(figure, veth(Subject::Udco), veth(subject));
            // Without a tunnel the costs are zero.
            ratio.filter(|r| r.is_finite()).map(|r| format!("{r:.2}"))
        });
        (figure.title().to_owned(), ratios)
    });
    let columns = YARDSTICKS.map(|(_, words)| words);
    table(&["udco over"], &columns, rows)
}

fn medians(report: &Report) -> String {
    let rows = Figure::SHOWN.into_iter().map(|figure| {
        let values = MAIN.map(|subject| report.median(veth(subject), figure));
        let title = format!("{}, {}", figure.title(), figure.unit());
        (title, values.map(|v| v.map(|v| figure.show(v))))
    });
    table(&[""], &MAIN.map(Subject::title), rows)
}

/// A table without the rows that have no value; empty if that leaves none. `corners` are the headings of the titles.
pub(super) fn table<const N: usize>(
    corners: &[&str],
    columns: &[&str; N],
    rows: impl Iterator<Item = (String, [Option<String>; N])>,
) -> String {
    let mut text = String::new();
    for (title, cells) in rows.filter(|(_, cells)| cells.iter().any(Option::is_some)) {
        let cells = cells.map(|cell| cell.unwrap_or_else(|| "–".to_owned()));
        let cells = cells.each_ref().map(String::as_str);
        row(&mut text, &[&[title.as_str()], cells.as_slice()].concat());
    }
    if text.is_empty() {
        return text;
    }
    head(&[corners, columns.as_slice()].concat()) + &text
}

/// A row for each cell with only some of the figures.
fn others(report: &Report) -> String {
    let figures = [
        Figure::Tcp1Up,
        Figure::Tcp1Down,
        Figure::Udp64,
        Figure::Udp64Loss,
        Figure::RttLoadedP50,
        Figure::CpuTunnel,
        Figure::CpuMachine,
    ];
    let is_other = |cell: &Cell| cell.link != Link::Veth || !MAIN.contains(&cell.subject);
    let outcomes = report.outcomes.iter().filter(|o| is_other(&o.cell));
    let rows = outcomes.map(|outcome| {
        let title = [outcome.cell.link.title(), outcome.cell.subject.title()];
        let value = |figure: Figure| Some(figure.show(*outcome.median.get(&figure)?));
        (title.join(" | "), figures.map(value))
    });
    let titles = figures.map(|figure| format!("{}, {}", figure.title(), figure.unit()));
    table(&["link", ""], &titles.each_ref().map(String::as_str), rows)
}

const fn veth(subject: Subject) -> Cell {
    Cell {
        subject,
        link: Link::Veth,
    }
}

pub(super) fn head(columns: &[&str]) -> String {
    let mut text = String::new();
    row(&mut text, columns);
    row(&mut text, &vec!["---"; columns.len()]);
    text
}

pub(super) fn row(text: &mut String, cells: &[&str]) {
    let _ = writeln!(text, "| {} |", cells.join(" | "));
}

/// Wraps lines at 120 characters.
fn wrap(words: &str) -> String {
    let mut text = String::new();
    let mut width = 0;
    for word in words.split_whitespace() {
        let length = word.chars().count();
        if width > 0 && width + 1 + length > 120 {
            text.push('\n');
            width = 0;
        } else if width > 0 {
            text.push(' ');
            width += 1;
        }
        text.push_str(word);
        width += length;
    }
    text.push('\n');
    text
}
