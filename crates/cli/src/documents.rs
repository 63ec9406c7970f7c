//! Manual pages and shell completions, written from the definition of the command line: packages ship them.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Command, CommandFactory};
use clap_complete::Shell;

use crate::Arguments as Program;

/// Where to write.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Directory for the files; it is created.
    directory: PathBuf,
}

/// Writes `udco.1`, a page for each command, and the completions of bash, zsh and fish.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    write(&arguments.directory)
        .with_context(|| format!("cannot write to {}", arguments.directory.display()))
}

fn write(directory: &Path) -> Result<()> {
    fs::create_dir_all(directory)?;
    let command = visible(&Program::command());
    clap_mangen::generate_to(command.clone(), directory)?;
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        clap_complete::generate_to(shell, &mut command.clone(), "udco", directory)?;
    }
    Ok(())
}

/// The command without what is hidden, which completions would offer.
fn visible(command: &Command) -> Command {
    let commands = command.get_subcommands().filter(|it| !it.is_hide_set());
    let arguments = command.get_arguments().filter(|it| !it.is_hide_set());
    let mut shown = Command::new(command.get_name().to_owned())
        .arg_required_else_help(command.is_arg_required_else_help_set())
        .subcommands(commands.map(visible))
        .args(arguments.cloned());
    if let Some(version) = command.get_version() {
        shown = shown.version(version.to_owned());
    }
    if let Some(about) = command.get_about() {
        shown = shown.about(about.clone());
    }
    if let Some(about) = command.get_long_about() {
        shown = shown.long_about(about.clone());
    }
    if let Some(help) = command.get_after_help() {
        shown = shown.after_help(help.clone());
    }
    shown
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// The names of the pages that these commands should have.
    fn pages(command: &Command, prefix: &str) -> BTreeSet<String> {
        let mut pages = BTreeSet::from([format!("{prefix}.1")]);
        for each in command.get_subcommands().filter(|it| !it.is_hide_set()) {
            pages.extend(pages_of(each, prefix));
        }
        pages
    }

    fn pages_of(command: &Command, prefix: &str) -> BTreeSet<String> {
        pages(command, &format!("{prefix}-{}", command.get_name()))
    }

    #[test]
    fn each_command_has_a_page_and_hidden_ones_are_nowhere() {
        let name = format!("udco-documents-{}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        write(&directory).unwrap();
        let mut written = BTreeSet::new();
        for entry in fs::read_dir(&directory).unwrap() {
            let entry = entry.unwrap();
            let text = fs::read_to_string(entry.path()).unwrap();
            for hidden in ["sweep", "detach", "--bare", "notify-socket"] {
                assert!(!text.contains(hidden), "{hidden} in {:?}", entry.path());
            }
            written.insert(entry.file_name().into_string().unwrap());
        }
        fs::remove_dir_all(&directory).unwrap();
        let mut expected = pages(&Program::command(), "udco");
        assert!(expected.contains("udco-peer-new.1"), "{expected:?}");
        expected.extend(["_udco", "udco.bash", "udco.fish"].map(str::to_owned));
        assert_eq!(written, expected);
    }
}
