//! Draws what is known and chosen.

mod details;
mod devices;
mod fit;
mod lists;
mod peers;
mod table;
mod theme;
mod wrap;

use std::time::{Duration, Instant};

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span, Text};
use ratatui::widgets::{RenderDirection, Sparkline};

use self::theme::Theme;
use super::controls::{Controls, Page};
use super::history::History;
use super::input;
use super::model::Model;
use crate::style::Style;
use crate::{rates, units};

/// The smallest terminal that has room for anything.
const SMALLEST: (u16, u16) = (32, 6);

/// How it is drawn.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look {
    pub(super) style: Style,
    /// How often the engines are asked.
    pub(super) every: Duration,
    pub(super) now: Instant,
}

/// Draws a screen.
pub(super) fn draw(frame: &mut Frame<'_>, model: &Model, controls: &mut Controls, look: &Look) {
    let area = frame.area();
    if area.width < SMALLEST.0 || area.height < SMALLEST.1 {
        let (width, height) = SMALLEST;
        let words = format!("too small: {width}x{height} at least");
        let lines = wrap::wrap(&words, area.width.into());
        return frame.render_widget(Text::from_iter(lines), area);
    }
    let theme = Theme::of(look.style);
    let [head, body, foot] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Fill(1),
        Constraint::Length(1),
    ])
    .areas(area);
    frame.render_widget(title(model, controls, look, theme), head);
    match controls.page {
        Page::Peers | Page::Filter => lists::draw(frame, body, model, controls, theme),
        Page::Details => details::draw(frame, body, model, controls, theme),
    }
    let help = input::help(controls.page);
    let help = whole(help.split("  "), "  ", foot.width.into());
    frame.render_widget(Line::styled(help, theme.quiet), foot);
}

/// As many of these as fit, each of them whole.
fn whole<'a>(parts: impl Iterator<Item = &'a str>, between: &str, columns: usize) -> String {
    let mut line = String::new();
    for part in parts {
        let between = if line.is_empty() { "" } else { between };
        if fit::width(&line) + between.len() + fit::width(part) > columns {
            break;
        }
        line.push_str(between);
        line.push_str(part);
    }
    line
}

/// How much there is, and what of it is shown.
fn title(model: &Model, controls: &Controls, look: &Look, theme: Theme) -> Line<'static> {
    let mut words = vec![Span::styled("udco top", theme.heading)];
    match model.at {
        None => words.push(Span::raw("  asking the engines …")),
        Some(_) => {
            let counted = |count: usize, name: &str| match count {
                1 => format!("1 {name}"),
                _ => format!("{count} {name}s"),
            };
            let engines = counted(model.engines, "engine");
            let peers = counted(model.peers.len(), "peer");
            words.push(Span::raw(format!("  {engines}, {peers}")));
        }
    }
    if controls.page != Page::Details {
        let reversed = if controls.is_reversed {
            ", reversed"
        } else {
            ""
        };
        words.push(Span::raw(format!(
            "  by {}{reversed}",
            controls.order.name()
        )));
        let is_typed = controls.page == Page::Filter;
        if is_typed || !controls.filter.is_empty() {
            let cursor = if is_typed { "_" } else { "" };
            let filter = format!("  filter: {}{cursor}", controls.filter);
            words.push(Span::styled(filter, theme.warning));
        }
    }
    // An engine may take 3 s until it counts as silent.
    let age = model.at.map(|at| look.now.saturating_duration_since(at));
    if let Some(age) = age.filter(|age| *age > look.every + Duration::from_secs(2)) {
        let age = format!("  {} old", units::time(age));
        words.push(Span::styled(age, theme.warning));
    }
    Line::from(words)
}

/// Draws both directions of a history, one above the other, each with the highest rate that is seen.
fn history(frame: &mut Frame<'_>, area: Rect, history: Option<&History>, theme: Theme) {
    let rows = [Constraint::Fill(1), Constraint::Fill(1)];
    let [above, below] = Layout::vertical(rows).areas(area);
    let received = history.into_iter().flat_map(History::received).collect();
    let sent = history.into_iter().flat_map(History::sent).collect();
    direction(frame, above, "receives", received, theme);
    direction(frame, below, "sends", sent, theme);
}

fn direction(frame: &mut Frame<'_>, area: Rect, name: &str, mut bits: Vec<u64>, theme: Theme) {
    let columns = [
        Constraint::Length(9),
        Constraint::Fill(1),
        Constraint::Length(17),
    ];
    let [label, middle, peak] = Layout::horizontal(columns).areas(area);
    bits.truncate(middle.width.into());
    let most = bits.iter().max().copied().unwrap_or_default();
    frame.render_widget(Line::raw(name), label);
    let line = Sparkline::default()
        .data(bits)
        .direction(RenderDirection::RightToLeft)
        .max(most.max(1))
        .style(theme.history);
    frame.render_widget(line, middle);
    let words = format!("peak {}", rates::bits(most as f64 / 8.0));
    frame.render_widget(Line::styled(words, theme.quiet).right_aligned(), peak);
}

#[cfg(test)]
mod tests;
