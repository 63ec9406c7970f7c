//! `cargo xtask bench`: udco's speed compared with others', in one interleaved run.
//!
//! Machines are shared and noisy, so no figure means anything by itself: every round measures every cell (a subject on
//! a link), in a new order each time, and the report gives ratios of medians. Both ends of the tunnel and both ends of
//! the traffic share the machine.

pub(crate) mod captured;
mod cell;
mod chart;
pub(crate) mod compare;
mod docs;
mod figure;
mod leftovers;
mod link;
pub(crate) mod loads;
mod machine;
mod outcome;
pub(crate) mod peers;
mod scale;
mod subject;
mod table;
mod target;
mod vpn;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};
use udco_testbed::measure::busy_processors;
use udco_testbed::udco;

use self::cell::{Cell, Method, Sample};
use self::figure::Part;
use self::leftovers::Sweeper;
use self::link::Link;
use self::machine::Machine;
pub(crate) use self::outcome::middle;
use self::outcome::{Outcome, Report};
use self::subject::Subject;
pub(crate) use self::subject::TUNED;
use self::vpn::{Program, Vpn};
use crate::{check, packages, step};

/// The median of fewer rounds means little.
const FEWEST_ROUNDS: usize = 5;

/// How long it takes to sample the machine's load.
const GLANCE: Duration = Duration::from_millis(300);

/// Processors that may be busy when a measurement starts: the idle machine's own needs.
const QUIET: f64 = 0.1;

/// How long to wait for other work to finish, each time.
const PATIENCE: Duration = Duration::from_secs(10);

/// The scope and output of a run.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Number of rounds; fewer than 5 are for a quick look only.
    #[arg(long, default_value_t = FEWEST_ROUNDS)]
    rounds: usize,
    /// Seconds of each stream and flood.
    #[arg(long, default_value_t = 2)]
    seconds: u32,
    /// Measure only these parts.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "PART")]
    only: Vec<Part>,
    /// Measure only these subjects.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "SUBJECT")]
    subjects: Vec<Subject>,
    /// Measure only on these links.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "LINK")]
    links: Vec<Link>,
    /// Measure busy peers and tunnels on 1 to 16 cores instead, as far as the machine has them.
    #[arg(long, conflicts_with_all = ["only", "subjects", "links"])]
    scale: bool,
    /// Print one JSON object with all samples instead of tables.
    #[arg(long)]
    json: bool,
    /// Write tables, chart and JSON into docs/; for whole runs only.
    #[arg(long, conflicts_with_all = ["only", "subjects", "links", "scale"])]
    write_docs: bool,
}

/// Runs the benchmark.
pub(crate) fn run(options: &Options) -> Result<()> {
    ensure!(options.rounds > 0, "at least one round is needed");
    ensure!(
        !options.write_docs || options.rounds >= FEWEST_ROUNDS,
        "a median worth publishing needs at least {FEWEST_ROUNDS} rounds"
    );
    packages::ensure_to_measure()?;
    build_release()?;
    let (parts, mut cells) = (options.parts(), options.cells());
    leave_out_what_the_kernel_lacks(&mut cells)?;
    let one_end = options.one_end();
    ensure!(
        !cells.is_empty() || one_end.is_some() || options.scale,
        "no such part of such a subject is measured on such a link"
    );
    let programs = find_programs(&cells)?;
    let method = Method {
        parts: &parts,
        seconds: options.seconds,
        program: &step::own_path()?,
        programs: &programs,
        udco: None,
        ipv6: false,
    };
    // Recorded first: the source tree may change during the run.
    let machine = Machine::here(&programs);
    let begin = Instant::now();
    let outcomes = if cells.is_empty() {
        Vec::new()
    } else {
        measure(&cells, options.rounds, &method)?
    };
    let one_end = one_end.map_or_else(Vec::new, |loads| {
        loads.outcomes().unwrap_or_else(|error| {
            eprintln!("    moderate loads: FAILED: {error:#}");
            Vec::new()
        })
    });
    let scale = options
        .scale
        .then(|| scale::measure(options.rounds, &method));
    let mut report = Report {
        machine,
        command: command(),
        rounds: options.rounds,
        seconds: options.seconds,
        minutes: begin.elapsed().as_secs_f64() / 60.0,
        targets: Vec::new(),
        outcomes,
        one_end,
        scale: scale.transpose()?,
    };
    report.judge();
    if options.write_docs {
        docs::write(&report, &check::workspace()?.join("docs"))?;
    }
    if options.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        println!("{}", table::all(&report));
    }
    Ok(())
}

impl Options {
    fn cells(&self) -> Vec<Cell> {
        let has_part = !self.scale && self.parts().iter().any(|it| Part::OF_CELLS.contains(it));
        let is_chosen = |cell: &Cell| {
            has_part
                && self.has(cell.subject)
                && (self.links.is_empty() || self.links.contains(&cell.link))
        };
        cell::all().filter(is_chosen).collect()
    }

    fn has(&self, subject: Subject) -> bool {
        self.subjects.is_empty() || self.subjects.contains(&subject)
    }

    fn parts(&self) -> Vec<Part> {
        if self.scale {
            scale::PARTS.to_vec()
        } else if self.only.is_empty() {
            Part::OF_CELLS.to_vec()
        } else {
            self.only.clone()
        }
    }

    /// Moderate loads, if asked for.
    fn one_end(&self) -> Option<loads::Options> {
        let links = if self.links.is_empty() {
            Link::value_variants().to_vec()
        } else {
            self.links.clone()
        };
        (self.only.contains(&Part::OneEnd) && self.has(Subject::UdcoServer))
            .then(|| loads::Options::one_end(self.rounds, self.seconds, links))
    }
}

/// Runs all rounds. A cell that fails is reported and left out of its round.
fn measure(cells: &[Cell], rounds: usize, method: &Method<'_>) -> Result<Vec<Outcome>> {
    let _sweeper = Sweeper::start()?;
    let mut samples: Vec<Vec<Option<Sample>>> = vec![Vec::new(); cells.len()];
    let mut is_always_quiet = true;
    for round in 0..rounds {
        eprintln!("==> round {} of {rounds}", round + 1);
        for step in 0..cells.len() {
            // A new order each time, so that the leftovers of one cell in caches and queues don't always affect the
            // same next one.
            let index = (step * stride(cells.len()) + round) % cells.len();
            let cell = cells[index];
            is_always_quiet &= wait_for_quiet()?;
            samples[index].push(cell.try_to_measure(method));
        }
    }
    if !is_always_quiet {
        eprintln!(
            "NOTE: other processes were busy on this machine: these figures are worth little"
        );
    }
    let outcomes = cells.iter().zip(samples);
    Ok(outcomes
        .map(|(&cell, samples)| Outcome::new(cell, samples))
        .collect())
}

/// Waits a while until the machine is otherwise idle; returns whether it is.
fn wait_for_quiet() -> Result<bool> {
    let begin = Instant::now();
    while busy_processors(GLANCE)? > QUIET {
        if begin.elapsed() > PATIENCE {
            return Ok(false);
        }
    }
    Ok(true)
}

/// A step that visits each of `count` cells once.
fn stride(count: usize) -> usize {
    if count.is_multiple_of(5) { 1 } else { 5 }
}

/// Builds the release binary, unless the environment names one.
fn build_release() -> Result<()> {
    if std::env::var_os("UDCO_BIN").is_some() {
        return Ok(());
    }
    step::build_release()?;
    // The testbed takes the newest of the profiles.
    let release = release_binary()?;
    File::open(&release)?.set_modified(SystemTime::now())?;
    let chosen = udco::binary()?;
    ensure!(
        chosen.canonicalize()? == release.canonicalize()?,
        "{} would be measured, not {}",
        chosen.display(),
        release.display()
    );
    Ok(())
}

/// `<target>/release/udco`, beside `<target>/<profile>/xtask`.
fn release_binary() -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let target = own.ancestors().nth(2).context("no target directory")?;
    Ok(target.join("release").join("udco"))
}

/// Leaves out cells whose congestion control this kernel does not let a network namespace have, and says so.
fn leave_out_what_the_kernel_lacks(cells: &mut Vec<Cell>) -> Result<()> {
    const ALLOWED: &str = "net.ipv4.tcp_allowed_congestion_control";
    let allowed =
        fs::read_to_string(format!("/proc/sys/{}", ALLOWED.replace('.', "/"))).context(ALLOWED)?;
    let allowed = allowed.trim_end();
    let mut missing = BTreeSet::new();
    cells.retain(|cell| {
        let wanted = cell.subject.congestion();
        let is_there = allowed.split(' ').any(|it| it == wanted);
        if !is_there {
            missing.insert(wanted);
        }
        is_there
    });
    for name in missing {
        eprintln!(
            "SKIPPED: {name} over TCP: this kernel allows {allowed} only: \
             `modprobe tcp_{name}`, then `sysctl {ALLOWED}=\"{allowed} {name}\"`"
        );
    }
    Ok(())
}

/// The other VPNs among the cells. If one is missing, the others are still measured.
fn find_programs(cells: &[Cell]) -> Result<Vec<Program>> {
    let target = check::target()?;
    let mut programs = Vec::new();
    for vpn in Vpn::ALL {
        if !cells.iter().any(|cell| cell.subject.vpn() == Some(vpn)) {
            continue;
        }
        match Program::find(vpn, &target) {
            Ok(program) => programs.push(program),
            Err(error) => eprintln!("SKIPPED: {}: {error:#}", vpn.title()),
        }
    }
    Ok(programs)
}

fn command() -> String {
    let words = std::env::args().skip(1);
    std::iter::once("cargo xtask".to_owned())
        .chain(words)
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Command {
        #[command(flatten)]
        options: Options,
    }

    fn options(words: &str) -> Result<Options, clap::Error> {
        let words = ["bench"].into_iter().chain(words.split_whitespace());
        Command::try_parse_from(words).map(|command| command.options)
    }

    #[test]
    fn moderate_loads_and_the_scale_run_on_request_and_without_cells() {
        let whole = options("").unwrap();
        assert_eq!(whole.cells().len(), cell::all().count());
        assert!(whole.one_end().is_none());
        let one_end = options("--only one-end").unwrap();
        assert_eq!(one_end.cells(), []);
        assert!(one_end.one_end().is_some());
        let both = options("--only tcp,one-end --links nic").unwrap();
        assert_eq!((both.cells().len(), both.one_end().is_some()), (3, true));
        let other = options("--only one-end --subjects udco").unwrap();
        assert!(other.one_end().is_none());
        assert_eq!(options("--scale").unwrap().cells(), []);
        options("--scale --only tcp").unwrap_err();
    }
}
