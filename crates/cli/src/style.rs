//! How the output looks: for people on a terminal, else as ever, for scripts.

use std::ffi::OsStr;
use std::io::IsTerminal;

use udco_state::Loss;

use crate::units::{self, noun};

/// How numbers and lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Style {
    /// Numbers with prefixes instead of all their digits.
    pub(crate) is_human: bool,
    /// Whether colours are wanted and seen.
    pub(crate) has_colour: bool,
}

/// What a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Line {
    Heading,
    Plain,
    Detail,
    Drop,
}

impl Style {
    /// For scripts, and where all digits matter.
    pub(crate) const PLAIN: Self = Self {
        is_human: false,
        has_colour: false,
    };

    /// For people, without colour.
    pub(crate) const HUMAN: Self = Self {
        is_human: true,
        has_colour: false,
    };

    /// That of standard output.
    pub(crate) fn of_output() -> Self {
        let is_terminal = std::io::stdout().is_terminal();
        let [no_colour, terminal] = ["NO_COLOR", "TERM"].map(std::env::var_os);
        Self::of(is_terminal, no_colour.as_deref(), terminal.as_deref())
    }

    /// As <https://no-color.org> has it: a variable that is not empty.
    pub(crate) fn of(
        is_terminal: bool,
        no_colour: Option<&OsStr>,
        terminal: Option<&OsStr>,
    ) -> Self {
        let is_unwanted = no_colour.is_some_and(|it| !it.is_empty());
        let is_dumb = terminal.is_none_or(|it| it == "dumb");
        Self {
            is_human: is_terminal,
            has_colour: is_terminal && !is_unwanted && !is_dumb,
        }
    }

    /// The sequence that begins a line's colour, if it has one.
    pub(crate) const fn colour(self, line: Line) -> Option<&'static str> {
        match line {
            _ if !self.has_colour => None,
            Line::Heading => Some("\x1b[1m"),
            Line::Plain => None,
            Line::Detail => Some("\x1b[2m"),
            Line::Drop => Some("\x1b[33m"),
        }
    }

    /// A number of bytes.
    pub(crate) fn bytes(self, bytes: u64) -> String {
        match self.is_human {
            true => format!("{}B", units::scaled(bytes as f64)),
            false => format!("{bytes} bytes"),
        }
    }

    /// A number of anything else.
    pub(crate) fn count(self, count: u64) -> String {
        match self.is_human {
            true => units::scaled(count as f64).trim_end().to_owned(),
            false => count.to_string(),
        }
    }

    /// How many packets were lost on the way here; `None` if none were sent.
    pub(crate) fn loss(self, loss: Loss) -> Option<String> {
        let Loss { expected, lost } = loss;
        let share = units::share(lost as f64 / expected as f64);
        (expected > 0).then(|| {
            format!(
                "{} of {} {} on the way here ({share})",
                self.count(lost),
                self.count(expected),
                noun(expected, "packet")
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_for_terminals_whose_user_wants_them() {
        let of = |is_terminal, no_colour: Option<&'static str>, terminal: &'static str| {
            let style = Style::of(
                is_terminal,
                no_colour.map(OsStr::new),
                Some(terminal.as_ref()),
            );
            (style.is_human, style.colour(Line::Drop).is_some())
        };
        assert_eq!(of(true, None, "xterm"), (true, true));
        assert_eq!(of(true, Some(""), "xterm"), (true, true));
        assert_eq!(of(true, Some("1"), "xterm"), (true, false));
        assert_eq!(of(true, None, "dumb"), (true, false));
        assert_eq!(of(false, None, "xterm"), (false, false));
    }

    #[test]
    fn scripts_get_all_digits() {
        assert_eq!(Style::PLAIN.bytes(5_000_000_000), "5000000000 bytes");
        assert_eq!(Style::PLAIN.count(12_345), "12345");
        let human = Style {
            is_human: true,
            ..Style::PLAIN
        };
        assert_eq!(human.bytes(5_000_000_000), "5.00 GB");
        assert_eq!(human.bytes(7), "7 B");
        assert_eq!(human.count(999), "999");
        assert_eq!(human.count(12_345), "12.3 k");
    }

    #[test]
    fn losses_have_their_share() {
        let words = |style: Style, expected, lost| style.loss(Loss { expected, lost });
        assert_eq!(words(Style::PLAIN, 0, 0), None);
        let none = words(Style::PLAIN, 1, 0).unwrap();
        assert_eq!(none, "0 of 1 packet on the way here (0%)");
        let some = words(Style::PLAIN, 12_345, 5).unwrap();
        assert_eq!(some, "5 of 12345 packets on the way here (0.04%)");
        let few = words(Style::PLAIN, 100_000, 1).unwrap();
        assert_eq!(few, "1 of 100000 packets on the way here (<0.01%)");
        let human = words(Style::HUMAN, 12_345, 5).unwrap();
        assert_eq!(human, "5 of 12.3 k packets on the way here (0.04%)");
    }
}
