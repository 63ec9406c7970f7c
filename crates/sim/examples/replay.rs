//! Replays one run: `cargo run -p udco-sim --example replay -- SEED [COUNT]`, with the `COUNT` seeds from there on if
//! given. A run depends on nothing but its seed.

use std::process::ExitCode;
use std::time::Instant;

use udco_sim::fault::Fault;
use udco_sim::scenario::{Scenario, run};

fn main() -> ExitCode {
    let numbers = std::env::args().skip(1).map(|word| word.parse::<u64>());
    let (first, count) = match numbers.collect::<Result<Vec<_>, _>>().as_deref() {
        Ok(&[first]) => (first, 1),
        Ok(&[first, count]) => (first, count),
        _ => {
            eprintln!("usage: replay SEED [COUNT]");
            return ExitCode::FAILURE;
        }
    };
    let (begin, mut failures) = (Instant::now(), 0);
    for seed in first..first.saturating_add(count) {
        match run(seed, Fault::None) {
            Ok(report) if count == 1 => println!("{:?}: {report:?}", Scenario::of(seed)),
            Ok(_) => {}
            Err(failure) => {
                failures += 1;
                println!("{failure}");
            }
        }
    }
    println!("{count} runs in {:?}, {failures} failed", begin.elapsed());
    ExitCode::from(u8::from(failures > 0))
}
