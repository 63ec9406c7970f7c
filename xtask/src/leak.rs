//! `cargo xtask leak`: kills OpenVPN and its engine, over and over, and checks that no packet leaves in the clear
//! (faults A1, A2).

use std::num::NonZero;
use std::sync::Mutex;
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use serde::Serialize;
use udco_testbed::leak::{self, Leaks, Plan, Way};

use crate::step;

/// What is wanted.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Number of kills, of OpenVPN and of its engine each.
    #[arg(long, default_value_t = 1000)]
    kills: u32,
    /// Seed for the moments of all kills [default: from the clock; it is printed].
    #[arg(long)]
    seed: Option<u64>,
    /// Number of clients at a time, each in its own namespaces [default: two per core].
    #[arg(long)]
    labs: Option<NonZero<u32>>,
}

/// The result: the last line on standard output.
#[derive(Debug, Default, Serialize)]
struct Report {
    seed: u64,
    seconds: f64,
    openvpn_killed: u32,
    engines_killed: u32,
    /// How many of both came before the tunnel was up.
    in_the_middle: u32,
    /// Packets for the tunnel.
    sent: u64,
    in_the_clear: usize,
}

/// Builds and kills; fails at the first client that does not reconnect with its device, or if a packet left in the
/// clear.
pub(crate) fn run(options: &Options) -> Result<()> {
    step::prepare()?;
    let program = &step::own_path()?;
    let seed = options.seed.unwrap_or_else(step::seed_by_the_clock);
    let cores = thread::available_parallelism().map_or(1, NonZero::get) as u32;
    let labs = options.labs.map_or(2 * cores, NonZero::get);
    eprintln!(
        "==> OpenVPN and its engine are killed {} times each, seed {seed}",
        options.kills
    );
    let begin = Instant::now();
    let plans = Mutex::new(plans(options.kills, seed));
    let report = Mutex::new(Report {
        seed,
        ..Report::default()
    });
    let work = || -> Result<()> {
        loop {
            let Some(plan) = plans.lock().ok().and_then(|mut plans| plans.pop()) else {
                return Ok(());
            };
            let Some(leaks) = leak::run(&plan, program)? else {
                bail!("cannot capture packets here: run this as root");
            };
            eprintln!(
                "{plan:?}: {} sent, {} in the clear",
                leaks.sent,
                leaks.clear.len()
            );
            for line in leaks.clear.iter().take(5) {
                eprintln!("  {line}");
            }
            if let Ok(mut report) = report.lock() {
                report.add(&plan, &leaks);
            }
        }
    };
    let outcome = thread::scope(|scope| {
        let workers: Vec<_> = (0..labs).map(|_| scope.spawn(work)).collect();
        workers
            .into_iter()
            .map(|worker| worker.join().unwrap_or_else(|_| bail!("a panic")))
            .fold(Ok(()), Result::and)
    });
    let mut report = report.into_inner().context("a panic")?;
    report.seconds = begin.elapsed().as_secs_f64();
    println!("{}", serde_json::to_string(&report)?);
    outcome?;
    ensure!(report.in_the_clear == 0, "packets left in the clear");
    Ok(())
}

/// Short ones, so that all labs have work to the end.
fn plans(kills: u32, seed: u64) -> Vec<Plan> {
    const AT_A_TIME: u32 = 10;
    let starts = (0..kills).step_by(AT_A_TIME as usize);
    starts
        .zip(seed..)
        .zip(Way::ALL.into_iter().cycle())
        .map(|((start, seed), way)| {
            let count = AT_A_TIME.min(kills - start);
            Plan {
                way,
                openvpn: count,
                engine: count,
                seed,
            }
        })
        .collect()
}

impl Report {
    fn add(&mut self, plan: &Plan, leaks: &Leaks) {
        self.openvpn_killed += plan.openvpn;
        self.engines_killed += plan.engine;
        self.in_the_middle += leaks.in_the_middle;
        self.sent += leaks.sent;
        self.in_the_clear += leaks.clear.len();
    }
}
