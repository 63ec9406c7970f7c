//! `cargo xtask kernel-driver`: `udco link|peer|key|show|monitor` against the kernel's own driver, in a guest.

mod guest;

use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use self::guest::Guest;
use crate::report::Report;
use crate::{check, packages, page, step};

/// Longest time for the guest, from power on to power off.
const LIMIT: Duration = Duration::from_secs(300);

/// The page that shows the last result.
const PAGE: &str = "docs/kernel-driver.md";

/// What is wanted.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Fetch the kernel again, which may be a newer one.
    #[arg(long)]
    fresh: bool,
    /// The kernel's package, of Debian's backports: an older one has its version in its name.
    #[arg(
        long,
        value_name = "PACKAGE",
        default_value = "linux-image-cloud-amd64"
    )]
    kernel: String,
    /// Replace the table in docs/kernel-driver.md.
    #[arg(long)]
    write_docs: bool,
}

/// Builds, boots the guest, and prints its steps; fails if one of them did, or if it did not come to its end.
pub(crate) fn run(options: &Options) -> Result<()> {
    packages::ensure()?;
    let build = "build --quiet --release --package udco";
    step::run("build", &mut step::cargo(build))?;
    let target = check::target()?;
    let guest = Guest::unpack(&target, &options.kernel, options.fresh)?;
    let udco = target.join("release/udco");
    let initramfs = guest.initramfs(&[&udco, &ip()?])?;
    eprintln!("==> boot Linux {}", guest.kernel);
    let begin = Instant::now();
    let report = watch(&mut guest.boot(&initramfs)?)?;
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

/// iproute2's `ip`.
fn ip() -> Result<PathBuf> {
    let places = ["/usr/bin/ip", "/usr/sbin/ip", "/sbin/ip", "/bin/ip"];
    let found = places.iter().map(PathBuf::from).find(|it| it.exists());
    found.context("no ip: install iproute2")
}

/// Runs the guest, and reads its serial console.
fn watch(qemu: &mut std::process::Command) -> Result<Report> {
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
    let until = Instant::now() + LIMIT;
    let mut report = Report::default();
    loop {
        let left = until.saturating_duration_since(Instant::now());
        match lines.recv_timeout(left) {
            Ok(line) => {
                eprintln!("{line}");
                report.add(&line);
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                qemu.kill()?;
                qemu.wait()?;
                bail!("the guest did not end within {} s", LIMIT.as_secs());
            }
        }
    }
    qemu.wait()?;
    let _ = reader.join();
    Ok(report)
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
