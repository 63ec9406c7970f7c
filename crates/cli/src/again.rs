//! Runs a test a second time, as a process of its own: for what ends a process, or is written to its standard error.

use std::process::Command;

/// The command that runs the test of this name, with this variable set by which it knows that it is the second run.
pub(crate) fn command(test: &str, variable: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test]).env(variable, "1");
    command
}
