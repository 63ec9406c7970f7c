//! `cargo xtask offload`: random packets merged and split beside the kernel's own segmentation (promises E4, E5).

use std::fs;
use std::path::Path;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use udco_testbed::differential::{self, Compared};

use crate::packages;

/// Between these lines of offload.md stands what a run writes; the rest is written by hand.
const BEGIN: &str = "<!-- cargo xtask offload --write-docs: begin -->";
const END: &str = "<!-- cargo xtask offload --write-docs: end -->";

/// What is wanted.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// How many packets, in each direction.
    #[arg(long, default_value_t = 10_000_000)]
    packets: u64,
    /// Of all that the packets are made of [default: by the clock; it is printed].
    #[arg(long)]
    seed: Option<u64>,
    /// Replace the result in docs/offload.md.
    #[arg(long)]
    write_docs: bool,
}

/// Compares, and fails at the first difference. The counts are the last line on standard output. This program does the
/// work itself: nothing is built but it.
pub(crate) fn run(options: &Options) -> Result<()> {
    packages::ensure()?;
    let seed = options.seed.unwrap_or_else(by_the_clock);
    eprintln!(
        "==> {} packets in each direction, seed {seed}",
        options.packets
    );
    let begin = Instant::now();
    let compared = differential::run(&std::env::current_exe()?, options.packets, seed)?;
    let seconds = begin.elapsed().as_secs_f64();
    if options.write_docs {
        write(options, &compared, seconds, Path::new("docs/offload.md"))?;
    }
    println!("{}", serde_json::to_string(&compared)?);
    Ok(())
}

fn by_the_clock() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(1, |since| since.as_secs())
}

fn write(options: &Options, compared: &Compared, seconds: f64, page: &Path) -> Result<()> {
    let text =
        fs::read_to_string(page).with_context(|| format!("cannot read {}", page.display()))?;
    let (before, rest) = text.split_once(BEGIN).context("no place to begin")?;
    let (_, after) = rest.split_once(END).context("no place to end")?;
    let result = result(options, compared, seconds)?;
    fs::write(page, format!("{before}{BEGIN}\n{result}\n{END}{after}"))?;
    Ok(())
}

fn result(options: &Options, compared: &Compared, seconds: f64) -> Result<String> {
    let commit = said_by("git", &["describe", "--always", "--dirty"])?;
    let day = said_by("date", &["-u", "+%Y-%m-%d"])?;
    let kernel = said_by("uname", &["-r"])?;
    let kernel = kernel.split('-').next().unwrap_or_default();
    let rows = [
        ("packets sent one by one and merged", compared.packets),
        ("writes that were enough when merged", compared.groups),
        ("packets that were merged with others", compared.merged),
        ("made bad, and not forwarded either way", compared.refused),
        ("other id, which means nothing", compared.renumbered),
        ("super-packets that the kernel handed over", compared.supers),
        ("packets that they became", compared.segments),
        ("differences", 0),
    ];
    let mut lines = vec![
        format!(
            "`cargo xtask offload --packets {} --seed {} --write-docs`, {day}, udco {commit}, Linux {kernel}: no \
             difference. {seconds:.0} s.",
            options.packets, compared.seed
        ),
        String::new(),
        "| what | count |".to_owned(),
        "| --- | --- |".to_owned(),
    ];
    lines.extend(rows.map(|(what, count)| format!("| {what} | {count} |")));
    Ok(lines.join("\n"))
}

fn said_by(program: &str, words: &[&str]) -> Result<String> {
    let output = std::process::Command::new(program)
        .args(words)
        .output()
        .with_context(|| format!("cannot run {program}"))?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
