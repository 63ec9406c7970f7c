//! `cargo xtask chaos`: a session in 48 kinds of weather, one over TCP whose stream is torn, and 20 peers, half of
//! which are unreachable.

use std::path::Path;
use std::time::Instant;

use anyhow::Result;
use serde::Serialize;
use udco_testbed::Proto;
use udco_testbed::chaos::{Healthy, Outcome, Session, Torn, grid, lose_nothing, reset, tears};

use crate::{page, step};

/// Bytes of a cell's stream in calm weather; a quarter at 5 % loss, an eighth at 20 %.
const STREAM: u64 = 32 << 20;

/// Bytes of the inner stream of the session over TCP; less where it is torn into short pieces.
const TORN: u64 = 64 << 20;

/// How many times to reset it.
const RESETS: u64 = 5;

/// Packets for each of the 20 peers: 100,000 for the healthy ones.
const PACKETS: u64 = 10_000;

/// The result: the last line on standard output.
#[derive(Serialize)]
struct Report {
    seed: u64,
    seconds: f64,
    cells: Vec<Outcome>,
    torn: Vec<Torn>,
    resets: u64,
    unreachable: Healthy,
}

/// Builds and runs everything; fails at the first stream that does not arrive, packet that is not accounted for, or
/// packet lost to a healthy peer.
pub(crate) fn run(seed: Option<u64>, write_docs: bool) -> Result<()> {
    step::prepare()?;
    let seed = seed.unwrap_or_else(step::seed_by_the_clock);
    eprintln!("==> 48 kinds of weather, seed {seed}");
    let program = &step::own_path()?;
    let begin = Instant::now();
    let mut session = Session::new(Proto::Udp4, program, seed)?;
    let mut cells = Vec::new();
    for (number, cell) in (0..).zip(grid()) {
        let outcome = cell.run(&mut session, number, STREAM)?;
        eprintln!("{}", row(&outcome));
        cells.push(outcome);
    }
    session.discard_logs();
    drop(session);
    eprintln!("==> a stream torn in {} ways, and reset", tears().len());
    let mut session = Session::new(Proto::Tcp4, program, seed)?;
    let torn = (0..)
        .zip(tears())
        .map(|(number, tear)| tear.run(&mut session, number, TORN))
        .collect::<Result<_>>()?;
    for number in 0..RESETS {
        reset(&mut session, 100 + number, TORN)?;
    }
    session.discard_logs();
    drop(session);
    eprintln!("==> 20 peers, half of which cannot be reached");
    let report = Report {
        seed,
        torn,
        resets: RESETS,
        unreachable: lose_nothing(program, PACKETS)?,
        seconds: begin.elapsed().as_secs_f64(),
        cells,
    };
    if write_docs {
        page::publish(Path::new("docs/chaos.md"), "chaos", &tables(&report))?;
    }
    println!("{}", serde_json::to_string(&report)?);
    Ok(())
}

fn tables(report: &Report) -> String {
    let healthy = report.unreachable;
    let (came, streams): (u64, u64) = (
        report.cells.iter().map(|cell| cell.came).sum(),
        report.cells.iter().map(|cell| cell.bytes).sum(),
    );
    let mut lines = vec![
        format!(
            "`cargo xtask chaos --seed {} --write-docs`: {} cells, {came} data packets and {} MiB of streams; all \
             streams arrived intact and every packet is accounted for. {:.0} s.",
            report.seed,
            report.cells.len(),
            streams >> 20,
            report.seconds
        ),
        String::new(),
        format!(
            "Unreachable peers: {} of {} packets to the healthy ones arrived, beside {} packets to the others and {} \
             ICMP errors.",
            healthy.received, healthy.sent, healthy.dead.sent, healthy.dead.icmp_errors
        ),
        String::new(),
        "| loss % | reorder % | duplicate % | corrupt % | MiB | s | arrived | lost | duplicated | held back | \
         corrupted | delivered | drops |"
            .to_owned(),
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |".to_owned(),
    ];
    lines.extend(report.cells.iter().map(row));
    lines.extend([
        String::new(),
        format!(
            "Over TCP: all streams arrived intact, and the session recovered after each of {} resets.",
            report.resets
        ),
        String::new(),
        "| longest piece, bytes | stalls per thousand pieces | ms | KiB | s | pieces | stalls |".to_owned(),
        "| --- | --- | --- | --- | --- | --- | --- |".to_owned(),
    ]);
    lines.extend(report.torn.iter().map(|torn| {
        let tear = torn.tear;
        format!(
            "| {} | {} | {} | {} | {:.1} | {} | {} |",
            tear.longest_piece,
            tear.stalls,
            tear.stall_ms,
            torn.bytes >> 10,
            torn.seconds,
            torn.pieces,
            torn.stalls
        )
    }));
    lines.join("\n")
}

fn row(outcome: &Outcome) -> String {
    let drops: Vec<String> = outcome
        .drops
        .iter()
        .map(|(reason, count)| format!("{reason} {count}"))
        .collect();
    let cell = outcome.cell;
    format!(
        "| {} | {} | {} | {} | {} | {:.1} | {} | {} | {} | {} | {} | {} | {} |",
        cell.loss,
        cell.reorder,
        cell.duplicate,
        cell.corrupt,
        outcome.bytes >> 20,
        outcome.seconds,
        outcome.came,
        outcome.lost,
        outcome.duplicated,
        outcome.held,
        outcome.corrupted,
        outcome.delivered,
        drops.join(", ")
    )
}
