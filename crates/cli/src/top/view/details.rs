//! One peer.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Text};
use udco_state::{Mss, Traffic};

use super::peers;
use super::theme::Theme;
use super::wrap::wrap;
use crate::rates::{self, Rate};
use crate::show;
use crate::style::Style;
use crate::top::controls::Controls;
use crate::top::model::{Model, PeerRow};
use crate::units;

/// The columns that the lines' names take.
const NAMES: usize = 11;

/// Draws all that is known of it.
pub(super) fn draw(
    frame: &mut Frame<'_>,
    area: Rect,
    model: &Model,
    controls: &Controls,
    theme: Theme,
) {
    let row = model.peers.iter().find(|row| controls.is_on(row));
    let Some(row) = row else {
        let mut words = "this peer is gone".to_owned();
        let mut others = model.peers.iter();
        if others.any(|row| Some(&row.whose) == controls.chosen.as_ref()) {
            words.push_str(", and its id now belongs to another connection");
        }
        let lines = wrap(&words, area.width.into()).into_iter();
        let mut lines: Vec<_> = lines.map(|it| Line::styled(it, theme.warning)).collect();
        let remarks = model.remarks.iter();
        let remarks = remarks.flat_map(|it| wrap(it, area.width.into()));
        lines.extend(remarks.map(|it| Line::styled(it, theme.warning)));
        return frame.render_widget(Text::from(lines), area);
    };
    let lines = lines(row, model, theme);
    let lines: Vec<_> = lines
        .into_iter()
        .flat_map(|line| continued(line, area.width.into()))
        .collect();
    let count = u16::try_from(lines.len()).unwrap_or(u16::MAX);
    let rows = [Constraint::Max(count), Constraint::Fill(1)];
    let [above, below] = Layout::vertical(rows).spacing(1).areas(area);
    frame.render_widget(Text::from(lines), above);
    if below.height >= 2 {
        // Higher than this, it says no more.
        let below = Rect {
            height: below.height.min(8) / 2 * 2,
            ..below
        };
        super::history(frame, below, model.history(&row.whose), theme);
    }
}

/// A line, or several where it is too long: what follows its name goes on below itself.
fn continued(line: Line<'static>, width: usize) -> Vec<Line<'static>> {
    let text = line.to_string();
    let (Some((name, rest)), true) = (text.split_at_checked(NAMES), line.width() > width) else {
        return vec![line];
    };
    let rows = wrap(rest, width.saturating_sub(NAMES))
        .into_iter()
        .enumerate();
    let name_of = |row| if row == 0 { name } else { "" };
    let rows = rows.map(|(row, rest)| format!("{:NAMES$}{rest}", name_of(row)));
    rows.map(|row| Line::styled(row, line.style)).collect()
}

fn lines(row: &PeerRow, model: &Model, theme: Theme) -> Vec<Line<'static>> {
    let peer = &row.peer;
    let mut devices = model.devices.iter();
    let device = devices.find(|device| row.whose.is_of(&device.whose));
    let kind = device.map(super::devices::kind).unwrap_or_default();
    let mut lines = vec![
        Line::styled(format!("peer {} of {}", peer.id, row.device), theme.heading),
        Line::raw(format!("device     {kind}")),
    ];
    let name = row.common_name.as_ref();
    lines.extend(name.map(|name| Line::raw(format!("name       {name}"))));
    lines.push(Line::raw(format!("inside     {}", peers::inside(row))));
    let local = match peer.local {
        Some(local) => format!(", from {local}"),
        None => String::new(),
    };
    lines.push(Line::raw(format!(
        "outside    {}{local}",
        peers::outside(row)
    )));
    let (primary, secondary) = (
        show::key(&peer.keys.primary),
        show::key(&peer.keys.secondary),
    );
    let keys = format!("keys       primary {primary}, secondary {secondary}");
    lines.push(Line::raw(keys));
    let (interval, timeout) = (peer.keepalive.interval, peer.keepalive.timeout);
    let keepalive = format!("keepalive  {}", units::keepalive(interval, timeout));
    lines.push(Line::raw(keepalive));
    if let (Some(mtu), Some(Mss { ipv4, ipv6 })) = (peer.path_mtu, peer.mss) {
        let path = format!("path       MTU {mtu}, MSS inside {ipv4} (IPv6 {ipv6})");
        lines.push(Line::raw(path));
    }
    let rates = row.rate;
    let sides = [
        ("vpn ", &peer.vpn, rates.map(|[inside, _]| inside)),
        ("link", &peer.link, rates.map(|[_, link]| link)),
    ];
    for (name, traffic, rate) in sides {
        lines.extend(side(name, traffic, rate).map(Line::raw));
    }
    if let Some(lost) = peer.loss.and_then(|loss| Style::HUMAN.loss(loss)) {
        let now = row.loss.map(units::share);
        let now = now.map_or_else(String::new, |now| format!(", now {now}"));
        lines.push(Line::raw(format!("lost       {lost}{now}")));
    }
    lines
}

/// Counters inside the tunnel or at the transport socket, a line for each direction.
fn side(name: &str, traffic: &Traffic, rate: Option<Rate>) -> [String; 2] {
    let direction = |name: &str, verb: &str, bytes, packets, rate: Option<(f64, f64)>| {
        let noun = units::noun(packets, "packet");
        let (bytes, packets) = (Style::HUMAN.bytes(bytes), Style::HUMAN.count(packets));
        let rate = rate.map_or_else(String::new, |(bytes, packets)| {
            format!(": {}", rates::words(bytes, packets))
        });
        format!("{name:<10} {verb:<8} {bytes} in {packets} {noun}{rate}")
    };
    [
        direction(
            name,
            "received",
            traffic.rx_bytes,
            traffic.rx_packets,
            rate.map(|rate| (rate.rx_bytes, rate.rx_packets)),
        ),
        direction(
            "",
            "sent",
            traffic.tx_bytes,
            traffic.tx_packets,
            rate.map(|rate| (rate.tx_bytes, rate.tx_packets)),
        ),
    ]
}
