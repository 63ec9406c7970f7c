//! `cargo xtask loads`: what moderate loads cost with udco at the server, or at both ends, and with stock OpenVPN, in
//! turns, as ratios.

use std::collections::BTreeMap;
use std::iter;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Error, Result, ensure};
use udco_testbed::measure::{RoundTrips, Stream, Work, begin_without_pacing, questions};
use udco_testbed::{Builder, Endpoint, Launch, Pair, Proc, Variant, connect};

use super::leftovers::Sweeper;
use super::link::Link;
use super::outcome::middle;
use super::subject::{TUNED, TUNED_TCP};
use super::{build_release, release_binary, wait_for_quiet};
use crate::{packages, step};

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
    /// The link between the ends: `nic` has a card's receive offload (GRO), `nic-no-gro` none.
    #[arg(long, value_enum, default_value_t = Link::Veth)]
    link: Link,
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
        for (build, udco) in iter::once(("udco", release_binary()?)).chain(other) {
            for both in [false, true].into_iter().filter(|both| self.both || !both) {
                let ends = if both { " at both ends" } else { "" };
                carriers.extend(numbers.iter().map(|&workers| {
                    let number = workers.map(|number| format!(", {number} workers"));
                    Carrier {
                        name: format!("{build}{ends}{}", number.unwrap_or_default()),
                        udco: Some(udco.clone()),
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

/// One kind of traffic, from the client to the server unless it is `down`.
struct Load {
    name: &'static str,
    down: bool,
    kind: Kind,
}

enum Kind {
    /// Datagrams of this many bytes, at this rate.
    Datagrams(u32, &'static str),
    /// A TCP stream, at this rate or as fast as it goes.
    Stream(Option<&'static str>),
    /// Datagrams that a process at the server sends back to this many askers; each then sends the next.
    Questions(u32),
}

const LOADS: [Load; 10] = [
    load(
        "UDP 1,350 B, 100 Mbit/s, up",
        false,
        Kind::Datagrams(1350, "100M"),
    ),
    load(
        "UDP 1,350 B, 300 Mbit/s, up",
        false,
        Kind::Datagrams(1350, "300M"),
    ),
    load(
        "UDP 1,350 B, 300 Mbit/s, down",
        true,
        Kind::Datagrams(1350, "300M"),
    ),
    load(
        "UDP 200 B, 20 Mbit/s, up",
        false,
        Kind::Datagrams(200, "20M"),
    ),
    load("TCP 300 Mbit/s, up", false, Kind::Stream(Some("300M"))),
    load("TCP 300 Mbit/s, down", true, Kind::Stream(Some("300M"))),
    load("TCP full rate, up", false, Kind::Stream(None)),
    load("TCP full rate, down", true, Kind::Stream(None)),
    load("questions, one asker", false, Kind::Questions(1)),
    load("questions, 16 askers", false, Kind::Questions(16)),
];

const fn load(name: &'static str, down: bool, kind: Kind) -> Load {
    Load { name, down, kind }
}

/// One measurement.
#[derive(Clone, Copy)]
struct Sample {
    /// Delivered: Mbit/s, or answers per second.
    rate: f64,
    /// Seconds of the server's processor time per Gbit, or per 100,000 answers.
    server: f64,
    /// The same of the client's.
    client: f64,
    /// The server's context switches a second.
    switches: f64,
    /// Of questions.
    round_trips: Option<RoundTrips>,
}

impl Sample {
    fn p50(&self) -> f64 {
        self.round_trips.map_or(f64::NAN, |times| times.p50)
    }

    fn p99(&self) -> f64 {
        self.round_trips.map_or(f64::NAN, |times| times.p99)
    }
}

/// Samples by load and carrier.
type Samples = BTreeMap<(usize, usize), Vec<Sample>>;

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
    let _sweeper = Sweeper::start()?;
    let carriers = options.carriers()?;
    let mut samples = Samples::new();
    for round in 0..options.rounds {
        eprintln!("==> round {} of {}", round + 1, options.rounds);
        if !wait_for_quiet()? {
            eprintln!("NOTE: other processes are busy on this machine");
        }
        for step in 0..carriers.len() {
            let carrier = (round + step) % carriers.len();
            for (load, sample) in measure(options, &carriers[carrier])? {
                samples.entry((load, carrier)).or_default().push(sample);
            }
        }
    }
    print(&samples, &carriers);
    Ok(())
}

/// Starts a tunnel and puts all loads on it.
fn measure(options: &Options, carrier: &Carrier) -> Result<Vec<(usize, Sample)>> {
    let pair = Pair::new()?;
    options.link.prepare(&pair)?;
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
        let works = || Ok::<_, Error>([Work::read(&at_server)?, Work::read(&at_client)?]);
        let (before, began) = (works()?, Instant::now());
        let carried = load
            .carry(&pair, options.variant.inner_server(), options.seconds)
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

/// What a load has carried.
struct Carried {
    rate: f64,
    /// Gbit, or 100,000 answers.
    units: f64,
    round_trips: Option<RoundTrips>,
}

impl Load {
    fn carry(&self, pair: &Pair, to: &str, seconds: u32) -> Result<Carried> {
        let stream = Stream::to(to).seconds(seconds);
        let stream = match self.kind {
            Kind::Datagrams(bytes, rate) => stream.datagrams(bytes).limit(rate),
            Kind::Stream(rate) => {
                let stream = stream.congestion("cubic");
                rate.into_iter().fold(stream, Stream::limit)
            }
            Kind::Questions(askers) => return ask(pair, to, askers, seconds),
        };
        let stream = if self.down { stream.reverse() } else { stream };
        let carried = stream.run(&pair.client, &pair.server)?;
        Ok(Carried {
            rate: carried.bits_per_second / 1e6,
            units: carried.bytes as f64 * 8.0 / 1e9,
            round_trips: None,
        })
    }
}

fn ask(pair: &Pair, to: &str, askers: u32, seconds: u32) -> Result<Carried> {
    let (program, duration) = (step::own_path()?, Duration::from_secs(seconds.into()));
    let times = questions::ask(&program, &pair.client, &pair.server, to, askers, duration)?;
    let answers = f64::from(times.answered);
    Ok(Carried {
        rate: answers / duration.as_secs_f64(),
        units: answers / 1e5,
        round_trips: Some(times),
    })
}

/// A line for each load: medians of each carrier, and of the ratios to plain OpenVPN in the same round.
fn print(samples: &Samples, carriers: &[Carrier]) {
    println!(
        "load | carried by | rate | s per Gbit, or 100,000 answers: server, client | switches/s \
         | rate, costs beside plain OpenVPN | p50, p99 in µs | the same beside plain OpenVPN"
    );
    for (&(load, carrier), own) in samples {
        let median =
            |of: fn(&Sample) -> f64| middle(own.iter().map(of).collect()).unwrap_or(f64::NAN);
        let ratio = |of: fn(&Sample) -> f64| {
            let pairs = own.iter().zip(&samples[&(load, 0)]);
            middle(pairs.map(|(own, plain)| of(own) / of(plain)).collect()).unwrap_or(f64::NAN)
        };
        print!(
            "{:30} | {} | {:.0} | {:.3} {:.3} | {:.0} | {:.2} {:.2} {:.2}",
            LOADS[load].name,
            carriers[carrier].name,
            median(|sample| sample.rate),
            median(|sample| sample.server),
            median(|sample| sample.client),
            median(|sample| sample.switches),
            ratio(|sample| sample.rate),
            ratio(|sample| sample.server),
            ratio(|sample| sample.client),
        );
        if let Kind::Questions(_) = LOADS[load].kind {
            let (p50, p99) = (median(Sample::p50), median(Sample::p99));
            let beside = (ratio(Sample::p50), ratio(Sample::p99));
            print!(" | {p50:.0} {p99:.0} | {:.2} {:.2}", beside.0, beside.1);
        }
        println!();
    }
}
