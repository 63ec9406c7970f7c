//! `cargo xtask order`: numbered datagrams of several flows through OpenVPN with udco at both ends; none may overtake
//! another of its flow (performance 6).

use anyhow::{Result, ensure};
use serde::Serialize;
use udco_testbed::measure::order;

use crate::step;

/// What is wanted.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Number of datagrams, in both directions together, for each number of workers.
    #[arg(long, default_value_t = 10_000_000)]
    packets: u64,
    /// Datagrams per second, in both directions together: few enough that hardly any are lost.
    #[arg(long, default_value_t = 100_000)]
    rate: u64,
}

/// A line of the result, on standard output.
#[derive(Serialize)]
struct Line {
    workers: Option<u16>,
    sent: u64,
    received: u64,
    lost: u64,
    reordered: u64,
    repeated: u64,
}

/// Builds, and sends them with a worker per core and with four; fails if one was overtaken.
pub(crate) fn run(options: &Options) -> Result<()> {
    step::prepare()?;
    let program = step::own_path()?;
    for workers in [None, Some(4)] {
        let count = workers.map_or_else(
            || "one worker per core".to_owned(),
            |it| format!("{it} workers"),
        );
        eprintln!("==> {} datagrams, {count}", options.packets);
        let sequence = order::through_udco(&program, options.packets, options.rate, workers)?;
        let line = Line {
            workers,
            sent: sequence.sent,
            received: sequence.received,
            lost: sequence.lost(),
            reordered: sequence.reordered,
            repeated: sequence.repeated,
        };
        println!("{}", serde_json::to_string(&line)?);
        ensure!(line.reordered == 0, "{} were overtaken", line.reordered);
        ensure!(line.repeated == 0, "{} arrived twice", line.repeated);
    }
    Ok(())
}
