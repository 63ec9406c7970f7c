//! Writes to standard output, which may be closed, full or a pipe whose reader has gone (faults B1).

use std::fmt::{self, Write as _};
use std::io::{self, BufWriter, Write as _};
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::Serialize;
use udco_sys::lines::{self, Level, MESSAGE_ID, Record, Value};

use crate::escape::Escaping;

/// Block size for long output.
const ROOM: usize = 16 << 10;

/// Nobody reads standard output any more, as behind `| head`: stop printing, without an error message.
#[derive(Debug)]
pub(crate) struct NobodyReads;

impl fmt::Display for NobodyReads {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("nobody reads standard output any more")
    }
}

impl std::error::Error for NobodyReads {}

/// Prints a line, with the arguments of `format!`; returns from the function with an error if that fails.
macro_rules! line {
    ($($argument:tt)*) => {
        $crate::output::write(format_args!($($argument)*))?
    };
}
pub(crate) use line;

/// Prints a line.
///
/// # Errors
/// [`NobodyReads`], or the output's error.
pub(crate) fn write(line: fmt::Arguments<'_>) -> Result<()> {
    write_in(None, line)
}

/// Prints a line, in the colour that this sequence begins.
///
/// # Errors
/// As [`write()`].
pub(crate) fn write_in(colour: Option<&str>, line: fmt::Arguments<'_>) -> Result<()> {
    let mut text = String::from(colour.unwrap_or_default());
    let _ = Escaping::text(&mut text).write_fmt(line);
    text.push_str(if colour.is_some() { "\x1b[0m\n" } else { "\n" });
    explain(io::stdout().lock().write_all(text.as_bytes()))
}

/// Prints JSON and a line feed; parts that are already text are written unchanged.
///
/// # Errors
/// As [`write()`].
pub(crate) fn json(value: &impl Serialize) -> Result<()> {
    let mut to = Plain(BufWriter::with_capacity(ROOM, io::stdout().lock()));
    let printed = serde_json::to_writer_pretty(&mut to, value).map_err(io::Error::from);
    explain(
        printed
            .and_then(|()| writeln!(to))
            .and_then(|()| to.flush()),
    )
}

/// Prints text of several lines as it is: it has no control characters.
///
/// # Errors
/// As [`write()`].
pub(crate) fn text(text: &str) -> Result<()> {
    explain(io::stdout().lock().write_all(text.as_bytes()))
}

/// Flushes buffered output, as the last call before the end.
///
/// # Errors
/// As [`write()`].
pub(crate) fn flush() -> Result<()> {
    explain(io::stdout().lock().flush())
}

/// Whether the reader of standard output has gone: `| head -1` has its line, and should not wait for the next.
pub(crate) fn is_abandoned() -> bool {
    let stdout = rustix::stdio::stdout();
    let mut polled = [PollFd::new(&stdout, PollFlags::empty())];
    poll(&mut polled, Some(&Timespec::default())).is_ok()
        && polled[0].revents().contains(PollFlags::ERR)
}

/// Escapes unprintable characters, since others may have chosen the names. Nearly all text is plain ASCII, which
/// passes with one check.
struct Plain<W>(W);

impl<W: io::Write> io::Write for Plain<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let is_seen = |byte: &u8| matches!(byte, b' '..=b'~' | b'\n');
        // Without a branch per byte.
        let is_plain = |part: &[u8]| part.iter().fold(true, |all, byte| all & is_seen(byte));
        if bytes.chunks(ROOM).all(is_plain) {
            self.0.write_all(bytes)?;
        } else {
            let mut text = String::new();
            let _ = Escaping::text(&mut text).write_str(&String::from_utf8_lossy(bytes));
            self.0.write_all(text.as_bytes())?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Reports why printing failed.
///
/// # Errors
/// If it failed.
pub(crate) fn explain(printed: io::Result<()>) -> Result<()> {
    explain_at("to standard output", printed)
}

/// Reports why writing to this place failed.
///
/// # Errors
/// If it failed.
pub(crate) fn explain_at<T>(place: &str, written: io::Result<T>) -> Result<T> {
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(NobodyReads.into()),
        written => written.with_context(|| format!("cannot write {place}")),
    }
}

/// Writes an error message to standard error; if that fails, nobody would read it.
macro_rules! complain {
    ($($argument:tt)*) => {
        $crate::output::say(udco_sys::lines::Level::Error, None, format_args!($($argument)*))
    };
}
pub(crate) use complain;

/// The same for a warning of `udco run`, which goes on: of this kind (`udco_ipc::message_id`).
macro_rules! caution {
    ($id:expr, $($argument:tt)*) => {
        $crate::output::say(udco_sys::lines::Level::Warning, Some($id), format_args!($($argument)*))
    };
}
pub(crate) use caution;

/// Writes a message to standard error: a line without a level, as it is not in a log, unless the log has fields.
pub(crate) fn say(level: Level, id: Option<&str>, what: fmt::Arguments<'_>) {
    let mut line = String::new();
    let _ = Escaping::line(&mut line).write_fmt(what);
    let line = without_numbers(&line);
    if lines::has_fields() {
        let mut record = Record::new(level, line);
        let id = id.map(|id| (MESSAGE_ID, Value::Text(id.to_owned())));
        record.fields.extend(id);
        lines::sink().write(&record);
    } else {
        // In one piece: the engine writes there, too.
        let line = format!("udco: {line}\n");
        let _ = io::stderr().lock().write_all(line.as_bytes());
    }
}

/// The text without the numbers that the standard library puts behind the words of the system's errors: they help nobody.
fn without_numbers(line: &str) -> String {
    let mut parts = line.split(" (os error ");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let rest = part.trim_start_matches(|it: char| it.is_ascii_digit());
        text.push_str(rest.strip_prefix(')').unwrap_or(rest));
    }
    text
}

/// Why a file cannot be written, for which its directory may have to be made first.
pub(crate) fn unwritable(file: &Path, error: io::Error) -> anyhow::Error {
    refused("write", file, error)
}

/// Why something cannot be done to a file, or a socket file, which its directory may lack.
pub(crate) fn refused(verb: &str, file: &Path, error: io::Error) -> anyhow::Error {
    let parent = file.parent().filter(|it| !it.as_os_str().is_empty());
    let file = file.display();
    match parent {
        Some(parent) if error.kind() == io::ErrorKind::NotFound && !parent.exists() => {
            anyhow!(
                "cannot {verb} {file}: there is no directory {}",
                parent.display()
            )
        }
        _ => anyhow::Error::new(error).context(format!("cannot {verb} {file}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_the_system_have_no_number() {
        let error = io::Error::from_raw_os_error(13);
        let line = format!("a: {error}, and b: {error}; retrying");
        assert_eq!(
            without_numbers(&line),
            "a: Permission denied, and b: Permission denied; retrying"
        );
        assert_eq!(without_numbers("(os error"), "(os error");
    }

    #[test]
    fn a_missing_directory_is_named() {
        let missing = || io::Error::from_raw_os_error(2);
        let said = |file: &str| format!("{:#}", unwritable(Path::new(file), missing()));
        assert_eq!(
            said("/nonexistent/a.b"),
            "cannot write /nonexistent/a.b: there is no directory /nonexistent"
        );
        assert!(said("/a.b").contains("No such file"), "{}", said("/a.b"));
        assert!(said("a.b").contains("No such file"), "{}", said("a.b"));
    }

    /// Makes a second run of this test write a message.
    const MESSAGE: &str = "UDCO_TEST_MESSAGE";

    #[test]
    fn a_message_is_written_in_one_piece() {
        use std::os::fd::OwnedFd;
        use std::os::unix::net::UnixDatagram;

        use crate::again;

        if std::env::var_os(MESSAGE).is_some() {
            complain!("{} of a {}", "all", "line");
            return;
        }
        let (ours, theirs) = UnixDatagram::pair().unwrap();
        let name = "output::tests::a_message_is_written_in_one_piece";
        let mut again = again::command(name, MESSAGE);
        let status = again.stderr(OwnedFd::from(theirs)).output().unwrap().status;
        assert!(status.success());
        let mut room = [0; 64];
        let len = ours.recv(&mut room).unwrap();
        assert_eq!(room[..len], *b"udco: all of a line\n");
    }

    #[test]
    fn json_has_no_control_characters_either() {
        let mut written = Plain(Vec::new());
        written
            .write_all("{\n  \"tun\u{9b}0 Größe\"}".as_bytes())
            .unwrap();
        assert_eq!(written.0, "{\n  \"tun\\u{9b}0 Größe\"}".as_bytes());
    }
}
