//! Options of udco in settings and in a unit's command, as its own parser reads them.

use std::ffi::{OsStr, OsString};

use clap::Parser;
use clap::error::ErrorKind;

use super::packaged::{self, Values};
use super::unit::split;
use crate::doctor::facts::{Place, RefusedOptions};
use crate::{Arguments, Command, preloading, run, usage};

/// The settings that have options, and what stands before and behind these.
const OPTIONS: [(&str, &[&str], &[&str]); 3] = [
    ("UDCO_RUN_OPTIONS", &["udco", "run"], &["--", OPENVPN]),
    ("UDCO_DAEMON_OPTIONS", &["udco", "daemon"], &[]),
    ("UDCO_METRICS_OPTIONS", &["udco", "metrics"], &[]),
];

/// A program that need not be there.
const OPENVPN: &str = "openvpn";

/// What is refused of the package's settings, for any tunnel.
pub(super) fn in_own_settings() -> Vec<RefusedOptions> {
    let values = packaged::values();
    let mut disabled = packaged::value(&values, "UDCO_DISABLE").split_whitespace();
    in_settings(&values, disabled.all(|it| it != "all"))
}

/// What is refused of the package's settings; `is_on` if tunnels start with them.
pub(super) fn in_settings(values: &Values, is_on: bool) -> Vec<RefusedOptions> {
    let found = OPTIONS.iter().filter_map(|(name, before, behind)| {
        let (line, value) = values.get(name)?;
        let is_of_run = !behind.is_empty();
        let words: Vec<String> = match is_of_run {
            true => value.split_whitespace().map(str::to_owned).collect(),
            // systemd reads these.
            false => split(value),
        };
        let place = Place::Setting { name, line: *line };
        let behind: Vec<OsString> = behind.iter().map(Into::into).collect();
        refused(place, before, &words, &behind, is_of_run && is_on)
    });
    found.collect()
}

/// What is refused of a command that begins with `udco run`.
pub(super) fn in_command(words: &[OsString]) -> Option<RefusedOptions> {
    let [_, _, rest @ ..] = words else {
        return None;
    };
    let end = rest.iter().position(|it| it == "--")?;
    let (options, program) = rest.split_at_checked(end)?;
    let options = options.iter().map(|it| it.to_string_lossy().into_owned());
    let options: Vec<String> = options.collect();
    refused(Place::Command, &["udco", "run"], &options, program, true)
}

fn refused(
    place: Place,
    before: &[&str],
    options: &[String],
    behind: &[OsString],
    is_vital: bool,
) -> Option<RefusedOptions> {
    let why = |options: &[String]| {
        let before = before.iter().map(OsString::from);
        let words = before.chain(options.iter().map(Into::into));
        why(
            &words.chain(behind.iter().cloned()).collect::<Vec<_>>(),
            behind,
        )
    };
    let refusal = why(options)?;
    // Without an option and its value, or without an option that has none.
    let is_option = |at: usize| options.get(at).is_some_and(|it| it.starts_with('-'));
    let mut shorter = [2, 1].into_iter().flat_map(|count| {
        let ends = (count..=options.len()).rev();
        let ends =
            ends.filter(move |end| is_option(end - count) && (count == 1 || !is_option(end - 1)));
        ends.filter_map(move |end| {
            Some([options.get(..end - count)?, options.get(end..)?].concat())
        })
    });
    let rest = shorter.find(|it| why(it).is_none());
    Some(RefusedOptions {
        place,
        why: refusal,
        rest: rest.unwrap_or_default().join(" "),
        is_vital,
    })
}

/// Why udco does not start with these words, or does not start the program `behind` them.
fn why(words: &[OsString], behind: &[OsString]) -> Option<String> {
    let arguments = match Arguments::try_parse_from(words) {
        Ok(arguments) => arguments,
        Err(error) => {
            return Some(match error.kind() {
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
                    "it prints a text and ends".to_owned()
                }
                _ => first_line(&usage::explained::<Arguments>(error, words)),
            });
        }
    };
    let Command::Run(arguments) = arguments.command else {
        return None;
    };
    if let Some(option) = run::unknown_option(&arguments.program) {
        return Some(format!("{option} is not an option of `udco run`"));
    }
    let program = arguments.program.first()?;
    let is_given = behind.get(1).is_none_or(|it| it == program);
    // Something that starts OpenVPN in turn may stand before it.
    let is_there = is_given || preloading::find(program).is_some_and(|it| it.is_file());
    (!is_there).then(|| {
        let program: &OsStr = program;
        format!("{} is neither an option nor a program", program.display())
    })
}

fn first_line(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let line = text.lines().next().unwrap_or_default();
    line.trim_start_matches("error: ").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &'static str, value: &str) -> Option<(String, String)> {
        let values = Values::from([(name, (7, value.to_owned()))]);
        let mut found = in_settings(&values, true);
        let found = found.pop()?;
        assert_eq!(found.place, Place::Setting { name, line: 7 });
        assert_eq!(found.is_vital, name == "UDCO_RUN_OPTIONS");
        Some((found.why, found.rest))
    }

    #[test]
    fn options_that_udco_refuses_are_found() {
        for (name, value, why, rest) in [
            (
                "UDCO_RUN_OPTIONS",
                "--wrkers 2",
                "--wrkers is not an option",
                "",
            ),
            (
                "UDCO_RUN_OPTIONS",
                "--cpu 0 --wrkers 2",
                "--wrkers",
                "--cpu 0",
            ),
            ("UDCO_RUN_OPTIONS", "--workers x -v", "'x'", "-v"),
            ("UDCO_RUN_OPTIONS", "--workers", "value is required", ""),
            ("UDCO_RUN_OPTIONS", "workers 2", "workers is neither", ""),
            (
                "UDCO_RUN_OPTIONS",
                "--engine /e --workers 2",
                "cannot be used with",
                "--engine /e",
            ),
            ("UDCO_RUN_OPTIONS", "-v --help", "prints a text", "-v"),
            ("UDCO_DAEMON_OPTIONS", "--allow-gid vpn", "'vpn'", ""),
            (
                "UDCO_DAEMON_OPTIONS",
                "--allow-gid 7 -x",
                "'-x'",
                "--allow-gid 7",
            ),
            ("UDCO_METRICS_OPTIONS", "--listen nowhere", "nowhere", ""),
        ] {
            let (said, left) = of(name, value).unwrap_or_default();
            assert!(said.contains(why), "{value}: {said}");
            assert_eq!(left, rest, "{value}");
        }
        for (name, value) in [
            ("UDCO_RUN_OPTIONS", ""),
            ("UDCO_RUN_OPTIONS", "--workers 2 --without segment"),
            ("UDCO_RUN_OPTIONS", "--engine /run/udco/engine.sock"),
            ("UDCO_RUN_OPTIONS", "sh"),
            ("UDCO_DAEMON_OPTIONS", "--allow-uid 7 --allow-gid=1000"),
            ("UDCO_METRICS_OPTIONS", "--listen 127.0.0.1:9176 --peers"),
        ] {
            assert_eq!(of(name, value), None, "{value}");
        }
        let off = Values::from([("UDCO_RUN_OPTIONS", (7, "-x".to_owned()))]);
        assert!(!in_settings(&off, false)[0].is_vital);
    }
}
