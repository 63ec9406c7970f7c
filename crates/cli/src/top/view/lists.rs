//! Devices, the history of their rates, peers, drops and remarks, one below the other.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Text};

use super::theme::Theme;
use super::wrap::wrap;
use super::{devices, peers};
use crate::top::controls::Controls;
use crate::top::model::{DeviceRow, Model};
use crate::units;

/// Draws all of it.
pub(super) fn draw(
    frame: &mut Frame<'_>,
    area: Rect,
    model: &Model,
    controls: &mut Controls,
    theme: Theme,
) {
    let shown: Vec<&DeviceRow> = match &controls.device {
        None => model.devices.iter().collect(),
        Some(only) => model
            .devices
            .iter()
            .filter(|it| it.whose == *only)
            .collect(),
    };
    let nothing = match (&controls.device, &model.nothing) {
        (_, Some(nothing)) => Some(nothing.as_str()),
        (Some(_), None) if shown.is_empty() => Some("this device is gone; Tab shows all"),
        _ => None,
    };
    let width = area.width.into();
    let warnings = model.remarks.iter().cloned().chain(drops(&shown));
    let warnings: Vec<String> = warnings.flat_map(|it| wrap(&it, width)).collect();

    // A few lines each, so that most of the screen is left to the peers.
    let (height, few) = (area.height, (area.height / 5).max(1));
    let bound = |count: usize, most: u16| most.min(count.try_into().unwrap_or(u16::MAX));
    let rows = [
        1 + bound(shown.len().max(1), few),
        match height {
            _ if shown.is_empty() => 0,
            0..12 => 0,
            12..30 => 2,
            30.. => 4,
        },
        bound(warnings.len(), height / 3),
    ];
    let [device_rows, history_rows, warning_rows] = rows.map(Constraint::Length);
    let [above, history, list, below] =
        Layout::vertical([device_rows, history_rows, Constraint::Fill(1), warning_rows])
            .areas(area);
    match nothing {
        Some(nothing) => frame.render_widget(Text::from_iter(wrap(nothing, width)), above),
        None => devices::draw(frame, above, &shown, theme),
    }
    let rates = match &controls.device {
        Some(device) => model.history(device),
        None => Some(model.together()),
    };
    if history.height > 0 {
        super::history(frame, history, rates, theme);
    }
    peers::draw(frame, list, model, controls, theme);
    let warnings = warnings
        .into_iter()
        .map(|it| Line::styled(it, theme.warning));
    frame.render_widget(Text::from_iter(warnings), below);
}

/// A line for each device that has dropped packets, the reason with the most first.
fn drops<'a>(devices: &'a [&DeviceRow]) -> impl Iterator<Item = String> + 'a {
    devices.iter().filter_map(|device| {
        let mut drops: Vec<_> = device.drops.iter().collect();
        drops.sort_by_key(|it| std::cmp::Reverse(it.count));
        let words = drops.iter().map(|drops| {
            let count = units::scaled(drops.count as f64);
            let rate = match drops.rate {
                Some(rate) if rate > 0.0 => format!(" ({}/s)", units::scaled(rate).trim_end()),
                _ => String::new(),
            };
            format!("{} {}{rate}", drops.reason, count.trim_end())
        });
        let words: Vec<_> = words.collect();
        let words = words.join(", ");
        (!words.is_empty()).then(|| format!("dropped by {}: {words}", device.name))
    })
}
