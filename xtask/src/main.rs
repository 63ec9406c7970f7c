//! What is done to the project, as commands: `cargo xtask demo`, `cargo xtask check`.
#![forbid(unsafe_code)]

mod check;
mod demo;
mod no_std;
mod packages;
mod step;

use std::process::ExitCode;

use clap::Parser;

/// Build automation of udco.
#[derive(Debug, Parser)]
enum Command {
    /// Join two hosts on this machine with OpenVPN, with udco and without it, and compare.
    ///
    /// Installs the Debian packages that are missing if run by root, builds, and works in network namespaces of its
    /// own: nothing of this machine's network is touched.
    Demo {
        /// Print one JSON object instead of a table.
        #[arg(long)]
        json: bool,
    },
    /// Everything that must hold before a change is committed: format, lints, docs, tests, scenarios with a real
    /// OpenVPN.
    Check {
        /// Leave the scenarios with OpenVPN out.
        #[arg(long)]
        quick: bool,
    },
}

fn main() -> ExitCode {
    let outcome = match Command::parse() {
        Command::Demo { json } => demo::run(json),
        Command::Check { quick } => check::run(quick),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
