//! The list of devices.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::widgets::{Cell, Row};

use super::fit;
use super::table::{self, Column, NAME, WIDE};
use super::theme::Theme;
use crate::top::model::DeviceRow;
use crate::units;

/// Draws it.
pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, devices: &[&DeviceRow], theme: Theme) {
    let width = area.width;
    let (has_peers, has_load) = (width >= 40, width >= 50);
    let (has_drops, has_packets, has_kind) = (width >= 60, width >= 70, width >= WIDE);
    let mut columns = Vec::new();
    columns.extend(has_peers.then(|| Column::number("PEERS", 6)));
    columns.extend([Column::bits("RECEIVES"), Column::bits("SENDS")]);
    columns.extend(has_packets.then(|| Column::number("PACKETS/S", 9)));
    columns.extend(has_drops.then(|| Column::number("DROPS/S", 7)));
    columns.extend(has_load.then(|| Column::number("CPU", 5)));
    let room = table::room(width, &columns);
    let of_name = room.min(NAME);
    columns.insert(0, Column::text("DEVICE", of_name));
    let of_kind = room.saturating_sub(of_name + 1);
    columns.extend(has_kind.then(|| Column::text("KIND", of_kind)));
    let rows = devices.iter().map(|device| {
        let load = device.engine.as_ref().and_then(|engine| engine.load);
        let load = load.map(units::percent);
        let peers = device.peers.map(|peers| peers.to_string());
        let or_unknown = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        let packets = device.rate.map(|rate| rate.packets());
        let mut cells = vec![Cell::from(fit::start(&device.name, of_name.into()))];
        cells.extend(has_peers.then(|| table::number(or_unknown(peers))));
        cells.push(table::bits(device.rate.map(|rate| rate.rx_bytes)));
        cells.push(table::bits(device.rate.map(|rate| rate.tx_bytes)));
        cells.extend(has_packets.then(|| table::count(packets)));
        cells.extend(has_drops.then(|| table::count(device.drop_rate())));
        cells.extend(has_load.then(|| table::number(or_unknown(load))));
        cells.extend(has_kind.then(|| Cell::from(fit::words(&kind(device), of_kind.into()))));
        Row::new(cells)
    });
    table::draw(frame, area, &columns, rows, theme);
}

/// What a device is, and what serves it.
pub(super) fn kind(device: &DeviceRow) -> String {
    match &device.engine {
        Some(engine) => {
            let unknown = || "-".to_owned();
            let loads = engine
                .workers
                .iter()
                .map(|it| it.map_or_else(unknown, units::percent));
            let loads: Vec<_> = loads.collect();
            format!(
                "{}; workers {} at {}",
                device.kind,
                loads.join(" "),
                engine.socket
            )
        }
        None => device.kind.clone(),
    }
}
