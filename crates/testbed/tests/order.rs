//! Packets of a flow arrive in the order in which they were sent, also where there are more workers than cores
//! (performance 6). `cargo xtask order` does it with ten million.

use std::path::Path;

use anyhow::{Result, ensure};
use udco_testbed::measure::order;
use udco_testbed::{skip, udco};

/// Both ends of the flows.
const PROGRAM: &str = env!("CARGO_BIN_EXE_udco-order-end");

const PACKETS: u64 = 200_000;

/// What an unoptimised engine keeps up with beside other tests.
const PER_SECOND: u64 = 60_000;

#[test]
fn no_packet_of_a_flow_overtakes_another() -> Result<()> {
    in_order(None)
}

#[test]
fn no_packet_of_a_flow_overtakes_another_with_four_workers() -> Result<()> {
    in_order(Some(4))
}

fn in_order(workers: Option<u16>) -> Result<()> {
    if udco::harness_only() {
        skip("it is about the order in which udco sends");
        return Ok(());
    }
    let sequence = order::through_udco(Path::new(PROGRAM), PACKETS, PER_SECOND, workers)?;
    println!("{sequence:?}");
    ensure!(sequence.sent >= PACKETS, "{sequence:?}");
    // What a busy machine loses says nothing about the order; what does not come at all does.
    ensure!(sequence.received > PACKETS / 2, "{sequence:?}");
    ensure!(
        sequence.reordered == 0 && sequence.repeated == 0,
        "{sequence:?}"
    );
    Ok(())
}
