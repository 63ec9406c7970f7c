//! `cargo xtask captured`: what `udco capture` costs the stream that it captures.
//!
//! Tunnels of two starts differ by more than a capture costs, so a stream goes on while captures begin and end.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use udco_testbed::measure::{Ledger, Stream, begin_without_pacing};
use udco_testbed::{Host, Launch, Pair, Process, Proto, Signal, addresses as at, connect, udco};

use super::leftovers::Sweeper;
use super::{build_release, middle, wait_for_quiet};
use crate::packages;

/// The fastest streams take this long to start, and a capture to begin or to end, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a round takes beside its phases, at most.
const BETWEEN: u32 = 2;

/// What is captured, and how long.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Options of `udco capture`.
    #[arg(long, default_value = "--snap 96", allow_hyphen_values = true)]
    options: String,
    /// How often a capture begins and ends beside each stream.
    #[arg(long, default_value_t = 9)]
    rounds: u32,
    /// Seconds with a capture, and without, in each round.
    #[arg(long, default_value_t = 2)]
    seconds: u32,
}

/// What passed, and what it took.
#[derive(Clone, Copy)]
struct Phase {
    /// Bytes a second.
    rate: f64,
    /// Processor seconds of the whole machine for each byte.
    cost: f64,
}

/// Measures single streams and four at once, both ways, and prints a line for each.
pub(crate) fn run(options: &Options) -> Result<()> {
    ensure!(options.rounds > 0, "no round, no figure");
    packages::ensure_to_measure()?;
    build_release()?;
    let _sweeper = Sweeper::start()?;
    for streams in [1, 4] {
        for is_down in [false, true] {
            if !wait_for_quiet()? {
                eprintln!("NOTE: other processes are busy on this machine");
            }
            let rounds = measure(options, streams, is_down)?;
            let ratio = |of: fn(&Phase) -> f64| {
                let ratios = rounds.iter().map(|[with, without]| of(with) / of(without));
                middle(ratios.collect()).unwrap_or(f64::NAN)
            };
            println!(
                "{streams} {}: rate {:.3}, processor time for each byte {:.3}",
                if is_down { "down" } else { "up" },
                ratio(|phase| phase.rate),
                ratio(|phase| phase.cost),
            );
        }
    }
    Ok(())
}

/// For each round, what passed with a capture at the server, and without.
fn measure(options: &Options, streams: u32, is_down: bool) -> Result<Vec<[Phase; 2]>> {
    let pair = Pair::new()?;
    for host in [&pair.server, &pair.client] {
        begin_without_pacing(host)?;
    }
    let udco = udco::binary()?;
    let with_udco = |end: udco_testbed::Builder| end.launch(Launch::Udco).udco(&udco);
    let (server, client) = connect(
        with_udco(pair.server(Proto::Udp4)),
        with_udco(pair.client(Proto::Udp4)),
    )?;
    let seconds = options.rounds * (2 * options.seconds + BETWEEN) + BETWEEN;
    let mut stream = Stream::to(at::INNER_SERVER)
        .parallel(streams)
        .seconds(seconds);
    if is_down {
        stream = stream.reverse();
    }
    let stream = stream.start(&pair.client, &pair.server);
    let receiver = if is_down { &pair.client } else { &pair.server };
    thread::sleep(Duration::from_secs(1));
    let length = Duration::from_secs(options.seconds.into());
    let mut rounds = Vec::new();
    for round in 0..options.rounds {
        let without = || Phase::of(&pair, receiver, length);
        let with = || {
            let capture = begin(&pair, &options.options)?;
            let phase = Phase::of(&pair, receiver, length)?;
            end(capture)?;
            anyhow::Ok(phase)
        };
        // Each goes first in every second round.
        rounds.push(if round % 2 == 0 {
            let with = with()?;
            [with, without()?]
        } else {
            let without = without()?;
            [with()?, without]
        });
        ensure!(!stream.is_finished(), "the stream has ended too early");
    }
    match stream.join() {
        Ok(outcome) => drop(outcome?),
        Err(_) => bail!("the stream's thread has panicked"),
    }
    client.stop()?;
    server.stop()?;
    pair.lab.discard_logs();
    Ok(rounds)
}

impl Phase {
    /// Watches what a host's device hands to its stack.
    fn of(pair: &Pair, receiver: &Host, length: Duration) -> Result<Self> {
        let worked = Ledger::read(&pair.lab, &[])?;
        let (before, began) = (received(receiver)?, Instant::now());
        thread::sleep(length);
        let (after, elapsed) = (received(receiver)?, began.elapsed());
        let bytes = (after - before) as f64;
        let spent = Ledger::read(&pair.lab, &[])?.since(&worked);
        ensure!(bytes > 0.0, "nothing has passed");
        Ok(Self {
            rate: bytes / elapsed.as_secs_f64(),
            cost: spent.machine / bytes,
        })
    }
}

/// Bytes that have come out of a host's tunnel.
fn received(host: &Host) -> Result<u64> {
    let links = host.run(&["ip", "-j", "-s", "link", "show", "tun0"])?;
    let links: Value = serde_json::from_str(&links)?;
    links[0]["stats64"]["rx"]["bytes"]
        .as_u64()
        .context("`ip` tells no bytes")
}

/// Captures the packets of the server's device, and discards them.
fn begin(pair: &Pair, options: &str) -> Result<Process> {
    let program = udco::binary()?.display().to_string();
    let mut words = vec![&*program, "capture", "tun0", "--write", "/dev/null"];
    words.extend(options.split_whitespace());
    let mut capture = pair.server.spawn("capture", &words)?;
    capture.wait_for_log("capturing packets of tun0", PATIENCE)?;
    Ok(capture)
}

/// Ends a capture, and says how much it has taken.
fn end(mut capture: Process) -> Result<()> {
    capture.signal(Signal::INT)?;
    capture.wait(PATIENCE)?;
    if let Some(line) = capture.log().lines().last() {
        eprintln!("    {line}");
    }
    Ok(())
}
