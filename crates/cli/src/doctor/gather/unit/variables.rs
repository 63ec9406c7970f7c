//! Variables in a unit's command, as systemd replaces them when it starts it.

use std::collections::BTreeMap;

/// The variables of a unit.
pub(super) type Variables = BTreeMap<String, String>;

/// The words of a command with their variables replaced. `${NAME}` becomes the value wherever it stands, `$NAME` only as a
/// word of its own: as many words as the value has. An unknown variable is empty. The program cannot be a variable.
pub(super) fn replaced(words: &[String], variables: &Variables) -> Vec<String> {
    let mut found = Vec::new();
    for (at, word) in words.iter().enumerate() {
        match word.strip_prefix('$') {
            _ if at == 0 => found.push(word.clone()),
            Some(name) if !name.starts_with(['{', '$']) => {
                found.extend(variables.get(name).into_iter().flat_map(|it| split(it)));
            }
            _ => found.push(in_word(word, variables)),
        }
    }
    found
}

fn in_word(word: &str, variables: &Variables) -> String {
    let (mut found, mut rest) = (String::new(), word);
    while let Some((before, after)) = rest.split_once('$') {
        found.push_str(before);
        let braced = after.strip_prefix('{').and_then(|it| it.split_once('}'));
        rest = match (braced, after.strip_prefix('$')) {
            (Some((name, behind)), _) => {
                found.push_str(variables.get(name).map_or("", String::as_str));
                behind
            }
            (None, Some(behind)) => {
                found.push('$');
                behind
            }
            (None, None) => {
                found.push('$');
                after
            }
        };
    }
    found + rest
}

/// The words of a text. Quotation marks hold a word together, a backslash takes the next character as it is.
pub(in crate::doctor::gather) fn split(text: &str) -> Vec<String> {
    let (mut words, mut word) = (Vec::new(), None::<String>);
    let (mut mark, mut is_escaped) = (None, false);
    for c in text.chars() {
        match mark {
            _ if is_escaped => {
                is_escaped = false;
                word.get_or_insert_default().push(c);
            }
            _ if c == '\\' => is_escaped = true,
            Some(end) if c == end => mark = None,
            None if c == '"' || c == '\'' => {
                mark = Some(c);
                word.get_or_insert_default();
            }
            None if c.is_ascii_whitespace() => words.extend(word.take()),
            _ => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

/// Adds what the text of an `EnvironmentFile=` sets, by systemd's rules: nearly a shell's, and nothing is expanded.
pub(super) fn read(text: &str, variables: &mut Variables) {
    let mut rest = text.chars().peekable();
    while let Some(first) = rest.peek().copied() {
        if first.is_ascii_whitespace() {
            rest.next();
            continue;
        }
        if matches!(first, '#' | ';') {
            rest.find(|c| is_end(*c));
            continue;
        }
        let mut name = String::new();
        let mut is_set = false;
        for c in rest.by_ref() {
            is_set = c == '=';
            if is_set || is_end(c) {
                break;
            }
            name.push(c);
        }
        if is_set {
            let value = value(&mut rest);
            let name = name.trim_end();
            if is_name(name) {
                variables.insert(name.to_owned(), value);
            }
        }
    }
}

const fn is_end(c: char) -> bool {
    matches!(c, '\n' | '\r')
}

fn is_name(name: &str) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    !name.is_empty() && !name.starts_with(|c: char| c.is_ascii_digit()) && name.chars().all(is_part)
}

/// A value up to the end of its line. Quotation marks count where a value begins, and behind another in marks.
fn value(rest: &mut impl Iterator<Item = char>) -> String {
    let (mut value, mut kept) = (String::new(), 0);
    let mut is_bare = false;
    while let Some(c) = rest.next() {
        match c {
            c if is_end(c) => break,
            '\\' => {
                is_bare = true;
                if let Some(next) = rest.next().filter(|c| !is_end(*c)) {
                    value.push(next);
                    if !next.is_ascii_whitespace() {
                        kept = value.len();
                    }
                }
            }
            '"' | '\'' if !is_bare => {
                quoted(c, rest, &mut value);
                kept = value.len();
            }
            c if c.is_ascii_whitespace() && !is_bare => (),
            c => {
                is_bare = true;
                value.push(c);
                if !c.is_ascii_whitespace() {
                    kept = value.len();
                }
            }
        }
    }
    value.truncate(kept);
    value
}

fn quoted(mark: char, rest: &mut impl Iterator<Item = char>, value: &mut String) {
    while let Some(c) = rest.next() {
        match c {
            c if c == mark => return,
            '\\' if mark == '"' => match rest.next() {
                Some('\n') | None => (),
                Some(next) if "\"\\`$".contains(next) => value.push(next),
                Some(next) => value.extend(['\\', next]),
            },
            c => value.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|it| (*it).to_owned()).collect()
    }

    #[test]
    fn variables_are_replaced_as_systemd_does() {
        let variables = [
            ("OPTIONS", "--config 'my a.conf'  --verb 3"),
            ("NAME", "o ffice"),
            ("EMPTY", ""),
        ];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let variables = Variables::from(variables);
        for (word, wanted) in [
            ("$OPTIONS", &["--config", "my a.conf", "--verb", "3"][..]),
            ("${NAME}", &["o ffice"]),
            ("$NAME", &["o", "ffice"]),
            ("/a/${NAME}.conf${EMPTY}", &["/a/o ffice.conf"]),
            ("/a/$NAME", &["/a/$NAME"]),
            ("$EMPTY", &[]),
            ("${EMPTY}", &[""]),
            ("$UNKNOWN", &[]),
            ("${UNKNOWN}", &[""]),
            ("$$NAME", &["$NAME"]),
            ("a$${NAME}", &["a${NAME}"]),
            ("${NAME", &["${NAME"]),
            ("a$", &["a$"]),
            ("plain", &["plain"]),
        ] {
            let all = replaced(&words(&["openvpn", word]), &variables);
            assert_eq!(all.split_first().unwrap().1, words(wanted), "{word}");
        }
        assert_eq!(replaced(&words(&["$NAME"]), &variables), ["$NAME"]);
    }

    #[test]
    fn a_file_of_variables_is_read_as_systemd_reads_it() {
        let text = "# A=no\n; A=no\n\nA=1 # no comment\n  B =  \"two words\"  \nC='it\"s'\nD=a\\\nb\n\
            export E=5\n6=6\nF\nG=\nH=\"a\\\"b\\$c\\d\"' e'\nA=last \\ \r\nI=it's";
        let mut found = Variables::from([("A".to_owned(), "0".to_owned())]);
        read(text, &mut found);
        let found: Vec<_> = found
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let wanted = [
            ("A", "last"),
            ("B", "two words"),
            ("C", "it\"s"),
            ("D", "ab"),
            ("G", ""),
            ("H", "a\"b$c\\d e"),
            ("I", "it's"),
        ];
        assert_eq!(found, wanted);
    }
}
