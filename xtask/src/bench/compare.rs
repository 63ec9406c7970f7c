//! `cargo xtask compare`: two builds of udco in alternation, and the ratios of their figures, round by round.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::ArgGroup;

use super::cell::{Cell, Method, Sample};
use super::figure::{Figure, Part};
use super::leftovers::Sweeper;
use super::link::Link;
use super::outcome::middle;
use super::subject::Subject;
use super::{build_release, release_binary, wait_for_quiet};
use crate::{check, packages, step};

/// What this tree is measured against, and how.
#[derive(Debug, clap::Args)]
#[command(group = ArgGroup::new("other").required(true))]
pub(crate) struct Options {
    /// Against this commit, built below the target directory.
    #[arg(long, value_name = "COMMIT", group = "other")]
    against: Option<String>,
    /// Against a build of this tree whose engine enters no confinement: what it costs.
    #[arg(long, group = "other")]
    unconfined: bool,
    /// Against this program.
    #[arg(long, value_name = "UDCO", group = "other")]
    program: Option<PathBuf>,
    /// How often each is measured.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Seconds of each stream and flood.
    #[arg(long, default_value_t = 2)]
    seconds: u32,
    /// Measure these parts only.
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        value_name = "PART",
        default_value = "tcp,udp,rtt"
    )]
    only: Vec<Part>,
    /// udco at both ends, over TCP, at one end …
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        value_name = "SUBJECT",
        default_value = "udco"
    )]
    subjects: Vec<Subject>,
    /// IPv6, outside the tunnel and inside.
    #[arg(long)]
    ipv6: bool,
}

/// Builds both, measures them in turns over a veth pair, and prints a line for each figure.
pub(crate) fn run(options: &Options) -> Result<()> {
    ensure!(options.rounds > 0, "no round, no figure");
    ensure!(
        !options.only.contains(&Part::OneEnd),
        "`compare` doesn't have the part `one-end`: take `cargo xtask loads --also UDCO`"
    );
    // With it, `build_release` would leave the last build of this tree as it is.
    ensure!(
        std::env::var_os("UDCO_BIN").is_none(),
        "`compare` builds and measures this tree: unset UDCO_BIN"
    );
    packages::ensure_to_measure()?;
    build_release()?;
    let this = release_binary()?;
    let other = match (&options.against, &options.program) {
        (Some(commit), _) => build_commit(commit)?,
        (None, Some(program)) => program.canonicalize()?,
        (None, None) => build_unconfined()?,
    };
    let program = step::own_path()?;
    let _sweeper = Sweeper::start()?;
    for &subject in &options.subjects {
        let cell = Cell {
            subject,
            link: Link::Veth,
        };
        let measure = |udco: &Path| {
            let method = Method {
                parts: &options.only,
                seconds: options.seconds,
                program: &program,
                programs: &[],
                udco: Some(udco),
                ipv6: options.ipv6,
            };
            cell.measure(&method)
        };
        let rounds = (0..options.rounds)
            .map(|round| {
                eprintln!("==> round {} of {}", round + 1, options.rounds);
                if !wait_for_quiet()? {
                    eprintln!("NOTE: other processes are busy on this machine");
                }
                // Each goes first in every second round.
                if round % 2 == 0 {
                    let this = measure(&this)?;
                    Ok((this, measure(&other)?))
                } else {
                    let other = measure(&other)?;
                    Ok((measure(&this)?, other))
                }
            })
            .collect::<Result<Vec<_>>>()?;
        println!("{}: this tree over the other build", subject.title());
        print(&rounds);
    }
    Ok(())
}

/// Prints a line per figure: the median of the rounds' ratios, and their range.
fn print(rounds: &[(Sample, Sample)]) {
    let mut ratios: BTreeMap<Figure, Vec<f64>> = BTreeMap::new();
    for (this, other) in rounds {
        for (&figure, value) in this {
            if let Some(over) = other.get(&figure).filter(|_| figure.has_ratio()) {
                ratios.entry(figure).or_default().push(value / over);
            }
        }
    }
    for figure in Figure::SHOWN {
        let Some(ratios) = ratios.remove(&figure) else {
            continue;
        };
        let least = ratios.iter().copied().fold(f64::INFINITY, f64::min);
        let most = ratios.iter().copied().fold(0.0, f64::max);
        let Some(median) = middle(ratios) else {
            continue;
        };
        println!(
            "  {:34} {median:.3} ({least:.2} to {most:.2})",
            figure.title()
        );
    }
}

/// Builds a commit in a worktree of its own.
fn build_commit(commit: &str) -> Result<PathBuf> {
    let target = check::target()?.join("compare");
    let tree = target.join("tree");
    let git = |words: &[&str]| {
        let mut command = std::process::Command::new("git");
        command.args(words);
        command
    };
    let path = tree.to_str().context("path is not UTF-8")?;
    if tree.is_dir() {
        let words = ["-C", path, "checkout", "--quiet", "--detach", commit];
        step::run("other commit", &mut git(&words))?;
    } else {
        let words = ["worktree", "add", "--quiet", "--detach", path, commit];
        step::run("other commit", &mut git(&words))?;
    }
    let mut build = step::cargo("build --quiet --release");
    build.current_dir(&tree).env("CARGO_TARGET_DIR", &target);
    step::run("build of the other commit", &mut build)?;
    Ok(target.join("release").join("udco"))
}

/// Builds this tree without confinement.
fn build_unconfined() -> Result<PathBuf> {
    let target = check::target()?.join("unconfined");
    let words = "build --quiet --release -p udco -p udco-preload --features udco/unconfined";
    let mut build = step::cargo(words);
    build.env("CARGO_TARGET_DIR", &target);
    step::run("build without confinement", &mut build)?;
    Ok(target.join("release").join("udco"))
}
