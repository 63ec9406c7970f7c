//! The command line, and the files that it names.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::setting::{INLINE, Inline, Origin, Problem, Reading, Setting};
use crate::words::{BadLine, MAX_WORDS, is_space, words};

/// The largest file to read, in bytes. Inline certificate lists are the longest part of real ones.
pub const MAX_FILE: usize = 4 << 20;

/// How deep files may include files, as in OpenVPN.
const MAX_DEPTH: usize = 10;

/// How many files to read in all: each may include others, so depth alone is no bound.
const MAX_FILES: usize = 64;

/// How many bytes to read in all.
const MAX_BYTES: usize = 2 * MAX_FILE;

/// How many options to keep.
const MAX_SETTINGS: usize = 1 << 16;

/// The longest line outside of inline blocks, with its end.
const MAX_LINE: usize = 255;

/// Byte order mark, which may precede the first line.
const BOM: &[u8] = b"\xef\xbb\xbf";

/// The name by which `config` means standard input.
const STANDARD_INPUT: &str = "stdin";

/// The problem of reading standard input: OpenVPN needs it, and bytes consumed here would be missing there.
pub const STANDARD_INPUT_UNREAD: &str = "standard input is not read";

/// The problem of a file that a Windows editor or shell has saved in its own encoding.
pub const UTF_16: &str = "the file is UTF-16, not UTF-8";

/// Reads the arguments, without its name, of an OpenVPN that starts in `directory`, and the configuration files that
/// they name. `open` returns a file's bytes, or the reason why it cannot.
pub fn read(
    arguments: &[OsString],
    directory: &Path,
    open: impl FnMut(&Path) -> Result<Vec<u8>, String>,
) -> Reading {
    let mut reader = Reader {
        reading: Reading::default(),
        open,
        directory: directory.to_owned(),
        files: 0,
        bytes: 0,
        connections: 0,
    };
    match arguments {
        // `openvpn client.conf`
        [file] if !file.as_bytes().starts_with(b"--") => {
            reader.file(Path::new(file), &Origin::CommandLine, 0);
        }
        _ => reader.command_line(arguments),
    }
    reader.reading.directory = reader.directory;
    reader.reading
}

struct Reader<F> {
    reading: Reading,
    open: F,
    /// The base of relative names: `cd` changes it while reading.
    directory: PathBuf,
    files: usize,
    bytes: usize,
    connections: u32,
}

/// A file's lines with their numbers.
struct Lines<'a> {
    rest: &'a [u8],
    number: u32,
}

impl<'a> Iterator for Lines<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.rest.is_empty() {
            return None;
        }
        let end = self.rest.iter().position(|byte| *byte == b'\n');
        // With its end, which after a backslash becomes a part of the last word.
        let end = end.map_or(self.rest.len(), |end| end + 1);
        let (line, rest) = self.rest.split_at_checked(end)?;
        self.rest = rest;
        self.number = self.number.saturating_add(1);
        Some(line)
    }
}

impl<F: FnMut(&Path) -> Result<Vec<u8>, String>> Reader<F> {
    fn command_line(&mut self, arguments: &[OsString]) {
        let mut rest = arguments;
        while let [first, others @ ..] = rest {
            let Some(name) = first.as_bytes().strip_prefix(b"--") else {
                let what = format!("{first:?} is no option");
                return self.problem(&Origin::CommandLine, what);
            };
            let is_option = |argument: &OsString| argument.as_bytes().starts_with(b"--");
            let end = others.iter().position(is_option).unwrap_or(others.len());
            let (own, next) = others.split_at_checked(end).unwrap_or((others, &[]));
            let own = own.iter().take(MAX_WORDS - 1).cloned().collect();
            self.option(name, own, &Origin::CommandLine, None, 0);
            rest = next;
        }
    }

    fn file(&mut self, name: &Path, named_at: &Origin, depth: usize) {
        if name == Path::new(STANDARD_INPUT) {
            return self.problem(named_at, STANDARD_INPUT_UNREAD.to_owned());
        }
        if depth >= MAX_DEPTH || self.files >= MAX_FILES {
            let what = format!("{}: too many files", shown(name));
            return self.problem(named_at, what);
        }
        self.files += 1;
        let bytes = match (self.open)(&self.directory.join(name)) {
            Ok(bytes) if bytes.len() > MAX_FILE || self.bytes + bytes.len() > MAX_BYTES => {
                return self.problem(named_at, format!("{}: too long", shown(name)));
            }
            Ok(bytes) => bytes,
            Err(why) => return self.problem(named_at, format!("{}: {why}", shown(name))),
        };
        self.bytes += bytes.len();
        let path: Arc<Path> = name.into();
        if is_utf16(&bytes) {
            return self.problem(&Origin::File(path, 1), UTF_16.to_owned());
        }
        let found = |reading: &Reading| reading.settings.len() + reading.problems.len();
        let before = found(&self.reading);
        self.lines(&bytes, &path, depth);
        if found(&self.reading) == before {
            self.reading.empty.push(name.to_owned());
        }
    }

    fn lines(&mut self, bytes: &[u8], path: &Arc<Path>, depth: usize) {
        // What a crash of the machine leaves of a file that was being written: OpenVPN finds no line in it.
        if bytes.iter().all(|byte| *byte == 0) {
            return;
        }
        let mut lines = Lines {
            rest: bytes.strip_prefix(BOM).unwrap_or(bytes),
            number: 0,
        };
        while let Some(line) = lines.next() {
            let origin = Origin::File(Arc::clone(path), lines.number);
            if line.len() > MAX_LINE {
                return self.problem(&origin, BadLine::TooLong.to_string());
            }
            let words = match words(line) {
                Ok(words) => words,
                Err(bad) => return self.problem(&origin, bad.to_string()),
            };
            let Some(tag) = tag(&words) else {
                self.line(words, &origin, None, depth);
                continue;
            };
            let is_whole = match tag {
                b"connection" => self.connection(&mut lines, path),
                tag => self.block(&mut lines, tag, &origin, None),
            };
            if !is_whole {
                let what = format!("<{}> has no end", shown(Path::new(OsStr::from_bytes(tag))));
                return self.problem(&origin, what);
            }
        }
    }

    /// Parses the options of a `<connection>` block; returns whether the block is closed.
    fn connection(&mut self, lines: &mut Lines<'_>, path: &Arc<Path>) -> bool {
        let number = self.connections;
        self.connections = self.connections.saturating_add(1);
        while let Some(line) = lines.next() {
            if is_end(line, b"connection") {
                return true;
            }
            let origin = Origin::File(Arc::clone(path), lines.number);
            match words(line) {
                Ok(words) => match tag(&words) {
                    Some(tag) if !self.block(lines, tag, &origin, Some(number)) => return false,
                    Some(_) => {}
                    None => self.line(words, &origin, Some(number), MAX_DEPTH),
                },
                Err(bad) => self.problem(&origin, bad.to_string()),
            }
        }
        false
    }

    /// An option whose argument is an inline block; returns whether the block is closed.
    fn block(
        &mut self,
        lines: &mut Lines<'_>,
        tag: &[u8],
        origin: &Origin,
        connection: Option<u32>,
    ) -> bool {
        let keeps = matches!(tag, b"ca" | b"cert" | b"extra-certs");
        let mut text = Vec::new();
        let is_closed = lines.any(|line| {
            let is_end = is_end(line, tag);
            if keeps && !is_end {
                text.extend_from_slice(line);
            }
            is_end
        });
        if is_closed && self.reading.settings.len() < MAX_SETTINGS {
            let name = String::from_utf8_lossy(tag).into_owned();
            if keeps {
                self.reading.certificates.push(Inline {
                    name: name.clone(),
                    origin: origin.clone(),
                    text,
                });
            }
            self.reading.settings.push(Setting {
                name,
                arguments: vec![INLINE.into()],
                origin: origin.clone(),
                connection,
                is_optional: false,
            });
        }
        is_closed
    }

    /// A line that is not a tag.
    fn line(
        &mut self,
        words: Vec<Vec<u8>>,
        origin: &Origin,
        connection: Option<u32>,
        depth: usize,
    ) {
        let mut words = words.into_iter();
        if let Some(name) = words.next() {
            let dashes = if name.len() > 2 {
                b"--".as_slice()
            } else {
                b""
            };
            let name = name.strip_prefix(dashes).unwrap_or(&name);
            let arguments = words.map(OsString::from_vec).collect();
            self.option(name, arguments, origin, connection, depth);
        }
    }

    fn option(
        &mut self,
        name: &[u8],
        mut arguments: Vec<OsString>,
        origin: &Origin,
        connection: Option<u32>,
        depth: usize,
    ) {
        let mut name = String::from_utf8_lossy(name).into_owned();
        // `setenv opt …` is that option, for an OpenVPN that supports it.
        let is_optional = name == "setenv"
            && arguments.len() > 1
            && arguments.first().is_some_and(|it| it == "opt");
        if is_optional {
            arguments.remove(0);
            name = arguments.remove(0).to_string_lossy().into_owned();
        }
        if self.reading.settings.len() >= MAX_SETTINGS {
            return;
        }
        self.reading.settings.push(Setting {
            name: name.clone(),
            arguments: arguments.clone(),
            origin: origin.clone(),
            connection,
            is_optional,
        });
        match (name.as_str(), arguments.as_slice()) {
            ("config", [file]) if connection.is_none() => {
                self.file(Path::new(file), origin, depth + 1);
            }
            ("cd", [directory]) if connection.is_none() => self.directory.push(directory),
            _ => {}
        }
    }

    fn problem(&mut self, origin: &Origin, what: String) {
        if self.reading.problems.len() < MAX_FILES {
            let origin = origin.clone();
            self.reading.problems.push(Problem { origin, what });
        }
    }
}

/// Whether these bytes begin as UTF-16 does: with its byte order mark, or with ASCII characters of two bytes each.
fn is_utf16(bytes: &[u8]) -> bool {
    matches!(
        bytes,
        [0xff, 0xfe, ..]
            | [0xfe, 0xff, ..]
            | [1..=255, 0, 1..=255, 0, ..]
            | [0, 1..=255, 0, 1..=255, ..]
    )
}

/// The name of the inline block that these words begin.
fn tag(words: &[Vec<u8>]) -> Option<&[u8]> {
    let [word] = words else { return None };
    let tag = word.strip_prefix(b"<")?.strip_suffix(b">")?;
    (!tag.is_empty()).then_some(tag)
}

fn is_end(line: &[u8], tag: &[u8]) -> bool {
    let begin = line.iter().position(|byte| !is_space(*byte));
    let line = begin.and_then(|begin| line.get(begin..));
    line.and_then(|line| line.strip_prefix(b"</"))
        .and_then(|line| line.strip_prefix(tag))
        .is_some_and(|line| line.starts_with(b">"))
}

fn shown(path: &Path) -> String {
    path.to_string_lossy().escape_debug().to_string()
}

#[cfg(test)]
mod tests;
