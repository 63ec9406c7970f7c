//! `cargo xtask loads`: what moderate loads cost with udco at the server, or at both ends, and with stock OpenVPN, in
//! turns, as ratios.

mod load;
pub(crate) mod table;

use std::collections::BTreeMap;
use std::iter;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Error, Result, ensure};
use udco_testbed::measure::{Work, begin_without_pacing};
use udco_testbed::{Builder, Endpoint, Launch, Pair, Proc, Variant, connect, udco};

use self::load::LOADS;
use self::table::{Outcome, Sample};
use super::leftovers::Sweeper;
use super::link::Link;
use super::subject::{TUNED, TUNED_TCP};
use super::{build_release, wait_for_quiet};
use crate::packages;

/// What to measure, and how often.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// How often each is measured.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds of each load.
    #[arg(long, default_value_t = 4)]
    seconds: u32,
    /// Measure udco at both ends as well.
    #[arg(long)]
    both: bool,
    /// Measure udco with each of these numbers of workers, in place of one a core.
    #[arg(long, value_delimiter = ',', value_name = "NUMBER", value_parser = clap::value_parser!(u16).range(1..=256))]
    workers: Vec<u16>,
    /// Measure another build of udco as well.
    #[arg(long, value_name = "UDCO")]
    also: Option<PathBuf>,
    #[command(flatten)]
    variant: Variant,
    /// The links between the ends: `nic` has a card's receive offload (GRO), `nic-no-gro` none.
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        value_name = "LINK",
        default_value = "veth"
    )]
    links: Vec<Link>,
    /// Measure round trips beside the loads that are not questions: an echo request every 10 ms.
    #[arg(long)]
    pings: bool,
    /// Measure these loads only: those whose name contains this.
    #[arg(long, default_value = "")]
    only: String,
}

/// Who carries the data channel.
#[derive(Debug)]
struct Carrier {
    name: String,
    /// The udco at the server, if not plain OpenVPN.
    udco: Option<PathBuf>,
    /// The same at the client.
    both: bool,
    /// Of each engine, if not one a core.
    workers: Option<u16>,
}

impl Options {
    /// All loads with udco at the server only.
    pub(crate) fn one_end(rounds: usize, seconds: u32, links: Vec<Link>) -> Self {
        Self {
            rounds,
            seconds,
            both: false,
            workers: Vec::new(),
            also: None,
            variant: Variant::default(),
            links,
            pings: false,
            only: String::new(),
        }
    }

    /// Measures all in turns.
    pub(crate) fn outcomes(&self) -> Result<Vec<Outcome>> {
        let _sweeper = Sweeper::start()?;
        let carriers = self.carriers()?;
        let turns: Vec<_> = (0..self.links.len())
            .flat_map(|link| (0..carriers.len()).map(move |carrier| (link, carrier)))
            .collect();
        let mut samples: BTreeMap<_, Vec<Sample>> = BTreeMap::new();
        for round in 0..self.rounds {
            eprintln!("==> loads: round {} of {}", round + 1, self.rounds);
            if !wait_for_quiet()? {
                eprintln!("NOTE: other processes are busy on this machine");
            }
            for step in 0..turns.len() {
                let (link, carrier) = turns[(round + step) % turns.len()];
                for (load, sample) in measure(self, self.links[link], &carriers[carrier])? {
                    let samples = samples.entry((link, load, carrier)).or_default();
                    samples.push(sample);
                }
            }
        }
        let outcome = |((link, load, carrier), samples): ((usize, usize, usize), _)| Outcome {
            link: self.links[link],
            load: LOADS[load].name,
            carrier: carriers[carrier].name.clone(),
            samples,
        };
        Ok(samples.into_iter().map(outcome).collect())
    }

    /// Plain OpenVPN first: the others are measured beside it.
    fn carriers(&self) -> Result<Vec<Carrier>> {
        let mut carriers = vec![Carrier {
            name: "OpenVPN".to_owned(),
            udco: None,
            both: false,
            workers: None,
        }];
        let mut numbers: Vec<_> = self.workers.iter().copied().map(Some).collect();
        if numbers.is_empty() {
            numbers.push(None);
        }
        let other = self.also.clone().map(|other| ("other build", other));
        for (build, program) in iter::once(("udco", udco::binary()?)).chain(other) {
            for both in [false, true].into_iter().filter(|both| self.both || !both) {
                let ends = if both { " at both ends" } else { "" };
                carriers.extend(numbers.iter().map(|&workers| {
                    let number = workers.map(|number| format!(", {number} workers"));
                    Carrier {
                        name: format!("{build}{ends}{}", number.unwrap_or_default()),
                        udco: Some(program.clone()),
                        both,
                        workers,
                    }
                }));
            }
        }
        Ok(carriers)
    }
}

impl Carrier {
    /// The server's end, then the client's.
    fn ends(&self, pair: &Pair, variant: Variant) -> [Builder; 2] {
        let (proto, tuned) = (variant.proto(), if variant.tcp { TUNED_TCP } else { TUNED });
        let with = |udco: Option<&Path>, end: Builder| match udco {
            Some(udco) => end.launch(Launch::Udco).udco(udco).workers(self.workers),
            None => end,
        };
        let udco = self.udco.as_deref();
        let client = udco.filter(|_| self.both);
        [
            with(udco, pair.server(proto).line_each(&tuned)),
            with(client, pair.client(proto).line_each(&tuned)),
        ]
    }
}

/// Measures each load with each carrier in turns, and prints a line for each.
pub(crate) fn run(options: &Options) -> Result<()> {
    ensure!(options.rounds > 0, "no round, no figure");
    ensure!(
        LOADS.iter().any(|load| load.name.contains(&options.only)),
        "no load has {:?} in its name: {}",
        options.only,
        LOADS.map(|load| load.name).join("; ")
    );
    packages::ensure_to_measure()?;
    build_release()?;
    println!("{}", table::all(&options.outcomes()?));
    Ok(())
}

/// Starts a tunnel and puts all loads on it.
fn measure(options: &Options, link: Link, carrier: &Carrier) -> Result<Vec<(usize, Sample)>> {
    let pair = Pair::new()?;
    link.prepare(&pair)?;
    for host in [&pair.server, &pair.client] {
        begin_without_pacing(host)?;
    }
    let [server, client] = carrier.ends(&pair, options.variant);
    let (server, client) = connect(server, client)?;
    let (at_server, at_client) = (processes(&server)?, processes(&client)?);
    let mut samples = Vec::new();
    for (number, load) in LOADS.iter().enumerate() {
        if !load.name.contains(&options.only) {
            continue;
        }
        let to = options.variant.inner_server();
        let works = || Ok::<_, Error>([Work::read(&at_server)?, Work::read(&at_client)?]);
        let (before, began) = (works()?, Instant::now());
        let carried = load
            .carry(&pair, to, options.seconds, options.pings)
            .with_context(|| load.name)?;
        let (after, seconds) = (works()?, began.elapsed().as_secs_f64());
        let [server, client] = [0, 1].map(|end| after[end].since(before[end]));
        samples.push((
            number,
            Sample {
                rate: carried.rate,
                server: server.time.as_secs_f64() / carried.units,
                client: client.time.as_secs_f64() / carried.units,
                switches: server.switches as f64 / seconds,
                round_trips: carried.round_trips,
            },
        ));
    }
    stop(client, server)?;
    pair.lab.discard_logs();
    Ok(samples)
}

/// OpenVPN, and its engine.
fn processes(end: &Endpoint) -> Result<Vec<Proc>> {
    let engine = end.is_udco().then(|| end.engine()).transpose()?;
    Ok(iter::once(end.openvpn()?).chain(engine).collect())
}

fn stop(client: Endpoint, server: Endpoint) -> Result<()> {
    client.stop()?;
    server.stop()
}
