//! The form in which this process writes its log lines, which depends on where they go.

use std::os::fd::BorrowedFd;
use std::sync::OnceLock;

use rustix::fs::{FileType, fstat};

use super::journal::Journal;
use super::record::{Record, now};

/// The form that the user has chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// Lines for people, with a time where the output has none; the journal gets fields.
    #[default]
    Text,
    /// One JSON object per line, everywhere.
    Json,
}

/// The arguments of [`choose`].
#[derive(Debug)]
struct Choice {
    form: Form,
    journal: Option<Journal>,
}

static CHOICE: OnceLock<Choice> = OnceLock::new();

/// Chooses the form, once and for all, before the first line, and connects to journald if standard error leads there: a
/// confined engine cannot do so later.
pub fn choose(form: Form, is_journal: bool) {
    // Without journald to receive them, lines go to the stream as text.
    let wanted = is_journal && form == Form::Text;
    let journal = wanted.then(Journal::connect).and_then(Result::ok);
    let _ = CHOICE.set(Choice { form, journal });
}

/// Whether lines have fields: in JSON, or in the journal behind standard error.
#[must_use]
pub fn has_fields() -> bool {
    form() == Form::Json || journal().is_some()
}

/// A line for an output that adds the time and the level itself, such as syslog: without a newline.
#[must_use]
pub fn for_syslog(record: &Record) -> String {
    let mut line = match form() {
        Form::Text => record.text(None),
        Form::Json => record.json(now()),
    };
    line.pop();
    line
}

pub(super) fn journal() -> Option<&'static Journal> {
    CHOICE.get()?.journal.as_ref()
}

fn form() -> Form {
    CHOICE
        .get()
        .map_or_else(Form::default, |choice| choice.form)
}

/// The form of the lines in one output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// For a file or a terminal, which add no time.
    Timed,
    /// For a pipe or a socket: the reader knows when a line arrived.
    Plain,
    Json,
    /// An entry of the journal.
    Journal,
}

impl Style {
    pub(super) fn of(fd: BorrowedFd<'_>) -> Self {
        if form() == Form::Json {
            return Self::Json;
        }
        let status = fstat(fd);
        let is_file =
            status.is_ok_and(|it| FileType::from_raw_mode(it.st_mode) == FileType::RegularFile);
        match is_file || rustix::termios::isatty(fd) {
            true => Self::Timed,
            false => Self::Plain,
        }
    }

    pub(super) fn render(self, record: &Record) -> Vec<u8> {
        match self {
            Self::Timed => record.text(Some(now())).into_bytes(),
            Self::Plain => record.text(None).into_bytes(),
            Self::Json => record.json(now()).into_bytes(),
            Self::Journal => record.journal(),
        }
    }
}
