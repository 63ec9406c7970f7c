//! `cargo xtask fuzz client`: hostile programs beside root's tunnel (faults D1 to D3).

use std::time::Duration;

use anyhow::{Result, bail};
use udco_testbed::hostile::fuzz;

use crate::step;

/// What is fuzzed, for how long, and how it is repeated.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// `client`: the socket on which clients reach the engine.
    what: What,
    /// How long to fuzz, in seconds.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Seed for all messages [default: from the clock; it is printed].
    #[arg(long)]
    seed: Option<u64>,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum What {
    /// Also by its old name, `front`.
    #[value(alias = "front")]
    Client,
}

/// Builds and fuzzes; fails if the engine ends, root's tunnel loses a packet, a request is not answered, or anything is
/// left behind.
pub(crate) fn run(options: &Options) -> Result<()> {
    let What::Client = options.what;
    step::prepare()?;
    let seed = options.seed.unwrap_or_else(step::seed_by_the_clock);
    eprintln!("==> seed {seed}");
    let program = &step::own_path()?;
    let Some(summary) = fuzz(program, seed, Duration::from_secs(options.seconds))? else {
        bail!("this needs root, as the hostile user is a different one");
    };
    println!("{summary}");
    Ok(())
}
