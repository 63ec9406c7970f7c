//! Exit codes. docs/exit-codes.md lists them, and a test holds the two together.

/// The command failed.
pub(crate) const FAILED: u8 = 1;
/// The arguments are wrong. clap's choice.
pub(crate) const USAGE: u8 = 2;

/// `udco show`: no engine is running.
pub(crate) const NONE_RUNS: u8 = 3;
/// No engine may be used by this user.
pub(crate) const DENIED: u8 = 4;
/// An engine does not answer.
pub(crate) const SILENT: u8 = 5;
/// An engine's socket cannot be found.
pub(crate) const UNREACHABLE: u8 = 6;
/// A device was left by a killed engine.
pub(crate) const LEFT: u8 = 7;

/// `udco doctor`: warnings only.
pub(crate) const WARNINGS: u8 = 8;
/// An error keeps offload off.
pub(crate) const OFF: u8 = 9;
/// Another error.
pub(crate) const ERRORS: u8 = 10;

/// `udco ping`: nothing answered. This and the next one are those of ping(8).
pub(crate) const NO_ANSWER: u8 = 1;
/// An error.
pub(crate) const NOT_PINGED: u8 = 2;

/// `udco run` failed before it could start the program. This and the next two are those of env(1) and of shells, so that
/// they are told apart from the program's own.
pub(crate) const NOT_RUN: u8 = 125;
/// The program cannot be executed.
pub(crate) const NOT_EXECUTABLE: u8 = 126;
/// The program is not there.
pub(crate) const NOT_FOUND: u8 = 127;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Each code, and the commands that end with it; `*` for all.
    const ALL: &[(u8, &str)] = &[
        (0, "*"),
        (FAILED, "*"),
        (USAGE, "*"),
        (NO_ANSWER, "ping"),
        (NOT_PINGED, "ping"),
        (NONE_RUNS, "show"),
        (DENIED, "show"),
        (SILENT, "show"),
        (UNREACHABLE, "show"),
        (LEFT, "show"),
        (WARNINGS, "doctor"),
        (OFF, "doctor"),
        (ERRORS, "doctor"),
        (NOT_RUN, "run"),
        (NOT_EXECUTABLE, "run"),
        (NOT_FOUND, "run"),
    ];

    fn page(path: &str) -> String {
        let path = format!("{}/../../{path}", env!("CARGO_MANIFEST_DIR"));
        std::fs::read_to_string(path).unwrap()
    }

    #[test]
    fn the_page_lists_every_code_with_its_command() {
        let page = page("docs/exit-codes.md");
        let mut listed = BTreeSet::new();
        for line in page.lines() {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            let [_, code, command, _, _] = cells[..] else {
                continue;
            };
            let Ok(code) = code.parse::<u8>() else {
                continue;
            };
            let command = command.trim_matches('`').trim_start_matches("udco ");
            let command = if command == "all" { "*" } else { command };
            assert!(listed.insert((code, command.to_owned())), "twice: {line}");
        }
        let all = ALL
            .iter()
            .map(|(code, command)| (*code, (*command).to_owned()));
        assert_eq!(listed, all.collect());
    }

    #[test]
    fn help_names_the_codes_of_its_command() {
        use clap::CommandFactory;

        let program = crate::Arguments::command();
        for (code, command) in ALL.iter().filter(|(_, command)| *command != "*") {
            let command = program.find_subcommand(command).unwrap();
            let help = command.get_after_help().unwrap().to_string();
            let words = help.split(|c: char| !c.is_ascii_alphanumeric());
            let is_named = words.into_iter().any(|word| word == code.to_string());
            assert!(
                is_named,
                "{} says nothing of {code}: {help}",
                command.get_name()
            );
        }
    }
}
