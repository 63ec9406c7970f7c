//! What the package's `run-openvpn` makes of its arguments: `udco run -- …`, or OpenVPN as it is.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::{self, ErrorKind, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::doctor::facts::{Ignored, PACKAGED, SETTINGS, Useless};
use crate::regular;

/// The last plain value of each setting, with its line.
pub(super) type Values = BTreeMap<&'static str, (usize, String)>;

/// How much of the settings to read.
const MAX_SETTINGS: u64 = 1 << 20;

/// Longer lines are ignored.
const MAX_LINE: usize = 4096;

/// The names of all settings.
const NAMES: [&str; 4] = [
    "UDCO_DISABLE",
    "UDCO_RUN_OPTIONS",
    "UDCO_DAEMON_OPTIONS",
    "UDCO_METRICS_OPTIONS",
];

/// What people write for `all`.
const NOT_ALL: [&str; 5] = ["all", "yes", "true", "on", "1"];

/// The command that runs in the end; any other command as it is.
pub(super) fn resolved(words: Vec<OsString>) -> Vec<OsString> {
    if !is_packaged(&words) {
        return words;
    }
    with_settings(words, &text().unwrap_or_default())
}

fn is_packaged(words: &[OsString]) -> bool {
    words.first().is_some_and(|word| word == PACKAGED)
}

/// What of the settings has no effect.
pub(super) fn ignored() -> Vec<Ignored> {
    match text() {
        Ok(text) => read(&text).1,
        Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
        Err(error) => vec![Ignored {
            line: None,
            why: Useless::Unreadable(crate::refusal::io_words(&error)),
        }],
    }
}

/// The settings that hold; none if they cannot be read.
pub(super) fn values() -> Values {
    text().map_or_else(|_| Values::new(), |text| read(&text).0)
}

/// The value of a setting; empty if it has none.
pub(super) fn value<'a>(values: &'a Values, name: &str) -> &'a str {
    values.get(name).map_or("", |(_, value)| value)
}

/// Settings in a unit's environment, where the package's program does not look for them.
pub(super) fn misplaced(environment: &BTreeMap<String, String>, values: &Values) -> Vec<Ignored> {
    let found = NAMES[..2].iter().filter(|name| {
        let given = environment.get(**name).map_or("", String::as_str);
        !given.is_empty() && given != value(values, name)
    });
    let ignored = found.map(|name| Ignored {
        line: None,
        why: Useless::Environment(name),
    });
    ignored.collect()
}

/// The options of the package's daemon; `None` without the package.
pub(super) fn daemon_options() -> Option<String> {
    let (values, _) = read(&text().ok()?);
    Some(value(&values, "UDCO_DAEMON_OPTIONS").to_owned())
}

fn text() -> io::Result<String> {
    // A pipe would wait for its writer.
    let file = regular::open(Path::new(SETTINGS))?;
    let mut settings = Vec::new();
    file.take(MAX_SETTINGS).read_to_end(&mut settings)?;
    Ok(String::from_utf8_lossy(&settings).into_owned())
}

/// The same, with the text of the settings.
fn with_settings(words: Vec<OsString>, settings: &str) -> Vec<OsString> {
    let mut words = words.into_iter().skip(1);
    let unit = words.next().unwrap_or_default();
    let (values, _) = read(settings);
    let is_off = value(&values, "UDCO_DISABLE")
        .split_whitespace()
        .any(|name| name == "all" || without_suffix(OsStr::new(name)) == without_suffix(&unit));
    if is_off {
        return words.collect();
    }
    // What it starts lies in the package, too.
    let udco = Path::new("/usr/bin/udco").into();
    let options = value(&values, "UDCO_RUN_OPTIONS");
    let options = options.split_whitespace().map(OsString::from);
    [udco, "run".into()]
        .into_iter()
        .chain(options)
        .chain(["--".into()])
        .chain(words)
        .collect()
}

/// The last plain value of each setting, and what is ignored. The rules are those of `run-openvpn`.
fn read(settings: &str) -> (Values, Vec<Ignored>) {
    let (mut values, mut ignored) = (Values::new(), Vec::new());
    let mut begun = String::new();
    let lines = settings
        .trim_start_matches(['\u{feff}', '\u{fffd}'])
        .lines();
    for (at, line) in lines.chain([""]).enumerate() {
        let mut ignore = |why| {
            let line = Some(at + 1);
            ignored.push(Ignored { line, why });
        };
        if line.len() > MAX_LINE {
            ignore(Useless::TooLong);
            continue;
        }
        let line = std::mem::take(&mut begun) + line;
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(first) = line.strip_suffix('\\') {
            first.clone_into(&mut begun);
            continue;
        }
        let line = line.strip_prefix("export ").unwrap_or(line);
        let (word, text) = line.split_once('=').unwrap_or((line, ""));
        let known = NAMES.iter().find(|it| **it == word && line.contains('='));
        match (known, plain(text)) {
            (None, _) => ignore(Useless::Name(word.chars().take(40).collect())),
            (Some(name), None) => ignore(Useless::Value(name)),
            (Some(name), Some(value)) => {
                values.insert(*name, (at + 1, value.to_owned()));
            }
        }
    }
    let disabled = value(&values, "UDCO_DISABLE").split_whitespace();
    let odd = disabled.filter(|it| *it != "all" && NOT_ALL.contains(&it.to_lowercase().as_str()));
    ignored.extend(odd.map(|it| Ignored {
        line: None,
        why: Useless::Unit(it.to_owned()),
    }));
    (values, ignored)
}

/// A value in quotation marks, or bare; `None` if a shell would have to work it out.
fn plain(text: &str) -> Option<&str> {
    let quoted = |mark: char| text.strip_prefix(mark)?.split_once(mark);
    let single = quoted('\'');
    let (value, rest) = single.or_else(|| quoted('"')).unwrap_or_else(|| {
        let comment = [" #", "\t#"]
            .into_iter()
            .filter_map(|it| text.find(it))
            .min();
        let value = comment.and_then(|at| text.get(..at)).unwrap_or(text);
        (value, "")
    });
    let rest = rest.trim_start();
    let is_plain = single.is_some() || !value.contains(['"', '\'', '\\', '`', '$']);
    (is_plain && (rest.is_empty() || rest.starts_with('#'))).then_some(value)
}

fn without_suffix(unit: &OsStr) -> &[u8] {
    let name = unit.as_bytes();
    name.strip_suffix(b".service").unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(settings: &str) -> String {
        let command = format!("{PACKAGED} openvpn-server@a.service /usr/sbin/openvpn --config a");
        let words = command.split(' ').map(OsString::from).collect();
        let words = with_settings(words, settings);
        words.join(OsStr::new(" ")).into_string().unwrap()
    }

    #[test]
    fn the_settings_decide_what_the_packages_program_starts() {
        let plain = "/usr/sbin/openvpn --config a";
        let run = format!("/usr/bin/udco run -- {plain}");
        for (settings, command) in [
            ("", run.as_str()),
            ("#UDCO_DISABLE=\"all\"\nUDCO_DISABLE=\"\"\n", &run),
            ("UDCO_DISABLE=\"openvpn-server@b\"", &run),
            ("UDCO_DISABLE=\"openvpn-server@b openvpn-server@a\"", plain),
            ("UDCO_DISABLE=openvpn-server@a.service", plain),
            ("UDCO_DISABLE='all'", plain),
            ("\u{feff}UDCO_DISABLE='all'", plain),
            ("\u{feff}#\r\nUDCO_DISABLE=\"all\"\r\n", plain),
            (" export UDCO_DISABLE=all  # for now\n", plain),
            ("UDCO_DISABLE=\"b \\\n all\" # both\n", plain),
            ("UDCO_DISABLE=\"all\nUDCO_DISABLE=$ALL\n", &run),
            ("UDCO_DISABLE=\"all\" too\n", &run),
            ("UDCO_DISABLE=all \\", plain),
            ("UDCO_DISABLE=openvpn-\\\nserver@a", plain),
            ("UDCO_DISABLE=b \\ \nUDCO_DISABLE=all", &run),
            ("UDCO_DISABLE='my\\x2doffice openvpn-server@a'", plain),
            ("UDCO_DISABLE=all\t# b # c", plain),
            ("# \\\nUDCO_DISABLE=\"all\"\n", plain),
            ("UDCO_RUN_OPTIONS=\"\"\r\n", &run),
            (
                "UDCO_RUN_OPTIONS=\"--engine /run/e\"\n",
                "/usr/bin/udco run --engine /run/e -- /usr/sbin/openvpn --config a",
            ),
        ] {
            assert_eq!(of(settings), command, "{settings}");
        }
    }

    #[test]
    fn ignored_lines_are_told_from_others() {
        let of = |text: &str| -> Vec<_> {
            let found = read(text).1.into_iter();
            found.map(|it| (it.line, it.why)).collect()
        };
        let long = format!("UDCO_DISABLE=\n{}", "a".repeat(MAX_LINE + 1));
        let name = |name: &str| Useless::Name(name.to_owned());
        for (text, wanted) in [
            (
                "# a\n\n; b\nUDCO_DISABLE=\"all\" # c\nexport UDCO_RUN_OPTIONS=\n",
                vec![],
            ),
            (
                "UDCO_DAEMON_OPTIONS='-a'\r\nUDCO_METRICS_OPTIONS=\"\"",
                vec![],
            ),
            ("\nUDCO_DISABEL=all", vec![(Some(2), name("UDCO_DISABEL"))]),
            ("UDCO_DISABLE", vec![(Some(1), name("UDCO_DISABLE"))]),
            ("udco_disable=all", vec![(Some(1), name("udco_disable"))]),
            ("UDCO_DISABLE = all", vec![(Some(1), name("UDCO_DISABLE "))]),
            (
                "UDCO_DISABLE=$ALL",
                vec![(Some(1), Useless::Value("UDCO_DISABLE"))],
            ),
            (
                "UDCO_DISABLE=\"a",
                vec![(Some(1), Useless::Value("UDCO_DISABLE"))],
            ),
            (
                "UDCO_DISABLE=Yes",
                vec![(None, Useless::Unit("Yes".to_owned()))],
            ),
            (&long, vec![(Some(2), Useless::TooLong)]),
        ] {
            assert_eq!(of(text), wanted, "{text}");
        }
        let packaged = include_str!("../../../../../packaging/openvpn/default");
        assert_eq!(of(packaged), []);
    }

    #[test]
    fn settings_in_a_units_environment_have_no_effect() {
        let (values, _) = read("UDCO_RUN_OPTIONS=-v\nUDCO_DISABLE=\n");
        let of = |name: &str, value: &str| {
            let environment = BTreeMap::from([(name.to_owned(), value.to_owned())]);
            misplaced(&environment, &values).len()
        };
        assert_eq!(of("UDCO_RUN_OPTIONS", "--workers 2"), 1);
        assert_eq!(of("UDCO_DISABLE", "all"), 1);
        // The same, as from an `EnvironmentFile=` of that name.
        assert_eq!(of("UDCO_RUN_OPTIONS", "-v"), 0);
        assert_eq!(of("UDCO_DISABLE", ""), 0);
        assert_eq!(of("UDCO_OPTIONS", "mssfix=1400"), 0);
    }

    #[test]
    fn another_command_stays_as_it_is() {
        let words = vec![OsString::from("/usr/sbin/openvpn"), "a".into()];
        assert_eq!(resolved(words.clone()), words);
    }
}
