//! The list of peers.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::Line;
use ratatui::widgets::{Cell, Row};

use super::table::{self, Column, NAME, WIDE};
use super::theme::Theme;
use crate::top::controls::Controls;
use crate::top::model::{Model, PeerRow};

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
    let longest = peers.iter().map(|row| row.device.chars().count()).max();
    let longest = longest.and_then(|it| u16::try_from(it).ok());
    let longest = longest.unwrap_or(NAME).clamp(6, NAME);
    let has_several = width >= 40 && controls.device.is_none() && model.devices.len() > 1;
    let names = if has_several { longest + 1 } else { 0 };
    // Id and rates have 30 columns.
    let has_inside = width >= 30 + names + 16;
    let (has_outside, is_wide) = (width >= 64, width >= WIDE);
    let has_names = width > WIDE + NAME && peers.iter().any(|row| row.common_name.is_some());
    let has_loss = width >= WIDE + 10 + if has_names { NAME + 1 } else { 0 };
    let mut columns = Vec::new();
    columns.extend(has_several.then(|| Column::text("DEVICE", longest)));
    columns.push(Column::number("PEER", 6));
    columns.extend(has_names.then(|| Column::text("NAME", NAME)));
    columns.extend(has_inside.then(|| Column::text("INSIDE", if is_wide { 30 } else { 15 })));
    columns.extend(has_outside.then(|| Column::rest("OUTSIDE")));
    columns.extend([Column::bits("RECEIVES"), Column::bits("SENDS")]);
    columns.extend(is_wide.then(|| Column::number("PACKETS/S", 9)));
    columns.extend(has_loss.then(|| Column::number("LOSS", 7)));

    let room = usize::from(area.height.saturating_sub(1));
    let at = controls.position(&peers);
    let offset = controls.scroll(at, peers.len(), room);
    let seen = peers.iter().enumerate().skip(offset).take(room);
    let rows = seen.map(|(position, row)| {
        let rate = row.rate.map(|[inside, _]| inside);
        let mut cells = Vec::new();
        cells.extend(has_several.then(|| Cell::from(row.device.clone())));
        cells.push(table::number(row.peer.id.to_string()));
        let name = row.common_name.as_deref().unwrap_or("-");
        cells.extend(has_names.then(|| Cell::from(name.to_owned())));
        cells.extend(has_inside.then(|| Cell::from(inside(row))));
        cells.extend(has_outside.then(|| Cell::from(outside(row))));
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
