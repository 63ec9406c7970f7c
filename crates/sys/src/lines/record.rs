//! A log line before it is formatted: as text for people, JSON for programs, or fields for the journal.

use std::fmt::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The longest line; the rest is cut off. A pipe takes up to this many bytes atomically.
pub(super) const LONGEST: usize = 4096;

/// The field that says what kind of line it is (`udco_ipc::message_id`); journald has its own name for it.
pub const MESSAGE_ID: &str = "message_id";

/// The level of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Something failed.
    Error,
    /// Something may go wrong, or works with restrictions.
    Warning,
    /// What an operator may act on.
    Info,
    /// Events of single peers and keys.
    Debug,
}

impl Level {
    /// The severity of syslog(3). Info maps to notice, since syslog daemons may leave out lines of a lower severity.
    #[must_use]
    pub const fn severity(self) -> u16 {
        match self {
            Self::Error => 3,
            Self::Warning => 4,
            Self::Info => 5,
            Self::Debug => 7,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Info => "info",
            Self::Debug => "debug",
        }
    }
}

/// The value of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A name.
    Text(String),
    /// A number, e.g. a peer's id.
    Number(u64),
}

/// A log line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its level.
    pub level: Level,
    /// What happened, without control characters unless they are meant.
    pub message: String,
    /// What it is about: [`MESSAGE_ID`], `device`, `peer` …
    pub fields: Vec<(&'static str, Value)>,
}

impl Record {
    /// A line without fields.
    #[must_use]
    pub const fn new(level: Level, message: String) -> Self {
        Self {
            level,
            message,
            fields: Vec::new(),
        }
    }

    /// A line for people, cut to [`LONGEST`] bytes. `at` is given where the output adds no time of its own.
    pub(super) fn text(&self, at: Option<Duration>) -> String {
        let mut text = String::new();
        if let Some(at) = at {
            text = utc(at) + " ";
        }
        let word = match self.level {
            Level::Error => "error: ",
            Level::Warning => "warning: ",
            Level::Info | Level::Debug => "",
        };
        let _ = write!(text, "udco: {word}{}", self.message);
        text.truncate(cut(&text, LONGEST - 1).len());
        text.push('\n');
        text
    }

    /// An object on a line of its own. The message is cut until the line is short enough.
    pub(super) fn json(&self, at: Duration) -> String {
        let mut message = self.message.as_str();
        loop {
            let json = self.json_of(message, at);
            if json.len() <= LONGEST || message.is_empty() {
                return json;
            }
            message = cut(message, message.len() / 2);
        }
    }

    fn json_of(&self, message: &str, at: Duration) -> String {
        let mut json = format!(
            "{{\"time\":\"{}\",\"level\":\"{}\",\"message\":{}",
            utc(at),
            self.level.name(),
            quoted(message)
        );
        for (name, value) in &self.fields {
            let _ = match value {
                Value::Text(text) => write!(json, ",\"{name}\":{}", quoted(text)),
                Value::Number(number) => write!(json, ",\"{name}\":{number}"),
            };
        }
        json.push_str("}\n");
        json
    }

    /// The datagram of journald's native protocol.
    pub(super) fn journal(&self) -> Vec<u8> {
        let mut datagram = format!(
            "PRIORITY={}\nSYSLOG_IDENTIFIER=udco\n",
            self.level.severity()
        )
        .into_bytes();
        for (name, value) in &self.fields {
            let name = match *name {
                MESSAGE_ID => "MESSAGE_ID".into(),
                name => format!("UDCO_{}", name.to_ascii_uppercase()),
            };
            match value {
                Value::Text(text) => entry(&mut datagram, &name, text),
                Value::Number(number) => entry(&mut datagram, &name, &number.to_string()),
            }
        }
        entry(&mut datagram, "MESSAGE", cut(&self.message, LONGEST));
        datagram
    }
}

/// Appends a field, with its length if the value has several lines.
fn entry(datagram: &mut Vec<u8>, name: &str, value: &str) {
    datagram.extend_from_slice(name.as_bytes());
    if value.contains('\n') {
        datagram.push(b'\n');
        datagram.extend_from_slice(&(value.len() as u64).to_le_bytes());
    } else {
        datagram.push(b'=');
    }
    datagram.extend_from_slice(value.as_bytes());
    datagram.push(b'\n');
}

/// The beginning of a text, at most this many bytes.
fn cut(text: &str, most: usize) -> &str {
    let is_end = |end: &usize| text.is_char_boundary(*end);
    let end = (0..=most.min(text.len())).rev().find(is_end);
    &text[..end.unwrap_or_default()]
}

/// A JSON string.
fn quoted(text: &str) -> String {
    let mut json = String::from('"');
    for c in text.chars() {
        let _ = match c {
            '"' | '\\' => write!(json, "\\{c}"),
            '\n' => write!(json, "\\n"),
            c if c.is_control() => write!(json, "\\u{:04x}", u32::from(c)),
            c => write!(json, "{c}"),
        };
    }
    json + "\""
}

/// The time since 1970.
pub(super) fn now() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

/// The date and time in UTC, as in log lines: `2026-11-29T11:32:51.123Z`.
#[must_use]
pub fn utc_now() -> String {
    utc(now())
}

/// `2026-11-29T11:32:51.123Z` (RFC 3339): a confined engine cannot read the rules of a time zone.
fn utc(since: Duration) -> String {
    let (day, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (mut year, mut rest) = (1970, day);
    while rest >= days(year) {
        rest -= days(year);
        year += 1;
    }
    let february = days(year) - 337;
    let lengths = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 1;
    for length in lengths {
        if rest < length {
            break;
        }
        rest -= length;
        month += 1;
    }
    let (hour, minute) = (second / 3600, second / 60 % 60);
    format!(
        "{year}-{month:02}-{:02}T{hour:02}:{minute:02}:{:02}.{:03}Z",
        rest + 1,
        second % 60,
        since.subsec_millis()
    )
}

/// The number of days in a year.
const fn days(year: u64) -> u64 {
    let is_leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    365 + is_leap as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Duration = Duration::from_millis(1_795_951_971_007);

    fn expired() -> Record {
        Record {
            level: Level::Warning,
            message: "tun\"0: peer 7\\ expired".into(),
            fields: vec![
                ("device", Value::Text("tun\"0".into())),
                ("peer", Value::Number(7)),
            ],
        }
    }

    #[test]
    fn times_are_those_of_the_calendar() {
        for (seconds, shown) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399, "2000-02-28T23:59:59.000Z"),
            (951_782_400, "2000-02-29T00:00:00.000Z"),
            (951_868_800, "2000-03-01T00:00:00.000Z"),
            (1_798_761_599, "2026-12-31T23:59:59.000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(utc(Duration::from_secs(seconds)), shown);
        }
    }

    #[test]
    fn text_has_a_time_where_the_output_has_none() {
        let text = "udco: warning: tun\"0: peer 7\\ expired\n";
        assert_eq!(expired().text(None), text);
        assert_eq!(
            expired().text(Some(AT)),
            format!("2026-11-29T11:32:51.007Z {text}")
        );
    }

    #[test]
    fn json_is_one_object_with_the_fields() {
        assert_eq!(
            expired().json(AT),
            "{\"time\":\"2026-11-29T11:32:51.007Z\",\"level\":\"warning\",\
             \"message\":\"tun\\\"0: peer 7\\\\ expired\",\"device\":\"tun\\\"0\",\"peer\":7}\n"
        );
        let lines = Record::new(Level::Info, "one\ntwo\u{1b}".into());
        assert!(lines.json(AT).contains("\"one\\ntwo\\u001b\""));
    }

    #[test]
    fn the_journal_gets_its_fields() {
        assert_eq!(
            String::from_utf8(expired().journal()).unwrap(),
            "PRIORITY=4\nSYSLOG_IDENTIFIER=udco\nUDCO_DEVICE=tun\"0\nUDCO_PEER=7\nMESSAGE=tun\"0: peer 7\\ expired\n"
        );
        let mut lines = Record::new(Level::Error, "one\ntwo".into());
        lines.fields = vec![(MESSAGE_ID, Value::Text("0123".into()))];
        let datagram = String::from_utf8(lines.journal()).unwrap();
        assert!(datagram.contains("\nMESSAGE_ID=0123\n"), "{datagram:?}");
        let expected = b"MESSAGE\n\x07\0\0\0\0\0\0\0one\ntwo\n";
        assert!(lines.journal().ends_with(expected));
    }

    #[test]
    fn a_long_line_is_cut_and_stays_whole_in_its_form() {
        let long = Record::new(Level::Info, "ü\"".repeat(LONGEST));
        let text = long.text(Some(AT));
        assert!(text.len() <= LONGEST && text.ends_with('\n'));
        let json = long.json(AT);
        assert!(json.len() <= LONGEST && json.len() > LONGEST / 4, "{json}");
        assert!(json.ends_with("\"}\n"));
        assert!(long.journal().len() < 2 * LONGEST);
    }
}
