//! The result of a reading: options with their origin, and what could not be read.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The argument of an option whose contents follow in a block (`<ca>`).
pub const INLINE: &str = "[inline]";

/// An option as it was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Its name, without dashes.
    pub name: String,
    /// Its arguments; [`INLINE`] if they follow in a block.
    pub arguments: Vec<OsString>,
    /// Where it was given.
    pub origin: Origin,
    /// The number of its `<connection>` block, from 0.
    pub connection: Option<u32>,
    /// Given by `setenv opt`: an OpenVPN that does not know it goes on without it.
    pub is_optional: bool,
}

impl Setting {
    /// An argument, from 0; `None` if it is missing or not UTF-8.
    #[must_use]
    pub fn argument(&self, index: usize) -> Option<&str> {
        self.arguments.get(index)?.to_str()
    }

    /// An argument as a number, parsed like C's `atoi`: OpenVPN 2.6 takes 0 for an argument that is not a number.
    #[must_use]
    pub fn number(&self, index: usize) -> Option<i64> {
        let text = self.arguments.get(index)?.to_string_lossy();
        let text = text.trim_start();
        let (sign, digits) = match text.strip_prefix(['-', '+']) {
            Some(digits) if text.starts_with('-') => (-1, digits),
            Some(digits) => (1, digits),
            None => (1, text),
        };
        let end = digits
            .find(|digit: char| !digit.is_ascii_digit())
            .unwrap_or(digits.len());
        let value = match digits.get(..end) {
            Some("") | None => 0,
            Some(digits) => digits.parse().unwrap_or(i64::MAX),
        };
        Some(sign * value)
    }
}

/// `mssfix (client.conf:12)`
impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name, self.origin)
    }
}

/// Where an option was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// On the command line.
    CommandLine,
    /// In a file, on this line, from 1.
    File(Arc<Path>, u32),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CommandLine => f.write_str("command line"),
            // A name may hold any bytes: they must be escaped for a terminal.
            Self::File(path, line) => {
                write!(f, "{}:{line}", path.to_string_lossy().escape_debug())
            }
        }
    }
}

/// A part that could not be read; the rest of its file was not read either.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Its place.
    pub origin: Origin,
    /// What is wrong.
    pub what: String,
}

/// `client.conf:3: a quotation mark is not closed`
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.origin, self.what)
    }
}

/// The contents of a command line and its files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// All options, in OpenVPN's order.
    pub settings: Vec<Setting>,
    /// What could not be read.
    pub problems: Vec<Problem>,
    /// Files without any option: empty, or with nothing but comments or zero bytes.
    pub empty: Vec<PathBuf>,
    /// The contents of inline blocks with certificates, which are public; those with keys are not kept.
    pub certificates: Vec<Inline>,
    /// The directory in which OpenVPN opens the files that options name, as `cd` has it in the end.
    pub directory: PathBuf,
}

/// The contents of an inline block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inline {
    /// The name of the option that it stands for.
    pub name: String,
    /// The place where it begins.
    pub origin: Origin,
    /// All of its lines.
    pub text: Vec<u8>,
}
