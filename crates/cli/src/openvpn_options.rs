//! Options of the OpenVPN about to start, as they apply with offload: passes on those that the engine applies, and
//! reports the others, which have no effect (faults E5). It never changes what OpenVPN gets, and never fails a start.

use std::ffi::OsString;
use std::io::{self, Read};
use std::path::Path;
use std::process::Command;

use udco_ipc::{OPTIONS_VARIABLE, message_id};
use udco_options::{MAX_FILE, Reading, STANDARD_INPUT_UNREAD, program, read, report};

use crate::output::caution;
use crate::regular;

/// If `program` is OpenVPN, passes the options that apply on to the engine, and reports the rest.
pub(crate) fn hand_on(command: &mut Command, program: &[OsString]) {
    let Some(openvpn) = program::find(program) else {
        return;
    };
    let mut unread = Vec::new();
    let reading = read(openvpn.arguments, &openvpn.directory, |path| {
        open(path).map_err(|error| {
            if error.kind() == io::ErrorKind::Unsupported {
                unread.push(path.to_owned());
            }
            error.to_string()
        })
    });
    let report = report(&reading.settings);
    if report.honoured.is_default() {
        command.env_remove(OPTIONS_VARIABLE);
    } else {
        command.env(OPTIONS_VARIABLE, report.honoured.to_string());
    }
    if !report.rules_out.is_empty() {
        // An option rules offload out: OpenVPN's log reports it, and all options take effect.
        return;
    }
    for named in &report.without_effect {
        caution!(message_id::OPTION_WITHOUT_EFFECT, "{named}");
    }
    unread.extend(names_standard_input(&reading).then(|| "standard input".into()));
    for path in unread {
        let path = path.to_string_lossy().escape_debug().to_string();
        caution!(
            message_id::OPTION_WITHOUT_EFFECT,
            "{path} is not read here, so mssfix, txqueuelen and passtos in it have no effect with offload: give them on the \
             command line"
        );
    }
}

/// The bytes of a configuration file. Skips anything but regular files: reading a pipe would take its contents from
/// OpenVPN.
pub(crate) fn open(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = regular::open(path)?;
    file.take(MAX_FILE as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn names_standard_input(reading: &Reading) -> bool {
    let mut problems = reading.problems.iter();
    problems.any(|problem| problem.what == STANDARD_INPUT_UNREAD)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_regular_files_are_read() {
        for path in ["/dev/null", "/dev/tty", "/", "/dev/zero"] {
            let error = open(Path::new(path)).expect_err(path);
            assert_eq!(error.kind(), io::ErrorKind::Unsupported, "{path}");
        }
        assert!(open(Path::new("/no/such/file")).is_err());
        assert!(open(Path::new("/proc/self/status")).is_ok());
    }

    #[test]
    fn a_program_that_is_no_openvpn_keeps_its_environment() {
        let mut command = Command::new("sh");
        hand_on(
            &mut command,
            &["sh".into(), "-c".into(), "openvpn --mssfix 9".into()],
        );
        assert_eq!(command.get_envs().count(), 0);
    }

    #[test]
    fn what_udco_applies_is_in_the_environment_of_openvpn() {
        let words = [
            "env",
            "A=1",
            "openvpn",
            "--mssfix",
            "1300",
            "--txqueuelen",
            "100",
        ];
        let words: Vec<OsString> = words.iter().map(Into::into).collect();
        let mut command = Command::new("env");
        hand_on(&mut command, &words);
        let set: Vec<_> = command.get_envs().collect();
        let value: OsString = "mssfix=1300,txqueuelen=100".into();
        assert_eq!(set, [(OPTIONS_VARIABLE.as_ref(), Some(value.as_os_str()))]);
    }
}
