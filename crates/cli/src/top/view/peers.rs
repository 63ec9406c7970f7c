//! The list of peers.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::Line;
use ratatui::widgets::{Cell, Row};

use super::fit;
use super::table::{self, Column, NAME, WIDE};
use super::theme::Theme;
use crate::top::controls::Controls;
use crate::top::model::{Model, PeerRow};

/// Columns that most IPv4 addresses fit into.
const ADDRESS: u16 = 15;

/// Draws the part of it that fits.
pub(super) fn draw(
    frame: &mut Frame<'_>,
    area: Rect,
    model: &Model,
    controls: &mut Controls,
    theme: Theme,
) {
    let peers = controls.peers(model);
    if peers.is_empty() {
        if !model.peers.is_empty() {
            let none = Line::styled("no peer matches", theme.quiet);
            frame.render_widget(none, area);
        }
        return;
    }
    let width = area.width;
    let rows = usize::from(area.height.saturating_sub(1));
    let at = controls.position(&peers);
    let offset = controls.scroll(at, peers.len(), rows);
    let seen: Vec<_> = peers.iter().copied().skip(offset).take(rows).collect();
    let longest = peers.iter().map(|row| row.device.chars().count()).max();
    let longest = longest.and_then(|it| u16::try_from(it).ok());
    let longest = longest.unwrap_or(NAME).clamp(6, NAME);
    let has_several = width >= 40 && controls.device.is_none() && model.devices.len() > 1;
    let is_wide = width >= WIDE;
    let has_names = width > WIDE + NAME && peers.iter().any(|row| row.common_name.is_some());
    let has_loss = width >= WIDE + 10 + if has_names { NAME + 1 } else { 0 };
    let id = peers.iter().map(|row| row.peer.id).max().unwrap_or(0);
    let id = u16::try_from(id.to_string().len()).map_or(6, |digits| digits.max(6));
    let mut rates = vec![Column::bits("RECEIVES"), Column::bits("SENDS")];
    rates.extend(is_wide.then(|| Column::number("PACKETS/S", 9)));
    rates.extend(has_loss.then(|| Column::number("LOSS", 7)));
    let room = table::room(width, &rates).saturating_sub(id + 1);
    let of_device = longest.min(room.saturating_sub(1));
    let mut columns = Vec::new();
    columns.extend(has_several.then(|| Column::text("DEVICE", of_device)));
    columns.push(Column::number("PEER", id));
    columns.extend(has_names.then(|| Column::text("NAME", NAME)));
    let room = table::room(table::room(width, &rates), &columns);
    let (of_inside, of_outside) = addresses(&seen, room);
    columns.extend(of_inside.map(|columns| Column::text("INSIDE", columns)));
    columns.extend(of_outside.map(|columns| Column::text("OUTSIDE", columns)));
    columns.extend(rates);

    let rows = seen.iter().zip(offset..).map(|(row, position)| {
        let rate = row.rate.map(|[inside, _]| inside);
        let mut cells = Vec::new();
        cells.extend(has_several.then(|| Cell::from(fit::start(&row.device, of_device.into()))));
        cells.push(table::number(row.peer.id.to_string()));
        let name = row.common_name.as_deref().unwrap_or("-");
        cells.extend(has_names.then(|| Cell::from(fit::start(name, NAME.into()))));
        let shown = |text: String, columns: u16| Cell::from(fit::ends(&text, columns.into()));
        cells.extend(of_inside.map(|columns| shown(inside_in(row, columns), columns)));
        cells.extend(of_outside.map(|columns| shown(outside(row), columns)));
        cells.push(table::bits(rate.map(|rate| rate.rx_bytes)));
        cells.push(table::bits(rate.map(|rate| rate.tx_bytes)));
        cells.extend(is_wide.then(|| table::count(rate.map(|rate| rate.packets()))));
        cells.extend(has_loss.then(|| table::share(row.loss)));
        match at == Some(position) {
            true => Row::new(cells).style(theme.chosen),
            false => Row::new(cells),
        }
    });
    table::draw(frame, area, &columns, rows, theme);
}

/// The columns for the addresses inside and outside, as far as there is room.
fn addresses(peers: &[&PeerRow], room: u16) -> (Option<u16>, Option<u16>) {
    if room < 2 * ADDRESS + 1 {
        return ((room >= ADDRESS).then_some(room), None);
    }
    let room = room - 1;
    // Where there is no room for both, each has half of it, or what the other leaves.
    let half = room / 2;
    let widest = |text: &dyn Fn(&PeerRow) -> String| {
        let widths = peers.iter().map(|row| fit::width(&text(row)));
        let widest = widths.max().and_then(|it| u16::try_from(it).ok());
        widest.unwrap_or(0).max(ADDRESS)
    };
    let (all, outside) = (widest(&inside), widest(&outside));
    let inside = match room.saturating_sub(outside) {
        spare if all <= half.max(spare) => all,
        spare => widest(&|row| inside_in(row, half)).min(half.max(spare)),
    };
    (Some(inside), Some(room - inside))
}

/// A peer's addresses in the tunnel, or the first of them where there is no room for both.
fn inside_in(row: &PeerRow, columns: u16) -> String {
    let both = inside(row);
    match both.split_once(", ") {
        Some((vpn4, _)) if fit::width(&both) > columns.into() => format!("{vpn4}, …"),
        _ => both,
    }
}

/// A peer's addresses in the tunnel.
pub(super) fn inside(row: &PeerRow) -> String {
    let vpn4 = row.peer.vpn4.map(|it| it.to_string());
    let vpn6 = row.peer.vpn6.map(|it| it.to_string());
    let both: Vec<_> = vpn4.into_iter().chain(vpn6).collect();
    match both.is_empty() {
        true => "-".to_owned(),
        false => both.join(", "),
    }
}

/// Its outer address.
pub(super) fn outside(row: &PeerRow) -> String {
    match row.peer.remote {
        Some(remote) => remote.to_string(),
        None => "-".to_owned(),
    }
}
