//! What a command prints: on standard output, which may be closed, full or a pipe whose reader has gone (faults B1).

use std::fmt::{self, Write as _};
use std::io::{self, Write as _};

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::escape::Escaping;

/// Nobody reads standard output any more, as behind `| head`: no reason to complain, nor to print on.
#[derive(Debug)]
pub(crate) struct NobodyReads;

impl fmt::Display for NobodyReads {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("nobody reads standard output any more")
    }
}

impl std::error::Error for NobodyReads {}

/// Prints a line, with the arguments of `format!`; ends the function with an error if that fails.
macro_rules! line {
    ($($argument:tt)*) => {
        $crate::output::write(format_args!($($argument)*))?
    };
}
pub(crate) use line;

/// Prints a line.
///
/// # Errors
/// [`NobodyReads`], or of the output.
pub(crate) fn write(line: fmt::Arguments<'_>) -> Result<()> {
    let mut text = String::new();
    let _ = Escaping::text(&mut text).write_fmt(line);
    explain(writeln!(io::stdout().lock(), "{text}"))
}

/// Prints what has been kept back: nothing after a line. The last call before the end.
///
/// # Errors
/// As [`write()`].
pub(crate) fn flush() -> Result<()> {
    explain(io::stdout().lock().flush())
}

/// Whether the reader of standard output has gone: `| head -1` has what it wants, and should not wait for the next line.
pub(crate) fn is_abandoned() -> bool {
    let stdout = rustix::stdio::stdout();
    let mut polled = [PollFd::new(&stdout, PollFlags::empty())];
    poll(&mut polled, Some(&Timespec::default())).is_ok()
        && polled[0].revents().contains(PollFlags::ERR)
}

/// Says why printing has failed.
///
/// # Errors
/// If it has.
pub(crate) fn explain(printed: io::Result<()>) -> Result<()> {
    match printed {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(NobodyReads.into()),
        printed => printed.context("cannot write to standard output"),
    }
}

/// Says something on standard error; if that is impossible, nobody would read it.
macro_rules! complain {
    ($($argument:tt)*) => {
        $crate::output::complain_of(format_args!($($argument)*))
    };
}
pub(crate) use complain;

pub(crate) fn complain_of(what: fmt::Arguments<'_>) {
    let mut line = String::new();
    let _ = Escaping::line(&mut line).write_fmt(what);
    let _ = writeln!(io::stderr().lock(), "udco: {line}");
}
