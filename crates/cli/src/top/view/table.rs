//! Tables: text to the left, numbers to the right.

use ratatui::Frame;
use ratatui::layout::{Constraint, Rect};
use ratatui::text::Line;
use ratatui::widgets::{Cell, Row, Table};

use super::theme::Theme;
use crate::{rates, units};

/// From this width on there is room for columns that are good to have.
pub(super) const WIDE: u16 = 100;

/// The longest name of an interface.
pub(super) const NAME: u16 = 15;

/// A column.
pub(super) struct Column {
    heading: &'static str,
    width: Constraint,
    is_number: bool,
}

impl Column {
    /// Text, of which the caller cuts what does not fit.
    pub(super) const fn text(heading: &'static str, width: u16) -> Self {
        Self {
            heading,
            width: Constraint::Length(width),
            is_number: false,
        }
    }

    pub(super) const fn number(heading: &'static str, width: u16) -> Self {
        Self {
            heading,
            width: Constraint::Length(width),
            is_number: true,
        }
    }

    /// A rate of bytes: `12.3 Mbit/s`.
    pub(super) const fn bits(heading: &'static str) -> Self {
        Self::number(heading, 11)
    }
}

/// The room that these columns leave to others.
pub(super) fn room(width: u16, columns: &[Column]) -> u16 {
    let taken = columns.iter().map(|column| match column.width {
        Constraint::Length(width) => width + 1,
        _ => 1,
    });
    taken.fold(width, u16::saturating_sub)
}

/// Draws a table with its headings.
pub(super) fn draw<'a>(
    frame: &mut Frame<'_>,
    area: Rect,
    columns: &[Column],
    rows: impl Iterator<Item = Row<'a>>,
    theme: Theme,
) {
    let headings = columns.iter().map(|column| match column.is_number {
        true => number(column.heading),
        false => Cell::from(column.heading),
    });
    let headings = Row::new(headings.collect::<Vec<_>>()).style(theme.heading);
    let widths = columns.iter().map(|column| column.width);
    frame.render_widget(Table::new(rows, widths).header(headings), area);
}

/// A cell at the right of its column.
pub(super) fn number(text: impl Into<String>) -> Cell<'static> {
    Cell::from(Line::raw(text.into()).right_aligned())
}

/// A rate of bytes, if it is known.
pub(super) fn bits(bytes: Option<f64>) -> Cell<'static> {
    number(bytes.map_or_else(unknown, rates::bits))
}

/// A number with three digits, if it is known.
pub(super) fn count(count: Option<f64>) -> Cell<'static> {
    number(count.map_or_else(unknown, |count| units::scaled(count).trim_end().to_owned()))
}

/// A small part of a whole, if it is known.
pub(super) fn share(share: Option<f64>) -> Cell<'static> {
    number(share.map_or_else(unknown, units::share))
}

fn unknown() -> String {
    "-".to_owned()
}
