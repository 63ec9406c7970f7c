//! Steps: programs that run one after the other, each announced.

use std::io::{BufRead, BufReader};
use std::os::fd::AsFd;
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow, bail, ensure};

use crate::packages;

/// A check that is impossible here.
pub(crate) enum Lack {
    /// All of it, and why.
    All(String),
    /// A part of it, and why.
    Part(String),
}

/// This workspace's `cargo`, with these words as arguments.
pub(crate) fn cargo(words: &str) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(words.split_whitespace());
    command
}

/// Installs what scenarios need, and builds the binaries that they run.
pub(crate) fn prepare() -> Result<()> {
    packages::ensure()?;
    build_release()
}

pub(crate) fn build_release() -> Result<()> {
    run("build", &mut cargo("build --quiet --release"))
}

/// This program, whose command `lab-end` scenarios run.
pub(crate) fn own_path() -> Result<String> {
    let program = std::env::current_exe()?.into_os_string().into_string();
    program.map_err(|path| anyhow!("not in UTF-8: {}", path.display()))
}

/// Runs a program; its output goes to standard error, which leaves standard output to the result.
pub(crate) fn run(what: &str, command: &mut Command) -> Result<()> {
    eprintln!("==> {what}");
    let status = command
        .stdout(Stdio::from(std::io::stderr().as_fd().try_clone_to_owned()?))
        .status()
        .with_context(|| format!("cannot start {command:?}"))?;
    if !status.success() {
        bail!("{what}: failed ({status})");
    }
    Ok(())
}

/// Runs a test by the arguments of `cargo`, with this variable set, which makes it run at length. Its figures, lines
/// with a JSON object, go to standard output, everything else to standard error.
pub(crate) fn figures(words: &str, long: &str) -> Result<()> {
    let mut test = cargo(words)
        .env(long, "1")
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start cargo")?;
    let output = test.stdout.take().context("no standard output")?;
    let mut has_figures = false;
    for line in BufReader::new(output).lines() {
        let line = line?;
        if line.starts_with('{') {
            has_figures = true;
            println!("{line}");
        } else {
            eprintln!("{line}");
        }
    }
    let status = test.wait()?;
    ensure!(status.success(), "the test failed ({status})");
    ensure!(has_figures, "the test was skipped: its output says why");
    Ok(())
}

/// The first line of a program's output; empty if it cannot be run.
pub(crate) fn first_line(program: &str, arguments: &[&str]) -> String {
    let path = std::env::var("PATH").unwrap_or_default();
    let output = Command::new(program)
        .args(arguments)
        .env("PATH", format!("{path}:/usr/sbin:/sbin"))
        .output();
    let text = output.map(|output| output.stdout).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    text.lines().next().unwrap_or_default().to_owned()
}

/// A seed from the clock.
pub(crate) fn seed_by_the_clock() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(1, |since| since.as_secs())
}
