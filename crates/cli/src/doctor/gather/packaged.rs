//! What the package's `run-openvpn` makes of its arguments: `udco run -- …`, or OpenVPN as it is.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::doctor::facts::{PACKAGED, SETTINGS};

/// The command that runs in the end; any other command as it is.
pub(super) fn resolved(words: Vec<OsString>) -> Vec<OsString> {
    if !is_packaged(&words) {
        return words;
    }
    let settings = fs::read_to_string(SETTINGS).unwrap_or_default();
    with_settings(words, &settings)
}

fn is_packaged(words: &[OsString]) -> bool {
    words.first().is_some_and(|word| word == PACKAGED)
}

/// The same, with the text of the settings, which a shell reads.
fn with_settings(words: Vec<OsString>, settings: &str) -> Vec<OsString> {
    let mut words = words.into_iter().skip(1);
    let unit = words.next().unwrap_or_default();
    let value = |name: &str| {
        let mut values = settings
            .lines()
            .filter_map(|line| line.trim().strip_prefix(name)?.strip_prefix('='));
        let value = values.next_back().unwrap_or_default();
        value.trim_matches(['"', '\'']).to_owned()
    };
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
