//! Lost, duplicated, late, reordered and corrupted packets: the inner stream arrives whole, and the counters stay
//! exact. `cargo xtask chaos` runs the whole grid.

use anyhow::Result;
use udco_testbed::chaos::{Session, lose_nothing, reset, selection, tears};
use udco_testbed::{Proto, udco};

/// The relay, and the other processes in hosts.
const PROGRAM: &str = env!("CARGO_BIN_EXE_udco-lab-end");

#[test]
fn streams_arrive_whole_and_counters_add_up() -> Result<()> {
    if udco::is_left_out("it looks at udco's counters") {
        return Ok(());
    }
    let mut session = Session::new(Proto::Udp4, PROGRAM, 20)?;
    for (number, cell) in (0..).zip(selection()) {
        let outcome = cell.run(&mut session, number, 4 << 20)?;
        println!("{outcome:?}");
    }
    session.discard_logs();
    Ok(())
}

#[test]
fn a_stream_that_is_cut_stalled_and_reset_carries_everything() -> Result<()> {
    if udco::is_left_out("it looks at udco's counters") {
        return Ok(());
    }
    let mut session = Session::new(Proto::Tcp4, PROGRAM, 21)?;
    for (number, tear) in (0..).zip(tears()) {
        let torn = tear.run(&mut session, number, 4 << 20)?;
        println!("{torn:?}");
    }
    reset(&mut session, 100, 4 << 20)?;
    session.discard_logs();
    Ok(())
}

#[test]
fn unreachable_peers_cost_the_others_nothing() -> Result<()> {
    unreachable(1_000)
}

/// 100,000 packets to the healthy peers.
#[test]
#[ignore = "takes longer; `cargo xtask chaos` does it"]
fn unreachable_peers_cost_the_others_nothing_in_100_000_packets() -> Result<()> {
    unreachable(10_000)
}

/// Sends `each` packets to each of 20 peers.
fn unreachable(each: u64) -> Result<()> {
    if udco::is_left_out("it has no OpenVPN") {
        return Ok(());
    }
    let healthy = lose_nothing(PROGRAM, each)?;
    println!("{healthy:?}");
    Ok(())
}
