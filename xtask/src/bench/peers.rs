//! `cargo xtask peers`: many busy peers of one server's device, beside one.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use udco_testbed::busy_peers::{BusyPeers, Carried, Load, Way};
use udco_testbed::measure::RoundTrips;
use udco_testbed::{Variant, udco};

use super::leftovers::Sweeper;
use super::outcome::middle;
use super::{build_release, wait_for_quiet};
use crate::{packages, step};

/// Echo requests of each measurement.
const REQUESTS: u32 = 1_000;

/// Longer than these take.
const HEAVY: Duration = Duration::from_secs(120);

/// What to measure, and how often.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// How often each is measured, each time with a new device.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds of each load.
    #[arg(long, default_value_t = 2)]
    seconds: u32,
    /// How many peers are busy at once, of as many as the largest number.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 10, 100, 1_000, 10_000])]
    counts: Vec<u16>,
    /// Bytes of the packets inside.
    #[arg(long, value_delimiter = ',', default_values_t = [1_400, 100])]
    sizes: Vec<u32>,
    /// Packets in a row of each peer, before the next has its turn: a TCP stream brings up to 40.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 32])]
    rows: Vec<u32>,
    /// Packets a second of the heavy peer beside a light one, as many as it can if 0; each is measured.
    #[arg(long, value_delimiter = ',', default_values_t = [0, 20_000, 80_000], value_name = "RATE")]
    heavy: Vec<u32>,
    #[command(flatten)]
    variant: Variant,
}

/// A load, which way it goes, and from or to how many peers.
pub(crate) type Case = (Load, Way, u16);

impl Options {
    /// Large packets of these numbers of peers.
    pub(crate) fn scale(seconds: u32, counts: &[u16]) -> Self {
        Self {
            rounds: 1,
            seconds,
            counts: counts.to_vec(),
            sizes: vec![1_400],
            rows: vec![1, 32],
            heavy: Vec::new(),
            variant: Variant::default(),
        }
    }

    /// A device with as many peers as are ever busy.
    pub(crate) fn device(&self) -> Result<BusyPeers> {
        let most = self.most().context("no peers")?;
        let engine = udco::binary()?;
        let engine = engine.to_str().context("a path that is not UTF-8")?;
        BusyPeers::new(self.variant, engine, &step::own_path()?, most)
    }

    fn most(&self) -> Option<u16> {
        self.counts.iter().copied().max()
    }

    fn loads(&self) -> Vec<Load> {
        let milliseconds = u64::from(self.seconds) * 1_000;
        let load = |(size, row)| Load {
            size,
            row,
            milliseconds,
            rate: None,
        };
        let pairs = self
            .sizes
            .iter()
            .flat_map(|size| self.rows.iter().map(|row| (*size, *row)));
        pairs.map(load).collect()
    }
}

/// Everything measured, by round.
#[derive(Default)]
pub(crate) struct Samples {
    pub(crate) carried: BTreeMap<Case, Vec<Carried>>,
    alone: Vec<RoundTrips>,
    /// By the heavy peer's rate.
    beside: BTreeMap<u32, Vec<RoundTrips>>,
}

/// Measures all loads in turns, and prints a line for each.
pub(crate) fn run(options: &Options) -> Result<()> {
    ensure!(options.rounds > 0, "no round, no figure");
    let most = options.most().context("no peers")?;
    packages::ensure_to_measure()?;
    build_release()?;
    let _sweeper = Sweeper::start()?;
    let mut samples = Samples::default();
    for round in 0..options.rounds {
        eprintln!(
            "==> round {} of {}: {most} peers",
            round + 1,
            options.rounds
        );
        let mut device = options.device()?;
        if !wait_for_quiet()? {
            eprintln!("NOTE: other processes are busy on this machine");
        }
        samples.carry(options, &mut device, round)?;
        samples.echo(options, &mut device)?;
        device.discard_logs();
    }
    samples.print(options);
    Ok(())
}

impl Samples {
    /// Measures each load once; a round begins where the one before has ended.
    pub(crate) fn carry(
        &mut self,
        options: &Options,
        device: &mut BusyPeers,
        round: usize,
    ) -> Result<()> {
        let mut counts = options.counts.clone();
        let turn = round % counts.len();
        counts.rotate_left(turn);
        for load in options.loads() {
            for way in [Way::Up, Way::Down] {
                for &count in &counts {
                    let carried = device.carry(way, BusyPeers::first(count), load)?;
                    let samples = self.carried.entry((load, way, count)).or_default();
                    samples.push(carried);
                }
            }
        }
        Ok(())
    }

    /// A light peer's round trips, alone and beside a heavy one.
    fn echo(&mut self, options: &Options, device: &mut BusyPeers) -> Result<()> {
        let light = BusyPeers::first(options.most().unwrap_or(1).min(999));
        self.alone.push(device.echo(light, REQUESTS)?);
        for &rate in &options.heavy {
            let heavy = Load {
                size: 1_400,
                row: 1,
                milliseconds: HEAVY.as_millis() as u64,
                rate: (rate > 0).then_some(rate),
            };
            let beside = device.echo_beside_heavy(light, REQUESTS, heavy)?;
            self.beside.entry(rate).or_default().push(beside);
        }
        Ok(())
    }

    /// Medians, and the medians of the ratios to the smallest number of peers in the same round.
    fn print(&self, options: &Options) {
        let fewest = options.counts.iter().copied().min().unwrap_or(1);
        println!(
            "bytes | in a row | way | peers | packets/s | s per million | fairness | rate, cost beside {fewest}"
        );
        for (&(load, way, count), own) in &self.carried {
            let median = |of: fn(&Carried) -> f64| {
                let values = own.iter().map(of).collect();
                middle(values).unwrap_or(f64::NAN)
            };
            let ratio = |of: fn(&Carried) -> f64| {
                let few = self.carried.get(&(load, way, fewest));
                let pairs = own.iter().zip(few.into_iter().flatten());
                middle(pairs.map(|(own, few)| of(own) / of(few)).collect()).unwrap_or(f64::NAN)
            };
            println!(
                "{} | {} | {way:?} | {count} | {:.0} | {:.3} | {:.4} | {:.2} {:.2}",
                load.size,
                load.row,
                median(|sample| sample.rate),
                median(|sample| sample.cost),
                median(|sample| sample.fairness),
                ratio(|sample| sample.rate),
                ratio(|sample| sample.cost),
            );
        }
        println!("round trip of a light peer | p50 µs | p99 µs | lost | p50, p99 beside alone");
        let beside = self.beside.iter().map(|(rate, own)| match rate {
            0 => ("beside a heavy one, all it can".to_owned(), own),
            rate => (format!("beside a heavy one, {rate} packets/s"), own),
        });
        for (name, own) in std::iter::once(("alone".to_owned(), &self.alone)).chain(beside) {
            let median = |of: fn(&RoundTrips) -> f64| {
                middle(own.iter().map(of).collect()).unwrap_or(f64::NAN)
            };
            let ratio = |of: fn(&RoundTrips) -> f64| {
                let pairs = own.iter().zip(&self.alone);
                middle(pairs.map(|(own, alone)| of(own) / of(alone)).collect()).unwrap_or(f64::NAN)
            };
            println!(
                "{name} | {:.0} | {:.0} | {:.0} | {:.2} {:.2}",
                median(|sample| sample.p50),
                median(|sample| sample.p99),
                median(|sample| f64::from(sample.lost)),
                ratio(|sample| sample.p50),
                ratio(|sample| sample.p99),
            );
        }
    }
}
