//! One line of a configuration file as words.
//!
//! Each rule here was found by feeding lines to OpenVPN 2.6.14 and 2.7.8 and reading the words that `echo` printed; the
//! scenario `option_reader` repeats that.

use std::fmt;

/// The most words in a line, including the option's name; OpenVPN ignores the rest.
pub(crate) const MAX_WORDS: usize = 16;

/// A line with which OpenVPN refuses to start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadLine {
    /// A quotation mark is not closed on the line.
    Unclosed,
    /// A backslash stands before a character that needs none.
    Backslash,
    /// The line is longer than OpenVPN's buffer.
    TooLong,
}

impl fmt::Display for BadLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unclosed => "a quotation mark is not closed",
            Self::Backslash => "a backslash needs another one before it",
            Self::TooLong => "the line is longer than 254 characters",
        })
    }
}

impl std::error::Error for BadLine {}

/// The reader's place in a line.
#[derive(Clone, Copy)]
enum Within {
    Nothing,
    Bare,
    Double,
    Single,
}

/// Splits a line into words: at white space; "…" and '…' keep it, if they begin a word; `#` and `;` begin a comment
/// where a word could begin. A backslash escapes a quotation mark, white space or a backslash, but not inside '…'. A
/// closing quotation mark ends its word.
///
/// # Errors
/// [`BadLine::Unclosed`] and [`BadLine::Backslash`].
pub fn words(line: &[u8]) -> Result<Vec<Vec<u8>>, BadLine> {
    let mut words = Vec::new();
    let mut word = Vec::new();
    let mut within = Within::Nothing;
    let mut escaped = false;
    for byte in line.iter().copied().take_while(|byte| *byte != 0) {
        if byte == b'\\' && !escaped && !matches!(within, Within::Single) {
            escaped = true;
            continue;
        }
        let was_escaped = std::mem::take(&mut escaped);
        let ends = match within {
            Within::Nothing => {
                within = match byte {
                    byte if is_space(byte) => continue,
                    b'#' | b';' => break,
                    b'"' if !was_escaped => Within::Double,
                    b'\'' if !was_escaped => Within::Single,
                    byte => {
                        word.push(checked(byte, was_escaped)?);
                        Within::Bare
                    }
                };
                continue;
            }
            Within::Bare => is_space(byte) && !was_escaped,
            Within::Double => byte == b'"' && !was_escaped,
            Within::Single => byte == b'\'',
        };
        if ends {
            words.push(std::mem::take(&mut word));
            within = Within::Nothing;
            if words.len() == MAX_WORDS {
                return Ok(words);
            }
        } else {
            word.push(checked(byte, was_escaped)?);
        }
    }
    match within {
        Within::Nothing => {}
        Within::Bare => words.push(word),
        Within::Double | Within::Single => return Err(BadLine::Unclosed),
    }
    Ok(words)
}

/// A byte of a word, if it may follow a backslash.
fn checked(byte: u8, escaped: bool) -> Result<u8, BadLine> {
    if escaped && !(is_space(byte) || matches!(byte, b'\\' | b'"')) {
        return Err(BadLine::Backslash);
    }
    Ok(byte)
}

/// C's `isspace`.
pub(crate) const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(line: &str) -> Vec<String> {
        let words = words(line.as_bytes()).expect("words");
        let text = |word| String::from_utf8(word).expect("UTF-8");
        words.into_iter().map(text).collect()
    }

    /// How OpenVPN splits each line, as its `echo` showed.
    #[test]
    fn lines_are_split_as_openvpn_splits_them() {
        let cases: &[(&str, &[&str])] = &[
            ("echo plain a b", &["echo", "plain", "a", "b"]),
            ("  indented\ttab \x0b\x0c\r", &["indented", "tab"]),
            (
                r#"echo "a b" c\ d 'e "f' "g\"h" 'i\j' k\\l"#,
                &["echo", "a b", "c d", "e \"f", "g\"h", r"i\j", r"k\l"],
            ),
            ("x # comment", &["x"]),
            ("y ; comment", &["y"]),
            ("z#no ;comment", &["z#no"]),
            (r#"ab"cd"ef 'x'y"#, &["ab\"cd\"ef", "x", "y"]),
            (r#""" '' end"#, &["", "", "end"]),
            (r#"x "a"b c"#, &["x", "a", "b", "c"]),
            (r#""x" y""#, &["x", "y\""]),
            (r"'it\' s' x", &["it\\", "s'", "x"]),
            (r"echo \;g", &["echo"]),
            (r"echo \ b", &["echo", "b"]),
            (r"trailing \", &["trailing"]),
            ("\"a\"#comment", &["a"]),
            (r#""a\ b""#, &["a b"]),
            ("a\0b", &["a"]),
            ("", &[]),
            ("#", &[]),
        ];
        for (line, wanted) in cases {
            assert_eq!(&split(line), wanted, "{line}");
        }
        let many = "w ".repeat(20);
        assert_eq!(split(&many).len(), MAX_WORDS);
    }

    #[test]
    fn lines_that_openvpn_refuses_are_refused() {
        for (line, wanted) in [
            (r#"echo "x"#, BadLine::Unclosed),
            ("echo 'x", BadLine::Unclosed),
            (r"echo \x", BadLine::Backslash),
            (r"echo e\#f", BadLine::Backslash),
            (r"echo \'g", BadLine::Backslash),
            (r#"echo "a\nb""#, BadLine::Backslash),
        ] {
            assert_eq!(words(line.as_bytes()), Err(wanted), "{line}");
        }
    }
}
