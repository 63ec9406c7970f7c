//! What is done to the project, as commands: `cargo xtask demo`, `cargo xtask check`.
#![forbid(unsafe_code)]

mod bench;
mod check;
mod demo;
mod no_std;
mod openvpn27;
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
    /// Measure udco beside OpenVPN's own data path and no tunnel, interleaved, and print the ratios of the medians.
    Bench {
        /// How often everything is measured: at least 5 times.
        #[arg(long, default_value_t = 5)]
        rounds: usize,
        /// Seconds of each TCP stream.
        #[arg(long, default_value_t = 3)]
        seconds: u32,
        /// Print one JSON array with all samples instead of a table.
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
    /// Unpack OpenVPN 2.7 below the target directory, for the scenarios: from Debian's backports, not installed.
    Openvpn27,
}

fn main() -> ExitCode {
    let outcome = match Command::parse() {
        Command::Demo { json } => demo::run(json),
        Command::Bench {
            rounds,
            seconds,
            json,
        } => bench::run(rounds, seconds, json),
        Command::Check { quick } => check::run(quick),
        Command::Openvpn27 => openvpn27::run(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
