//! What the package's `run-openvpn` makes of its arguments: `udco run -- …`, or OpenVPN as it is.

use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::doctor::facts::{PACKAGED, SETTINGS};
use crate::regular;

/// How much of the settings to read.
const MAX_SETTINGS: u64 = 1 << 20;

/// The command that runs in the end; any other command as it is.
pub(super) fn resolved(words: Vec<OsString>) -> Vec<OsString> {
    if !is_packaged(&words) {
        return words;
    }
    // A pipe would wait for its writer.
    let mut settings = Vec::new();
    if let Ok(file) = regular::open(Path::new(SETTINGS)) {
        let _ = file.take(MAX_SETTINGS).read_to_end(&mut settings);
    }
    with_settings(words, &String::from_utf8_lossy(&settings))
}

fn is_packaged(words: &[OsString]) -> bool {
    words.first().is_some_and(|word| word == PACKAGED)
}

/// The same, with the text of the settings.
fn with_settings(words: Vec<OsString>, settings: &str) -> Vec<OsString> {
    let mut words = words.into_iter().skip(1);
    let unit = words.next().unwrap_or_default();
    let value = |name: &str| value(settings, name);
    let is_off = value("UDCO_DISABLE")
        .split_whitespace()
        .any(|name| name == "all" || without_suffix(OsStr::new(name)) == without_suffix(&unit));
    if is_off {
        return words.collect();
    }
    // What it starts lies in the package, too.
    let udco = Path::new("/usr/bin/udco").into();
    let options = value("UDCO_RUN_OPTIONS");
    let options = options.split_whitespace().map(OsString::from);
    [udco, "run".into()]
        .into_iter()
        .chain(options)
        .chain(["--".into()])
        .chain(words)
        .collect()
}

/// The last plain value of a setting; empty if there is none. The rules are those of `run-openvpn`.
fn value(settings: &str, name: &str) -> String {
    let (mut last, mut begun) = (String::new(), String::new());
    let lines = settings
        .trim_start_matches(['\u{feff}', '\u{fffd}'])
        .lines();
    for line in lines.chain([""]) {
        let line = std::mem::take(&mut begun) + line;
        let line = line.trim();
        if line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(first) = line.strip_suffix('\\') {
            first.clone_into(&mut begun);
            continue;
        }
        let line = line.strip_prefix("export ").unwrap_or(line);
        let text = line.strip_prefix(name).and_then(|it| it.strip_prefix('='));
        if let Some(value) = text.and_then(plain) {
            value.clone_into(&mut last);
        }
    }
    last
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
    fn another_command_stays_as_it_is() {
        let words = vec![OsString::from("/usr/sbin/openvpn"), "a".into()];
        assert_eq!(resolved(words.clone()), words);
    }
}
