//! `cargo xtask kernel-driver`: `udco link|peer|key|show|monitor` against the kernel's own driver, in a guest.

mod guest;
pub(crate) mod instructions;

use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use self::guest::{Guest, Kernel, Processors};
use crate::report::Report;
use crate::{check, packages, page, step};

/// Longest time for the guest, from power on to power off.
const LIMIT: Duration = Duration::from_secs(300);

/// The page that shows the last result.
const PAGE: &str = "docs/kernel-driver.md";

/// What the guest does.
const STEPS: &str = include_str!("kernel_driver/steps.sh");

/// What is wanted.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    kernel: Kernel,
    /// Replace the table in docs/kernel-driver.md.
    #[arg(long)]
    write_docs: bool,
}

/// Builds, boots the guest, and prints its steps; fails if one of them did, or if it did not come to its end.
pub(crate) fn run(options: &Options) -> Result<()> {
    let udco = build()?;
    let guest = Guest::unpack(&check::target()?, &options.kernel)?;
    let initramfs = guest.initramfs(STEPS, &[&udco, &program("ip")?], &[])?;
    let begin = Instant::now();
    let mut report = Report::default();
    watch(
        guest.boot(&initramfs, Processors::Fast, "")?,
        LIMIT,
        |line| report.add(line),
    )?;
    let seconds = begin.elapsed().as_secs();
    let (passed, failed) = (report.passed.len(), report.failed.len());
    println!(
        "Linux {}: {passed} steps passed, {failed} failed, in {seconds} s",
        report.kernel
    );
    ensure!(report.is_done, "the guest did not come to its end");
    ensure!(failed == 0, "failed: {}", report.failed.join("; "));
    if options.write_docs {
        page::publish(Path::new(PAGE), "kernel-driver", &table(&report, seconds)?)?;
    }
    Ok(())
}

/// Builds udco for the guest, and installs what else runs there.
fn build() -> Result<PathBuf> {
    packages::ensure()?;
    let build = "build --quiet --release --package udco";
    step::run("build", &mut step::cargo(build))?;
    Ok(check::target()?.join("release/udco"))
}

/// A program of this machine.
fn program(name: &str) -> Result<PathBuf> {
    let places = ["/usr/bin", "/usr/sbin", "/sbin", "/bin"];
    let mut all = places.iter().map(|place| Path::new(place).join(name));
    let found = all.find(|path| path.exists());
    found.with_context(|| format!("no {name} on this machine"))
}

/// Runs the guest for so long at most, and reads its serial console.
fn watch(mut qemu: Command, limit: Duration, mut each: impl FnMut(&str)) -> Result<()> {
    let spawned = qemu.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
    let mut qemu = spawned.context("cannot start qemu")?;
    let console = qemu.stdout.take().context("no console")?;
    let (sender, lines) = mpsc::channel();
    let reader = thread::spawn(move || {
        for line in BufReader::new(console).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    let until = Instant::now() + limit;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        match lines.recv_timeout(left) {
            Ok(line) => {
                eprintln!("{line}");
                each(&line);
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                qemu.kill()?;
                qemu.wait()?;
                bail!("the guest did not end within {} s", limit.as_secs());
            }
        }
    }
    qemu.wait()?;
    let _ = reader.join();
    Ok(())
}

/// The page's table.
fn table(report: &Report, seconds: u64) -> Result<String> {
    let date = step::first_line("date", &["-u", "+%Y-%m-%d"]);
    let mut text = format!(
        "Last run: {date}, Linux {}, {} steps, {seconds} s.\n\n| step | result |\n|---|---|\n",
        report.kernel,
        report.passed.len()
    );
    for step in &report.passed {
        writeln!(text, "| {step} | passed |")?;
    }
    Ok(text)
}
