//! OpenVPN's file, its release, and what is before it in its command.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use udco_options::program::{self, OpenVpn};

use crate::doctor::facts::{Launch, Release, SharedEngine, Way};
use crate::preloading::{self, Identity};
use crate::run;

/// How long OpenVPN may take to print its release.
const PATIENCE: Timespec = Timespec {
    tv_sec: 5,
    tv_nsec: 0,
};

/// OpenVPN in a command.
pub(super) struct Found<'a> {
    pub(super) openvpn: OpenVpn<'a>,
    /// The command without OpenVPN's arguments.
    pub(super) start: &'a [OsString],
}

impl<'a> Found<'a> {
    pub(super) fn of(words: &'a [OsString]) -> Option<Self> {
        let openvpn = program::find(words)?;
        let start = words.get(..words.len() - openvpn.arguments.len())?;
        Some(Self { openvpn, start })
    }
}

/// Whether a word names udco's program.
pub(super) fn is_udco(word: &OsString) -> bool {
    Path::new(word).file_name() == Some("udco".as_ref())
}

/// Cuts `udco run … --` from a command.
pub(super) fn without_udco(words: &[OsString]) -> (&[OsString], Way) {
    let at = words.iter().position(is_udco);
    let behind = at.and_then(|at| words.get(at + 1..));
    let Some([verb, rest @ ..]) = behind else {
        return (words, Way::Plain);
    };
    if verb.as_bytes() != b"run" {
        return (words, Way::Plain);
    }
    // Without `--`, the program begins at the first word that is neither an option nor its value.
    let end = rest.iter().position(|word| word == "--");
    let program = match end {
        Some(end) => rest.get(end + 1..),
        None => {
            let openvpn = |at: &usize| rest.get(*at..).and_then(program::find).is_some();
            (0..rest.len()).find(openvpn).and_then(|at| rest.get(at..))
        }
    };
    (program.unwrap_or_default(), Way::Run)
}

pub(super) fn look(
    found: Option<&Found<'_>>,
    words: &[OsString],
    way: Way,
    who: Identity,
    engine: Option<SharedEngine>,
) -> Launch {
    let program = found.and_then(|found| found.start.last());
    let openvpn = program
        .and_then(|word| preloading::find(word))
        .filter(|path| path.is_file());
    let library = run::library();
    let obstacle = match &library {
        // The command may begin with a wrapper: look at OpenVPN's own file, too.
        Ok(library) => preloading::obstacle(library, words, who)
            .or_else(|| preloading::obstacle(library, &[openvpn.as_ref()?.into()], who)),
        Err(_) => None,
    };
    Launch {
        way,
        udco: std::env::current_exe().unwrap_or_else(|_| "udco".into()),
        release: openvpn.as_ref().and(found).and_then(release),
        openvpn,
        library: library.map_err(|error| format!("{error:#}")),
        obstacle,
        engine,
    }
}

/// The engine that `udco run` is told to use, in a command.
pub(super) fn engine(words: &[OsString]) -> Option<PathBuf> {
    let at = words
        .iter()
        .position(|word| word.as_bytes().starts_with(b"--engine"))?;
    let word = words.get(at)?;
    match word.as_bytes().strip_prefix(b"--engine=") {
        Some(path) => Some(OsStr::from_bytes(path).into()),
        None => words.get(at + 1).map(PathBuf::from),
    }
}

/// The release that this OpenVPN prints. A script of that name may do anything but print it.
fn release(found: &Found<'_>) -> Option<Release> {
    let (program, rest) = found.start.split_first()?;
    let mut command = Command::new(program);
    command.args(rest).arg("--version");
    command.stdin(Stdio::null()).stderr(Stdio::null());
    let mut child = command.stdout(Stdio::piped()).spawn().ok()?;
    let stdout = child.stdout.take()?;
    let mut polled = [PollFd::new(&stdout, PollFlags::IN)];
    let is_ready = poll(&mut polled, Some(&PATIENCE)).is_ok_and(|ready| ready > 0);
    let mut printed = [0; 256];
    let len = match is_ready {
        true => rustix::io::read(&stdout, &mut printed).unwrap_or(0),
        false => 0,
    };
    let _ = child.kill();
    let _ = child.wait();
    parse(&String::from_utf8_lossy(printed.get(..len)?))
}

/// `OpenVPN 2.6.14 x86_64-pc-linux-gnu …`
fn parse(printed: &str) -> Option<Release> {
    let version = printed.lines().next()?.strip_prefix("OpenVPN ")?;
    let mut numbers = version.split(|c: char| !c.is_ascii_digit());
    let mut next = || numbers.next()?.parse().ok();
    Some(Release(next()?, next()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        line.split_whitespace().map(OsString::from).collect()
    }

    #[test]
    fn udco_is_cut_from_a_command() {
        for (line, program, way) in [
            ("openvpn a", "openvpn a", Way::Plain),
            ("/usr/bin/udco run -- openvpn a", "openvpn a", Way::Run),
            (
                "nice udco run --workers 2 -- openvpn a",
                "openvpn a",
                Way::Run,
            ),
            ("udco run --workers 2 openvpn a", "openvpn a", Way::Run),
            ("udco show", "udco show", Way::Plain),
            ("udco run", "", Way::Run),
            ("udco", "udco", Way::Plain),
        ] {
            let all = words(line);
            let (rest, found) = without_udco(&all);
            assert_eq!(rest, words(program), "{line}");
            assert_eq!(found, way, "{line}");
        }
    }

    #[test]
    fn the_engine_to_use_is_found() {
        for (line, wanted) in [
            ("udco run --engine /a.sock -- openvpn", Some("/a.sock")),
            ("udco run --engine=/a.sock openvpn", Some("/a.sock")),
            ("udco run openvpn", None),
            ("udco run --engine", None),
        ] {
            assert_eq!(engine(&words(line)), wanted.map(Into::into), "{line}");
        }
    }

    #[test]
    fn a_release_is_two_numbers() {
        assert_eq!(parse("OpenVPN 2.6.14 x86_64"), Some(Release(2, 6)));
        assert_eq!(parse("OpenVPN 2.7_beta1 [git"), Some(Release(2, 7)));
        for other in [
            "",
            "OpenVPN",
            "OpenVPN x",
            "openvpn 2.6",
            "OpenVPN 99999999999.1",
        ] {
            assert_eq!(parse(other), None, "{other}");
        }
    }
}
