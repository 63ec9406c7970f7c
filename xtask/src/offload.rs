//! `cargo xtask offload`: merges and splits random packets, and compares with the kernel's own segmentation (promises
//! E4, E5).

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};
use udco_testbed::differential::{self, Compared};

use crate::{packages, page, step};

/// What is wanted.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Number of packets in each direction.
    #[arg(long, default_value_t = 10_000_000)]
    packets: u64,
    /// Seed for all packets [default: from the clock; it is printed].
    #[arg(long)]
    seed: Option<u64>,
    /// Replace the result in docs/offload.md.
    #[arg(long)]
    write_docs: bool,
}

/// Compares, and fails at the first difference. The counts are the last line on standard output. This program does the
/// work itself: it builds nothing else.
pub(crate) fn run(options: &Options) -> Result<()> {
    packages::ensure()?;
    let seed = options.seed.unwrap_or_else(step::seed_by_the_clock);
    eprintln!(
        "==> {} packets in each direction, seed {seed}",
        options.packets
    );
    let begin = Instant::now();
    let compared = differential::run(&step::own_path()?, options.packets, seed)?
        .context("this kernel does not segment UDP (Linux 6.2 or newer does), so there is nothing to compare with")?;
    let seconds = begin.elapsed().as_secs_f64();
    if options.write_docs {
        let result = result(options, &compared, seconds);
        page::publish(Path::new("docs/offload.md"), "offload", &result)?;
    }
    println!("{}", serde_json::to_string(&compared)?);
    Ok(())
}

fn result(options: &Options, compared: &Compared, seconds: f64) -> String {
    let commit = step::first_line("git", &["describe", "--always", "--dirty"]);
    let day = step::first_line("date", &["--utc", "--iso-8601"]);
    let kernel = step::first_line("uname", &["-r"]);
    let kernel = kernel.split('-').next().unwrap_or_default();
    let rows = [
        ("packets sent one by one and merged", compared.packets),
        ("writes needed when merged", compared.groups),
        ("packets merged with others", compared.merged),
        (
            "deliberately bad packets, forwarded neither way",
            compared.refused,
        ),
        (
            "packets that differ only in an id that means nothing",
            compared.renumbered,
        ),
        ("super-packets handed over by the kernel", compared.supers),
        ("packets they were split into", compared.segments),
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
    lines.join("\n")
}
