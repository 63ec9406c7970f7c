//! `udco`'s command line in a host.

use std::fmt::Write as _;
use std::process::Output;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::host::Host;
use crate::lab::Lab;
use crate::process::Process;
use crate::udco::program;

/// Long enough for a busy machine.
const SOON: Duration = Duration::from_secs(20);

/// The words of a command: `udco`, and those of a line.
///
/// # Errors
/// If there is no binary.
pub fn words(line: &str) -> Result<Vec<&str>> {
    Ok([program()?]
        .into_iter()
        .chain(line.split_whitespace())
        .collect())
}

/// Runs `udco` with the words of this line, which must succeed; returns what it printed.
///
/// # Errors
/// If it fails, with its error output.
pub fn run(host: &Host, line: &str) -> Result<String> {
    host.run(&words(line)?)
}

/// Runs `udco` with the words of this line, whether it succeeds or not.
///
/// # Errors
/// If it cannot be started.
pub fn output(host: &Host, line: &str) -> Result<Output> {
    host.output(&words(line)?)
}

/// Starts `udco` with the words of this line, and waits until its log has `until`.
///
/// # Errors
/// If it ends before, or is too slow.
pub fn spawn(host: &Host, log: &str, line: &str, until: &str) -> Result<Process> {
    let mut process = host.spawn(log, &words(line)?)?;
    process.wait_for_log(until, SOON)?;
    Ok(process)
}

/// Starts `udco daemon` with these options in a host, and waits until it listens; its output goes to `<log>.log`.
///
/// # Errors
/// If it does not start.
pub fn daemon(host: &Host, log: &str, options: &[&str]) -> Result<Process> {
    listening(host, log, &[&[program()?, "daemon"], options].concat())
}

/// The same, run by the command `user`, with one worker and as the child of a shell: a signal to the process that
/// enters the host would stop that process, too.
///
/// # Errors
/// As [`daemon`].
pub fn daemon_below_a_shell(
    host: &Host,
    log: &str,
    user: &[&str],
    options: &[&str],
) -> Result<Process> {
    let shell = ["sh", "-c", "\"$@\" & wait", "sh"];
    let daemon = [program()?, "daemon", "--workers", "1"];
    listening(host, log, &[&shell, user, &daemon, options].concat())
}

fn listening(host: &Host, log: &str, words: &[&str]) -> Result<Process> {
    let mut daemon = host.spawn(log, words)?;
    daemon.wait_for_log("listening at", SOON)?;
    Ok(daemon)
}

/// Makes the multi-peer device `tun0` with this many peers, from 1 up: peer 7 is at 127.0.0.1:20007 and has the VPN
/// address 10.9.0.7. They live as long as the process.
///
/// # Errors
/// If the engine of the host refuses.
pub fn peers(lab: &Lab, host: &Host, count: u32) -> Result<Process> {
    let mut lines = String::new();
    for id in 1..=count {
        let [_, _, high, low] = id.to_be_bytes();
        let _ = writeln!(lines, "{id} - 127.0.0.1:{} 10.9.{high}.{low}", 20_000 + id);
    }
    let file = lab.file("peers")?;
    std::fs::write(&file, lines).context("cannot write the list of peers")?;
    run(host, "link add tun0 --mode mp --up")?;
    let line = format!("peer new tun0 --local 0.0.0.0:5000 --json --peers {file}");
    spawn(host, "peers", &line, "\"peers\":[")
}
