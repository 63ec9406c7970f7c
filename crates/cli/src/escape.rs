//! Escapes names chosen by others (of devices, processes and files) for a terminal or a log. They must not forge a
//! line, colour it or move the cursor (faults D4).

use std::fmt::{self, Write};

/// Writes control characters as `\u{…}`.
pub(crate) struct Escaping<W> {
    to: W,
    /// Line feeds are our own, and pass.
    several_lines: bool,
}

impl<W: Write> Escaping<W> {
    /// For text that is one line, whatever it contains.
    pub(crate) const fn line(to: W) -> Self {
        Self {
            to,
            several_lines: false,
        }
    }

    /// For text of several lines.
    pub(crate) const fn text(to: W) -> Self {
        Self {
            to,
            several_lines: true,
        }
    }
}

impl<W: Write> Write for Escaping<W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        while let Some(at) = rest.find(|c| is_control(c) && !(self.several_lines && c == '\n')) {
            let (plain, from) = rest.split_at(at);
            self.to.write_str(plain)?;
            let mut characters = from.chars();
            if let Some(control) = characters.next() {
                write!(self.to, "{}", control.escape_unicode())?;
            }
            rest = characters.as_str();
        }
        self.to.write_str(rest)
    }
}

/// A text that others have chosen, for one line: cut to this many characters, without control characters.
pub(crate) fn printable(text: &str, most: usize) -> String {
    let end = text.char_indices().nth(most).map_or(text.len(), |it| it.0);
    let mut value = String::new();
    let _ = Escaping::line(&mut value).write_str(text.get(..end).unwrap_or_default());
    value
}

/// Whether a character does anything but print. Besides control characters: line separators, and controls of the
/// writing direction.
fn is_control(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn escaped(text: &str) -> String {
        let mut to = String::new();
        Escaping::line(&mut to).write_str(text).unwrap();
        to
    }

    #[test]
    fn nothing_but_what_is_seen_is_left() {
        assert_eq!(escaped("tun0: plain, Größe 1"), "tun0: plain, Größe 1");
        assert_eq!(escaped("\x1b[31mred"), "\\u{1b}[31mred");
        assert_eq!(escaped("a\nudco: b\r"), "a\\u{a}udco: b\\u{d}");
        assert_eq!(escaped("\u{9b}1m\u{7f}"), "\\u{9b}1m\\u{7f}");
        assert_eq!(escaped("\u{202e}txt"), "\\u{202e}txt");
    }

    #[test]
    fn a_printable_text_is_short_and_visible() {
        assert_eq!(printable("Größe", 4), "Größ");
        assert_eq!(printable("a\nb", 9), "a\\u{a}b");
    }

    #[test]
    fn text_keeps_its_lines() {
        let mut to = String::new();
        Escaping::text(&mut to).write_str("{\n\t}\n").unwrap();
        assert_eq!(to, "{\n\\u{9}}\n");
    }
}
