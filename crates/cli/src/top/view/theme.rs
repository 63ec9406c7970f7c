//! Colours, where they are wanted; without, nothing is told by colour alone.

use ratatui::style::{Color, Modifier, Style};

/// The styles of what is drawn.
#[derive(Clone, Copy, Debug)]
pub(super) struct Theme {
    pub(super) heading: Style,
    /// What matters less.
    pub(super) quiet: Style,
    /// Where the cursor is.
    pub(super) chosen: Style,
    pub(super) warning: Style,
    pub(super) history: Style,
}

impl Theme {
    /// Those that suit standard output (`NO_COLOR`).
    pub(super) fn of(output: crate::style::Style) -> Self {
        let coloured = |colour: Color| match output.has_colour {
            true => Style::new().fg(colour),
            false => Style::new(),
        };
        Self {
            heading: Style::new().add_modifier(Modifier::BOLD),
            quiet: Style::new().add_modifier(Modifier::DIM),
            chosen: Style::new().add_modifier(Modifier::REVERSED),
            warning: coloured(Color::Yellow),
            history: coloured(Color::Cyan),
        }
    }
}
