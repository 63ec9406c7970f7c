//! What is done to the project, as commands: `cargo xtask demo`, `cargo xtask check`.
#![forbid(unsafe_code)]

mod apt;
mod architectures;
mod bench;
mod chaos;
mod check;
mod demo;
mod expiry;
mod fuzz;
mod leak;
mod no_std;
mod offload;
mod openvpn27;
mod order;
mod packages;
mod page;
mod step;
mod tcp;
mod vanish;

use std::process::ExitCode;

use clap::Parser;
use udco_testbed::measure::flood;

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
    /// Measure udco beside OpenVPN's own data path, other VPNs and no tunnel, interleaved, and print ratios of medians.
    ///
    /// Installs the Debian packages that are missing if run by root, builds, and works in network namespaces of its
    /// own. A whole run takes about 20 minutes.
    Bench(bench::Options),
    /// Measure two builds of udco in turns: this tree's, and that of a commit or one that enters no confinement.
    Compare(bench::compare::Options),
    /// One end of the benchmark's UDP traffic, run in a lab's host.
    #[command(hide = true)]
    Flood {
        /// See `udco_testbed::measure::flood::main`.
        words: Vec<String>,
    },
    /// Send streams through a session whose packets are lost, overtaken, doubled and corrupted, 48 kinds of weather, and
    /// account for every packet; through one over TCP that is cut into pieces, stalled and reset; and flood 20 peers of
    /// which half cannot be reached.
    Chaos {
        /// Of all that the relay does [default: by the clock; it is printed].
        #[arg(long)]
        seed: Option<u64>,
        /// Replace the tables in docs/chaos.md.
        #[arg(long)]
        write_docs: bool,
    },
    /// A program that the chaos scenarios run in a lab's host.
    #[command(hide = true)]
    ChaosEnd {
        /// See `udco_testbed::chaos::main`.
        words: Vec<String>,
    },
    /// Everything that must hold before a change is committed: format, lints, docs, tests, scenarios with a real
    /// OpenVPN.
    Check {
        /// Leave the scenarios with OpenVPN out.
        #[arg(long)]
        quick: bool,
    },
    /// Let 100,000 peers expire while the listener sleeps for a minute: each end is told once. Also says how fast peers
    /// are added and how much memory each takes.
    Expiry,
    /// Kill OpenVPN and its engine 1,000 times each while a client's packets go on, and see that none leaves in the clear,
    /// and that each start goes on with the device that was left.
    Leak(leak::Options),
    /// What sends these packets, run in a lab's host.
    #[command(hide = true)]
    LeakEnd {
        /// See `udco_testbed::leak::main`.
        words: Vec<String>,
    },
    /// Connect many real clients to an OpenVPN 2.6 server with udco, kill all of them at once, and see that the server
    /// forgets every one.
    Vanish {
        /// How many clients.
        #[arg(long, default_value_t = 1024)]
        clients: u32,
    },
    /// Rekey every five seconds beside streams that saturate a TCP transport, for ten minutes; let one of 50 peers over TCP
    /// not read for a minute: no byte changes, and the others lose nothing. And compare TCP inside over paths of 1,500
    /// and 1,400 bytes.
    Tcp,
    /// Send numbered datagrams of eight flows through OpenVPN with udco at both ends, in both directions, and see that none
    /// overtakes another of its flow: with a worker a core, and with four.
    Order(order::Options),
    /// One end of these flows, run in a lab's host.
    #[command(hide = true)]
    OrderEnd {
        /// See `udco_testbed::measure::order::main`.
        words: Vec<String>,
    },
    /// Send ten million random packets through the kernel one by one and merged, and super-packets cut by the kernel and
    /// by udco: no byte may differ. Takes about two minutes.
    Offload(offload::Options),
    /// What holds the devices of that comparison, run in a lab's host.
    #[command(hide = true)]
    DifferentialEnd {
        /// See `udco_testbed::differential::main`.
        words: Vec<String>,
    },
    /// Say random things to an engine as a hostile user, beside root's tunnel: valid, mutated and out of order, with
    /// descriptors of all kinds. Root loses nothing, and the engine is afterwards what it was.
    Fuzz(fuzz::Options),
    /// A hostile program, run in a lab's host.
    #[command(hide = true)]
    HostileFront {
        /// See `udco_testbed::hostile::main`.
        words: Vec<String>,
    },
    /// Unpack OpenVPN 2.7 below the target directory, for the scenarios: from Debian's backports, not installed.
    Openvpn27,
}

fn main() -> ExitCode {
    let outcome = match Command::parse() {
        Command::Demo { json } => demo::run(json),
        Command::Bench(options) => bench::run(&options),
        Command::Compare(options) => bench::compare::run(&options),
        Command::Flood { words } => flood::main(&words),
        Command::Chaos { seed, write_docs } => chaos::run(seed, write_docs),
        Command::ChaosEnd { words } => udco_testbed::chaos::main(&words),
        Command::Check { quick } => check::run(quick),
        Command::Expiry => expiry::run(),
        Command::Leak(options) => leak::run(&options),
        Command::LeakEnd { words } => udco_testbed::leak::main(&words),
        Command::Vanish { clients } => vanish::run(clients),
        Command::Tcp => tcp::run(),
        Command::Order(options) => order::run(&options),
        Command::OrderEnd { words } => udco_testbed::measure::order::main(&words),
        Command::Offload(options) => offload::run(&options),
        Command::DifferentialEnd { words } => udco_testbed::differential::main(&words),
        Command::Fuzz(options) => fuzz::run(&options),
        Command::HostileFront { words } => udco_testbed::hostile::main(&words),
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
