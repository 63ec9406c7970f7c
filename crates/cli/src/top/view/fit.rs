//! Text that is longer than its place. What is cut ends in `…` or has it inside: without, a number or an address would
//! be another one.

use ratatui::text::Span;

const CUT: char = '…';

/// A text of at most this many columns, without its end where that is too long.
pub(super) fn start(text: &str, columns: usize) -> String {
    match width(text) > columns {
        true => cut(text.chars(), columns).chain([CUT]).collect(),
        false => text.to_owned(),
    }
}

/// As [`start`], cut where a word ends.
pub(super) fn words(text: &str, columns: usize) -> String {
    let cut = start(text, columns);
    match cut.strip_suffix(CUT).and_then(|cut| cut.rsplit_once(' ')) {
        Some((words, _)) => format!("{words} {CUT}"),
        None => cut,
    }
}

/// A text of at most this many columns, without its middle where that is too long: addresses of one network differ at
/// their ends.
pub(super) fn ends(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let tail = columns.saturating_sub(1).div_ceil(2);
    let head = cut(text.chars(), columns - tail);
    let tail: Vec<char> = cut(text.chars().rev(), tail + 1).collect();
    head.chain([CUT]).chain(tail.into_iter().rev()).collect()
}

/// How many columns a text takes: some characters take two, some none.
pub(super) fn width(text: &str) -> usize {
    Span::raw(text).width()
}

/// As many characters as leave one column of these.
fn cut(characters: impl Iterator<Item = char>, columns: usize) -> impl Iterator<Item = char> {
    let mut taken = 1;
    characters.take_while(move |character| {
        taken += width(character.encode_utf8(&mut [0; 4]));
        taken <= columns
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_is_whole() {
        for fit in [start, words, ends] {
            assert_eq!(fit("10.8.0.2", 8), "10.8.0.2");
            assert_eq!(fit("", 0), "");
        }
    }

    #[test]
    fn what_is_cut_shows_it() {
        assert_eq!(start("workers 98%", 10), "workers 9…");
        assert_eq!(words("workers 98%", 10), "workers …");
        assert_eq!(words("workers", 4), "wor…");
        let address = "[2001:db8:1::17]:1194";
        assert_eq!(ends(address, 12), "[2001…]:1194");
        assert_eq!(ends(address, 13), "[2001:…]:1194");
        assert_eq!(start("日本語の名前", 6), "日本…");
        for columns in 0..30 {
            for fit in [start, words, ends] {
                for text in [address, "a 日 b 本 c", "日本語の名前"] {
                    let most = columns.max(1);
                    assert!(width(&fit(text, columns)) <= most, "{text} in {columns}");
                }
            }
        }
    }
}
