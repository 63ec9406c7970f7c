//! `cargo xtask loads`: what moderate loads cost a server whose clients are stock OpenVPN, in turns, as ratios.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use udco_testbed::measure::{Stream, Work, begin_without_pacing};
use udco_testbed::{Endpoint, Launch, Pair, Proto, addresses as at, connect};

use super::leftovers::Sweeper;
use super::outcome::middle;
use super::subject::TUNED;
use super::{build_release, release_binary, wait_for_quiet};
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
    /// Measure another build of udco as well.
    #[arg(long, value_name = "UDCO")]
    also: Option<PathBuf>,
    /// The tunnel's transport.
    #[arg(long, value_enum, default_value_t = Transport::Udp4)]
    transport: Transport,
    /// Measure these loads only: those whose name contains this.
    #[arg(long, default_value = "")]
    only: String,
}

/// The tunnel's transport, as OpenVPN names it.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Transport {
    Udp4,
    Udp6,
    Tcp4,
}

/// Who carries the server's data channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Server {
    Plain,
    Udco,
    Other,
}

/// One kind of traffic, from the client to the server unless it is `down`.
struct Load {
    name: &'static str,
    down: bool,
    kind: Kind,
}

enum Kind {
    /// Datagrams with so many bytes, at this rate.
    Datagrams(u32, &'static str),
    /// A TCP stream, at this rate or as fast as it goes.
    Stream(Option<&'static str>),
    /// Echo requests, each sent when the one before is answered.
    Questions,
}

const LOADS: [Load; 9] = [
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
    load("questions", false, Kind::Questions),
];

const fn load(name: &'static str, down: bool, kind: Kind) -> Load {
    Load { name, down, kind }
}

/// One measurement.
#[derive(Clone, Copy)]
struct Sample {
    /// Delivered: Mbit/s, or answers per second.
    rate: f64,
    /// Seconds of processor time per Gbit, or per 100,000 answers.
    cost: f64,
    /// Context switches a second.
    switches: f64,
}

/// Measures each load with each server in turns, and prints a line for each load.
pub(crate) fn run(options: &Options) -> Result<()> {
    ensure!(options.rounds > 0, "no round, no figure");
    packages::ensure_to_measure()?;
    build_release()?;
    let _sweeper = Sweeper::start()?;
    let mut servers = vec![Server::Plain, Server::Udco];
    servers.extend(options.also.as_ref().map(|_| Server::Other));
    let mut samples: BTreeMap<(usize, Server), Vec<Sample>> = BTreeMap::new();
    for round in 0..options.rounds {
        eprintln!("==> round {} of {}", round + 1, options.rounds);
        if !wait_for_quiet()? {
            eprintln!("NOTE: other processes are busy on this machine");
        }
        for &server in &servers {
            for (load, sample) in measure(options, server)? {
                samples.entry((load, server)).or_default().push(sample);
            }
        }
        servers.rotate_left(1);
    }
    servers.sort();
    print(&samples, &servers);
    Ok(())
}

/// Starts a tunnel and puts all loads on it.
fn measure(options: &Options, server: Server) -> Result<Vec<(usize, Sample)>> {
    let pair = Pair::new()?;
    for host in [&pair.server, &pair.client] {
        begin_without_pacing(host)?;
    }
    let proto = match options.transport {
        Transport::Udp4 => Proto::Udp4,
        Transport::Udp6 => Proto::Udp6,
        Transport::Tcp4 => Proto::Tcp4,
    };
    let builder = pair.server(proto).line_each(&TUNED);
    let binary = match (server, &options.also) {
        (Server::Other, Some(other)) => other.clone(),
        _ => release_binary()?,
    };
    let builder = match server {
        Server::Plain => builder,
        Server::Udco | Server::Other => builder.launch(Launch::Udco).udco(&binary),
    };
    let (server, client) = connect(builder, pair.client(proto).line_each(&TUNED))?;
    let mut processes = vec![server.openvpn()?];
    if server.is_udco() {
        processes.push(server.engine()?);
    }
    let mut samples = Vec::new();
    for (number, load) in LOADS.iter().enumerate() {
        if !load.name.contains(&options.only) {
            continue;
        }
        let (before, began) = (Work::read(&processes)?, Instant::now());
        let carried = load
            .carry(&pair, options.seconds)
            .with_context(|| load.name)?;
        let (work, seconds) = (
            Work::read(&processes)?.since(before),
            began.elapsed().as_secs_f64(),
        );
        samples.push((
            number,
            Sample {
                rate: carried.rate,
                cost: work.time.as_secs_f64() / carried.units,
                switches: work.switches as f64 / seconds,
            },
        ));
    }
    stop(client, server)?;
    Ok(samples)
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
}

impl Load {
    fn carry(&self, pair: &Pair, seconds: u32) -> Result<Carried> {
        let stream = Stream::to(at::INNER_SERVER).seconds(seconds);
        let stream = match self.kind {
            Kind::Datagrams(bytes, rate) => stream.datagrams(bytes).limit(rate),
            Kind::Stream(rate) => {
                let stream = stream.congestion("cubic");
                rate.into_iter().fold(stream, Stream::limit)
            }
            Kind::Questions => return ask(pair, seconds),
        };
        let stream = if self.down { stream.reverse() } else { stream };
        let carried = stream.run(&pair.client, &pair.server)?;
        Ok(Carried {
            rate: carried.bits_per_second / 1e6,
            units: carried.bytes as f64 * 8.0 / 1e9,
        })
    }
}

/// ping(8) sends the next request as soon as it has an answer.
fn ask(pair: &Pair, seconds: u32) -> Result<Carried> {
    let time = seconds.to_string();
    let words = ["ping", "-n", "-q", "-f", "-w", &time, at::INNER_SERVER];
    let began = Instant::now();
    let printed = pair.client.run(&words)?;
    let seconds = began.elapsed().max(Duration::from_millis(1)).as_secs_f64();
    let answers = printed
        .split(", ")
        .find_map(|part| part.strip_suffix(" received")?.parse::<f64>().ok());
    let answers = answers.with_context(|| printed.clone())?;
    Ok(Carried {
        rate: answers / seconds,
        units: answers / 1e5,
    })
}

/// A line for each load: medians of each server, and of the ratios to plain OpenVPN in the same round.
fn print(samples: &BTreeMap<(usize, Server), Vec<Sample>>, servers: &[Server]) {
    println!("load | server | rate | s per Gbit | switches/s | rate, cost beside plain OpenVPN");
    for (number, load) in LOADS.iter().enumerate() {
        let Some(plain) = samples.get(&(number, Server::Plain)) else {
            continue;
        };
        for server in servers {
            let own = &samples[&(number, *server)];
            let median = |of: fn(&Sample) -> f64| middle(own.iter().map(of).collect());
            let ratio = |of: fn(&Sample) -> f64| {
                let pairs = own.iter().zip(plain);
                middle(pairs.map(|(own, plain)| of(own) / of(plain)).collect())
            };
            println!(
                "{:30} | {server:?} | {:.0} | {:.3} | {:.0} | {:.2} {:.2}",
                load.name,
                median(|sample| sample.rate).unwrap_or(0.0),
                median(|sample| sample.cost).unwrap_or(0.0),
                median(|sample| sample.switches).unwrap_or(0.0),
                ratio(|sample| sample.rate).unwrap_or(0.0),
                ratio(|sample| sample.cost).unwrap_or(0.0),
            );
        }
    }
}
