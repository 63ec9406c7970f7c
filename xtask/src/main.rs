//! The project's automation as commands: `cargo xtask demo`, `cargo xtask check` and the long runs.
#![forbid(unsafe_code)]

mod apt;
mod architectures;
mod bench;
mod chaos;
mod check;
mod demo;
mod dependencies;
mod expiry;
mod fuzz;
mod kernel_driver;
mod leak;
mod no_std;
mod offload;
mod openvpn27;
mod order;
mod package;
mod packages;
mod page;
mod report;
mod step;
mod tcp;
mod vanish;

use std::process::ExitCode;

use clap::Parser;
use udco_testbed::LabEnd;

/// Build automation of udco.
#[derive(Debug, Parser)]
enum Command {
    /// Connect two hosts on this machine with OpenVPN, with and without udco, and compare.
    ///
    /// Installs missing Debian packages if run by root, builds, and works in its own network namespaces: this machine's
    /// network is not touched.
    Demo {
        /// Print one JSON object instead of a table.
        #[arg(long)]
        json: bool,
    },
    /// Measure udco against OpenVPN's own data path, other VPNs and no tunnel, interleaved, and print ratios of medians.
    ///
    /// Installs missing Debian packages if run by root, builds, and works in its own network namespaces. A whole run
    /// takes about half an hour.
    Bench(bench::Options),
    /// Measure two builds of udco in turns: this tree's, and that of a commit or one that enters no confinement.
    Compare(bench::compare::Options),
    /// Measure what `udco capture` costs streams through udco, while captures begin and end beside them.
    Captured(bench::captured::Options),
    /// Measure what moderate loads cost: with OpenVPN's own data path, and with udco at the server or at both ends.
    Loads(bench::loads::Options),
    /// Measure many busy peers: a server's device, and one process that is all of its peers.
    Peers(bench::peers::Options),
    /// Test a session in bad weather and account for every packet.
    ///
    /// Streams go through a session whose packets are lost, reordered, duplicated and corrupted, in 48 kinds of weather,
    /// and through one over TCP that is cut into pieces, stalled and reset; then 20 peers are flooded, half of which
    /// cannot be reached.
    Chaos {
        /// Seed for everything the relay does [default: from the clock; it is printed].
        #[arg(long)]
        seed: Option<u64>,
        /// Replace the tables in docs/chaos.md.
        #[arg(long)]
        write_docs: bool,
    },
    /// Run everything that must pass before a commit: format, lints, docs, tests, scenarios with a real OpenVPN.
    Check {
        /// Skip the scenarios with OpenVPN.
        #[arg(long)]
        quick: bool,
        /// Run this many busy loops beside the tests: none may depend on an idle machine.
        #[arg(long, default_value_t = 0, value_name = "COUNT")]
        busy: u8,
    },
    /// Let 100,000 peers expire while the listener sleeps for a minute, and check that each deletion is reported once.
    ///
    /// Also reports how fast peers are added and how much memory each takes.
    Expiry,
    /// Kill OpenVPN and its engine 1,000 times each under traffic, and check that no packet leaves in the clear.
    ///
    /// Also checks that each start takes over the device left behind.
    Leak(leak::Options),
    /// Connect many real clients to an OpenVPN 2.6 server with udco, kill them all at once, and check that the server
    /// forgets every one.
    Vanish {
        /// Number of clients.
        #[arg(long, default_value_t = 1024)]
        clients: u32,
    },
    /// Stress the TCP transport.
    ///
    /// Rekeys every five seconds for ten minutes beside streams that saturate the transport, and lets one of 50 TCP peers
    /// not read for a minute: no byte may change, and the others may lose nothing. Also compares TCP inside the tunnel
    /// over paths of 1,500 and 1,400 bytes.
    Tcp,
    /// Send numbered datagrams of eight flows through udco in both directions, and check that no flow is reordered.
    ///
    /// OpenVPN runs with udco at both ends, first with one worker per core, then with four workers.
    Order(order::Options),
    /// Compare merging and splitting with the kernel's own: no byte may differ.
    ///
    /// Sends ten million random packets through the kernel one by one and merged, and super-packets split by the kernel
    /// and by udco. Takes about two minutes.
    Offload(offload::Options),
    /// Fuzz an engine as a hostile user, beside root's tunnel.
    ///
    /// Sends valid, mutated and out-of-order messages with descriptors of all kinds. Root may lose nothing, and the
    /// engine must afterwards be in the state it was in before.
    Fuzz(fuzz::Options),
    /// Drive the kernel's own `ovpn` driver with `udco` in a guest: qemu without KVM, and Debian's newest kernel.
    ///
    /// Unpacks both below the target directory and installs neither. Tunnels over UDP and TCP, with the kernel's driver at
    /// both ends, or an engine at one. Takes about a minute after the download of 100 MB.
    KernelDriver(kernel_driver::Options),
    /// Count the instructions that a guest executes for the kernel's driver, udco and OpenVPN's own data path.
    ///
    /// In the same guest, whose clock then counts them. Takes some minutes a round.
    Instructions(kernel_driver::instructions::Options),
    /// Make a Debian package and a tarball for each architecture that can be built here.
    ///
    /// amd64, and arm64 if its targets are installed. Dates are the commit's, and a second run gives the same bytes.
    Package(package::Options),
    /// Unpack OpenVPN 2.7 from Debian's backports below the target directory, for the scenarios; installs nothing.
    Openvpn27,
    /// A process of these runs, in a host of its lab.
    #[command(hide = true)]
    LabEnd(LabEnd),
}

fn main() -> ExitCode {
    let outcome = match Command::parse() {
        Command::Demo { json } => demo::run(json),
        Command::Bench(options) => bench::run(&options),
        Command::Loads(options) => bench::loads::run(&options),
        Command::Peers(options) => bench::peers::run(&options),
        Command::Compare(options) => bench::compare::run(&options),
        Command::Captured(options) => bench::captured::run(&options),
        Command::Chaos { seed, write_docs } => chaos::run(seed, write_docs),
        Command::Check { quick, busy } => check::run(quick, busy),
        Command::Expiry => expiry::run(),
        Command::Leak(options) => leak::run(&options),
        Command::Vanish { clients } => vanish::run(clients),
        Command::Tcp => tcp::run(),
        Command::Order(options) => order::run(&options),
        Command::Offload(options) => offload::run(&options),
        Command::Fuzz(options) => fuzz::run(&options),
        Command::KernelDriver(options) => kernel_driver::run(&options),
        Command::Instructions(options) => kernel_driver::instructions::run(&options),
        Command::Package(options) => package::run(&options),
        Command::Openvpn27 => openvpn27::run(),
        Command::LabEnd(end) => end.run(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
