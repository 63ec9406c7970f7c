//! The engine's log: which lines are written, in which form. `udco_engine::output` knows where to.

use std::ffi::OsString;
use std::fmt::{self, Write};

use clap::ValueEnum;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id};
use tracing::{Event, Metadata, Subscriber, span};
use udco_engine::output;
use udco_sys::lines::{self, Form, Level, Record, Value};

use crate::escape::Escaping;

/// The field with the text of a line.
const MESSAGE: &str = "message";

/// The variable by which the service manager says that standard error leads to the journal.
const STREAM: &str = "JOURNAL_STREAM";

/// The option that passes this to an engine, which has no environment.
const STREAM_OPTION: &str = "--journal";

/// What is logged, and how.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct LogOptions {
    /// Log per-peer and per-key events, as `--log-level debug` does.
    #[arg(short, long, conflicts_with = "log_level")]
    verbose: bool,

    /// Log lines of this level and more severe ones; `debug` adds per-peer and per-key events.
    #[arg(long, value_name = "LEVEL", value_enum, default_value_t = LogLevel::Info)]
    log_level: LogLevel,

    /// Form of log lines: `json` writes one object a line. With `text`, the journal gets fields, and lines in a file or on
    /// a terminal begin with the time (UTC).
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = Format::Text)]
    log_format: Format,

    /// Standard error leads to the journal, said the environment.
    #[arg(long, hide = true)]
    journal: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum LogLevel {
    Error,
    Warning,
    Info,
    Debug,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Json,
}

impl LogOptions {
    /// From now on lines are written. Call it when this process has closed what it inherited: it may connect to the
    /// journal.
    pub(crate) fn start(&self) {
        let form = match self.log_format {
            Format::Text => Form::Text,
            Format::Json => Form::Json,
        };
        lines::choose(form, self.journal || leads_to_journal());
        // Fails only if there is one already.
        let _ = tracing::subscriber::set_global_default(Log {
            level: self.level().filter(),
            write: output::write,
        });
    }

    /// Arguments that give an engine the same options.
    pub(crate) fn for_engine(&self) -> Vec<OsString> {
        let mut words = Vec::new();
        let level = self.level().to_possible_value();
        let format = self.log_format.to_possible_value();
        for (option, value) in [("--log-level", level), ("--log-format", format)] {
            if let Some(value) = value {
                words.extend([option.into(), value.get_name().into()]);
            }
        }
        words
    }

    const fn level(&self) -> LogLevel {
        match self.verbose {
            true => LogLevel::Debug,
            false => self.log_level,
        }
    }
}

impl LogLevel {
    const fn filter(self) -> LevelFilter {
        match self {
            Self::Error => LevelFilter::ERROR,
            Self::Warning => LevelFilter::WARN,
            Self::Info => LevelFilter::INFO,
            Self::Debug => LevelFilter::DEBUG,
        }
    }
}

/// Arguments that tell an engine, which gets no environment, whether its standard error leads to the journal.
pub(crate) fn for_bare_engine() -> Vec<OsString> {
    match leads_to_journal() {
        true => vec![STREAM_OPTION.into()],
        false => Vec::new(),
    }
}

fn leads_to_journal() -> bool {
    lines::is_journal(std::env::var_os(STREAM).as_deref())
}

/// Turns events into lines. There are no spans.
struct Log<W> {
    level: LevelFilter,
    write: W,
}

impl<W: Fn(&Record) + Send + Sync + 'static> Subscriber for Log<W> {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && *metadata.level() <= self.level
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.level)
    }

    fn event(&self, event: &Event<'_>) {
        let level = match *event.metadata().level() {
            tracing::Level::ERROR => Level::Error,
            tracing::Level::WARN => Level::Warning,
            tracing::Level::INFO => Level::Info,
            _ => Level::Debug,
        };
        let mut line = Line(Record::new(level, String::new()));
        event.record(&mut line);
        (self.write)(&line.0);
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// Takes an event's fields. Others chose the names of devices and programs, so control characters are escaped.
struct Line(Record);

impl Line {
    fn add(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        if field.name() == MESSAGE {
            let _ = Escaping::line(&mut self.0.message).write_fmt(value);
            return;
        }
        let mut text = String::new();
        let _ = Escaping::line(&mut text).write_fmt(value);
        self.0.fields.push((field.name(), Value::Text(text)));
    }
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, format_args!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, format_args!("{value}"));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.fields.push((field.name(), Value::Number(value)));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        match u64::try_from(value) {
            Ok(value) => self.record_u64(field, value),
            Err(_) => self.add(field, format_args!("{value}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::{Args, Command, FromArgMatches};

    use super::*;

    fn options(words: &[&str]) -> Result<LogOptions, clap::Error> {
        let command = LogOptions::augment_args(Command::new("engine"));
        let words = [&["engine"], words].concat();
        LogOptions::from_arg_matches(&command.try_get_matches_from(words)?)
    }

    #[test]
    fn an_engine_gets_the_options_of_run() {
        for (given, passed) in [
            (vec![], "--log-level info --log-format text"),
            (vec!["-v"], "--log-level debug --log-format text"),
            (
                vec!["--log-format=json", "--log-level", "warning"],
                "--log-level warning --log-format json",
            ),
        ] {
            let words = options(&given).unwrap().for_engine();
            assert_eq!(words.join(" ".as_ref()), *passed);
            let words: Vec<_> = words.iter().filter_map(|word| word.to_str()).collect();
            options(&words).unwrap();
        }
        assert!(options(&["-v", "--log-level", "error"]).is_err());
    }

    #[test]
    fn an_event_becomes_a_message_and_its_fields() {
        use std::sync::{Arc, Mutex};

        let kept = Arc::new(Mutex::new(None));
        let log = Log {
            level: LevelFilter::INFO,
            write: {
                let kept = Arc::clone(&kept);
                move |line: &Record| *kept.lock().unwrap() = Some(line.clone())
            },
        };
        let (name, program) = (String::from("t\u{1b}[0m"), "openvpn (7)");
        tracing::subscriber::with_default(log, || {
            tracing::warn!(device = name, peer = 7u32, %program, "{name}: peer 7 expired");
            tracing::debug!("not at this level");
        });
        let record: Record = kept.lock().unwrap().take().unwrap();
        assert_eq!(record.level, Level::Warning);
        assert_eq!(record.message, "t\\u{1b}[0m: peer 7 expired");
        let text = |text: &str| Value::Text(text.to_owned());
        assert_eq!(
            record.fields,
            [
                ("device", text("t\\u{1b}[0m")),
                ("peer", Value::Number(7)),
                ("program", text("openvpn (7)")),
            ]
        );
    }
}
