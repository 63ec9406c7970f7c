//! `cargo xtask bench`: how fast, beside others, in one interleaved run.
//!
//! Machines are shared and noisy, so nothing here is worth anything alone: every round measures every candidate, and
//! what is reported are ratios of medians. Both ends of the tunnel and both ends of the traffic share the machine.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde::Serialize;
use udco_testbed::measure::{Ping, Stream};
use udco_testbed::{Builder, Launch, Pair, Proto, addresses, connect};

use crate::{packages, step};

/// Fewer rounds have no median worth the name.
const FEWEST_ROUNDS: usize = 5;

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Candidate {
    /// The link between the hosts, unencrypted.
    NoTunnel,
    /// OpenVPN's own data path, as installed.
    Openvpn,
    /// The same with large buffers, the best that its options give.
    OpenvpnTuned,
    /// OpenVPN, as installed, with udco at both ends.
    Udco,
}

const CANDIDATES: [Candidate; 4] = [
    Candidate::NoTunnel,
    Candidate::Openvpn,
    Candidate::OpenvpnTuned,
    Candidate::Udco,
];

/// What makes OpenVPN's own data path fastest for a single TCP stream without changing the packets.
const TUNED: [&str; 4] = [
    "sndbuf 4194304",
    "rcvbuf 4194304",
    "txqueuelen 2000",
    "fast-io",
];

/// One candidate, once.
#[derive(Clone, Copy, Serialize)]
struct Sample {
    /// One TCP stream from client to server, bits a second.
    tcp_up: f64,
    /// The same from server to client.
    tcp_down: f64,
    /// Median round trip in an idle tunnel, milliseconds.
    rtt_idle_ms: f64,
    /// The same beside a TCP stream.
    rtt_loaded_ms: f64,
}

/// One candidate, all rounds.
#[derive(Serialize)]
struct Outcome {
    candidate: Candidate,
    median: Sample,
    samples: Vec<Sample>,
}

/// Runs the benchmark.
pub(crate) fn run(rounds: usize, seconds: u32, json: bool) -> Result<()> {
    ensure!(
        rounds >= FEWEST_ROUNDS,
        "a median needs at least {FEWEST_ROUNDS} rounds"
    );
    packages::ensure()?;
    step::run(
        "build",
        &mut step::cargo(&["build", "--quiet", "--release"]),
    )?;
    let mut results: Vec<Outcome> = Vec::new();
    let mut samples = CANDIDATES.map(|_| Vec::new());
    for round in 1..=rounds {
        for (candidate, samples) in CANDIDATES.into_iter().zip(&mut samples) {
            eprintln!("==> round {round} of {rounds}: {}", name(candidate));
            samples.push(measure(candidate, seconds)?);
        }
    }
    for (candidate, samples) in CANDIDATES.into_iter().zip(samples) {
        results.push(Outcome {
            candidate,
            median: median(&samples),
            samples,
        });
    }
    if json {
        println!("{}", serde_json::to_string_pretty(&results)?);
    } else {
        print(&results, rounds);
    }
    Ok(())
}

fn measure(candidate: Candidate, seconds: u32) -> Result<Sample> {
    let pair = Pair::new()?;
    let (server, client) = (pair.server(Proto::Udp4), pair.client(Proto::Udp4));
    let tunnel = match candidate {
        Candidate::NoTunnel => None,
        Candidate::Openvpn => Some((server, client)),
        Candidate::OpenvpnTuned => Some((server.line_each(&TUNED), client.line_each(&TUNED))),
        Candidate::Udco => Some((server.launch(Launch::Udco), client.launch(Launch::Udco))),
    };
    let ends = tunnel
        .map(|(server, client): (Builder, Builder)| connect(server, client))
        .transpose()?;
    let to = if ends.is_some() {
        addresses::INNER_SERVER
    } else {
        addresses::SERVER
    };
    let ping = || Ping::to(to).count(200).interval(Duration::from_millis(10));
    let rtt_idle_ms = ping().run(&pair.client)?.median_ms().unwrap_or(f64::NAN);
    let stream = Stream::to(to).seconds(seconds);
    let tcp_up = stream.run(&pair.client, &pair.server)?.bits_per_second;
    let tcp_down = stream
        .reverse()
        .run(&pair.client, &pair.server)?
        .bits_per_second;
    let load = Stream::to(to).seconds(4).start(&pair.client, &pair.server);
    std::thread::sleep(Duration::from_secs(1));
    let rtt_loaded_ms = ping().run(&pair.client)?.median_ms().unwrap_or(f64::NAN);
    let _ = load.join();
    pair.lab.discard_logs();
    Ok(Sample {
        tcp_up,
        tcp_down,
        rtt_idle_ms,
        rtt_loaded_ms,
    })
}

/// The median of each figure by itself.
fn median(samples: &[Sample]) -> Sample {
    let middle = |figure: fn(&Sample) -> f64| {
        let mut figures: Vec<f64> = samples.iter().map(figure).collect();
        figures.sort_by(f64::total_cmp);
        figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
    };
    Sample {
        tcp_up: middle(|sample| sample.tcp_up),
        tcp_down: middle(|sample| sample.tcp_down),
        rtt_idle_ms: middle(|sample| sample.rtt_idle_ms),
        rtt_loaded_ms: middle(|sample| sample.rtt_loaded_ms),
    }
}

fn print(results: &[Outcome], rounds: usize) {
    println!(
        "Medians of {rounds} interleaved rounds, AES-256-GCM, default tun-mtu; in brackets the ratio to udco's.\n"
    );
    println!("| | TCP up Gbit/s | TCP down Gbit/s | RTT idle ms | RTT under load ms |");
    println!("|---|---|---|---|---|");
    let udco = results
        .iter()
        .find(|result| result.candidate == Candidate::Udco)
        .map(|result| result.median);
    for result in results {
        let Some(udco) = udco else { return };
        let cell = |figure: fn(&Sample) -> f64, scale: f64| {
            let value = figure(&result.median);
            format!("{:.3} ({:.2})", value / scale, value / figure(&udco))
        };
        println!(
            "| {} | {} | {} | {} | {} |",
            name(result.candidate),
            cell(|sample| sample.tcp_up, 1e9),
            cell(|sample| sample.tcp_down, 1e9),
            cell(|sample| sample.rtt_idle_ms, 1.0),
            cell(|sample| sample.rtt_loaded_ms, 1.0),
        );
    }
}

const fn name(candidate: Candidate) -> &'static str {
    match candidate {
        Candidate::NoTunnel => "no tunnel",
        Candidate::Openvpn => "OpenVPN as installed",
        Candidate::OpenvpnTuned => "OpenVPN tuned",
        Candidate::Udco => "OpenVPN with udco",
    }
}
