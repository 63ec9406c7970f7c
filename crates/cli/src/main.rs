//! The `udco` program.
#![forbid(unsafe_code)]
// They panic if nobody reads (faults B1): `output` and `udco_sys::lines` do not.
#![deny(clippy::print_stdout, clippy::print_stderr)]

#[cfg(test)]
mod again;
mod capture;
mod client;
mod common_names;
mod confinement;
mod daemon;
mod doctor;
mod documents;
mod ended;
mod engine_options;
mod engines;
mod escape;
mod exit;
mod interface;
mod kernel;
mod key;
mod left;
mod link;
mod log;
mod metrics;
mod monitor;
mod notification;
mod notify;
mod openvpn_options;
mod openvpns;
mod output;
#[cfg(test)]
mod pages;
mod panics;
mod peer;
mod ping;
mod preloading;
mod private_engine;
mod rates;
mod refusal;
mod regular;
mod rtnetlink;
mod run;
mod runtime_dir;
mod show;
mod state;
mod style;
mod survey;
mod sweep;
mod top;
mod units;
mod usage;
mod user;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};
use udco_sys::memory::Allocator;

use crate::engine_options::Processors;
use crate::output::{NobodyReads, complain};

/// OpenVPN Data Channel Offload in userspace.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run OpenVPN with its data channel offloaded.
    ///
    /// Starts a private engine beside the program, which ends with it. If the engine cannot serve, udco says why, and
    /// OpenVPN uses its own data path.
    #[command(
        after_help = "Exit codes: those of the program, which udco becomes; 125 udco failed before that, 126 the program \
        cannot be executed, 127 it is not there.\nExample: udco run -- openvpn --config server.conf"
    )]
    Run(RunArguments),

    /// Serve several clients from one engine.
    ///
    /// Start the clients with `udco run --engine PATH -- openvpn …`.
    Daemon(DaemonArguments),

    /// Show devices, peers, key slots, counters and drops by reason.
    ///
    /// The clients of an OpenVPN server that writes a status file, as Debian's units do, are shown with their common names,
    /// once OpenVPN has written it: every minute, if `status` gives no other time.
    #[command(
        after_help = "Exit codes: 3 no engine is running, 4 you may not use the engine, 5 an engine does not answer, \
        6 an engine's socket cannot be found, 7 the engine of a device was killed, so no packet leaves through that \
        device. An engine that answers but has no device is not an error."
    )]
    Show(show::Arguments),

    /// Say whether offload is on or would be; if not, why, and how to fix it.
    #[command(
        after_help = "Exit codes: 0 sound, 8 warnings only, 9 offload is off or would be, 10 the tunnel would not work, or \
        offload cannot be judged.\nExample: udco doctor --config /etc/openvpn/client.conf"
    )]
    Doctor(doctor::Arguments),

    /// Create, delete and show devices.
    Link(link::Arguments),

    /// Create, change, show and delete a device's peers.
    Peer(peer::Arguments),

    /// Install, show, swap and delete a peer's keys.
    Key(key::Arguments),

    /// Print peer events as they happen.
    ///
    /// Prints a line for each peer that is deleted (and why), floats to another address, or needs a new key soon.
    #[command(after_help = "Example: udco monitor tun0 --json")]
    Monitor(monitor::Arguments),

    /// Measure round trip, loss and the largest packet that passes, in the tunnel to a peer.
    ///
    /// Sends ICMP echo requests through the device to the peer's VPN address, then searches for the largest packet that
    /// comes back; none may be fragmented inside the tunnel.
    #[command(
        after_help = "Exit codes: 0 something answered, 1 nothing did, 2 an error.\nExample: udco ping tun0 --id 1 -c 10"
    )]
    Ping(ping::Arguments),

    /// Capture the packets of a device, and those that are dropped, as pcapng.
    ///
    /// Inner packets are in the clear. Only root and the user who created the device may capture. capture.md, in
    /// /usr/share/doc/udco, says what is shown.
    #[command(
        after_help = "Example: udco capture tun0 --drops -w - | tshark -i - -T fields -e frame.comment -e ip.src"
    )]
    Capture(capture::Arguments),
    /// Watch devices and peers on a terminal, with rates and their history.
    ///
    /// Shows what `udco show --watch` prints, to be sorted, filtered and looked into. Keys: q ends it, the arrows choose a
    /// peer, Enter shows its details, Tab goes to the next device, s sorts by something else, r reverses, / filters.
    #[command(
        after_help = "Example: udco top --every 5\nIt needs a terminal: in a pipe, use `udco show --watch`."
    )]
    Top(top::Arguments),

    /// Report counters to Prometheus.
    ///
    /// Prints them once, unless told to write a file or to listen. metrics.md, in /usr/share/doc/udco, lists them.
    #[command(after_help = "Example: udco metrics --listen 127.0.0.1:9176")]
    Metrics(metrics::Arguments),

    /// Private engine of a program; started by `udco run`.
    #[command(hide = true)]
    Engine(EngineArguments),

    /// Removes an engine's socket file at its end; started by engines.
    #[command(hide = true)]
    Sweep(sweep::Arguments),

    /// Writes manual pages and shell completions; for packages.
    #[command(hide = true)]
    Documents(documents::Arguments),
}

/// Options of an engine.
#[derive(Clone, Debug, clap::Args)]
struct EngineOptions {
    /// Number of worker threads [default: one per core].
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..=256))]
    workers: Option<u16>,

    /// Pin the workers to these processors, one each in turn, e.g. `0,2-3` [default: the scheduler's choice].
    #[arg(long, value_name = "LIST", value_parser = engine_options::processors)]
    cpu: Option<Processors>,

    /// Disable an offload: `device-tcp`, `device-udp`, `merge`, `segment` or `coalesce`. For kernels and drivers where it
    /// does not work; `udco show` lists those in use.
    #[arg(long, value_name = "OFFLOAD", value_parser = engine_options::offload)]
    without: Vec<udco_engine::Offload>,

    /// Accept the same key twice for a peer, as the kernel driver does, although nonces then repeat: for the kernel's
    /// own tests only.
    #[arg(long)]
    allow_key_reuse: bool,

    #[command(flatten)]
    log: log::LogOptions,

    #[command(flatten)]
    confinement: confinement::Options,
}

#[derive(Debug, clap::Args)]
struct RunArguments {
    #[command(flatten)]
    options: EngineOptions,

    /// Use the engine listening on this socket instead of a private one (see `udco daemon`).
    #[arg(long, value_name = "PATH", conflicts_with_all = ["workers", "cpu", "without", "allow_key_reuse"])]
    engine: Option<PathBuf>,

    /// Append the engine's log to this file, instead of writing it where OpenVPN logs.
    #[arg(long, value_name = "FILE", conflicts_with = "engine")]
    log: Option<PathBuf>,

    /// The program and its arguments.
    #[arg(
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "PROGRAM"
    )]
    program: Vec<OsString>,
}

#[derive(Debug, clap::Args)]
struct DaemonArguments {
    #[command(flatten)]
    options: EngineOptions,

    /// Socket to listen on [default: engine.sock in /run/udco, or in $XDG_RUNTIME_DIR/udco without access to that].
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,

    /// Also let this user connect (root and the daemon's own user always may).
    #[arg(long, value_name = "UID", value_parser = id())]
    allow_uid: Vec<u32>,

    /// Also let members of this group connect.
    #[arg(long, value_name = "GID", value_parser = id())]
    allow_gid: Vec<u32>,

    /// Run as this user (name or number), one that owns nothing else on this machine. Needs root.
    #[arg(long, value_name = "USER")]
    user: Option<String>,

    /// With --user: run with this group instead of the user's primary one.
    #[arg(long, value_name = "GROUP", requires = "user")]
    group: Option<String>,

    /// The service manager's socket, which the environment held.
    #[arg(long, hide = true)]
    notify_socket: Option<OsString>,
}

#[derive(Debug, clap::Args)]
struct EngineArguments {
    #[command(flatten)]
    options: EngineOptions,

    /// Inherited fd through which clients request connections.
    #[arg(long)]
    fd: i32,

    /// Directory for the engine's socket, which `udco show` uses.
    #[arg(long)]
    directory: Option<PathBuf>,

    /// Keep logging to standard error instead of following the clients' output.
    #[arg(long)]
    keep_output: bool,

    /// Fork off the engine and exit, so that the program does not inherit a child process.
    #[arg(long)]
    detach: bool,
}

/// Parses the number of a user or group. The last one means none.
fn id() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(..i64::from(u32::MAX))
}

impl EngineOptions {
    fn for_engine(&self) -> udco_engine::Options {
        udco_engine::Options {
            workers: self.workers.map(usize::from),
            cpus: self.cpu.clone().unwrap_or_default().0,
            forbidden: self.without.iter().copied().collect(),
            allow_key_reuse: self.allow_key_reuse,
            ..udco_engine::Options::default()
        }
    }
}

/// Names the limit if there is no memory left, which the standard library does not.
#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

fn main() -> ExitCode {
    udco_sys::memory::before_the_end(panics::no_memory);
    let words: Vec<OsString> = std::env::args_os().collect();
    let arguments = match usage::parse::<Arguments>(&words) {
        Ok(arguments) => arguments,
        Err(help) => return print_help(&usage::explained::<Arguments>(help, &words)),
    };
    if !matches!(arguments.command, Command::Run(_)) {
        udco_sys::process::ignore_file_size_limit();
    }
    let outcome = match arguments.command {
        Command::Run(arguments) => return ExitCode::from(run::run(&arguments)),
        Command::Daemon(arguments) => daemon::run(arguments),
        Command::Show(arguments) => return end_with(show::run(&arguments)),
        Command::Doctor(arguments) => return end_with(doctor::run(&arguments)),
        Command::Link(arguments) => link::run(&arguments),
        Command::Peer(arguments) => peer::run(&arguments),
        Command::Key(arguments) => key::run(&arguments),
        Command::Monitor(arguments) => monitor::run(&arguments).context("monitor"),
        Command::Ping(arguments) => return end_with(ping::run(&arguments)),
        Command::Capture(arguments) => capture::run(&arguments).context("capture"),
        Command::Top(arguments) => top::run(&arguments),
        Command::Metrics(arguments) => metrics::run(arguments),
        Command::Engine(arguments) => private_engine::run(&arguments),
        Command::Sweep(arguments) => sweep::run(&arguments),
        Command::Documents(arguments) => documents::run(&arguments),
    };
    report(outcome)
}

/// Ends with the exit code of a command that has several.
fn end_with(outcome: anyhow::Result<u8>) -> ExitCode {
    let code = outcome.and_then(|code| output::flush().map(|()| code));
    match code {
        Ok(code) => ExitCode::from(code),
        Err(error) => report(Err(error)),
    }
}

/// Prints help, the version, or the error in the arguments.
fn print_help(help: &clap::Error) -> ExitCode {
    if help.use_stderr() {
        let _ = help.print();
        return ExitCode::from(exit::USAGE);
    }
    report(output::explain(help.print()))
}

fn report(outcome: anyhow::Result<()>) -> ExitCode {
    match outcome.and_then(|()| output::flush()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is::<NobodyReads>() => ExitCode::SUCCESS,
        Err(error) => {
            complain!("{error:#}");
            ExitCode::from(exit::FAILED)
        }
    }
}
